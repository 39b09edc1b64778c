"""A dynamic scan in real time: how long after its last line each frame is there, for two ways of calibration."""

from __future__ import annotations

import time

import numpy as np
from scans import touch_memory
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, Flag, Image

FRAMES, FRAME_SECONDS, ACCELERATION, CALIBRATION = 30, 0.040, 4, 24
SCAN = Scan(matrix=128, coils=16, repetitions=FRAMES, pulsation=0.2)
CHAIN = """<chain name="dynamic"><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>
<gadget name="Grappa"/><gadget name="CropFieldOfView"/><gadget name="ComplexParts"/></chain>"""
BEFORE = b"</trajectory>"
PARALLEL = b"""</trajectory><parallelImaging><accelerationFactor><kspace_encoding_step_1>%d</kspace_encoding_step_1>
<kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor>
<calibrationMode>%s</calibrationMode></parallelImaging>"""


def dynamic_scan(mode: str) -> tuple[bytes, list[Acquisitions], list[Acquisitions]]:
    """Header, the lines ahead of the first frame, and those of each frame."""
    header, batches = simulate(SCAN)
    batches = list(batches)
    head, data = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("head", "data"))
    head["flags"] &= ~np.uint64(Flag.LAST_IN_SLICE | Flag.LAST_IN_REPETITION | Flag.LAST_IN_MEASUREMENT)
    row, repetition = head["idx"]["kspace_encode_step_1"], head["idx"]["repetition"]
    before: list[Acquisitions] = []
    if mode == "separate":
        first = (128 - CALIBRATION) // 2
        chosen = (repetition == 0) & (row >= first) & (row < first + CALIBRATION)
        calibration = head[chosen].copy()
        calibration["flags"] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION)
        before = [Acquisitions(calibration, data[chosen])]
    frames = []
    for frame in range(FRAMES):
        offset = frame % ACCELERATION if mode == "interleaved" else 0
        chosen = (repetition == frame) & (row % ACCELERATION == offset)
        frames.append(Acquisitions(head[chosen], data[chosen]))
    header = header.replace(BEFORE, PARALLEL % (ACCELERATION, mode.encode()))
    return header, before, frames


def delays(mode: str, address: str) -> list[float]:
    """From the last line of each frame to its image [s], lines sent one by one in real time."""
    header, before, frames = dynamic_scan(mode)
    sent, arrived = [0.0] * FRAMES, [0.0] * FRAMES
    with open_scan(CHAIN, header, server=address) as scan:

        def watch() -> None:
            for item in scan.received():
                if isinstance(item, Image):
                    arrived[int(item.head["repetition"])] = time.perf_counter()

        for lines in before:
            scan.send(lines)
        interval = FRAME_SECONDS / len(frames[0])
        due = time.perf_counter() + 0.2
        for number, frame in enumerate(frames):
            for line in frame:
                due += interval
                while time.perf_counter() < due:
                    watch()
                    time.sleep(interval / 8)
                scan.send(line)
            sent[number] = time.perf_counter()
        scan.end()
        for item in scan.images():
            arrived[int(item.head["repetition"])] = time.perf_counter()
    return [came - last for came, last in zip(arrived, sent, strict=True)]


def main() -> None:
    """Print a row for each mode."""
    touch_memory(1 << 30)
    for mode in ("separate", "interleaved"):
        with running_server() as server:
            delays(mode, server.address)
            took = 1000 * np.array(delays(mode, server.address))
        late = int((took > 1000 * FRAME_SECONDS).sum())
        first = f", the first {ACCELERATION - 1} waiting for lines around them" if mode == "interleaved" else ""
        print(
            f"calibration {mode:11}  last line to image: median {np.median(took):.1f} ms, 90th percentile "
            f"{np.percentile(took, 90):.1f} ms, most {took.max():.1f} ms; {late} of {FRAMES} frames later than "
            f"{1000 * FRAME_SECONDS:.0f} ms{first}"
        )


if __name__ == "__main__":
    main()
