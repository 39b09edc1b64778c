"""Scans to compare learned and conventional reconstruction by, with lines left out of them.

Colin27 is one man's head, averaged over 27 scans. No network is trained on it, and no weight tuned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.ndimage
from image_errors import relative
from imaging_programs import timed
from imaging_scans import N_CALIBRATION, PLANE, Lines, brain, middle

from echotrain.clients.training.arrays import draw_array
from echotrain.clients.training.batches import show
from echotrain.clients.training.examples import Example, centre_crop, root_sum_of_squares
from echotrain.clients.training.fields import smooth_field
from echotrain.clients.training.masks import Sampling
from echotrain.clients.training.metrics import head_of
from echotrain.clients.training.plan import VALIDATION
from echotrain.clients.training.synthetic import FINE, Synthetic
from echotrain.clients.training.tissues import icbm152
from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.fourier import centred_fft

COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")  # of the Debian package mricron-data
MATRIX, CHANNELS, NOISE = 160, 8, 0.015  # the noise in real and imaginary part, where the image's 99th percentile is 1
VIEW_MM = 240.0
HEIGHTS_MM = (-36.0, 48.0)  # of axial slices, from the middle of the template
CENTRE = 0.1  # of the lines, for calibration: 16 of 160
ACCELERATIONS = (4, 8)
SEED = 27
LEFT_OUT = 0.1  # of a Poisson pattern's samples, to be foretold


class Case:
    """Acquired samples and what they are to give, scaled as for networks: the brightest pixel of the centre is 1."""

    def __init__(self, kspace: np.ndarray, sampled: np.ndarray, n_centre: int, truth: np.ndarray, head: np.ndarray):
        self.kspace = kspace
        """Shape (channel, ky, kx), zeros where nothing was acquired."""
        self.sampled = sampled
        """Shape (ky,), or (ky, kx) where both are phase encoded."""
        self.n_centre = n_centre
        """Lines without gaps around the centre."""
        self.truth, self.head = truth, head

    @property
    def along_lines(self) -> bool:
        """Whether lines lack along ky alone, as networks need it."""
        return self.sampled.ndim == 1

    @property
    def block(self) -> np.ndarray:
        """Lines without gaps. Shape (channel, ky, kx)."""
        first = (self.kspace.shape[1] - self.n_centre + 1) // 2
        return self.kspace[:, first : first + self.n_centre]

    @property
    def maps(self) -> np.ndarray:
        """Coil maps by ESPIRiT, for all conventional methods. Shape (channel, y, x)."""
        return self._mapped[0]

    @property
    def seconds_of_maps(self) -> float:
        return self._mapped[1]

    @functools.cached_property
    def _mapped(self) -> tuple[np.ndarray, float]:
        block = self.block[..., middle(self.kspace.shape[2])]
        return timed(lambda: espirit_maps(block, self.kspace.shape[1:]).maps[0], 1)


def undersampled(example: Example, acceleration: int, seed: tuple[int, ...]) -> Case:
    """Every nth line from one by chance on, and those at the centre, of a scan of which all lines are there."""
    shown = show(example, Sampling("equispaced", (acceleration,), (CENTRE,)), seed)
    truth, head, lines = (getattr(shown, name)[0].numpy() for name in ("truth", "head", "kspace"))
    return Case(lines, shown.mask.numpy(), shown.n_centre, truth, head)


def colin27(n_slices: int, repetitions: int) -> list[list[Example]] | None:
    """Axial slices from below to above, each by several arrays at random; None where the head is not there.

    References: C. Holmes et al., Enhancement of MR images using registration for signal averaging, J Comput Assist
    Tomogr 1998, 22:324-333.
    """
    if not COLIN27.is_file():
        return None
    import nibabel

    voxels = np.asarray(nibabel.load(COLIN27).dataobj).astype(np.float32)  # of 1 mm; to the right, anterior, superior
    return [
        [colin27_slice(voxels, height, (SEED, number, repetition)) for repetition in range(repetitions)]
        for number, height in enumerate(np.linspace(*HEIGHTS_MM, n_slices))
    ]


def colin27_slice(voxels: np.ndarray, height_mm: float, seed: tuple[int, ...]) -> Example:
    """An axial slice as an array at random sees it, with smooth phase and white noise; ky runs along either axis."""
    random = np.random.default_rng(seed)
    n = FINE * MATRIX  # pixels of the picture that is drawn, so that those of the scan are partial volumes
    axes = np.array([[0.0, -1, 0], [1, 0, 0]]) * VIEW_MM / n
    if random.uniform() < 0.5:
        axes = axes[::-1]
    offsets = np.arange(n) - n // 2
    centre = np.array([0.0, 0, height_mm])
    places = centre[:, None, None] + axes[0][:, None, None] * offsets[:, None] + axes[1][:, None, None] * offsets
    places += (np.array(voxels.shape)[:, None, None] - 1) / 2
    image = scipy.ndimage.map_coordinates(voxels, places, np.float32, order=1)
    constant, down, along = random.normal(0, 1.5, 3)
    ramp = np.linspace(-1, 1, n)
    phase = constant + down * ramp[:, None] + along * ramp + random.uniform() * smooth_field(random, (n, n), n / 3)[0]
    maps = draw_array(random, CHANNELS, centre, axes, (n, n))
    seen = (maps * image * np.exp(1j * phase)).astype(np.complex64)
    kspace = centre_crop(centred_fft(seen, PLANE), (MATRIX, MATRIX))
    truth = root_sum_of_squares(kspace)
    scale = np.float32(1 / np.percentile(truth, 99))
    white = random.standard_normal((*kspace.shape, 2), np.float32).view(np.complex64)[..., 0]
    return Example(kspace * scale + np.float32(NOISE) * white, truth * scale, head_of(truth), NOISE)


def validation(n_slices: int) -> list[Example]:
    """Heads to tune weights on: by the seed of the training's validation, with Colin27's matrix, channels and noise."""
    matrix, channels, noise = (MATRIX, MATRIX), (CHANNELS, CHANNELS), (NOISE, NOISE)
    heads = Synthetic(icbm152(), matrix, channels, (0, VALIDATION), n_volumes=n_slices, noise=noise)
    return [example for (example,) in heads.volumes()]


def real_brain(folder: Path) -> Example | None:
    """A brain of 16 channels, of which all lines were acquired."""
    kspace = brain(folder)
    if kspace is None:
        return None
    truth = root_sum_of_squares(kspace)
    return Example(kspace, truth, head_of(truth))


def left_out(lines: Lines) -> tuple[Case, Callable[[np.ndarray], float]]:
    """Nine tenths of samples of which there is no whole image, and how far the rest is from what coils see of one."""
    held = lines.sampled & (np.random.default_rng(3).random(lines.sampled.shape) < LEFT_OUT)
    held[tuple(map(middle, held.shape))] = False
    scale = 1 / np.abs(lines.kspace).max()
    case = Case(
        np.where(held, 0, lines.kspace * scale), lines.sampled & ~held, N_CALIBRATION, lines.truth, lines.inside
    )
    wanted = lines.kspace[:, held]

    def error(image: np.ndarray) -> float:
        seen = centred_fft((case.maps * image).astype(np.complex64), PLANE)[:, held]
        seen *= np.vdot(seen, wanted) / np.vdot(seen, seen)
        return relative(seen, wanted)

    return case, error
