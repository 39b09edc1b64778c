"""Parallel imaging by SENSE from lines on a lattice: pixels that fold onto one another are solved for directly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd.errors import DataError

from .coils import combine
from .fourier import centred_fft, centred_ifft
from .grappa_weights import unmix
from .sampling import Lattice, sampling_lattice
from .tensors import Array, as_given, as_tensor

COLUMNS = 32  # along x, solved for at once, which bounds memory


def folding_shape(shape: Sequence[int], steps: Sequence[int]) -> tuple[int, int, int]:
    """The smallest grid (z, y, x), of at least `shape`, whose pixels fold onto pixels.

    `steps` says how far lines lie apart along ky and kz, and how far those of a plane are moved along ky from those of
    the plane before it.
    """
    step_y, step_z, shift = steps
    step_z *= step_y // math.gcd(step_y, shift)
    n_z, n_y, n_x = shape
    return -(-n_z // step_z) * step_z, -(-n_y // step_y) * step_y, n_x


def sense_unmixing(maps: Array, steps: Sequence[int], regularization: float = 0.0) -> Array:
    """Coefficients that make one unaliased image of images of the lattice's lines. Shape (channel, z, y, x), as `maps`.

    The image is the sum over channels of coefficients times images with zeros in place of missing lines. `steps` are
    those of `folding_shape`, whose grid the maps have. `regularization` is Tikhonov's, where 1 is the weight of a
    pixel's data if the squares of its maps sum to 1; pixels with maps of 0 stay 0.

    References: K. Pruessmann et al., Magn Reson Med 1999, 42:952-962; F. Breuer et al., ibid. 2006, 55:549-556.

    Raises:
        DataError: where the grid does not fold onto itself, or more pixels fold onto one than the channels tell apart.
    """
    sensitivities = as_tensor(maps)
    _, n_z, n_y, n_x = sensitivities.shape
    if folding_shape((n_z, n_y, n_x), steps) != (n_z, n_y, n_x):
        raise DataError(
            f"maps of {n_y} x {n_z} pixels (y x z) do not fold onto themselves for lines {steps[0]} and {steps[1]} "
            "apart; make them on the grid that folding_shape gives"
        )
    folds = _folds((n_z, n_y), steps)
    unmixing = torch.zeros_like(sensitivities)
    for first in range(0, n_x, COLUMNS):
        columns = slice(first, first + COLUMNS)
        seen = torch.stack([sensitivities[:, z, y, columns] for z, y in folds])  # (fold, channel, z, y, x)
        for (z, y), part in zip(folds, _pseudo_inverse(seen, regularization), strict=True):
            unmixing[:, z, y, columns] = part * len(folds)
    return as_given(unmixing, maps)


def _folds(shape: tuple[int, int], steps: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Pixels of which one of each list folds onto one of the others: indices (z, 1) and (y) of a part of the image."""
    (n_z, n_y), (step_y, step_z, shift) = shape, steps
    z, y = torch.arange(n_z // step_z), torch.arange(n_y // step_y)
    return [
        (((z + n_z * (b * step_y - a * shift) // (step_z * step_y)) % n_z)[:, None], (y + a * (n_y // step_y)) % n_y)
        for a in range(step_y)
        for b in range(step_z)
    ]


def _pseudo_inverse(seen: Tensor, regularization: float) -> Tensor:
    """Coefficients of channels for each fold. Shape (fold, channel, ...), as given."""
    n_folds, n_channels = seen.shape[:2]
    encoding = seen.flatten(2).permute(2, 1, 0).to(torch.complex128)  # (pixel, channel, fold)
    gram = encoding.mH @ encoding
    weights = gram.diagonal(dim1=1, dim2=2).real
    gram.diagonal(dim1=1, dim2=2).add_(regularization + (weights == 0))
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed.any():
        raise DataError(
            f"{n_folds} pixels fold onto one, and maps of {n_channels} channels do not tell them apart; raise "
            f"regularization, which is {regularization:g}"
        )
    solved = torch.cholesky_solve(encoding.mH, factor)
    return solved.permute(1, 2, 0).reshape(seen.shape).to(seen.dtype)


def unfold(
    kspace: Array, lattice: Lattice, maps: Array, unmixing: Array, *, sampled: NDArray[np.bool_], axes: Sequence[int]
) -> Array:
    """One image of the k-space, on its own grid, by what `sense_unmixing` gave for maps. Shape (z, y, x).

    `maps` and `unmixing` are on the grid of `folding_shape`; `axes` are those of the k-space to be transformed.
    Lines that were sampled off the lattice stay as they were.
    """
    lines = as_tensor(kspace)
    given = lines.shape[1:]
    coefficients, coils = as_tensor(unmixing), as_tensor(maps)
    of_lattice = torch.from_numpy(lattice.mask).to(lines.device)[..., None]
    regular = lines if (lattice.mask == sampled).all() else lines * of_lattice
    image = unmix(centred_ifft(resized(regular, coils.shape[1:]), axes), coefficients)
    extra = torch.from_numpy(sampled & ~lattice.mask).to(lines.device)[..., None]
    if extra.any():
        expected = resized(centred_fft(coils * image, axes), given)
        beyond = torch.where(extra, lines - expected, 0)
        image = image + combine(centred_ifft(resized(beyond, coils.shape[1:]), axes), coils)
    if image.shape != given:
        image = centred_ifft(resized(centred_fft(image[None], (-3, -2)), given), (-3, -2))[0]
    return as_given(image, kspace)


def resized(kspace: Tensor, shape: Sequence[int]) -> Tensor:
    """k-space with zeros around it, or less of it, with its centre at n // 2 again. Shape (channel, z, y, x)."""
    pads: list[int] = []
    for n, size in zip(reversed(kspace.shape[1:]), reversed(shape), strict=True):
        before = size // 2 - n // 2
        pads += [before, size - n - before]
    return torch.nn.functional.pad(kspace, pads) if any(pads) else kspace


def sense(
    kspace: Array, maps: Array, *, sampled: NDArray[np.bool_] | None = None, regularization: float = 0.0
) -> Array:
    """The image of lines on a lattice, unfolded. Shape (channel, ky, kx) or (channel, kz, ky, kx) gives that of pixels.

    `maps` are on the grid that `folding_shape` gives, which is that of the k-space where lines are divided evenly, and
    have squares that sum to 1. `sampled` says which lines were acquired, shape (ky,) or (kz, ky); without it, those
    that are not zero.

    Raises:
        DataError: where lines are not sampled on a lattice, or `sense_unmixing` has no solution.
    """
    samples, sensitivities = as_tensor(kspace), as_tensor(maps)
    if samples.ndim == 3:
        samples, sensitivities = samples[:, None], sensitivities[:, None]
    if sampled is None:
        sampled = (samples != 0).any(-1).any(0).cpu().numpy()
    sampled = np.atleast_2d(sampled)
    lattice = sampling_lattice(sampled)
    unmixing = sense_unmixing(sensitivities, lattice.steps, regularization)
    image = unfold(samples, lattice, sensitivities, unmixing, sampled=sampled, axes=(-3, -2, -1))
    return as_given(image.reshape(kspace.shape[1:]), kspace)
