"""Total variation of images in space and time, and the step that takes some of it off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class TotalVariation:
    """A sum of terms, each the length of an image's gradient along some axes times a weight, added up over pixels.

    Images have the shape (frame, set, x, z, y), complex; the length is that over all sets together. There are no
    differences across the edges of an image.

    References: L. Rudin et al., Physica D 1992, 60:259-268; A. Beck and M. Teboulle, IEEE Trans Image Process 2009,
    18:2419-2434 (the step).
    """

    def __init__(self, *terms: tuple[Sequence[int], float], iterations: int = 5) -> None:
        """`terms` are axes and their weight. The step takes `iterations`, and begins where the last one ended."""
        self._axes = [axis for axes, _ in terms for axis in axes]
        self._iterations = iterations
        self._terms: list[tuple[slice, float]] = []
        """Places in the gradient, and the weight."""
        for axes, weight in terms:
            first = self._terms[-1][0].stop if self._terms else 0
            self._terms.append((slice(first, first + len(axes)), weight))
        self._dual: Tensor | None = None

    def value(self, images: Tensor) -> float:
        """How much there is of it."""
        gradient = self.gradient(_parts(images))
        lengths = [weight * float(_squares(gradient[term]).sqrt().sum()) for term, weight in self._terms]
        return sum(lengths)

    def shrink(self, images: Tensor, step: float = 1.0) -> Tensor:
        """The x that makes |x - `images`|^2 / 2 + `step` * value(x) least, or near to it after few iterations."""
        given = _parts(images)
        if not self._axes:
            return images
        if self._dual is None or self._dual.shape[1:] != given.shape:
            self._dual = given.new_zeros(len(self._axes), *given.shape)
        dual, ahead, momentum = self._dual, self._dual, 1.0
        for _ in range(self._iterations):
            new = self.gradient(given - self.adjoint(ahead)).mul_(1 / (4 * len(self._axes))).add_(ahead)
            for term, weight in self._terms:
                limit = step * weight
                lengths = _squares(new[term]).sqrt_()
                new[term] *= torch.where(lengths > limit, limit / lengths, 1)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = torch.lerp(dual, new, 1 + (momentum - 1) / following)
            dual, momentum = new, following
        self._dual = dual
        return torch.complex(*(given - self.adjoint(dual)).unbind())

    def gradient(self, parts: Tensor) -> Tensor:
        """Differences of neighbours along each axis. Shape (part, ...) gives (axis, part, ...), real."""
        found = parts.new_zeros(len(self._axes), *parts.shape)
        for axis, along in zip(self._axes, found, strict=True):
            n = parts.shape[axis + 1] - 1
            torch.sub(parts.narrow(axis + 1, 1, n), parts.narrow(axis + 1, 0, n), out=along.narrow(axis + 1, 0, n))
        return found

    def adjoint(self, gradient: Tensor) -> Tensor:
        """The adjoint of `gradient`. Shape (axis, part, ...) gives (part, ...), real."""
        parts = torch.zeros_like(gradient[0])
        for axis, along in zip(self._axes, gradient, strict=True):
            n = parts.shape[axis + 1] - 1
            differences = along.narrow(axis + 1, 0, n)
            parts.narrow(axis + 1, 1, n).add_(differences)
            parts.narrow(axis + 1, 0, n).sub_(differences)
        return parts


def _parts(images: Tensor) -> Tensor:
    """Real and imaginary part as the first axis: sums over first axes are fast."""
    return torch.stack((images.real, images.imag))


def _squares(gradient: Tensor) -> Tensor:
    """Sums over axes, parts and sets."""
    return gradient.square().sum((0, 1, 3), keepdim=True)
