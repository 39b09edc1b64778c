"""The methods of parallel imaging by us, BART, sigpy and pygrappa: each gives rows of images of the same lines.

A peer that is not installed gives none. Weights are the best of some for each program and scan.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from image_errors import error
from imaging_scans import N_CALIBRATION, PLANE, Lines

from echotrain.gadgets.cg_sense import cg_sense
from echotrain.gadgets.coils import combine
from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.fourier import centred_ifft
from echotrain.gadgets.grappa_weights import grappa
from echotrain.gadgets.partial_fourier import homodyne, pocs, zero_filling
from echotrain.gadgets.sense_unfolding import folding_shape, sense
from echotrain.gadgets.spirit import spirit

RUNS = 3
ITERATIONS = 30
SPARSE_ITERATIONS = 60
WEIGHTS = (1e-3, 1e-2, 3e-2, 0.1)
SPARSITIES = (1e-3, 3e-3, 1e-2, 3e-2)
GRAPPA_WEIGHTS = (5e-4, 5e-3, 5e-2, 0.2, 0.5)
PYGRAPPA_WEIGHTS = (1e-2, 3e-2, 0.1, 0.3)
KERNELS = (5, 4), (9, 2)  # along kx, and acquired lines along ky
RAMPS = (0, 8, 1000)  # samples, of homodyne reconstruction
OFFSETS = (0, 0.5, 1)  # BART's word for the same, as fractions
THRESHOLD, CROP = 0.02, 0.8  # of ESPIRiT, for all programs
OURS = "Echotrain"


class Row(NamedTuple):
    """What a method gave."""

    method: str
    program: str
    image: np.ndarray
    seconds: float
    maps: np.ndarray | None = None
    """Those of the image's channels, where it was made by them."""


Wanted = Callable[[np.ndarray], float]


