"""A variational network that leaves unfolding to SENSE: what coils tell is solved for, and networks add the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...espirit import espirit_maps
from .encoding import Network, Reconstruction, along_lines
from .modl import conjugate_gradients
from .unet import ComplexUNet

KERNEL = 6  # samples along each axis, where there are lines enough
CROP = 0.75  # of the eigenvalues: what is beyond the object is kept out of the solution
START_WEIGHT, START_ITERATIONS = (
    0.018,
    8,
)  # of the image that is started from; more of it leaves folds, less of it noise


class SenseCascade(nn.Module):
    """One step: the image less what `model` takes away, and then towards the acquired lines.

    `weight` is that of the cleaned image where 1 is that of the data in a fully sampled pixel, as its logarithm.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.weight = nn.Parameter(torch.full((1,), -2.0))

    def forward(self, image: Tensor, lines: _Lines, iterations: int) -> Tensor:
        cleaned: Tensor = image - self.model(image)
        return lines.nearest(cleaned, self.weight.exp(), iterations)


class SenseVarNet(Network):
    """Cascades of networks and conjugate gradients from the image of CG-SENSE on, with maps by ESPIRiT.

    Since nothing of the coils has to be learnt, it takes few steps and small networks. `dropout` is of the networks.

    References: K. Hammernik et al., Learning a variational network for reconstruction of accelerated MRI data, Magn
    Reson Med 2018, 79:3055-3071; H. Aggarwal et al., IEEE Trans Med Imaging 2019, 38:394-405 (conjugate gradients).
    """

    def __init__(
        self,
        cascades: int = 6,
        channels: int = 18,
        pools: int = 4,
        iterations: int = 3,
        *,
        readout_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.cascades = nn.ModuleList(
            SenseCascade(ComplexUNet(channels, pools, readout_first=readout_first, dropout=dropout))
            for _ in range(cascades)
        )

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        with torch.no_grad():
            maps = centre_maps(kspace, n_centre)
            lines = _Lines(kspace, mask, maps)
            nothing = torch.zeros_like(kspace[:, 0])
            image = lines.nearest(nothing, torch.tensor(START_WEIGHT, device=kspace.device), START_ITERATIONS)
        for cascade in self.cascades:
            image = cascade(image, lines, self.iterations)
        return Reconstruction(image.abs(), image, maps)


class _Lines:
    """Acquired samples as seen through coil maps; along the readout, where nothing is missing, they are images."""

    def __init__(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> None:
        kept = along_lines(mask)
        self._axes = (-2,) if kept.shape[-1] == 1 else (-2, -1)  # those with gaps
        # Fourier transforms count from the corner; only along these axes is anything ever shifted there.
        self._maps, self._kept = (torch.fft.ifftshift(part, dim=self._axes) for part in (maps, kept))
        samples = torch.fft.ifftshift(kspace, dim=(-2, -1))
        if -1 not in self._axes:
            samples = torch.fft.fftshift(torch.fft.ifft(samples, norm="ortho"), dim=-1)
        self._aliased = self._combined(self._kept * samples)
        self._seen = maps.abs().sum(1) > 0

    def nearest(self, image: Tensor, weight: Tensor, iterations: int) -> Tensor:
        """What is nearest to the lines, and by `weight` to `image`, after some iterations from there. (batch, y, x).

        Where no coil sees anything it is 0.
        """

        def normal(x: Tensor) -> Tensor:
            seen = torch.fft.fftn(x[:, None] * self._maps, dim=self._axes, norm="ortho")
            return self._combined(self._kept * seen) + weight * x

        start = torch.fft.ifftshift(image * self._seen, dim=self._axes)
        solved = conjugate_gradients(normal, self._aliased + weight * start, start, iterations)
        found: Tensor = torch.fft.fftshift(solved, dim=self._axes)
        return found

    def _combined(self, samples: Tensor) -> Tensor:
        images = torch.fft.ifftn(samples, dim=self._axes, norm="ortho")
        combined: Tensor = (images * self._maps.conj()).sum(1)
        return combined


def centre_maps(kspace: Tensor, n_centre: int | Tensor, crop: float = CROP) -> Tensor:
    """Coil maps by ESPIRiT from the centre lines; 0 where there is no signal. Shape (batch, channel, y, x).

    Raises:
        DataError: where the lines are too few.
    """
    found = torch.zeros_like(kspace)
    numbers = torch.as_tensor(n_centre).expand(len(kspace)).tolist()
    for lines, n_lines, maps in zip(kspace, numbers, found, strict=True):
        first = lines.shape[-2] // 2 - n_lines // 2
        block = lines[:, first : first + n_lines]
        if block.any():
            kernel = (KERNEL, min(KERNEL, max(1, n_lines - 2)))
            maps[:] = espirit_maps(block, lines.shape[1:], kernel=kernel, crop=crop).maps[0]
    return found
