"""Dropout of whole channels, in training, and at will afterwards: to see how far an image rests on single channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

# Of this thread alone, so that a network that others run meanwhile stays as it is.
_chance: ContextVar[torch.Generator | None] = ContextVar("chance", default=None)


class ChannelDropout(nn.Dropout2d):
    """Sets channels to 0 by chance, in training and while `dropping`; else it gives what it takes."""

    def forward(self, x: Tensor) -> Tensor:
        chance = _chance.get()
        if chance is None or not self.p:
            return super().forward(x)
        # Drawn on the CPU, so that all devices drop the same channels.
        kept = torch.rand(*x.shape[:2], 1, 1, generator=chance) >= self.p
        return x * (kept / (1 - self.p)).to(x.device, x.dtype)


@contextmanager
def dropping(chance: torch.Generator | None) -> Iterator[None]:
    """While it lasts, networks drop channels drawn from `chance`, a generator on the CPU; by None, none at all."""
    token = _chance.set(chance)
    try:
        yield
    finally:
        _chance.reset(token)