def optional(name: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def has_bart() -> bool:
    return shutil.which("bart") is not None


def timed(function: Callable[[], np.ndarray], runs: int = RUNS) -> tuple[np.ndarray, float]:
    """What it gave, and the least time of some runs [s]."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        found = function()
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def best(
    function: Callable[[float], np.ndarray], wanted: Wanted, weights: Sequence[float] = WEIGHTS
) -> tuple[np.ndarray, float]:
    """What the weight of the least error gave, and the least time of all [s]."""
    made = [timed(lambda weight=weight: function(weight), 1) for weight in weights]
    return min((image for image, _ in made), key=wanted), min(seconds for _, seconds in made)


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
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        line = ["bart", *command.split(), *names, f"{folder}/out"]
        subprocess.run(line, check=True, capture_output=True, env=environment)
        sizes = Path(f"{folder}/out.hdr").read_text().split("\n")[1].split()
        return np.fromfile(f"{folder}/out.cfl", np.complex64).reshape([int(size) for size in sizes[::-1]]).squeeze()


def is_lattice(lines: Lines) -> bool:
    return lines.sampled.ndim == 1


def by_us(lines: Lines, maps: np.ndarray, wanted: Wanted) -> Iterator[Row]:
    shape = lines.kspace.shape[1:]
    kspace, coils, sampled = lines.kspace, maps, lines.sampled
    if is_lattice(lines):
        filled = [
            best(lambda weight, kernel=kernel: grappa_image(lines, maps, kernel, weight), wanted, GRAPPA_WEIGHTS)
            for kernel in KERNELS
        ]
        yield Row("GRAPPA", OURS, *min(filled, key=lambda made: wanted(made[0])))
        step = int(np.diff(np.flatnonzero(lines.sampled)).max())
        grid = folding_shape((1, *shape), (step, 1, 0))[1:]
        wide = espirit_maps(lines.calibration, grid, threshold=THRESHOLD, crop=CROP).maps[0]
        yield Row(
            "SENSE", OURS, *best(lambda w: sense(lines.kspace, wide, sampled=sampled, regularization=w), wanted), maps
        )
    else:
        kspace, coils = (array[..., None] for array in (kspace, maps))

    def solved(**options: float) -> np.ndarray:
        return cg_sense(kspace, coils, sampled=sampled, **options).reshape(shape)

    yield Row("CG-SENSE", OURS, *best(lambda w: solved(regularization=w, iterations=ITERATIONS), wanted), maps)
    sparse = best(lambda w: solved(sparsity=w, iterations=SPARSE_ITERATIONS), wanted, SPARSITIES)
    yield Row("l1-ESPIRiT", OURS, *sparse, maps)
    calibration = lines.calibration if is_lattice(lines) else lines.calibration[..., None]

    def consistent(weight: float = 0, iterations: int = ITERATIONS) -> np.ndarray:
        filled = spirit(kspace, calibration, sampled=sampled, sparsity=weight, iterations=iterations)
        return combine(centred_ifft(filled.reshape(lines.kspace.shape), PLANE), maps)

    yield Row("SPIRiT", OURS, *timed(consistent, 1), maps)
    yield Row("l1-SPIRiT", OURS, *best(lambda w: consistent(w, 40), wanted, SPARSITIES[1:3]), maps)


def grappa_image(lines: Lines, maps: np.ndarray, kernel: Sequence[int], weight: float) -> np.ndarray:
    """Lines that the scan does not cover stay zeros."""
    filled = grappa(lines.kspace, lines.block, kernel, weight, sampled=lines.sampled)
    filled[:, lines.covered.stop :] = 0
    return combine(centred_ifft(filled, PLANE), maps)


def by_bart(lines: Lines, maps: np.ndarray, wanted: Wanted) -> Iterator[Row]:
    plain = best(lambda w: bart(f"pics -S -i {ITERATIONS} -l2 -r {w}", lines.kspace, maps), wanted)
    yield Row("CG-SENSE", "BART", *plain, maps)
    command = f"pics -S -i {SPARSE_ITERATIONS} -R W:3:0:"
    sparse = best(lambda w: bart(f"{command}{w}", lines.kspace, maps), wanted, SPARSITIES)
    yield Row("l1-ESPIRiT", "BART", *sparse, maps)


def by_sigpy(lines: Lines, maps: np.ndarray, wanted: Wanted) -> Iterator[Row]:
    sigpy = optional("sigpy.mri.app")
    aliased = combine(centred_ifft(lines.kspace, PLANE), maps)

    def plain(weight: float) -> np.ndarray:
        return sigpy.SenseRecon(lines.kspace, maps, lamda=weight, max_iter=ITERATIONS, show_pbar=False).run()

    yield Row("CG-SENSE", "sigpy", *best(plain, wanted), maps)
    brightest = np.abs(aliased).max()

    def sparse(weight: float) -> np.ndarray:
        app = sigpy.L1WaveletRecon(lines.kspace, maps, weight * brightest, max_iter=SPARSE_ITERATIONS, show_pbar=False)
        return app.run()

    yield Row("l1-ESPIRiT", "sigpy", *best(sparse, wanted, SPARSITIES), maps)


def by_pygrappa(lines: Lines, maps: np.ndarray, wanted: Wanted) -> Iterator[Row]:
    if not is_lattice(lines) or (pygrappa := optional("pygrappa")) is None:
        return
    part = slice(lines.covered.start, lines.covered.stop)

    def filled(weight: float) -> np.ndarray:
        found = lines.kspace.copy()
        with np.errstate(all="ignore"):
            found[:, part] = pygrappa.mdgrappa(
                lines.kspace[:, part], lines.block, kernel_size=(5, 5), coil_axis=0, lamda=weight
            )
        return combine(centred_ifft(found, PLANE), maps)

    yield Row("GRAPPA", "pygrappa", *best(filled, wanted, PYGRAPPA_WEIGHTS))


def maps_of(lines: Lines, threshold: float = THRESHOLD) -> Iterator[Row]:
    """Coil maps of all programs, and what they make of the aliased channels. The threshold is of singular values."""
    shape, aliased = lines.kspace.shape[1:], centred_ifft(lines.kspace, PLANE)
    programs = {OURS: lambda: espirit_maps(lines.calibration, shape, threshold=threshold, crop=CROP).maps[0]}
    if has_bart():
        command = f"ecalib -m1 -r {N_CALIBRATION} -t {threshold**2} -c {CROP}"
        programs["BART"] = lambda: bart(command, lines.kspace)
    if (sigpy := optional("sigpy.mri.app")) is not None:
        options = {"calib_width": N_CALIBRATION, "thresh": threshold, "crop": CROP, "show_pbar": False}
        programs["sigpy"] = lambda: sigpy.EspiritCalib(lines.kspace, **options).run()
    for program, made in programs.items():
        maps, seconds = timed(made)
        yield Row("ESPIRiT maps", program, combine(aliased, maps), seconds, maps)


def rows_of(lines: Lines, measure: Callable[[np.ndarray, np.ndarray], float] | None = None) -> list[Row]:
    """Those of all programs, in the order of our methods. `measure` tells the error of an image by maps."""
    rows = list(maps_of(lines))
    maps = {row.program: row.maps for row in rows}
    for program, made in ((OURS, by_us), ("BART", by_bart), ("sigpy", by_sigpy), ("pygrappa", by_pygrappa)):
        coils = maps.get(OURS if program == "pygrappa" else program)
        if coils is not None:

            def wanted(image: np.ndarray, coils: np.ndarray = coils) -> float:
                return measure(image, coils) if measure else error(image, lines)

            rows += made(lines, coils, wanted)
    order = list(dict.fromkeys(row.method for row in rows))
    return sorted(rows, key=lambda row: order.index(row.method))


def completed(image: np.ndarray, covered: range, wanted: Wanted, before: str = "") -> Iterator[Row]:
    """Rows of images of which only the k-space lines `covered`, the first ones, were acquired."""
    sampled = [covered, range(image.shape[1])]
    yield Row(f"{before}zeros", OURS, image, 0)
    yield Row(f"{before}zero filling", OURS, *timed(lambda: zero_filling(image, sampled)))
    yield Row(f"{before}conjugate", OURS, *timed(lambda: homodyne(image, sampled, (0,))))
    ramps = best(lambda ramp: homodyne(image, sampled, (int(ramp),)), wanted, RAMPS)
    yield Row(f"{before}homodyne", OURS, *ramps)
    if has_bart():
        part = len(covered) / image.shape[0]
        theirs = best(lambda offset: bart(f"homodyne -I -r {offset} 1 {part}", image[None]), wanted, OFFSETS)
        yield Row(f"{before}homodyne", "BART", *theirs)
    yield Row(f"{before}POCS", OURS, *timed(lambda: pocs(image, sampled)))
