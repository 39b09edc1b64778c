"""Which lines of a whole scan an accelerated one would have taken; the same lines as fastMRI's for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd.errors import ParameterError, nearest

Lines = NDArray[np.bool_]
# Takes the number of lines, acceleration, number of lines at the centre, and the source of chance.
Rule = Callable[[int, float, int, np.random.RandomState], Lines]

DENSITY_POWER = 2.0  # how fast the density falls towards the edge of k-space, for variable density


@dataclass(frozen=True, slots=True)
class Sampling:
    """A rule with the accelerations and calibration widths to choose from; for each mask one of each, independently."""

    rule: str = "equispaced"
    """One of RULES."""

    accelerations: tuple[int, ...] = (4, 5, 6, 7, 8)

    centre_fractions: tuple[float, ...] = (0.04, 0.06, 0.08, 0.1)
    """Fully sampled part of k-space around its centre."""

    paired: bool = False
    """Whether the first acceleration goes with the first fraction, and so on."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ParameterError(f"there is no sampling {self.rule!r}; {nearest(self.rule, RULES)}")
        if not self.accelerations or min(self.accelerations) < 1:
            raise ParameterError(f"accelerations {self.accelerations} must each be 1 or more")
        if not self.centre_fractions or not all(0 < fraction < 1 for fraction in self.centre_fractions):
            raise ParameterError(f"centre fractions {self.centre_fractions} must each be above 0 and below 1")
        if self.paired and len(self.accelerations) != len(self.centre_fractions):
            raise ParameterError(
                f"{len(self.accelerations)} accelerations cannot be paired with "
                f"{len(self.centre_fractions)} centre fractions"
            )

    def mask(self, n_lines: int, seed: int | Sequence[int]) -> Lines:
        """The lines that are taken. Shape (ky,).

        Raises:
            ParameterError: where the centre has no line, or alone has more than the acceleration leaves.

        References:
            Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI, arXiv:1811.08839.
        """
        random = np.random.RandomState()
        random.seed(seed)  # not the constructor: the two take a tuple alike, but type checkers know it here only
        if self.paired:
            choice = random.randint(len(self.accelerations))
            fraction, acceleration = self.centre_fractions[choice], self.accelerations[choice]
        else:
            fraction, acceleration = random.choice(self.centre_fractions), random.choice(self.accelerations)
        n_centre = round(n_lines * float(fraction))
        if n_centre < 1:
            raise ParameterError(
                f"{float(fraction):g} of {n_lines} lines is none at the centre; take a greater fraction"
            )
        if self.rule != "equispaced" and n_centre * acceleration >= n_lines > n_centre and acceleration > 1:
            raise ParameterError(
                f"{n_centre} of {n_lines} lines at the centre leave none to take elsewhere at acceleration "
                f"{acceleration} ({self.rule} counts the centre among them); take a smaller centre fraction"
            )
        mask = RULES[self.rule](n_lines, acceleration, n_centre, random)
        first = (n_lines - n_centre + 1) // 2
        mask[first : first + n_centre] = True
        return mask


def _equispaced(n_lines: int, acceleration: float, n_centre: int, random: np.random.RandomState) -> Lines:
    """Every nth line from a random offset on; the centre comes on top of these."""
    mask = np.zeros(n_lines, np.bool_)
    mask[random.randint(0, round(acceleration)) :: int(acceleration)] = True
    return mask


def _equispaced_fraction(n_lines: int, acceleration: float, n_centre: int, random: np.random.RandomState) -> Lines:
    """Lines further apart, so that together with the centre one in n is taken; not quite evenly spaced."""
    spacing = (acceleration * (n_centre - n_lines)) / (n_centre * acceleration - n_lines) if acceleration > 1 else 1.0
    positions = np.arange(random.randint(0, round(spacing)), n_lines - 1, spacing)
    mask = np.zeros(n_lines, np.bool_)
    mask[np.around(positions).astype(np.intp)] = True
    return mask


def _random(n_lines: int, acceleration: float, n_centre: int, random: np.random.RandomState) -> Lines:
    """Each line outside of the centre with the same chance, so that one in n is taken on average."""
    chance = (n_lines / acceleration - n_centre) / (n_lines - n_centre)
    taken: Lines = random.uniform(size=n_lines) < chance
    return taken


def _variable_density(n_lines: int, acceleration: float, n_centre: int, random: np.random.RandomState) -> Lines:
    """As random, with a chance that falls towards the edge of k-space."""
    position = np.abs(np.arange(n_lines) - n_lines // 2) / (n_lines / 2)
    density = (1 - position) ** DENSITY_POWER + 1e-3  # so that every line has a chance
    first = (n_lines - n_centre + 1) // 2
    density[first : first + n_centre] = 0
    wanted, low, high = n_lines / acceleration - n_centre, 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * density, 1).sum() < wanted else (low, middle)
    taken: Lines = random.uniform(size=n_lines) < high * density
    return taken


RULES: dict[str, Rule] = {
    "equispaced": _equispaced,
    "equispaced_fraction": _equispaced_fraction,
    "random": _random,
    "variable_density": _variable_density,
}
