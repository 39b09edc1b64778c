"""Iterative solution of linear problems, plain and with what is known of the solution: proximal gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .wavelets import shrink_wavelets


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Tensor:
    """Solution of operator(x) = right for an operator that is self-adjoint and not negative.

    Ends after `iterations`, or with a residual of `tolerance` times `right`.

    References: M. Hestenes and E. Stiefel, J Res Nat Bur Stand 1952, 49:409-436.
    """
    x, residual = torch.zeros_like(right), right.clone()
    direction = right.clone()
    energy = first = _energy(residual)
    for _ in range(iterations):
        if energy <= tolerance**2 * first:
            break
        applied = operator(direction)
        curvature = float(torch.linalg.vecdot(direction.flatten(), applied.flatten()).real)
        if curvature <= 0:
            break  # rounding has used up what there was to gain
        step = energy / curvature
        x.add_(direction, alpha=step)
        residual.sub_(applied, alpha=step)
        last, energy = energy, _energy(residual)
        direction.mul_(energy / last).add_(residual)
    return x


def sparse_solution(
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    threshold: float,
    iterations: int = 30,
    tolerance: float = 1e-4,
    *,
    step: float = 1.0,
    start: Tensor | None = None,
) -> Tensor:
    """The x that makes <x, normal(x) / 2 - right> + `threshold` * |wavelets of x| least. Shape (image, ...).

    As proximal_gradient; wavelets are moved by chance from iteration to iteration.
    """
    shifts = chance_shifts()
    return proximal_gradient(
        normal,
        right,
        lambda x, size: shrink_wavelets(x, size * threshold, next(shifts)),
        iterations,
        tolerance,
        step=step,
        start=start,
    )[0]


def proximal_gradient(
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    shrink: Callable[[Tensor, float], Tensor],
    iterations: int = 30,
    tolerance: float = 1e-4,
    *,
    step: float = 1.0,
    start: Tensor | None = None,
    patience: int | None = None,
) -> tuple[Tensor, int]:
    """The x that makes <x, normal(x) / 2 - right> + r(x) least, and the number of iterations that it took.

    `shrink(v, s)` is the x that makes |x - v|^2 / 2 + s * r(x) least. `step` is at most 1 over the largest eigenvalue
    of `normal`. Ends after `iterations`, when x changes by less than `tolerance` of it, or when changes have not become
    smaller for `patience` iterations, as where `shrink` is not exact.

    References: A. Beck and M. Teboulle, SIAM J Imaging Sci 2009, 2:183-202 (FISTA); B. O'Donoghue and E. Candes, Found
    Comput Math 2015, 15:715-732 (restart).
    """
    x = torch.zeros_like(right) if start is None else start
    ahead, momentum, taken = x, 1.0, 0
    least, at = math.inf, 0
    while taken < iterations:
        taken += 1
        gradient = normal(ahead).sub_(right)
        new = shrink(ahead - step * gradient, step)
        change = new - x
        if float(torch.linalg.vecdot((ahead - new).flatten(), change.flatten()).real) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * change
        x, momentum = new, following
        size = _energy(change)
        if size < least:
            least, at = size, taken
        if size <= tolerance**2 * _energy(x) or (patience is not None and taken - at >= patience):
            break
    return x, taken


def chance_shifts() -> Iterator[int]:
    """Numbers of pixels from 0 to 63 in no order, the same each time."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield int(torch.randint(0, 64, (), generator=generator))


def _energy(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x)) ** 2
