"""GRAPPA: missing lines of k-space from their neighbours, by weights that are fitted to calibration lines.

References: M. Griswold et al., Magn Reson Med 2002, 47:1202-1210 (the method); F. Breuer et al., Magn Reson Med 2009,
62:739-746 (noise and g-factor); P. Kellman and E. McVeigh, Magn Reson Med 2005, 54:1439-1447 (units of the noise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd.errors import DataError

from .fourier import centred_fft, centred_ifft
from .sampling import sampling_lattice
from .tensors import Array, as_given, as_tensor, side_by_side

NOISE_WEIGHT = 4.0
"""Calibration lines are the brightest of k-space, and noise weighs more in the others. Twice as much would serve noisy
heads at R = 4 still better, and others a little worse."""
INVERSE_ITERATIONS = 8
BLOCK = 1 << 17  # coefficients worked on at once, so that they stay in the cache

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class GrappaWeights:
    """Weights that give missing lines of all channels from the acquired lines around them.

    They hold for every place of k-space, whatever line the acquired ones begin with.
    """

    values: Tensor
    """Shape (shift, channel given, channel taken, kx), complex64; the middle of kx is the sample itself."""

    shifts: Offsets
    """How far a given line lies from the one taken, along kz and ky. Shape (shift, 2)."""

    acceleration: tuple[int, int]
    """Every how many lines along ky and along kz were acquired."""

    @property
    def n_channels(self) -> int:
        return int(self.values.shape[1])


def grappa_weights(
    calibration: Array,
    acceleration: int | tuple[int, int],
    kernel: Sequence[int] = (5, 0),
    regularization: float = 5e-4,
    shift: int = 0,
    *,
    noise_weight: float = NOISE_WEIGHT,
) -> GrappaWeights:
    """Fit weights to calibration lines without gaps. Shape (channel, ky, kx) or (channel, kz, ky, kx), k-space.

    `kernel` is how many samples along kx (odd), ky and, for volumes, kz (3 where it does not say) a missing sample is
    made from; along ky and kz they are acquired lines, and 0 is for 4 lines that are up to 3 apart, 2 of others, whose
    farther ones bring more noise than signal. `regularization` is Tikhonov's, in units of the mean eigenvalue of the
    normal equations, or `noise_weight` times their smallest one, which is that of noise, where that is more. `shift` is
    how far along ky each acquired plane's lines lie from those of the one before.

    Raises:
        DataError: where the lines are too few for the kernel, or hold no signal.
    """
    lines = as_tensor(calibration)
    if lines.ndim == 3:
        lines = lines[:, None]
    steps = (acceleration, 1) if isinstance(acceleration, int) else acceleration
    n_kx, n_ky, n_kz = (*kernel, 3)[:3]
    n_ky, n_kz = n_ky or (4 if steps[0] <= 3 else 2), n_kz or 3
    if lines.shape[1] == 1 and steps[1] == 1:
        n_kz = 1
    sources = _grid(around(n_kz, steps[1]), around(n_ky, steps[0]))
    shifts = sources[:, 0] // steps[1] * shift
    sources[:, 1] += (shifts + steps[0] // 2) % steps[0] - steps[0] // 2  # the nearest ones of each plane
    targets = _grid(np.arange(steps[1]), np.arange(steps[0]))[1:]
    return fitted_weights(lines, sources, targets, n_kx, (regularization, noise_weight), steps)


def fitted_weights(
    lines: Tensor,
    sources: Offsets,
    targets: Offsets,
    n_kx: int,
    regularizations: tuple[float, float],
    steps: tuple[int, int],
) -> GrappaWeights:
    """Weights of the lines at `sources` for those at `targets`, offsets along kz and ky from any line. Shape (n, 2).

    The rest is as in `grappa_weights`, and raises as it does.
    """
    regularization, noise_weight = regularizations
    if regularization < len(sources) * len(lines) * n_kx * np.finfo(np.float32).eps:
        lines = lines.to(torch.complex128)  # rounding would outweigh it
    normal, right = (part.to(torch.complex128) for part in _normal_equations(lines, sources, targets, n_kx))
    scale = float(normal.diagonal().real.mean())
    if not 0 < scale < math.inf:
        raise DataError("the calibration lines hold no signal, or samples that are not finite; check their data")
    normal.diagonal().add_(regularization * scale)
    factor, failed = torch.linalg.cholesky_ex(normal)
    if noise_weight and not failed:
        noise = smallest_eigenvalue(factor) - regularization * scale
        if (missing := noise_weight * noise - regularization * scale) > 0:
            normal.diagonal().add_(missing)
            factor, failed = torch.linalg.cholesky_ex(normal)
    if failed:
        raise DataError(
            f"the weights of a kernel of {n_kx} samples of {len(sources)} lines are not determined by the calibration "
            f"lines; raise regularization, which is {regularization:g}"
        )
    n_channels = lines.shape[0]
    solved = torch.cholesky_solve(right, factor).to(torch.complex64)
    fitted = solved.view(len(sources), n_channels, n_kx, len(targets), n_channels).permute(3, 0, 4, 1, 2)
    own = fitted.new_zeros(1, n_channels, n_channels, n_kx)  # an acquired sample stays as it is
    own[0, :, :, n_kx // 2] = torch.eye(n_channels, device=lines.device)
    distances = np.concatenate([np.zeros((1, 2), int), (targets[:, None] - sources).reshape(-1, 2)])
    return GrappaWeights(torch.cat([own, fitted.flatten(0, 1)]).contiguous(), distances, steps)


def smallest_eigenvalue(factor: Tensor) -> float:
    """That of the matrix whose Cholesky factor this is, to some ten percent, by inverse iterations."""
    vector = torch.ones_like(factor[:, :1])
    for _ in range(INVERSE_ITERATIONS):
        vector = torch.cholesky_solve(vector / torch.linalg.vector_norm(vector), factor)
    return 1 / float(torch.linalg.vector_norm(vector))


def around(n: int, step: int) -> Offsets:
    """`n` acquired lines around those missing after line 0."""
    return (np.arange(n) - (n - 1) // 2) * step


def _grid(along_kz: Offsets, along_ky: Offsets) -> Offsets:
    return np.stack(np.meshgrid(along_kz, along_ky, indexing="ij"), axis=-1).reshape(-1, 2)


def _normal_equations(lines: Tensor, sources: Offsets, targets: Offsets, n_kx: int) -> tuple[Tensor, Tensor]:
    """Products of what is taken with itself, and with what is given, over all places where the kernel fits.

    Sources as far apart as others are products of the same lines, which are made once.
    """
    n_channels, size_z, size_y, size_x = lines.shape
    offsets = np.concatenate([sources, targets])
    low, high = offsets.min(axis=0), offsets.max(axis=0)
    n_z, n_y, n_x = size_z - int(high[0] - low[0]), size_y - int(high[1] - low[1]), size_x - n_kx + 1
    n_unknown = n_channels * n_kx
    if min(n_z, n_y, n_x) < 1 or n_z * n_y * n_x < len(sources) * n_unknown:
        spanned = " x ".join(str(int(n) + 1) for n in (high - low)[::-1])
        raise DataError(
            f"{size_y} x {size_z} calibration lines (ky x kz) of {size_x} samples are too few for the kernel, which "
            f"spans {spanned} lines of {n_kx} samples and has {len(sources) * n_unknown} weights for each missing one; "
            "acquire more calibration lines, set a smaller kernel, or compress the coils"
        )
    first_z, first_y = (offsets - low).T.tolist()  # of the lines at each offset from the places
    windows = lines.unfold(3, n_kx, 1).permute(1, 2, 3, 0, 4).reshape(size_z, size_y, n_x, n_unknown)
    middle = lines[..., n_kx // 2 : n_kx // 2 + n_x].permute(1, 2, 3, 0)
    normal = windows.new_zeros(len(sources), n_unknown, len(sources), n_unknown)
    apart: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for one, other in combinations_with_replacement(range(len(sources)), 2):
        apart.setdefault(tuple((sources[other] - sources[one]).tolist()), []).append((one, other))
    for (dz, dy), pairs in apart.items():
        begin, end = max(0, -dy), size_y - max(0, dy)
        for z in range(max(0, -dz), size_z - max(0, dz)):
            products = windows[z, begin:end].mH @ windows[z + dz, begin + dy : end + dy]
            for one, other in pairs:
                if first_z[one] <= z < first_z[one] + n_z:
                    at = first_y[one] - begin
                    normal[one, :, other] += products[at : at + n_y].sum(0)
    for one, other in combinations(range(len(sources)), 2):
        normal[other, :, one] = normal[one, :, other].mH
    places = [(slice(z, z + n_z), slice(y, y + n_y)) for z, y in zip(first_z, first_y, strict=True)]
    given = torch.cat([middle[place] for place in places[len(sources) :]], -1).flatten(0, 2)
    right = torch.cat([windows[place].flatten(0, 2).mH @ given for place in places[: len(sources)]])
    return normal.flatten(2).flatten(0, 1), right


def _along_x(weights: GrappaWeights, n_x: int) -> Tensor:
    """The weights as factors of each pixel along x. Shape (shift, channel given, channel taken, x)."""
    return weights.values @ _waves(_taps(weights), n_x).to(weights.values)


def _taps(weights: GrappaWeights) -> Tensor:
    """How far a given sample lies from the one taken, along kx: a sample taken from further on is shifted back."""
    n_kx = weights.values.shape[-1]
    return n_kx // 2 - torch.arange(n_kx, device=weights.values.device)


def _waves(shifts: Tensor, n: int) -> Tensor:
    """What shifts in k-space are in the image, whose origin is at n // 2. Shape (shift, n), complex128."""
    position = torch.arange(n, dtype=torch.float64, device=shifts.device) - n // 2
    phase = 2 * math.pi / n * shifts.to(torch.float64)[:, None] * position
    return torch.polar(torch.ones_like(phase), phase)


