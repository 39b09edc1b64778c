"""How well the axis along which lines were left out can be told from a network's pictures: a measure of banding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from echotrain.gadgets.learned.networks import Network

from .banding import Classifier, seen
from .batches import show
from .examples import Source, single_coil, transpose
from .masks import Sampling

LEARNT_FROM, JUDGED_BY = 128, 96  # slices
ROUNDS = 8  # over the slices that are learnt from
RATE, LAST_RATE = 2e-3, 2e-4  # of the classifier's Adam; the second in its last round
RESAMPLED = 2000  # times, for the interval


class Detectability(NamedTuple):
    """The part of pictures whose axis a classifier finds, of which as many have the one as the other; 0.5 is chance."""

    accuracy: float
    low: float
    """Of the interval that holds 95% of what other slices like these would give."""

    high: float


def detectability(
    network: Network,
    source: Source,
    sampling: Sampling,
    *,
    device: torch.device,
    one_coil: bool = False,
    whole_picture: bool = False,
) -> Detectability:
    """What a classifier that was trained on some pictures of a network finds in others.

    It is made anew for the network as it is, so that one which fools its own adversary alone gains nothing by that.
    """
    pictures = pairs(
        network,
        source,
        sampling,
        range(LEARNT_FROM + JUDGED_BY),
        device=device,
        one_coil=one_coil,
        whole_picture=whole_picture,
    )
    return summary(found(pictures[:LEARNT_FROM], pictures[LEARNT_FROM:]))


def pairs(
    network: Network,
    source: Source,
    sampling: Sampling,
    indices: range,
    *,
    device: torch.device,
    one_coil: bool = False,
    whole_picture: bool = False,
) -> list[Tensor]:
    """Each slice with lines left out along y, and along x, as an adversary sees it. Shapes (2, y, x)."""
    network.eval()
    pictures = []
    with torch.no_grad():
        for index in indices:
            example = source.draw(index)
            pair = []
            for each in (example, transpose(example)):
                shown = show(single_coil(each) if one_coil else each, sampling, (1, index)).to(device)
                pixels = torch.ones_like(shown.head) if whole_picture else shown.head
                pair.append(seen(shown.image(network), pixels, transposed=shown.transposed))
            pictures.append(torch.cat(pair))
    network.train()
    return pictures


def found(learnt_from: list[Tensor], judged_by: list[Tensor], seed: int = 0) -> NDArray[np.float64]:
    """The part of each of the pairs `judged_by` whose axis is found by a classifier that learnt from others.

    Args:
        learnt_from: shapes (2, y, x), the one axis first.
        judged_by: shapes (2, y, x).
        seed: of the classifier's weights and of the order it learns in.
    """
    torch.manual_seed(seed)
    classifier = Classifier().to(learnt_from[0].device)
    optimizer = torch.optim.Adam(classifier.parameters(), RATE)
    wanted = torch.tensor([0.0, 1.0], device=learnt_from[0].device)
    for turn in range(ROUNDS):
        for group in optimizer.param_groups:
            group["lr"] = LAST_RATE if turn == ROUNDS - 1 else RATE
        for number in np.random.default_rng((seed, turn)).permutation(len(learnt_from)):
            optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(classifier(learnt_from[number]), wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        right = [float(((classifier(pair) > 0) == wanted.bool()).float().mean()) for pair in judged_by]
    return np.array(right)


def summary(right: NDArray[np.float64]) -> Detectability:
    """The mean over slices, and its interval by drawing slices anew."""
    drawn = np.random.default_rng(0).choice(right, (RESAMPLED, len(right))).mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Detectability(float(right.mean()), float(low), float(high))
