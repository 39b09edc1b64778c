"""What fits to one scan share: its lines as an image explains them, what of them is held out, and the outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from echotrain.mrd.errors import DataError

from ..fourier import centred_fft, centred_ifft
from ..iteration import conjugate_gradients
from .figures import n_centre_lines

FEWEST = 4  # lines, below which too few are left where some are held out


class Progress(NamedTuple):
    """How far a fit is."""

    iteration: int
    held_out: float
    """Root mean square of what held-out samples now differ from those of the image, in their units."""


class Fitted(NamedTuple):
    """An image, and how it came about."""

    image: Tensor
    """Shape (y, x), complex64."""

    maps: Tensor
    """Through which the channels see it. Shape (channel, y, x)."""

    best: int
    """After how many iterations the error of what was held out was least."""

    held_out: float
    """That error at its least, root mean square in units of the samples: noise alone is 1 where lines are whitened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How something is fitted to the acquired lines of one scan."""

    iterations: int
    """At most."""

    rate: float
    """Of Adam."""

    patience: int
    """Iterations without less error of what is held out, after which there is no more to gain."""

    held_out: float = 0.1
    """Share of the data that the fit does not see, to tell when it is at its best."""

    seconds: float = math.inf
    """That it may take. Where these end it, the same seed need not give the same image."""

    seed: int = 0

    def steps(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Generator[Progress, None, Fitted]:
        """Fit, telling of its progress. Shapes (channel, ky, kx), (ky,) and (channel, y, x).

        Raises:
            DataError: where there are too few lines, the maps see no signal, or the image is not finite.
        """
        raise NotImplementedError

    def result(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Fitted:
        """What the fit comes to."""
        steps = self.steps(kspace, mask, maps)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                fitted: Fitted = end.value
                return fitted

    def has_time(self, began: float, share: float = 1.0) -> bool:
        """Whether a share of the seconds is left since a moment of the monotonic clock."""
        return time.monotonic() - began < share * self.seconds


class Lines:
    """Acquired lines of all channels, and what of them an image explains through coil maps.

    k-space and maps have the shapes (channel, ky, kx) and (channel, y, x), and `mask`, (ky,), says which lines count.
    """

    def __init__(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> None:
        self._mask, self._maps = mask[:, None], maps
        # Lines are whole, so that distances are the same where their readout is in image space: one transform less.
        self._acquired = centred_ifft(kspace * self._mask, (-1,))
        self._n_samples = max(1, int(mask.sum())) * kspace.shape[0] * kspace.shape[2]

    def off(self, image: Tensor) -> Tensor:
        """What the coils see of the image less what was acquired, 0 elsewhere. Shape (channel, ky, x)."""
        return self._mask * centred_fft(self._maps * image, (-2,)) - self._acquired

    def combined(self, lines: Tensor) -> Tensor:
        """Lines of the channels combined to an image: the adjoint of seeing. Shape (y, x)."""
        return (self._maps.conj() * centred_ifft(self._mask * lines, (-2,))).sum(0)

    def misfit(self, image: Tensor) -> tuple[float, Tensor]:
        """The mean square of `off`, and its gradient by the image: by its real part, plus i times by the imaginary."""
        off = self.off(image)
        return self._mean_square(off), 2 / self._n_samples * self.combined(off)

    def error(self, image: Tensor) -> float:
        """Root mean square of `off`."""
        return math.sqrt(self._mean_square(self.off(image)))

    def _mean_square(self, off: Tensor) -> float:
        return float(torch.linalg.vector_norm(off)) ** 2 / self._n_samples

    def consistent(self, image: Tensor, weight: float) -> Tensor:
        """The x that makes |off(x)|^2 + weight |x - image|^2 least."""

        def normal(x: Tensor) -> Tensor:
            return self.combined(centred_fft(self._maps * x, (-2,))) + weight * x

        return image - conjugate_gradients(normal, self.combined(self.off(image)))

    def brightness(self) -> Tensor:
        """The brightest pixel of the image in which lines that were not acquired are 0.

        Raises:
            DataError: where it is 0 or not finite.
        """
        brightest = self.combined(self._acquired).abs().max()
        if not 0 < float(brightest) < math.inf:
            raise DataError(
                "coil maps see no signal in the acquired lines, or these are not finite; look at the source of the "
                "data, and at threshold and crop of ESPIRiT"
            )
        return brightest


def held_out_lines(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the acquired lines outside of those without gaps at the centre, by chance, but one or more. (ky,).

    Raises:
        DataError: where fewer than FEWEST were acquired.
    """
    lines = mask.nonzero()[:, 0]
    if len(lines) < FEWEST:
        raise DataError(
            f"{len(lines)} lines were acquired, too few to hold some out from a fit; acquire {FEWEST} or more"
        )
    outer = lines[(lines - len(mask) // 2).abs() > min(n_centre_lines(mask.numpy()), len(mask) // 2) // 2]
    order = outer[torch.randperm(len(outer), generator=generator)]
    chosen = torch.zeros_like(mask)
    chosen[order[: max(1, round(share * len(outer)))]] = True
    return chosen


def finite(image: Tensor, method: str) -> Tensor:
    """The image itself.

    Raises:
        DataError: where it is not finite.
    """
    if not image.isfinite().all():
        raise DataError(f"{method} came to pixels that are not finite; set a smaller rate")
    return image