def grappa_unmixing(weights: GrappaWeights, maps: Array) -> Array:
    """Coefficients that make one unaliased image of the channels' aliased ones, combined by `maps`.

    Shapes (channel, y, x) or (channel, z, y, x), as `maps`. The image is the sum over channels of coefficients times
    images of the acquired lines alone: GRAPPA's convolution of k-space, done by one multiplication per pixel.

    Raises:
        DataError: where maps and weights are of different channels.
    """
    maps_zyx = as_tensor(maps)
    if maps_zyx.ndim == 3:
        maps_zyx = maps_zyx[:, None]
    n_channels, n_z, n_y, n_x = maps_zyx.shape
    _check_channels(weights, n_channels)
    values = weights.values.permute(0, 3, 2, 1)  # (shift, kx, taken, given)
    shifts = torch.from_numpy(weights.shifts).to(maps_zyx.device)
    waves_z, waves_y = _waves(shifts[:, 0], n_z).to(maps_zyx), _waves(shifts[:, 1], n_y).to(maps_zyx)
    waves_x = _waves(_taps(weights), n_x).to(maps_zyx)
    unmixing = torch.zeros_like(maps_zyx)
    rows = max(1, BLOCK // (n_channels * n_x))

    def fill(places: Sequence[tuple[int, int]]) -> None:
        for z, y in places:
            waves = waves_z[:, z, None] * waves_y[:, y : y + rows]
            kernels = torch.matmul(waves.mT, values.flatten(1)).view(-1, n_channels * len(waves_x), n_channels)
            # What the maps make of each kernel is summed before it is spread along x, where a kernel has few samples.
            parts = torch.matmul(kernels, maps_zyx[:, z, y : y + rows].transpose(0, 1).conj())
            total = unmixing[:, z, y : y + rows].transpose(0, 1)  # (y, taken, x)
            for part, wave in zip(
                parts.view(len(parts), len(waves_x), n_channels, n_x).unbind(1), waves_x, strict=True
            ):
                torch.addcmul(total, part, wave, out=total)

    places = list(product(range(n_z), range(0, n_y, rows)))
    side_by_side(lambda: fill(places[::2]), lambda: fill(places[1::2]))
    return as_given(unmixing.reshape(maps.shape), maps)


def unmix(images: Array, unmixing: Array) -> Array:
    """The sum over channels of `unmixing` times `images`. Shapes (channel, ...) give (...)."""
    aliased, coefficients = as_tensor(images), as_tensor(unmixing)
    total = aliased[0] * coefficients[0]
    for channel, coefficient in zip(aliased[1:], coefficients[1:], strict=True):
        torch.addcmul(total, channel, coefficient, out=total)
    return as_given(total, images)


def unmix_folded(folded: Array, unmixing: Array, first: int) -> Array:
    """As `unmix`, of every nth line alone from line `first` on, transformed as if these were all there are.

    Shapes (channel, z, y / n, x) and (channel, z, y, x) give (z, y, x). Every nth line gives the same image n
    times over but for a phase, so it need be made only once.
    """
    aliased, coefficients = as_tensor(folded), as_tensor(unmixing)
    n_folded, n_y = aliased.shape[2], coefficients.shape[2]
    step = n_y // n_folded
    aliased = aliased.roll(n_y // 2 - n_folded // 2, 2)[:, :, None]  # so that row 0 is the first of the image's
    total = unmix(aliased, coefficients.view(*coefficients.shape[:2], step, n_folded, -1))
    line = torch.tensor([first + step * (n_folded // 2) - n_y // 2])  # where the transform took the origin to be
    total = total.flatten(1, 2) * (_waves(line, n_y).to(total) / math.sqrt(step)).mT
    return as_given(total, folded)


def g_factor(unmixing: Array, acceleration: tuple[int, int]) -> Array:
    """How much more noise than by fewer lines alone an unmixed image has. Shapes (channel, ...) give (...), real.

    Holds for white noise in the lines and maps whose squares sum to 1. Without them, where coefficients are 0, it is 0.
    """
    coefficients = as_tensor(unmixing)
    return as_given(torch.linalg.vector_norm(coefficients, dim=0) / math.prod(acceleration), unmixing)


def grappa_lines(
    hybrid: Array, wanted: NDArray[np.bool_], acquired: NDArray[np.bool_], weights: GrappaWeights
) -> Array:
    """The lines `wanted`, made from those `acquired` on the lattice, whatever the others hold.

    `hybrid` has the shape (channel, kz, ky, x), transformed along the readout, the masks (kz, ky); gives (channel,
    line, x), lines in the order of numpy.nonzero(wanted). At its edges k-space is periodic.
    """
    lines = as_tensor(hybrid)
    _, n_z, n_y, n_x = lines.shape
    _check_channels(weights, len(lines))
    along_x = _along_x(weights, n_x).permute(3, 1, 0, 2).contiguous()  # (x, given, shift, taken)
    origins = np.argwhere(wanted)[:, None] - weights.shifts  # (line, shift, axis)
    z, y = origins[..., 0] % n_z, origins[..., 1] % n_y
    patterns, kinds = np.unique(acquired[z, y], axis=0, return_inverse=True)
    made = lines.new_empty(len(lines), len(origins), n_x)
    for kind, pattern in enumerate(patterns):
        shifts = np.flatnonzero(pattern)
        factors = along_x[:, :, torch.from_numpy(shifts)].flatten(2)
        alike = np.flatnonzero(kinds == kind)
        for some in np.split(alike, range(128, len(alike), 128)):  # bounds memory
            taken = lines[:, torch.from_numpy(z[some][:, shifts]), torch.from_numpy(y[some][:, shifts])]
            found = torch.matmul(factors, taken.permute(3, 2, 0, 1).flatten(1, 2))  # (x, given, line)
            made[:, torch.from_numpy(some)] = found.permute(1, 2, 0)
    return as_given(made, hybrid)


def grappa(
    kspace: Array,
    calibration: Array,
    kernel: Sequence[int] = (5, 0),
    regularization: float = 5e-4,
    *,
    sampled: NDArray[np.bool_] | None = None,
    noise_weight: float = NOISE_WEIGHT,
) -> Array:
    """k-space with its missing lines filled in. Shape (channel, ky, kx) or (channel, kz, ky, kx).

    `calibration` holds lines without gaps, of the same axes. `sampled` says which lines were acquired, shape (ky,) or
    (kz, ky); without it, those that are not zero. Acquired lines stay as they are.

    Raises:
        DataError: where lines are not sampled on a lattice, or the calibration does not suffice.
    """
    samples = as_tensor(kspace)
    if samples.ndim == 3:
        samples = samples[:, None]
    if sampled is None:
        sampled = (samples != 0).any(-1).any(0).cpu().numpy()
    sampled = np.atleast_2d(sampled)
    lattice = sampling_lattice(sampled)
    weights = grappa_weights(
        calibration, lattice.acceleration, kernel, regularization, lattice.shift, noise_weight=noise_weight
    )
    hybrid = centred_ifft(samples, (-1,))
    filled = samples.clone()
    missing = ~sampled
    filled[:, torch.from_numpy(missing)] = centred_fft(grappa_lines(hybrid, missing, lattice.mask, weights), (-1,))
    return as_given(filled.reshape(kspace.shape), kspace)


def _check_channels(weights: GrappaWeights, n_channels: int) -> None:
    if weights.n_channels != n_channels:
        raise DataError(
            f"the calibration lines have {weights.n_channels} channels, the image {n_channels}; they must be those of "
            "one set of coils"
        )
