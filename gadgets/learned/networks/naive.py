"""A network straight from k-space to image: the comparison that shows why the others know the Fourier transform."""

from __future__ import annotations

from torch import Tensor

from .encoding import Network, Reconstruction, magnitude, smooth_maps
from .unet import ComplexUNet


class NaiveCnn(Network):
    """A U-Net of the k-space of each channel, what it gives being taken for that channel's image.

    Convolutions join what is near, but each sample of k-space bears on all pixels. It keeps to no line.
    """

    def __init__(self, channels: int = 32, pools: int = 4, *, readout_first: bool = False) -> None:
        super().__init__()
        self.network = ComplexUNet(channels, pools, readout_first=readout_first)

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        channels = self.network(kspace.flatten(0, 1)).view(kspace.shape)
        maps = smooth_maps(kspace, n_centre)
        return Reconstruction(magnitude(channels), (channels * maps.conj()).sum(1), maps)
