"""A network that learns from the lines of one scan: from some of their samples, it has to tell the others."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echotrain.mrd.errors import ConfigError

from .figures import n_centre_lines
from .fitting import Fit, Fitted, Lines, Progress, finite
from .networks import Modl, Network, Reconstruction, intensity_scale
from .networks.encoding import expand
from .weights import load_weights

CHECK = 10  # iterations between two looks at the samples that are held out
KEPT = 2  # samples to all sides of the centre, which a network is always given
SLOWEST = 0.05  # of the rate, at the end
POOLS = 3
STEPS = 6  # of conjugate gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSupervision(Fit):
    """How a network learns from the acquired lines of one scan, and is used on it.

    Of the samples that are not held out, a part by chance, another in each iteration, is kept from the network, which
    learns to tell it. The weights for which those held out had least error reconstruct all lines. Named weights go on
    from what they are, with their own coil maps; a rate of 0.0005 suits them. Without a name, a Modl whose network adds
    nothing at first begins at the image of SENSE.

    References: B. Yaman et al., Self-supervised learning of physics-guided reconstruction neural networks without fully
    sampled reference data, Magn Reson Med 2020, 84:3172-3191; B. Yaman et al., Zero-shot self-supervised learning for
    MRI reconstruction, ICLR 2022, arXiv 2102.07737.
    """

    iterations: int = 120
    rate: float = 4e-3
    patience: int = 60

    model: str = ""
    """Name of the weights to begin with; none for those by chance."""

    cascades: int = 3
    channels: int = 16

    told: float = 0.4
    """Part of the samples that the network has to tell."""

    def steps(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Generator[Progress, None, Fitted]:
        Lines(kspace, mask, maps).brightness()
        n_centre = n_centre_lines(mask.numpy())
        scale = float(intensity_scale(kspace[None], n_centre))
        acquired = kspace[None] / scale
        network = self._network(acquired, maps, n_centre)
        generator = torch.Generator().manual_seed(self.seed)
        samples = mask[:, None].expand(kspace.shape[1:])[None, None]
        held = samples & _by_chance(samples, self.held_out, generator)
        kept = samples & ~held

        def made(given: Tensor) -> Reconstruction:
            return network.reconstruct(acquired * given, given, n_centre)

        optimiser = torch.optim.Adam([one for one in network.parameters() if one.requires_grad], self.rate)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.iterations, SLOWEST * self.rate)
        began, taken, best = time.monotonic(), 0, 0
        with torch.no_grad():
            least = _mean_square(made(kept), acquired, held)
        state = deepcopy(network.state_dict())
        while taken < self.iterations and taken - best < self.patience and self.has_time(began):
            hidden = kept & _by_chance(samples, self.told, generator)
            loss = _mean_square(made(kept & ~hidden), acquired, hidden)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            slower.step()
            taken += 1
            if taken % CHECK == 0 or taken == self.iterations:
                with torch.no_grad():
                    error = _mean_square(made(kept), acquired, held)
                if error < least:
                    least, best, state = error, taken, deepcopy(network.state_dict())
                yield Progress(taken, math.sqrt(error) * scale)
        network.load_state_dict(state)
        with torch.no_grad():
            image, seen = (part[0] for part in made(samples)[1:])
        # Where the maps are 0, no line says anything of the image.
        image = image * (seen != 0).any(0)
        return Fitted(finite(image * scale, "the network"), seen, best, math.sqrt(least) * scale)

    def _network(self, acquired: Tensor, maps: Tensor, n_centre: int) -> Network:
        """The network to begin with, whose coil maps stay as they are."""
        if self.model:
            weights = load_weights(self.model)
            network = deepcopy(weights.network).requires_grad_(True)
            if not hasattr(network, "sens_net"):
                raise ConfigError(
                    f"weights {self.model} are of architecture {weights.card.architecture}, which keeps to no line; "
                    "take those of modl or varnet"
                )
            with torch.no_grad():
                network.add_module("sens_net", _Known(network.get_submodule("sens_net")(acquired, n_centre)))
            return network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            fresh = Modl(self.cascades, self.channels, POOLS, 1, 1, STEPS)
        fresh.add_module("sens_net", _Known(maps[None]))
        for parameter in list(fresh.model.parameters())[-2:]:  # of the last layer
            nn.init.zeros_(parameter)
        return fresh


def self_supervised(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    fit: SelfSupervision = SelfSupervision(),
) -> Fitted:
    """The image by a network that learnt from no more than the acquired lines, or went on from named weights by them.

    k-space has the shape (channel, ky, kx), `mask` (ky,), and `maps` (channel, y, x), whose squares sum to 1.

    Raises:
        ConfigError: where there are no such weights, or they are of a network without coil maps.
        DataError: where the maps see no signal, or the image is not finite.
    """
    return fit.result(kspace, mask, maps)


class _Known(nn.Module):
    """Coil maps that are known, in the place of a network that makes them."""

    maps: Tensor

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.register_buffer("maps", maps)

    def forward(self, kspace: Tensor, n_centre: int | Tensor) -> Tensor:
        return self.maps


def _by_chance(samples: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of all samples but those around the centre. Shape (1, 1, ky, kx)."""
    chosen = torch.rand(samples.shape, generator=generator) < share
    y, x = (slice(max(0, n // 2 - KEPT), n // 2 + KEPT) for n in samples.shape[2:])
    chosen[..., y, x] = False
    return chosen


def _mean_square(made: Reconstruction, acquired: Tensor, samples: Tensor) -> Tensor:
    """Of what the coils see of an image less some of what was acquired."""
    off = (expand(made.image, made.maps) - acquired) * samples
    return off.abs().square().sum() / (samples.sum() * acquired.shape[1]).clamp_min(1)
