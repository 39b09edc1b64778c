"""GRAPPA beside pygrappa and BART on one slice, beside a bare transform on a repeated frame, and through the server."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latency import bare_ms
from numpy.typing import NDArray
from scans import header_and_frame, touch_memory
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan
from echotrain.gadgets import CollectKSpace, Grappa, RemoveOversampling
from echotrain.gadgets.coils import root_sum_of_squares
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import Header, Image, KSpace, parse_header

N, N_COILS, R, N_CALIBRATION = 256, 16, 4, 32
NOISE = 0.01
RUNS = 7
REGULARIZATIONS = (5e-4, 5e-3, 5e-2)  # for each method those around its best
PICS_WEIGHTS = (0.003, 0.01, 0.03)
CHAIN = """<chain name="grappa"><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>
<gadget name="Grappa"/></chain>"""

Samples = NDArray[np.complex64]


def timed(work: Callable[[], Any], runs: int = RUNS) -> tuple[float, Any]:
    """The least time [ms] of some runs, as other processes only ever add to it, and what the last gave."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        given = work()
        times.append(1000 * (time.perf_counter() - start))
    return min(times), given


def slice_of(**scan: Any) -> tuple[Header, KSpace]:
    """The header and k-space of a simulated slice, its readout in image space."""
    xml, frame = header_and_frame(Scan(**{"matrix": N, "coils": N_COILS, "noise_lines": 0, **scan}))
    header, crop, collect = parse_header(xml), RemoveOversampling(), CollectKSpace()
    crop.connect((collect, Grappa()))
    for gadget in (crop, collect):
        gadget.start(header)
    (lines,) = crop.process(frame)
    (kspace,) = collect.process(lines)
    return header, kspace


def grappa_of(header: Header, kspace: KSpace, regularization: float) -> Samples:
    """Calibration and application, as a session does them."""
    gadget = Grappa(regularization=regularization, calibration_in_image=True)
    gadget.start(header)
    (image,) = [item for item in gadget.process(kspace) if isinstance(item, Image)]
    data: Samples = image.data[0]
    return data


def pygrappa_rows(lines: Samples, calibration: Samples) -> tuple[float, Samples] | None:
    """The k-space that pygrappa fills, in the axes of ours, and how long it took; None where it is not installed."""
    try:
        from pygrappa import mdgrappa
    except ImportError:
        return None
    kspace, block = (np.ascontiguousarray(part[:, 0].transpose(1, 2, 0)) for part in (lines, calibration))
    with np.errstate(all="ignore"):
        ms, filled = timed(lambda: mdgrappa(kspace, block, kernel_size=(5, 5), lamda=0.01), 2)
    return ms, filled.transpose(2, 0, 1)[:, None].astype(np.complex64)


def bart(folder: Path, command: str, *arrays: Samples) -> Samples:
    """What a command of BART makes of arrays (channel, z, y, x)."""
    for name, array in zip(("a", "b"), arrays, strict=False):
        n_channels, n_z, n_y, n_x = array.shape
        (folder / f"{name}.hdr").write_text(f"# Dimensions\n{n_x} {n_y} {n_z} {n_channels}\n")
        array.astype("<c8").tofile(folder / f"{name}.cfl")
    names = [str(folder / name) for name in ("a", "b")[: len(arrays)]]
    subprocess.run(["bart", *command.split(), *names, str(folder / "out")], check=True, stdout=subprocess.DEVNULL)
    sizes = [int(size) for size in (folder / "out.hdr").read_text().splitlines()[1].split()[:4]]
    return np.fromfile(folder / "out.cfl", "<c8").reshape(sizes[::-1])


def error(image: Samples, truth: Samples) -> float:
    """Difference of magnitudes within the object over their norm, after the best scale."""
    inside = truth > 0.05 * truth.max()
    found, wanted = np.abs(image[inside]), truth[inside]
    return float(np.linalg.norm(found * (found @ wanted) / (found @ found) - wanted) / np.linalg.norm(wanted))


