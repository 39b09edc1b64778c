"""Errors and times of parallel imaging beside BART, sigpy and pygrappa, on the same lines and in one run.

    python benchmarks/parallel_imaging.py [--matrix 256] [--channels 16] [--data FOLDER]

A peer that is not installed is left out. Times are the least of `RUNS`, with 2 threads for each; those of BART have its
start and its files in memory in them. Errors of magnitudes are relative to the image of all lines without noise, within
the object, after the best factor; weights of l1 norms are the best of `WEIGHTS` for each program.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.clients.simulate import Scan, simulate
from echotrain.gadgets.cg_sense import cg_sense
from echotrain.gadgets.coils import combine, root_sum_of_squares
from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.grappa_weights import grappa
from echotrain.gadgets.sense_unfolding import sense
from echotrain.gadgets.spirit import spirit
from echotrain.mrd import Image

THREADS = 2
RUNS = 5
N_CALIBRATION = 24
ITERATIONS = 30
WEIGHTS = (1e-3, 3e-3, 1e-2)
WHOLE = """<chain name="whole"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/><gadget name="CollectKSpace" trigger="end"/>
<gadget name="FourierTransform"/></chain>"""


class Lines(NamedTuple):
    """Acquired lines and what they are to give."""

    kspace: np.ndarray
    """Shape (channel, ky, kx), zeros between lines."""

    sampled: np.ndarray
    calibration: np.ndarray
    truth: np.ndarray
    inside: np.ndarray


class Row(NamedTuple):
    """What a method gave."""

    method: str
    program: str
    image: np.ndarray
    seconds: float


def optional(name: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def timed(function: Callable[[], np.ndarray], runs: int = RUNS) -> tuple[np.ndarray, float]:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        found = function()
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def bart(command: str, *arrays: np.ndarray) -> np.ndarray:
    """A command of BART on arrays (channel, y, x) as planes; gives what it wrote without axes of one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        names = []
        for number, array in enumerate(arrays):
            names.append(f"{folder}/in{number}")
            sizes = " ".join(map(str, array[:, None].shape[::-1]))
            Path(f"{names[-1]}.hdr").write_text(f"# Dimensions\n{sizes}\n")
            np.ascontiguousarray(array, np.complex64).tofile(f"{names[-1]}.cfl")
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        line = ["bart", *command.split(), *names, f"{folder}/out"]
        subprocess.run(line, check=True, capture_output=True, env=environment)
        sizes = Path(f"{folder}/out.hdr").read_text().split("\n")[1].split()
        return np.fromfile(f"{folder}/out.cfl", np.complex64).reshape([int(size) for size in sizes[::-1]]).squeeze()


