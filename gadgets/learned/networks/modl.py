"""MoDL: one network that cleans the image, and between its turns the image that fits the acquired lines best."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .encoding import TINY, Network, Reconstruction, along_lines, expand, reduce
from .unet import ComplexUNet
from .varnet import SensitivityNet


def conjugate_gradients(normal: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, iterations: int) -> Tensor:
    """`iterations` steps from `start` towards the solution of normal(x) = right, each of a batch by itself."""
    x = start
    residual = right - normal(x)
    direction, energy = residual, _energy(residual)
    for _ in range(iterations):
        turned = normal(direction)
        step = energy / (direction.conj() * turned).real.sum((-2, -1), keepdim=True).clamp_min(TINY**2)
        x, residual = x + step * direction, residual - step * turned
        previous, energy = energy, _energy(residual)
        direction = residual + energy / previous.clamp_min(TINY**2) * direction
    return x


def _energy(x: Tensor) -> Tensor:
    return torch.view_as_real(x).square().sum((-3, -2, -1))[:, None, None]


class Modl(Network):
    """Cascades of the same network, each followed by conjugate gradients, with learnt coil maps.

    `weight` is that of the cleaned image where 1 is that of the data in a fully sampled pixel, as its logarithm.
    `dropout` is of the network that cleans.

    Reference: H. Aggarwal et al., MoDL: Model-based deep learning architecture for inverse problems, IEEE Trans Med
    Imaging 2019, 38:394-405.
    """

    def __init__(
        self,
        cascades: int = 6,
        channels: int = 18,
        pools: int = 4,
        sens_channels: int = 8,
        sens_pools: int = 4,
        iterations: int = 8,
        *,
        readout_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_cascades, self.iterations = cascades, iterations
        self.sens_net = SensitivityNet(sens_channels, sens_pools, readout_first=readout_first)
        self.model = ComplexUNet(channels, pools, readout_first=readout_first, dropout=dropout)
        self.weight = nn.Parameter(torch.full((1,), -3.0))

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        maps, lines, weight = self.sens_net(kspace, n_centre), along_lines(mask), self.weight.exp()

        def normal(x: Tensor) -> Tensor:
            return reduce(lines * expand(x, maps), maps) + weight * x

        aliased = reduce(kspace, maps)
        image = aliased
        for _ in range(self.n_cascades):
            cleaned = image - self.model(image)
            image = conjugate_gradients(normal, aliased + weight * cleaned, image, self.iterations)
        return Reconstruction(image.abs(), image, maps)
