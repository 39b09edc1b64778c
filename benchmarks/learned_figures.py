"""How good images are and how long they take: means over slices with intervals, and what is asked of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from imaging_programs import OURS, timed
from learned_methods import STRENGTHS, TUNED, VARNET, Method
from learned_scans import Case

from echotrain.clients.training.metrics import compare

RESAMPLED = 2000
HEADS = "method", "program", "SSIM, head", "PSNR, head [dB]", "NMSE, head", "SSIM", "PSNR [dB]", "NMSE", "seconds"
FORMATS = ("{:.3f}", "{:.2f}", "{:.4f}") * 2
PSNR, NMSE = 1, 2  # of the head, among figures

Cases = Sequence[Sequence[Case]]  # repetitions of each slice


class Measured(NamedTuple):
    """What a method came to."""

    method: Method
    figures: np.ndarray
    """SSIM, PSNR and NMSE of the head, then of the whole image. Shape (slice, 6), means over repetitions."""
    seconds: float
    """Median."""
    images: Mapping[int, np.ndarray]
    """By slice, of the first repetition."""


def weights_of(method: Method, acceleration: int) -> Sequence[float]:
    """The weight that was tuned on other heads; all, where the best is to be found here."""
    if method.tuned_here or len(method.weights) == 1:
        return method.weights
    return [STRENGTHS[method.name, method.program][acceleration]]


def measured(method: Method, cases: Cases, acceleration: int) -> Measured:
    """What the best of its weights comes to."""
    found = [with_weight(method, cases, weight) for weight in weights_of(method, acceleration)]
    return max(found, key=lambda made: made.figures[:, PSNR].mean())


def with_weight(method: Method, cases: Cases, weight: float) -> Measured:
    """One weight for all cases."""
    n_slices = min(method.slices or len(cases), len(cases))
    chosen = [(2 * number + 1) * len(cases) // (2 * n_slices) for number in range(n_slices)]
    figures, seconds, images = [], [], {}
    for number in chosen:
        figures.append([])
        for case in cases[number][: 1 if method.slices else None]:
            before = case.seconds_of_maps if method.by_maps else 0.0
            image, took = timed(lambda case=case: np.abs(method.make(case, weight)), 1)
            seconds.append(before + took)
            figures[-1].append(figures_of(image, case))
            images.setdefault(number, image)
    print(f"{method.name} {method.program} {weight:g}: {np.sum(seconds):.0f} s", file=sys.stderr, flush=True)
    return Measured(method, np.mean(figures, axis=1), float(np.median(seconds)), images)


def figures_of(image: np.ndarray, case: Case) -> list[float]:
    pair = image[None], case.truth[None]
    return [*compare(*pair, case.head[None]), *compare(*pair)]


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % of the mean over the first axis, by bootstrap. Shape (slice,)."""
    random = np.random.default_rng(1)
    means = values[random.integers(len(values), size=(RESAMPLED, len(values)))].mean(axis=1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def with_interval(values: np.ndarray, form: str) -> str:
    low, high = interval(values)
    return f"{form.format(values.mean())} ({form.format(low)} to {form.format(high)})"


def row(made: Measured, n_slices: int) -> list[str]:
    """Cells of a table."""
    few = "" if len(made.images) == n_slices else f", {len(made.images)} slices"
    cells = [with_interval(values, form) for values, form in zip(made.figures.T, FORMATS, strict=True)]
    return [f"{made.method.name}{few}", made.method.program, *cells, f"{made.seconds:.3f}"]


def goals(found: Mapping[tuple[str, str], Measured], gain: float) -> list[list[str]]:
    """What is asked of methods that are there, and what they came to."""
    cells = []
    tuned = found.get((TUNED, OURS))
    for (name, _), network in found.items():
        if tuned and VARNET in name.lower():
            more = network.figures[:, PSNR] - tuned.figures[:, PSNR]
            cells.append([f"{name} over {TUNED}: PSNR of the head [dB]", with_interval(more, "{:+.2f}"), f"{gain:+g}"])
            cells.append([f"{name} over {TUNED}: seconds", f"{network.seconds / tuned.seconds:.2f}", "0.1"])
    for (name, program), ours in found.items():
        theirs = found.get((name, "BART"))
        if program == OURS and theirs:
            roots = [np.sqrt(made.figures[:, NMSE]).mean() for made in (ours, theirs)]
            ratio = ours.seconds / theirs.seconds
            cells.append([f"{name} over BART's: NRMSE of the head", f"{roots[0] / roots[1]:.2f}", "1"])
            cells.append([f"{name} over BART's: seconds", f"{ratio:.2f}", "1"])
    return cells
