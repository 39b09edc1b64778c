"""An untrained convolutional decoder, fitted to the lines of one scan: its structure alone says what images are like.

It comes to make the object before it makes the noise, so a fit ends where lines that it does not see fit best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .fitting import Fit, Fitted, Lines, Progress, finite, held_out_lines

COARSE = 8  # pixels along each axis of the noise that it begins with
MEMORY = 0.95  # of the mean over iterations, which scatters less than the image of each
CHECK = 10  # iterations between two looks at the lines that are held out
LAST = 0.2  # of all iterations, to go on with all lines


class ConvDecoder(nn.Module):
    """An image of `shape` from a small one of noise, which stays as it is.

    Each layer enlarges by about the same factor, convolves 3 x 3, and brings what is positive to mean 0, deviation 1.

    References: M. Darestani and R. Heckel, Accelerated MRI with un-trained neural networks, IEEE Trans Comput Imaging
    2021, 7:724-733.
    """

    noise: Tensor

    def __init__(self, shape: Sequence[int], channels: int, layers: int) -> None:
        super().__init__()
        coarse = [min(COARSE, n) for n in shape]
        self.sizes = [
            [round(least * (n / least) ** (layer / max(layers - 1, 1))) for least, n in zip(coarse, shape, strict=True)]
            for layer in range(layers - 1)
        ]
        self.sizes.append(list(shape))
        self.register_buffer("noise", 2 * torch.rand(1, channels, *coarse) - 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in self.sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, track_running_stats=False) for _ in self.sizes)
        self.last = nn.Conv2d(channels, 2, 1)

    def forward(self) -> Tensor:
        """The image. Shape (y, x), complex64."""
        x = self.noise
        for size, convolve, norm in zip(self.sizes, self.convolutions, self.norms, strict=True):
            x = norm(functional.relu(convolve(functional.interpolate(x, size=size))))
        real, imaginary = self.last(x)[0]
        return torch.complex(real, imaginary)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderFit(Fit):
    """How a ConvDecoder is fitted to acquired lines.

    Lines that are held out are kept from the fit until `patience` iterations after their error was least, or four
    fifths of `iterations`. Then the weights of its least go on with all lines for a quarter as many, so that none is
    lost. The image is the mean over the last ones.
    """

    iterations: int = 2000
    rate: float = 0.02
    patience: int = 200
    channels: int = 32
    layers: int = 6

    consistency: float = 0.05
    """Weight of the decoder's image when it is brought to the acquired lines in the end, 1 being that of the data in a
    fully sampled pixel."""

    def steps(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Generator[Progress, None, Fitted]:
        brightness = Lines(kspace, mask, maps).brightness()
        held_mask = held_out_lines(mask, self.held_out, torch.Generator().manual_seed(self.seed))
        lines, kept, held = (Lines(kspace / brightness, some, maps) for some in (mask, mask & ~held_mask, held_mask))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = ConvDecoder(maps.shape[1:], self.channels, self.layers)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(network.parameters(), self.rate)
        began, taken, best, least = time.monotonic(), 0, 0, math.inf
        mean = state = None
        while taken < (1 - LAST) * self.iterations and taken - best < self.patience:
            mean = _descended(network, optimiser, kept, mean)
            taken += 1
            if taken % CHECK and state is not None:
                continue
            error = held.error(mean)
            if error < least or state is None:
                least, best = error, taken
                state = mean.clone(), {name: value.clone() for name, value in network.state_dict().items()}
            yield Progress(taken, error * float(brightness))
            if not self.has_time(began, 1 - LAST):
                break
        assert state is not None
        mean = state[0]
        network.load_state_dict(state[1])
        for more in range(1, 1 + round(best * LAST / (1 - LAST))):
            mean = _descended(network, optimiser, lines, mean)
            if more % CHECK == 0:
                yield Progress(taken + more, least * float(brightness))
                if not self.has_time(began):
                    break
        # Where the maps are 0, no line says anything of the image.
        mean = mean * (maps != 0).any(0)
        image = finite(lines.consistent(mean, self.consistency) * brightness, "the decoder")
        return Fitted(image, maps, best, least * float(brightness))


def conv_decoder(kspace: Tensor, mask: Tensor, maps: Tensor, fit: DecoderFit = DecoderFit()) -> Fitted:
    """The image that a decoder comes to make, by no more than the acquired lines.

    k-space has the shape (channel, ky, kx), `mask` (ky,), and `maps` (channel, y, x), whose squares sum to 1.

    Raises:
        DataError: where there are too few lines, the maps see no signal, or the image is not finite.
    """
    return fit.result(kspace, mask, maps)


def _descended(network: ConvDecoder, optimiser: torch.optim.Optimizer, lines: Lines, mean: Tensor | None) -> Tensor:
    """The mean of the images so far, after one more step towards the lines."""
    image = network()
    now = image.detach()
    optimiser.zero_grad()
    image.backward(lines.misfit(now)[1])
    optimiser.step()
    return now.clone() if mean is None else mean.lerp_(now, 1 - MEMORY)
