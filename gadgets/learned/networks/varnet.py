"""The end-to-end variational network: cascades that each keep to the acquired lines and clean the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .encoding import TINY, Network, Reconstruction, along_lines, centre_lines, expand, magnitude, reduce, to_image
from .unet import ComplexUNet


class SensitivityNet(nn.Module):
    """Coil maps from the centre lines, a U-Net working on the image of each channel."""

    def __init__(self, channels: int, pools: int, *, readout_first: bool = False) -> None:
        super().__init__()
        self.norm_unet = ComplexUNet(channels, pools, readout_first=readout_first)

    def forward(self, kspace: Tensor, n_centre: int | Tensor) -> Tensor:
        images = to_image(centre_lines(kspace, n_centre))
        channels = images.flatten(0, 1)
        # Where no gradients are kept, they stay in the caches of a CPU one at a time.
        alone = channels.device.type == "cpu" and not torch.is_grad_enabled()
        parts = torch.split(channels, 1 if alone else len(channels))
        maps = torch.cat([self.norm_unet(part) for part in parts]).view(images.shape)
        return maps / magnitude(maps).clamp_min(TINY)[:, None]


class Cascade(nn.Module):
    """One step: k-space less `dc_weight` times how far it is off the acquired lines, less what `model` takes away."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Tensor, acquired: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        off = along_lines(mask) * (kspace - acquired)
        return kspace - self.dc_weight * off - expand(self.model(reduce(kspace, maps)), maps)


class VarNet(Network):
    """Unrolled reconstruction with learnt coil maps, image steps and weights of data consistency.

    `dropout` is of the networks that clean images; maps have too few channels to lose any.

    Reference: A. Sriram et al., End-to-end variational networks for accelerated MRI reconstruction, MICCAI 2020,
    arXiv 2004.06688.
    """

    def __init__(
        self,
        cascades: int = 12,
        channels: int = 18,
        pools: int = 4,
        sens_channels: int = 8,
        sens_pools: int = 4,
        *,
        readout_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sens_net = SensitivityNet(sens_channels, sens_pools, readout_first=readout_first)
        self.cascades = nn.ModuleList(
            Cascade(ComplexUNet(channels, pools, readout_first=readout_first, dropout=dropout)) for _ in range(cascades)
        )

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        maps = self.sens_net(kspace, n_centre)
        predicted = kspace
        for cascade in self.cascades:
            predicted = cascade(predicted, kspace, mask, maps)
        channels = to_image(predicted)
        return Reconstruction(magnitude(channels), (channels * maps.conj()).sum(1), maps)
