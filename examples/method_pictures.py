"""The pictures and figures of docs/methods.md: each chain on a simulated scan that suits it.

Usage: python examples/method_pictures.py [FOLDER]

Writes a PNG file a method: what was sampled (grey: for calibration alone), the image, and ten times its difference from
the image of the whole scan without noise. Prints the rows of the table: lines taken, error, and cost beside `fft`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from echotrain.clients.phantom import SHEPP_LOGAN, phantom_image
from echotrain.clients.recon import run_chain
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, Flag, Image, ImageType
from echotrain.server.prepare import prepare_chain
from echotrain.server.settings import Settings

NOISE = Flag.IS_NOISE_MEASUREMENT
SIZE = 128  # pixels and lines
MAGNIFIED = 10  # differences in the pictures
RUNS = 15
WHOLE = Scan(matrix=SIZE, coils=8, noise=0.005)
THIRD = replace(WHOLE, acceleration=3)
UNFILTERED = {"FilterImages.kind": "none"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A chain, and a scan for it."""

    chain: str
    scan: Scan = WHOLE
    keep: Callable[[NDArray[np.void]], NDArray[np.bool_]] | None = None
    """Which lines of the scan are taken, where the simulator's own patterns do not serve."""

    parameters: dict[str, str] = field(default_factory=dict)