def one_slice() -> None:
    """Calibration and application, beside peers on the same lines; each with the best of some regularizations."""
    (_, full), (header, kspace) = slice_of(), slice_of(acceleration=R, calibration=N_CALIBRATION, noise=NOISE)
    assert kspace.calibration is not None
    rows = np.flatnonzero(kspace.calibration.sampled[0])
    together = centred_fft(np.where(kspace.sampled[..., None], kspace.data, kspace.calibration.data), (-1,))
    calibration = np.ascontiguousarray(together[:, :, rows[0] : rows[-1] + 1])
    truth = root_sum_of_squares(centred_ifft(full.data, (-2,)))
    results = []
    for regularization in REGULARIZATIONS:
        ms, image = timed(lambda: grappa_of(header, kspace, regularization))  # noqa: B023
        results.append((error(image, truth), ms))
    nrmse, ms = min(results)
    print(f"a slice of {N} x {N} x {N_COILS}, R={R}, {len(rows)} calibration lines: {ms:.0f} ms, NRMSE {nrmse:.4f}")
    theirs = pygrappa_rows(together, calibration)
    if theirs is None:
        print("  pygrappa is not installed: pip install pygrappa scikit-image tqdm")
    else:
        filled = root_sum_of_squares(centred_ifft(theirs[1], (-2, -1)))
        print(f"  pygrappa {theirs[0]:.0f} ms, NRMSE {error(filled, truth):.4f}: ratio {theirs[0] / ms:.1f}, goal 20")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            start_ms, _ = timed(lambda: bart(folder, "ones 2 8 8"), 5)
        except FileNotFoundError:
            print("  BART is not installed")
            return
        maps = bart(folder, "ecalib -m1", together)
        results = []
        for weight in PICS_WEIGHTS:
            pics_ms, sense = timed(lambda: bart(folder, f"pics -S -i 30 -l2 -r {weight}", together, maps), 3)  # noqa: B023
            shown = np.abs(sense[0]) * np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))
            results.append((error(shown, truth), pics_ms - start_ms))
    nrmse, pics_ms = min(results)
    print(
        f"  BART pics, 30 iterations, without its start and maps: {pics_ms:.0f} ms, NRMSE {nrmse:.4f}: "
        f"ratio {pics_ms / ms:.1f}, goal above 1"
    )


def repeated_frame() -> None:
    """A frame whose calibration is known, through the gadget."""
    for size in (N, 128):
        header, kspace = slice_of(matrix=size, acceleration=R)
        gadget = Grappa()
        gadget.start(header)
        list(gadget.process(kspace))
        pairs = []
        for _ in range(3 * RUNS):
            ms, _ = timed(lambda: list(gadget.process(kspace)), 3)  # noqa: B023
            bare, _ = timed(lambda: root_sum_of_squares(centred_ifft(kspace.data, (-2,))), 3)  # noqa: B023
            pairs.append((ms, bare))
        ms, bare = (min(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(ms / bare for ms, bare in pairs)
        print(
            f"a repeated frame of {size} x {size} x {N_COILS}: {ms:.2f} ms, bare transform along ky and combination "
            f"{bare:.2f} ms: ratio {ratio:.2f}, goal at most 1.5"
        )


def tail_ms(address: str) -> float:
    """From sending a repetition's last line to holding its image [ms], its calibration done while the others came."""
    header, frame = header_and_frame(Scan(matrix=N, coils=N_COILS, acceleration=R, repetitions=2, noise_lines=0))
    with open_scan(CHAIN, header, server=address) as scan:
        for repetition in range(2):
            head = frame.head.copy()
            head["idx"]["repetition"] = repetition
            lines = type(frame)(head, frame.data)
            for line in lines[:-1]:
                scan.send(line)
                time.sleep(0.0005)  # the pace of a scanner
            time.sleep(0.5)  # the time that lines of other slices would take
            start = time.perf_counter()
            scan.send(lines[-1:])
            next(item for item in scan.items() if isinstance(item, Image))
            seconds = time.perf_counter() - start
        scan.end()
        list(scan.items())
    return 1000 * seconds


def through_server() -> None:
    """The time from the last line to the image."""
    touch_memory(1 << 30)
    bare_ms(N_COILS)
    with running_server() as server:
        pairs = [(tail_ms(server.address), bare_ms(N_COILS)) for _ in range(RUNS)]
    tail, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / alone for ours, alone in pairs)
    print(
        f"last line to image of {N} x {N} x {N_COILS}, R={R}: {tail:.1f} ms, bare NumPy {bare:.1f} ms: ratio "
        f"{ratio:.2f}, goal at most 2"
    )


def main() -> None:
    """Print a row for each comparison."""
    torch.set_num_threads(2)
    one_slice()
    repeated_frame()
    through_server()


if __name__ == "__main__":
    main()
