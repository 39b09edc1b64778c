"""Images that there may be by the lines that were acquired and by what a network knows of images in general."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..coils import combine
from ..fourier import centred_ifft
from ..regularized import outer_deviation
from ..tensors import Array, as_given, as_tensor

GREATEST, LEAST = 0.5, 0.005  # noise levels, where the brightest pixel is about 1
LEAST_NOISE = 1e-4  # of lines, so that single precision tells it from nothing


class Prior(Protocol):
    """What is known of images before any line is acquired."""

    @property
    def deviation(self) -> float:
        """Of complex pixels, around 0."""

    def denoise(self, image: Tensor, level: Tensor) -> Tensor:
        """The mean of the images that `image`, with complex noise of the deviation `level`, may be of.

        Shapes (batch, y, x) and (batch,).
        """


def sample_posterior(
    prior: Prior,
    kspace: Array,
    mask: NDArray[Any] | Tensor,
    maps: Array,
    *,
    n_samples: int = 8,
    levels: int = 40,
    noise: float | None = None,
    seed: int = 0,
) -> Array:
    """Images, each as likely as it is by `prior` and the lines. Shape (sample, y, x).

    k-space has the shape (channel, ky, kx), at intensities as the prior knows them; `mask` says which lines were
    acquired, (ky,); the squares of `maps`, (channel, y, x), sum to 1 over the channels, or to 0. `noise` is the
    deviation of complex samples, estimated where it is None.

    From level to level of ever less noise, the prior's mean given a noisy image is taken for what is known of the
    image, up to an error as large as the noise (or the prior's deviation, where that is less); together with the lines
    this is a normal distribution, of which an image is drawn exactly, and given noise of the next level.

    References: A. Jalal et al., Robust compressed sensing MRI with deep generative priors, NeurIPS 2021; B. Zhang et
    al., Improving diffusion inverse problem solving with decoupled noise annealing, CVPR 2025.
    """
    samples, sensitivities = as_tensor(kspace), as_tensor(maps)
    lines = samples * as_tensor(mask)[:, None]
    if noise is None:
        noise = outer_deviation(lines[:, None].cpu().numpy())
    chance = torch.Generator().manual_seed(seed)
    data = _Columns(lines, as_tensor(mask), sensitivities, max(noise, LEAST_NOISE))
    known = lines.new_zeros(n_samples, *lines.shape[1:])
    image = data.draw(known, prior.deviation, chance)
    for level in np.geomspace(GREATEST, LEAST, levels):
        noisy = image + float(level) * _normal(image, chance)
        known = prior.denoise(noisy, torch.full((n_samples,), float(level), device=lines.device))
        image = data.draw(known, float((level**-2 + prior.deviation**-2) ** -0.5), chance)
    # A prior reaches beyond what the maps cover, where no line says anything of the image.
    return as_given(image * (sensitivities != 0).any(0), kspace)


class _Columns:
    """What lines say of each column of the image, which they do not mix: eigenvectors of their normal equations."""

    def __init__(self, lines: Tensor, mask: Tensor, maps: Tensor, noise: float) -> None:
        n_y = lines.shape[-2]
        y = torch.arange(n_y, device=lines.device)
        spread = torch.fft.ifft(torch.fft.ifftshift(mask.to(lines)))[(y[:, None] - y) % n_y]
        columns = maps.permute(2, 1, 0)  # (x, y, channel)
        self._values, self._vectors = torch.linalg.eigh(spread * (columns.conj() @ columns.mT))
        self._values = self._values.clamp_min(0)[..., None] / noise**2
        right = combine(centred_ifft(lines, (-2, -1)), maps) / noise**2
        self._right = self._vectors.mH @ right.mT[..., None]

    def draw(self, known: Tensor, error: float, chance: torch.Generator) -> Tensor:
        """Images of the distribution that the lines leave of one around `known`, with the deviation `error`.

        Shape (sample, y, x).
        """
        precision = self._values + error**-2
        inner = self._right + self._within(known) / error**2
        # Noise is drawn in pixels, since rounding decides which eigenvectors there are to an eigenvalue.
        inner = inner / precision + self._within(_normal(known, chance)) / precision.sqrt()
        return torch.matmul(self._vectors, inner).permute(2, 1, 0).contiguous()

    def _within(self, images: Tensor) -> Tensor:
        """Columns as sums of eigenvectors. Shape (x, eigenvalue, sample)."""
        return torch.matmul(self._vectors.mH, images.permute(2, 1, 0))


def _normal(like: Tensor, chance: torch.Generator) -> Tensor:
    """Complex noise of unit variance, the same on all devices."""
    return torch.randn(like.shape, generator=chance, dtype=like.dtype).to(like.device)