def scattered(head: NDArray[np.void]) -> NDArray[np.bool_]:
    """The 24 lines about the centre, and beside them one of every four, whichever chance takes."""
    taken = np.abs(np.arange(SIZE) - SIZE // 2 + 0.5) < 12
    taken[np.arange(0, SIZE, 4) + np.random.default_rng(1).integers(0, 4, SIZE // 4)] = True
    lines: NDArray[np.bool_] = taken[head["idx"]["kspace_encode_step_1"]]
    return lines


def scattered_anew(head: NDArray[np.void]) -> NDArray[np.bool_]:
    """In each repetition the 6 lines about the centre, and one of every six, whichever chance takes."""
    repetition = head["idx"]["repetition"]
    taken = np.zeros((int(repetition.max()) + 1, SIZE), np.bool_)
    taken[:, SIZE // 2 - 3 : SIZE // 2 + 3] = True
    for number, row in enumerate(taken):
        row[np.arange(0, SIZE - 5, 6) + np.random.default_rng(number).integers(0, 6, SIZE // 6)] = True
    lines: NDArray[np.bool_] = taken[repetition, head["idx"]["kspace_encode_step_1"]]
    return lines


def in_turn(head: NDArray[np.void]) -> NDArray[np.bool_]:
    """Every fourth line, one further in each repetition."""
    index = head["idx"]
    lines: NDArray[np.bool_] = (index["kspace_encode_step_1"] + index["repetition"]) % 4 == 0
    return lines


METHODS = {
    "fft": Method(chain="fft"),
    "adaptive": Method(chain="adaptive"),
    "partial_fourier": Method(chain="partial_fourier", scan=replace(WHOLE, partial_fourier=0.625)),
    "grappa": Method(chain="Generic_Cartesian_Grappa", scan=THIRD),
    "grappa_unfiltered": Method(chain="Generic_Cartesian_Grappa", scan=THIRD, parameters=UNFILTERED),
    "tgrappa": Method(
        chain="Generic_Cartesian_Grappa_RealTimeCine",
        scan=replace(WHOLE, acceleration=4, calibration=0, repetitions=8, pulsation=0.2),
        keep=in_turn,
        parameters=UNFILTERED,
    ),
    "compressed": Method(chain="compressed", scan=replace(THIRD, coils=32)),
    "sense": Method(chain="sense", scan=THIRD),
    "cg_sense": Method(chain="cg_sense", keep=scattered),
    "linear_spirit": Method(chain="linear_spirit", keep=scattered),
    "l1_spirit": Method(chain="l1_spirit", keep=scattered),
    "cs_tv": Method(chain="cs_tv", keep=scattered),
    "cs_wavelet": Method(chain="cs_wavelet", keep=scattered),
    "cs_low_rank": Method(chain="cs_low_rank", scan=replace(WHOLE, repetitions=16, pulsation=0.2), keep=scattered_anew),
}


def acquired(method: Method) -> tuple[bytes, list[Acquisitions]]:
    """The header of a method's scan, and its lines."""
    header, lines = simulate(method.scan)
    if method.keep is None:
        return header, list(lines)
    _, lines = simulate(replace(method.scan, acceleration=1))
    return header, [batch[batch.has(NOISE) | method.keep(batch.head)] for batch in lines]


def magnitudes(
    chain: str, header: bytes, lines: Iterable[Acquisitions], parameters: Mapping[str, str] | None = None
) -> list[NDArray[np.float32]]:
    """The magnitude images that a chain gives, each (y, x)."""
    _, built = prepare_chain(chain, Settings(), parameters or {}, None)
    return [
        item.data[0, 0].astype(np.float32)
        for item in run_chain(built, header, lines)
        if isinstance(item, Image)
        and item.head["image_type"] == ImageType.MAGNITUDE
        and item.meta["DataRole"] == "Image"
    ]


def sampling(method: Method, lines: list[Acquisitions]) -> NDArray[np.uint8]:
    """Rows are ky; columns are kx or, of several repetitions, time. White was acquired, grey for calibration alone."""
    width = SIZE // method.scan.repetitions
    picture = np.zeros((SIZE, SIZE), np.uint8)
    for line in (line for batch in lines for line in batch.head[~batch.has(NOISE)]):
        row = line["idx"]["kspace_encode_step_1"] + SIZE // 2 - line["idx"]["user"][5]
        first = line["idx"]["repetition"] * width
        picture[row, first : first + width] = 128 if line["flags"] == np.uint64(Flag.IS_PARALLEL_CALIBRATION) else 255
    return picture


def compared(method: Method) -> tuple[NDArray[np.uint8], float]:
    """The picture of a method and its error: the difference's norm over the head, as a fraction of the image's."""
    header, lines = acquired(method)
    image = magnitudes(method.chain, header, lines, method.parameters)[-1]
    header, whole = simulate(replace(method.scan, acceleration=1, partial_fourier=1, noise=0))
    expected = magnitudes("fft", header, whole)[-1]
    head = phantom_image(expected.shape, SHEPP_LOGAN[:1]) > 0
    scale = (image * expected)[head].sum() / (image * image)[head].sum()  # chains have units of their own
    difference = scale * image - expected
    error = float(np.linalg.norm(difference[head]) / np.linalg.norm(expected[head]))
    white = 0.5 * expected.max()  # the brain is darker than the scalp
    grey = [np.clip(255 * values / white, 0, 255) for values in (scale * image, MAGNIFIED * np.abs(difference))]
    gap = np.full((SIZE, 4), 128)
    return np.hstack([sampling(method, lines), gap, grey[0], gap, grey[1]]).astype(np.uint8), error


def cost(method: Method) -> float:
    """Processor time of a repetition on one core, in times that of `fft` for the whole scan: median of pairs."""
    plain = replace(METHODS["fft"], scan=replace(WHOLE, coils=method.scan.coils))
    scans = [(one, *acquired(one)) for one in (plain, method)]
    pairs = [[timed(*scan) for scan in scans] for _ in range(RUNS)]
    return float(np.median([one / beside for beside, one in pairs])) / method.scan.repetitions


def timed(method: Method, header: bytes, lines: list[Acquisitions]) -> float:
    _, built = prepare_chain(method.chain, Settings(), method.parameters, None)
    start = time.process_time()
    for _ in run_chain(built, header, lines):
        pass
    return time.process_time() - start


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print("| picture | lines | error | cost |\n|---|---|---|---|")
    for name, method in METHODS.items():
        picture, error = compared(method)
        PIL.Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)
        _, lines = acquired(method)
        n_lines = sum(int((~batch.has(NOISE)).sum()) for batch in lines) / method.scan.repetitions
        print(f"| {name} | {n_lines:.0f} | {error:.1%} | {cost(method):.1f} |")


if __name__ == "__main__":
    main()