def undersampled(kspace: np.ndarray, whole: np.ndarray, step: int) -> Lines:
    """Every `step`th line and those of the calibration; `whole` is k-space without noise, or as little as there is."""
    n_y, n_x = kspace.shape[1:]
    first, last = n_y // 2 - N_CALIBRATION // 2, n_y // 2 + N_CALIBRATION // 2
    sampled = (np.arange(n_y) - n_y // 2) % step == 0
    sampled[first:last] = True
    truth = root_sum_of_squares(centred_ifft(whole, (-2, -1)))
    inside = truth > 0.1 * np.percentile(truth, 99.5)
    calibration = kspace[:, first:last, (n_x - N_CALIBRATION) // 2 : (n_x + N_CALIBRATION) // 2]
    return Lines(np.where(sampled[:, None], kspace, 0), sampled, calibration, truth, inside)


def fitted(image: np.ndarray, lines: Lines) -> np.ndarray:
    magnitude = np.abs(image)
    found, wanted = magnitude[lines.inside], lines.truth[lines.inside]
    return magnitude * (found @ wanted) / (found @ found)


def error(image: np.ndarray, lines: Lines) -> float:
    difference = (fitted(image, lines) - lines.truth)[lines.inside]
    return float(np.linalg.norm(difference) / np.linalg.norm(lines.truth[lines.inside]))


def similarity(image: np.ndarray, lines: Lines) -> float:
    """Mean structural similarity within the object, over 7 x 7 pixels (Wang 2004)."""
    one, other = fitted(image, lines).astype(float), lines.truth.astype(float)
    means = uniform_filter(one, 7), uniform_filter(other, 7)
    unbiased = 49 / 48
    deviations = [
        unbiased * (uniform_filter(a * b, 7) - uniform_filter(a, 7) * uniform_filter(b, 7))
        for a, b in ((one, one), (other, other), (one, other))
    ]
    small = (0.01 * other.max()) ** 2, (0.03 * other.max()) ** 2
    ratio = (2 * means[0] * means[1] + small[0]) * (2 * deviations[2] + small[1])
    ratio /= (means[0] ** 2 + means[1] ** 2 + small[0]) * (deviations[0] + deviations[1] + small[1])
    return float(ratio[lines.inside].mean())


def best(function: Callable[[float], np.ndarray], lines: Lines) -> tuple[np.ndarray, float]:
    weight = min(WEIGHTS, key=lambda weight: error(function(weight), lines))
    return timed(lambda: function(weight), 1)


def ours(lines: Lines) -> Iterator[Row]:
    def made() -> np.ndarray:
        return espirit_maps(lines.calibration, lines.truth.shape).maps[0]

    maps, seconds = timed(made)
    yield Row("maps", "echotrain", combine(centred_ifft(lines.kspace, (-2, -1)), maps), seconds)
    block = lines.kspace[:, lines.kspace.shape[1] // 2 - N_CALIBRATION // 2 :][:, :N_CALIBRATION]
    filled, seconds = timed(lambda: grappa(lines.kspace, block, sampled=lines.sampled), 1)
    yield Row("GRAPPA", "echotrain", combine(centred_ifft(filled, (-2, -1)), maps), seconds)
    if not lines.kspace.shape[1] % (np.diff(np.flatnonzero(lines.sampled)).max()):
        yield Row(
            "SENSE", "echotrain", *timed(lambda: sense(lines.kspace, maps, sampled=lines.sampled, regularization=1e-3))
        )
    yield Row("CG-SENSE", "echotrain", *timed(lambda: cg_sense(lines.kspace, maps, iterations=ITERATIONS, tolerance=0)))
    yield Row(
        "l1-ESPIRiT", "echotrain", *best(lambda w: cg_sense(lines.kspace, maps, sparsity=w, iterations=60), lines)
    )

    def consistent(weight: float = 0, iterations: int = ITERATIONS) -> np.ndarray:
        filled = spirit(lines.kspace, lines.calibration, sparsity=weight, iterations=iterations)
        return combine(centred_ifft(filled, (-2, -1)), maps)

    yield Row("SPIRiT", "echotrain", *timed(consistent, 1))
    yield Row("l1-SPIRiT", "echotrain", *best(lambda w: consistent(w, 40), lines))


def by_bart(lines: Lines) -> Iterator[Row]:
    if not shutil.which("bart"):
        return
    maps, seconds = timed(lambda: bart(f"ecalib -m1 -r {N_CALIBRATION}", lines.kspace))
    yield Row("maps", "BART", combine(centred_ifft(lines.kspace, (-2, -1)), maps), seconds)
    yield Row("CG-SENSE", "BART", *timed(lambda: bart(f"pics -i {ITERATIONS} -l2 -r 0.001", lines.kspace, maps)))
    yield Row("l1-ESPIRiT", "BART", *best(lambda w: bart(f"pics -S -i 60 -R W:3:0:{w}", lines.kspace, maps), lines))


def by_sigpy(lines: Lines) -> Iterator[Row]:
    if (sigpy := optional("sigpy.mri.app")) is None:
        return

    def calibrated() -> np.ndarray:
        return sigpy.EspiritCalib(lines.kspace, calib_width=N_CALIBRATION, show_pbar=False).run()

    maps, seconds = timed(calibrated, 1)
    yield Row("maps", "sigpy", combine(centred_ifft(lines.kspace, (-2, -1)), maps), seconds)

    def plain() -> np.ndarray:
        return sigpy.SenseRecon(lines.kspace, maps, lamda=1e-3, max_iter=ITERATIONS, show_pbar=False).run()

    yield Row("CG-SENSE", "sigpy", *timed(plain, 1))
    brightest = np.abs(combine(centred_ifft(lines.kspace, (-2, -1)), maps)).max()

    def sparse(weight: float) -> np.ndarray:
        app = sigpy.L1WaveletRecon(lines.kspace, maps, weight * brightest, max_iter=60, show_pbar=False)
        return app.run()

    yield Row("l1-ESPIRiT", "sigpy", *best(sparse, lines))


def by_pygrappa(lines: Lines) -> Iterator[Row]:
    if (pygrappa := optional("pygrappa")) is None:
        return
    block = lines.kspace[:, lines.kspace.shape[1] // 2 - N_CALIBRATION // 2 :][:, :N_CALIBRATION]
    filled, seconds = timed(lambda: pygrappa.mdgrappa(lines.kspace, block, kernel_size=(5, 5), coil_axis=0), 1)
    maps = espirit_maps(lines.calibration, lines.truth.shape).maps[0]
    yield Row("GRAPPA", "pygrappa", combine(centred_ifft(filled.astype(np.complex64), (-2, -1)), maps), seconds)


def compare(title: str, kspace: np.ndarray, whole: np.ndarray, step: int) -> None:
    lines = undersampled(kspace, whole, step)
    rows = [row for program in (ours, by_bart, by_sigpy, by_pygrappa) for row in program(lines)]
    own = {row.method: row.seconds for row in rows if row.program == "echotrain"}
    print(f"\n{title}, every {step}th of {kspace.shape[1]} lines and {N_CALIBRATION} for calibration")
    print("method      program    NRMSE    SSIM   seconds  times ours")
    for row in sorted(rows, key=lambda row: list(own).index(row.method)):
        figures = " " * 15
        if row.method != "maps":
            figures = f"{error(row.image, lines):7.4f} {similarity(row.image, lines):7.4f}"
        print(f"{row.method:11} {row.program:9} {figures} {row.seconds:9.3f} {row.seconds / own[row.method]:8.1f}")


def simulated(matrix: int, channels: int, noise: float) -> np.ndarray:
    """k-space of one slice. Shape (channel, ky, kx)."""
    kspace = np.zeros((channels, matrix, matrix), np.complex64)
    _, batches = simulate(Scan(matrix=matrix, coils=channels, oversampling=1, noise=noise, noise_lines=0))
    for lines in batches:
        kspace[:, lines.head["idx"]["kspace_encode_step_1"]] = lines.data.swapaxes(0, 1)
    return kspace


def main() -> None:
    """Print a table for each of the scans and accelerations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ECHOTRAIN_DATA", "../shared/data")))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    kspace, whole = (simulated(options.matrix, options.channels, noise) for noise in (options.noise, 0))
    for step in options.steps:
        compare("Shepp and Logan's head", kspace, whole, step)
    brain = options.data / "brain-16ch-twix" / "2024-02-06-164128.dat"
    if brain.is_file():
        header, batches = read_twix(brain)
        (image,) = (item for item in reconstruct(batches, header, WHOLE) if isinstance(item, Image))
        measured = centred_fft(image.data[:, 0], (-2, -1))
        for step in (2, 3, 4):
            compare("a brain", measured, measured, step)


if __name__ == "__main__":
    main()
