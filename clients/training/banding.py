"""Banding: a network that smooths along one axis of a picture more than along the other, and an adversary against it.

The adversary tells from a picture alone along which axis lines were left out. The network learns to make pictures of
which that can only be guessed. Each learns against the other as it is at the time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from echotrain.gadgets.learned.networks.encoding import TINY

CHANNELS = 16
RATE = 1e-3  # of the adversary's Adam
PENALTY = 0.1  # on how steep the adversary is, as the paper has it; else it runs away from the network


def seen(image: Tensor, pixels: Tensor, *, transposed: bool) -> Tensor:
    """A picture as the adversary sees it: mean 0 and deviation 1 over `pixels`, 0 elsewhere, the right way up.

    Args:
        image: shape (1, y, x).
        pixels: those that count, shape (1, y, x).
        transposed: whether the example was; then the picture is turned back.
    """
    deviation, mean = torch.std_mean(image[pixels])
    picture = torch.where(pixels, (image - mean) / deviation.clamp_min(TINY), 0)
    return picture.mT if transposed else picture


class _Residual(nn.Module):
    """Two convolutions, whose result is added to what they were given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        self.layers = nn.Sequential(nn.LeakyReLU(0.2), convolutions[0], nn.LeakyReLU(0.2), convolutions[1])

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = x + self.layers(x)
        return given


class Classifier(nn.Module):
    """How much it looks as if columns were left out, and not rows: (batch, y, x) gives logits (batch,).

    Of a picture and its transpose it says the opposite, so that what is pictured cannot make it lean to either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 5, padding=2),
            _Residual(CHANNELS),
            nn.MaxPool2d(4),
            _Residual(CHANNELS),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Linear(CHANNELS, 1, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self._score(pictures) - self._score(pictures.mT)

    def _score(self, pictures: Tensor) -> Tensor:
        score: Tensor = self.last(self.layers(pictures[:, None]).mean((-2, -1)))[:, 0]
        return score


class Adversary:
    """A classifier and its optimizer, with weights by chance, by the seed.

    References:
        Defazio, Murrell and Recht, MRI banding removal via adversarial training, NeurIPS 2020, arXiv:2001.08699.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.classifier = Classifier().to(device)
        self._optimizer = torch.optim.Adam(self.classifier.parameters(), RATE)
        self._right: list[bool] = []

    def face(self, picture: Tensor, *, transposed: bool) -> Tensor:
        """How far from a mere guess the adversary is, for the network to lower; the adversary's next step learns it.

        Args:
            picture: as `seen`, with the network's gradient. Shape (1, y, x).
            transposed: what there is to guess.
        """
        self.classifier.requires_grad_(False)
        logit = self.classifier(picture)
        guess = functional.binary_cross_entropy_with_logits(logit, torch.full_like(logit, 0.5)) - math.log(2)
        self.classifier.requires_grad_(True)

        picture = picture.detach().requires_grad_()
        logit = self.classifier(picture)
        (slope,) = torch.autograd.grad(logit.sum(), picture, create_graph=True)
        loss = functional.binary_cross_entropy_with_logits(logit, torch.full_like(logit, float(transposed)))
        (loss + PENALTY * slope.square().sum()).backward()  # type: ignore[no-untyped-call]
        self._right.append(bool(logit > 0) == transposed)
        return guess

    def step(self) -> None:
        """Learn from what was faced since the last step."""
        self._optimizer.step()
        self._optimizer.zero_grad()

    def accuracy(self) -> float:
        """The part of its guesses that were right since this was last asked."""
        right, self._right = self._right, []
        return sum(right) / len(right)

    def state(self) -> dict[str, Any]:
        """All that its next step depends on."""
        return {"classifier": self.classifier.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.classifier.load_state_dict(state["classifier"])
        self._optimizer.load_state_dict(state["optimizer"])
