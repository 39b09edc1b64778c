"""Images that there may be by the lines and by a prior over images: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from echotrain.mrd.errors import ConfigError, DataError

from ..parameters import parameter
from .figures import is_whitened
from .networks import Reconstruction, ScoreNetwork, intensity_scale
from .networks.sense_varnet import centre_maps
from .reconstruct import DEVIATION, _CheckedReconstruction, _placed
from .score_sampling import sample_posterior
from .uncertainty import spread
from .weights import Weights

CROP = 0.8  # of ESPIRiT's eigenvalues


class ScorePrior(_CheckedReconstruction):
    """Reconstruct k-space with missing lines along ky by a prior over images, which knows no sampling.

    It draws images that fit the lines and are as images are, gives their mean, and as series + 600 the deviation of
    their magnitudes: where it is large, the picture comes from the prior and not from the lines. The same seed gives
    the same images. Coil maps are ESPIRiT's, from the lines around the centre. The noise of lines that are not whitened
    is estimated. Meta attributes are those of LearnedReconstruction.

    References: A. Jalal et al., Robust compressed sensing MRI with deep generative priors, NeurIPS 2021; H. Chung, J.
    Ye, Score-based diffusion models for accelerated MRI, Med Image Anal 2022, 80:102479.

    Raises:
        ConfigError: where there are no such weights, their file is not what it should be, or they are of no prior.
        DataError: where samples are not finite, lines lack along kz or around the centre, or memory does not suffice.
    """

    model: str = parameter("score", "Name of the weights, of architecture score.")
    samples: int = parameter(8, f"Images that are drawn; their deviation is series + {DEVIATION}.", low=2)
    levels: int = parameter(40, "Noise levels of each; the network is run once at each.", low=2)
    seed: int = parameter(0, "Of all chance.", low=0)

    def _candidates(self) -> list[Weights]:
        found = super()._candidates()
        for weights in found:
            if not isinstance(weights.network, ScoreNetwork):
                raise ConfigError(
                    f"weights {weights.name} are of architecture {weights.card.architecture}, which is no prior over "
                    "images; take weights of architecture score"
                )
        return found

    def _samples(self) -> tuple[str, str]:
        return "posterior", f"{self.samples} samples of the posterior"

    def _reconstructed(
        self, members: Sequence[Weights], mask: Tensor, n_centre: int, lines: Tensor
    ) -> tuple[Reconstruction, Tensor | None]:
        (weights,) = members
        maps = centre_maps(lines, n_centre, CROP)
        noise = 1.0 if is_whitened(lines, mask) else None
        samples = self._anywhere(
            weights, lines, lambda device: self._drawn(weights, device, lines, mask, maps, n_centre, noise)
        )
        if not samples.isfinite().all():
            raise DataError(f"weights {weights.name} give pixels that are not finite; take others")
        return spread(Reconstruction(image.abs(), image, maps) for image in samples)

    @torch.inference_mode()
    def _drawn(
        self,
        weights: Weights,
        device: torch.device,
        lines: Tensor,
        mask: Tensor,
        maps: Tensor,
        n_centre: int,
        noise: float | None,
    ) -> Tensor:
        """Images at the intensities that the lines came with, on the CPU. Shape (sample, slice, y, x)."""
        prior = cast(ScoreNetwork, _placed(weights.network, device))
        slices = []
        for one, of_one, unit in zip(lines, maps, intensity_scale(lines, n_centre), strict=True):
            drawn = sample_posterior(
                prior,
                (one / unit).to(device),
                mask.to(device),
                of_one.to(device),
                n_samples=self.samples,
                levels=self.levels,
                noise=None if noise is None else noise / float(unit),
                seed=self.seed,
            )
            slices.append(drawn.cpu() * unit)
        return torch.stack(slices, 1)
