"""Parallel imaging by SPIRiT: k-space in which each sample is what its neighbours in all channels make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Image, KSpace
from echotrain.mrd.errors import DataError

from .calibration import _CalibratedReconstruction, calibration_block
from .coils import combine
from .espirit import kernel_spans, patches, pixel_matrices
from .fourier import centred_fft, centred_ifft
from .image_headers import worked_on
from .iteration import conjugate_gradients, sparse_solution
from .parameters import parameter
from .tensors import Array, as_given, as_tensor

CONSISTENCY = 3.0  # weight of what neighbours say beside that of acquired lines, where wavelets are sparse


def spirit_inconsistency(
    calibration: Array, shape: Sequence[int], kernel: Sequence[int] = (5, 5, 3), regularization: float = 3e-3
) -> Array:
    """How channels disagree with what their neighbourhoods in k-space make of them, at each pixel.

    `calibration` holds lines without gaps, shape (channel, kz, ky, kx); `shape` (z, y, x) is that of the images. The
    weights of samples of `kernel`, along kx, ky, kz, are fitted to the lines; `regularization` is Tikhonov's, in units
    of the mean eigenvalue of the normal equations. Gives (G - 1)^H (G - 1) for the weights G, shape (z, y, x, channel,
    channel).

    References: M. Lustig and J. Pauly, Magn Reson Med 2010, 64:457-471.

    Raises:
        DataError: where the lines are too few for the kernel, or hold no signal.
    """
    lines = as_tensor(calibration)
    n_channels, spans = len(lines), kernel_spans(kernel, shape)
    places = patches(lines, spans)
    scale = float(torch.linalg.vector_norm(places)) / math.sqrt(len(places))
    if not 0 < scale < math.inf:
        raise DataError("the calibration lines hold no signal, or samples that are not finite; check their data")
    places = (places / scale).to(torch.complex128)
    normal = places @ places.mH
    normal.diagonal().add_(regularization)
    precision = torch.linalg.inv(normal)
    middle = int(np.ravel_multi_index([span // 2 for span in spans], spans))
    targets = torch.arange(n_channels) * math.prod(spans) + middle
    # The row of an inverse covariance is, but for its diagonal, the fit of one variable to all others.
    weights = -precision[targets] / precision[targets, targets][:, None]
    weights[torch.arange(n_channels), targets] = -1
    lags = weights.to(lines.dtype).view(n_channels, n_channels, *spans).permute(2, 3, 4, 0, 1)
    found = lines.new_empty(math.prod(shape), n_channels, n_channels)
    for pixels, differences in pixel_matrices(lags, shape):
        torch.matmul(differences.mH, differences, out=found[pixels])
    return as_given(found.view(*shape, n_channels, n_channels), calibration)


def consistent_images(
    channels: Array,
    inconsistency: Array,
    sampled: NDArray[np.bool_],
    *,
    regularization: float = 1e-3,
    sparsity: float = 0.0,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Array:
    """Images of all channels from those of acquired lines alone, zeros between them. Shape (channel, z, y, x).

    `inconsistency` is that of `spirit_inconsistency`, and `sampled` says which lines were acquired, shape (kz, ky).
    Acquired lines stay as they are; `regularization` is Tikhonov's weight of what is filled in. With `sparsity`, the
    weight of the l1 norm of wavelet coefficients common to the channels, in units of the brightest pixel of `channels`,
    acquired lines are fitted as well.

    References: M. Lustig and J. Pauly, Magn Reson Med 2010, 64:457-471; M. Murphy et al., IEEE Trans Med Imaging 2012,
    31:1250-1262 (wavelets common to channels).
    """
    aliased, disagreement = as_tensor(channels), as_tensor(inconsistency).flatten(0, 2)
    mask = torch.from_numpy(np.fft.ifftshift(sampled)).to(aliased.device)[..., None]
    acquired, missing = _of_lines(mask), _of_lines(~mask)

    def inconsistent(images: Tensor) -> Tensor:
        columns = images.flatten(1).mT[..., None].contiguous()  # (pixel, channel, 1)
        return (disagreement @ columns)[..., 0].mT.reshape(images.shape)

    filled = aliased + conjugate_gradients(
        lambda images: missing(inconsistent(images)).add_(images, alpha=regularization),
        -missing(inconsistent(aliased)),
        iterations=iterations,
        tolerance=tolerance,
    )
    if sparsity > 0:
        threshold = sparsity * float(torch.linalg.vector_norm(aliased, dim=0).max())
        filled = sparse_solution(
            lambda images: acquired(images).add_(inconsistent(images), alpha=CONSISTENCY),
            aliased,
            threshold,
            iterations,
            tolerance,
            step=1 / (1 + CONSISTENCY * _largest(disagreement)),
            start=filled,
        )
    return as_given(filled, channels)


def _of_lines(mask: Tensor) -> Callable[[Tensor], Tensor]:
    """What of images (channel, z, y, x) is of the lines (kz, ky, 1) whose origin is at index 0."""

    def only(images: Tensor) -> Tensor:
        # A projection on lines does not care where the origin of the image is.
        lines: Tensor = torch.fft.ifftn(torch.fft.fftn(images, dim=(1, 2)).mul_(mask), dim=(1, 2))
        return lines

    return only


def _largest(matrices: Tensor) -> float:
    """The largest eigenvalue of any of the matrices, none of which is negative; not less than it."""
    vectors = torch.ones_like(matrices[..., :1])
    for _ in range(8):
        vectors = matrices @ vectors
        vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-30)
    return 1.1 * float(torch.linalg.vector_norm(matrices @ vectors, dim=1).max())


def spirit(
    kspace: Array,
    calibration: Array,
    *,
    sampled: NDArray[np.bool_] | None = None,
    kernel: Sequence[int] = (5, 5, 3),
    fit_regularization: float = 3e-3,
    regularization: float = 1e-3,
    sparsity: float = 0.0,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Array:
    """k-space with its missing lines filled in. Shape (channel, ky, kx) or (channel, kz, ky, kx).

    `calibration` holds lines without gaps, of the same axes. `sampled` says which lines were acquired, shape (ky,) or
    (kz, ky); without it, those that are not zero. The rest is as in `spirit_inconsistency` and `consistent_images`.

    Raises:
        DataError: where the calibration does not suffice.
    """
    samples, lines = as_tensor(kspace), as_tensor(calibration)
    if samples.ndim == 3:
        samples, lines = samples[:, None], lines[:, None]
    if sampled is None:
        sampled = (samples != 0).any(-1).any(0).cpu().numpy()
    sampled = np.atleast_2d(sampled)
    images = consistent_images(
        centred_ifft(samples, (-3, -2, -1)),
        spirit_inconsistency(lines, samples.shape[1:], kernel, fit_regularization),
        sampled,
        regularization=regularization,
        sparsity=sparsity,
        iterations=iterations,
        tolerance=tolerance,
    )
    filled = centred_fft(images, (-3, -2, -1))
    if sparsity == 0:
        filled = torch.where(torch.from_numpy(sampled).to(samples.device)[..., None], samples, filled)
    return as_given(filled.reshape(kspace.shape), kspace)


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    maps: NDArray[np.complex64]
    inconsistency: NDArray[np.complex64]


class Spirit(_CalibratedReconstruction):
    """Reconstruct k-space whose lines were acquired in any pattern to one complex image, by SPIRiT.

    Missing lines are filled in so that each sample is what those around it make of it, by weights fitted to the
    k-space's calibration lines or, where it has none, to the lines without gaps around its centre. The channels are
    combined by maps of the same calibration. Acquired lines stay as they are, but with `sparsity` (l1-SPIRiT). Needs
    memory for the square of the number of channels in each pixel, so belongs after CompressCoils.

    References: M. Lustig and J. Pauly, Magn Reson Med 2010, 64:457-471.

    Raises:
        DataError: where calibration lines are missing, too few or of other channels, or samples are not finite.
    """

    neighbours: tuple[int, ...] = parameter(
        (5, 5, 3), "Samples along kx, ky, kz that the one in their middle is made of.", low=1
    )
    fit_regularization: float = parameter(
        3e-3, "Tikhonov's, of the fit of their weights, in units of the mean eigenvalue of its normal equations.", low=0
    )
    regularization: float = parameter(1e-3, "Tikhonov's weight of the lines that are filled in.", low=0)
    sparsity: float = parameter(
        0.0,
        "Weight of the l1 norm of wavelet coefficients, in units of the brightest pixel before lines are filled in.",
        low=0,
    )
    iterations: int = parameter(30, "Iterations at most.", low=1)
    tolerance: float = parameter(1e-4, "Residual or change of the image, relative, that ends iterations.", low=0)

    def _calibrate(self, unit: KSpace) -> _Scene:
        block, centre = calibration_block(unit, self._header)
        shape = unit.data.shape[1:]
        maps = self._coil_maps(block, centre, shape)[0]
        return _Scene(maps, spirit_inconsistency(block, shape, self.neighbours, self.fit_regularization))

    def _images(self, unit: KSpace, channels: Image, made: _Scene) -> Iterator[Image]:
        images = consistent_images(
            channels.data,
            made.inconsistency,
            unit.sampled,
            regularization=self.regularization,
            sparsity=self.sparsity,
            iterations=self.iterations,
            tolerance=self.tolerance,
        )
        yield worked_on(channels, combine(images, made.maps)[None], by=type(self).__name__)
