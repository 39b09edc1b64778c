"""Parallel imaging by SENSE from lines in any pattern, solved by iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Image, KSpace

from .calibration import _CalibratedReconstruction, calibration_block
from .coils import combine, root_sum_of_squares
from .fourier import centred_ifft
from .image_headers import worked_on
from .iteration import conjugate_gradients, sparse_solution
from .parameters import parameter
from .tensors import Array, as_given, as_tensor

BLOCK = 1 << 17  # samples that one step works on, so that they stay in the cache


def cg_sense(
    kspace: Array,
    maps: Array,
    *,
    sampled: NDArray[np.bool_] | None = None,
    regularization: float = 3e-3,
    sparsity: float = 0.0,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Array:
    """The image whose channels fit the acquired lines best. Shape (channel, ky, kx) or (channel, kz, ky, kx), k-space.

    `maps` are of the same shape, or have several sets as their first axis; so has the image then, (y, x) or (z, y, x).
    `sampled` says which lines were acquired, shape (ky,) or (kz, ky); without it, those that are not zero.
    `regularization` is Tikhonov's weight where 1 is that of the data in a fully sampled pixel. With `sparsity`, the
    weight of the l1 norm of wavelet coefficients in units of the brightest pixel without unfolding, it has no use.
    Iterations end when they change the image by less than `tolerance` of it, or the residual is as small.

    References: K. Pruessmann et al., Magn Reson Med 2001, 46:638-651; M. Lustig et al., ibid. 2007, 58:1182-1195.
    """
    sensitivities = as_tensor(maps)
    several = sensitivities.ndim > kspace.ndim
    samples = as_tensor(kspace)
    if samples.ndim == 3:
        samples, sensitivities = samples[:, None], sensitivities.unsqueeze(-3)
    if sampled is None:
        sampled = (samples != 0).any(-1).any(0).cpu().numpy()
    image = unfold_by_iteration(
        centred_ifft(samples, (-3, -2, -1)),
        sensitivities if several else sensitivities[None],
        np.atleast_2d(sampled),
        regularization=regularization,
        sparsity=sparsity,
        iterations=iterations,
        tolerance=tolerance,
    )
    return as_given(image.reshape(*maps.shape[: int(several)], *kspace.shape[1:]), kspace)


def unfold_by_iteration(
    channels: Array,
    maps: Array,
    sampled: NDArray[np.bool_],
    *,
    regularization: float = 3e-3,
    sparsity: float = 0.0,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Array:
    """As cg_sense, from aliased images of the channels. Shapes (channel, z, y, x), (set, channel, z, y, x), (kz, ky).

    Gives (set, z, y, x).
    """
    aliased, sensitivities = as_tensor(channels), as_tensor(maps)
    normal = sense_normal(sensitivities, sampled)
    right = torch.stack([combine(aliased, one) for one in sensitivities]).permute(0, 3, 1, 2).contiguous()
    if sparsity > 0:
        image = sparse_solution(normal, right, sparsity * float(right.abs().max()), iterations, tolerance)
        # Wavelets reach beyond what the maps cover, where no line says anything of the image.
        image *= (sensitivities != 0).any(1).permute(0, 3, 1, 2)
    else:
        image = conjugate_gradients(
            lambda x: normal(x).add_(x, alpha=regularization), right, iterations=iterations, tolerance=tolerance
        )
    return as_given(image.permute(0, 2, 3, 1).contiguous(), channels)


def sense_normal(maps: Tensor, sampled: NDArray[np.bool_]) -> Callable[[Tensor], Tensor]:
    """What images become that are seen by `maps`, sampled, and combined again.

    `maps` has the shape (set, channel, z, y, x) and `sampled` (kz, ky); images have (set, x, z, y), since lines are
    transformed along z and y alone.
    """
    coils = maps.permute(0, 4, 1, 2, 3).contiguous()  # (set, x, channel, z, y)
    axes = tuple(axis for axis in (-2, -1) if coils.shape[axis] > 1)
    # What is convolved by the pattern's transform does not care where the origin of the image is.
    pattern = torch.from_numpy(np.fft.ifftshift(sampled)).to(coils.device, coils.real.dtype)
    columns = max(1, BLOCK // coils[0, 0].numel())

    def normal(images: Tensor) -> Tensor:
        result = torch.empty_like(images)
        for start in range(0, images.shape[1], columns):
            some = slice(start, start + columns)
            seen = coils[0, some] * images[0, some, None]
            for coil, image in zip(coils[1:, some], images[1:, some], strict=True):
                seen.addcmul_(coil, image[:, None])
            seen = torch.fft.fftn(seen, dim=axes).mul_(pattern) if axes else seen * pattern
            seen = torch.fft.ifftn(seen, dim=axes) if axes else seen
            for coil, image in zip(coils[:, some], result[:, some], strict=True):
                # torch adds up real numbers several times as fast as complex ones.
                torch.sum(torch.view_as_real(coil.conj() * seen), 1, out=torch.view_as_real(image))
        return result

    return normal


class CgSense(_CalibratedReconstruction):
    """Reconstruct k-space whose lines were acquired in any pattern to one complex image, by SENSE.

    Coil maps come from the k-space's calibration lines or, where it has none, from the lines without gaps around its
    centre; all lines that are not for calibration alone are used. Intensities are those of the fully sampled image,
    combined by the same maps. With `sparsity`, this is l1-ESPIRiT.

    References: K. Pruessmann et al., Magn Reson Med 2001, 46:638-651; M. Uecker et al., ibid. 2014, 71:990-1001.

    Raises:
        DataError: where calibration lines are missing, too few or of other channels, or samples are not finite.
    """

    sets: int = parameter(
        1, "Maps of each pixel, by ESPIRiT: 2 where the object folds in the full image.", low=1, high=2
    )
    regularization: float = parameter(
        3e-3, "Tikhonov's weight, where 1 is that of the data in a fully sampled pixel.", low=0
    )
    sparsity: float = parameter(
        0.0,
        "Weight of the l1 norm of wavelet coefficients, in units of the brightest pixel without unfolding; replaces "
        "regularization.",
        low=0,
    )
    iterations: int = parameter(30, "Iterations at most.", low=1)
    tolerance: float = parameter(1e-4, "Residual or change of the image, relative, that ends iterations.", low=0)

    def _calibrate(self, unit: KSpace) -> NDArray[np.complex64]:
        block, centre = calibration_block(unit, self._header)
        return self._coil_maps(block, centre, unit.data.shape[1:], self.sets)

    def _images(self, unit: KSpace, channels: Image, made: NDArray[np.complex64]) -> Iterator[Image]:
        images = unfold_by_iteration(
            channels.data,
            made,
            unit.sampled,
            regularization=self.regularization,
            sparsity=self.sparsity,
            iterations=self.iterations,
            tolerance=self.tolerance,
        )
        yield worked_on(channels, joined_sets(images)[None], by=type(self).__name__)


def joined_sets(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """One image of those of all sets: root of the sum of their squares, with the phase of their sum. (set, ...)."""
    if len(images) == 1:
        single: NDArray[np.complex64] = images[0]
        return single
    total = images.sum(axis=0)
    norm = np.abs(total)
    joined: NDArray[np.complex64] = total / np.where(norm > 0, norm, 1) * root_sum_of_squares(images)
    return joined
