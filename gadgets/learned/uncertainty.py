"""How far a learned image may be off: its spread over samples, and Stein's estimate of its error where lines are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd.errors import ConfigError, DataError

from .networks import Reconstruction
from .weights import Weights

STEP = 0.1
"""By which samples are moved, in units of their noise: small beside what bends a network, large beside rounding."""

LEAST_MEDIAN = 0.9 * np.log(2)
"""Of the squares of samples with noise of unit variance; those of two averages have half, if they are mostly noise."""

WITHIN_ONE = 0.6827
"""Of the pixels, whose error should be below one deviation, as it is of normal errors."""


class Spread(NamedTuple):
    """What several images of one k-space come to."""

    made: Reconstruction
    """Their mean, with the maps of the first."""

    deviation: Tensor
    """Standard deviation of the magnitudes. Shape (batch, y, x), float32."""


def spread(samples: Iterable[Reconstruction]) -> Spread:
    """Mean and deviation of two samples or more: of an ensemble, of dropout or of a posterior.

    Complex images are averaged by channel, since the maps of each sample may have a phase of their own.

    References: Y. Gal, Z. Ghahramani, Dropout as a Bayesian approximation, ICML 2016; B. Lakshminarayanan et al.,
    Simple and scalable predictive uncertainty estimation using deep ensembles, NIPS 2017.

    Raises:
        DataError: where there are fewer than two samples.
    """
    n = 0
    for n, one in enumerate(samples, 1):
        if n == 1:
            maps, mean, squares = one.maps, torch.zeros_like(one.magnitude), torch.zeros_like(one.magnitude)
            channels = torch.zeros_like(maps)
        before = one.magnitude - mean
        mean = mean + before / n
        squares = squares + before * (one.magnitude - mean)
        channels = channels + one.maps * one.image[:, None]
    if n < 2:
        raise DataError(f"{n} images have no deviation; take two samples or more")
    return Spread(Reconstruction(mean, (channels * maps.conj()).sum(1) / n, maps), (squares / (n - 1)).sqrt())


def stein_risk(
    predict: Callable[[Tensor], Tensor],
    kspace: Tensor,
    acquired: Tensor,
    predicted: Tensor,
    *,
    probes: int = 1,
    seed: int = 0,
) -> float:
    """Stein's estimate of the mean squared error of `predict` at acquired samples, in units of their noise's variance.

    `kspace` has complex noise of unit variance at the samples that are `acquired`, a mask to broadcast, and
    `predicted` is what `predict` gives for it. 1 is the error of the lines as they are. It is unbiased over noise and
    probes, as long as `predict` bends little within a tenth of the noise, and may be below 0; it says nothing of what
    was not acquired, nor of single pixels.

    References: C. Stein, Ann Stat 1981, 9:1135-1151; S. Ramani et al., Monte-Carlo SURE, IEEE Trans Image Process
    2008, 17:1540-1554; Y. Eldar, Generalized SURE for exponential families, IEEE Trans Signal Process 2009, 57:471-481.
    """
    chance = torch.Generator().manual_seed(seed)
    weights = acquired.expand(kspace.shape).to(kspace.real.dtype)
    slope = 0.0
    for _ in range(probes):
        signs = torch.randint(2, (*kspace.shape, 2), generator=chance) * 2.0 - 1
        probe = torch.view_as_complex(signs).to(kspace) * weights
        moved = predict(kspace + STEP * probe) - predicted
        slope += float((probe.conj() * moved).real.sum(dtype=torch.float64)) / STEP / probes
    off = float((weights * (predicted - kspace)).abs().square().sum(dtype=torch.float64))
    return (off + slope) / float(weights.sum(dtype=torch.float64)) - 1


def acquired_samples(head: NDArray[np.void] | np.void, n_kx: int) -> Tensor:
    """Which samples of lines with the header `head` were acquired, and not filled with zeros. Shape (kx,)."""
    inside = torch.zeros(n_kx, dtype=torch.bool)
    inside[int(head["discard_pre"]) : n_kx - int(head["discard_post"])] = True
    return inside


def has_unit_noise(kspace: Tensor, acquired: Tensor) -> bool:
    """Whether the samples that are `acquired`, a mask to broadcast, can all hold noise of unit variance."""
    return bool(kspace[acquired.expand(kspace.shape)].abs().square().median() >= LEAST_MEDIAN)


def calibration_factor(deviation: NDArray[np.floating], error: NDArray[np.floating]) -> float:
    """What deviations are multiplied by for as many errors to be within one of them as normal errors are."""
    tiny = np.finfo(np.float32).tiny
    return float(np.quantile(np.abs(error) / np.maximum(deviation, tiny), WITHIN_ONE))


def card_factor(weights: Weights, kind: str) -> float | None:
    """The calibration factor on a model card, `{"figures": {"uncertainty_dropout": {"factor": 2.5}}}`.

    Raises:
        ConfigError: where it is no number above 0.
    """
    if (figures := weights.card.figures.get(f"uncertainty_{kind}")) is None:
        return None
    try:
        factor = float(figures["factor"])
    except (TypeError, KeyError, ValueError):
        factor = np.nan
    if not 0 < factor < np.inf:
        raise ConfigError(
            f"the card of weights {weights.name} has uncertainty_{kind}={figures!r}, which holds no factor above 0; "
            "write it anew with benchmarks/uncertainty.py"
        )
    return factor


def with_dropout(weights: Sequence[Weights]) -> list[Weights]:
    """Those of `weights` that were trained with dropout.

    Raises:
        ConfigError: where none were.
    """
    if found := [one for one in weights if one.card.parameters.get("dropout")]:
        return found
    raise ConfigError(
        f"weights {', '.join(one.name for one in weights)} were trained without dropout, which then says nothing of "
        "their images; take weights trained with --set dropout=0.1 or so, or an ensemble"
    )


def ensemble(weights: Sequence[Weights]) -> list[Weights]:
    """The weights, where a mean can be taken over them.

    Raises:
        ConfigError: where there are fewer than two, one is there twice, or they are of different architectures.
    """
    names = [one.name for one in weights]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"an ensemble of {', '.join(names)} has no deviation; name two or more weights, each once, with spaces "
            "between"
        )
    if len({one.card.architecture for one in weights}) > 1:
        kinds = ", ".join(f"{one.name} ({one.card.architecture})" for one in weights)
        raise ConfigError(
            f"the ensemble of {kinds} is of different architectures, so that its deviation would tell those apart; "
            "name weights of one architecture, trained with different seeds"
        )
    return list(weights)
