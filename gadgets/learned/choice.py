"""Which weights a scan is reconstructed with: those of a name, or of an architecture those that are for such scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .figures import outside
from .folders import find_file
from .weights import ModelCard, Weights, read_card, read_weights, weights_files


def candidates(model: str) -> list[Weights]:
    """The weights called `model`; where none are, all of the architecture `model`.

    Raises:
        ConfigError: where there are neither, or a file is not what it should be.
    """
    files = weights_files()
    if model in files:
        return [read_weights(files[model])]
    alike = [path for path in files.values() if read_card(path).architecture == model]
    return [read_weights(path) for path in alike or [find_file("weights", model, files)]]


def best(weights: Sequence[Weights], figures: Mapping[str, tuple[float, ...]]) -> Weights:
    """Those for the nearest acceleration, least of the scan out of range, and the narrowest range of accelerations.

    Those that would be refused, and then those with dropout, which costs a little of the image, come last.
    """
    (acceleration,) = figures["acceleration"]

    def unfit(one: Weights) -> tuple[bool, bool, float, int, float, str]:
        low, high = one.card.ranges.get("acceleration", (1.0, np.inf))
        off = max(low / acceleration, acceleration / high, 1.0)
        dropout = one.card.parameters.get("dropout", 0.0) > 0
        return refused(one.card, figures), dropout, off, len(outside(one.card, figures)), high - low, one.name

    return min(weights, key=unfit)


def refused(card: ModelCard, figures: Mapping[str, tuple[float, ...]]) -> bool:
    """Whether weights are for a single channel, and the scan has several."""
    (n_channels,) = figures["channels"]
    return n_channels > card.ranges.get("channels", (1.0, np.inf))[1] == 1
