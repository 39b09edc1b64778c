"""GRAPPA for lines at changing distances: weights for each way in which acquired lines lie around a missing one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.mrd.errors import DataError

from .fourier import centred_fft, centred_ifft
from .grappa_weights import NOISE_WEIGHT, GrappaWeights, around, fitted_weights, grappa_lines
from .sampling import Mask
from .tensors import Array, as_given, as_tensor

MOST = 128  # neighbourhoods, each of which takes a fit

Neighbourhood = tuple[tuple[int, int], ...]
"""How far acquired lines lie from the missing one that they make, along kz and ky."""


class LocalGrappa:
    """Fills in lines from the nearest acquired ones on either side, whatever their distances.

    Where lines are at equal distances it gives what `grappa` does. k-space is periodic at its edges; what is further
    out than half of it by more than lines are apart elsewhere stays zero.

    References: M. Griswold et al., Magn Reson Med 2002, 47:1202-1210; R. Heidemann et al., ibid. 2001, 45:1066-1074
    (lines at several distances).
    """

    def __init__(
        self,
        calibration: Array,
        kernel: Sequence[int] = (5, 0),
        regularization: float = 5e-4,
        noise_weight: float = NOISE_WEIGHT,
    ) -> None:
        """`calibration` holds lines without gaps, shape (channel, kz, ky, kx); the rest is as in `grappa_weights`."""
        self._lines = as_tensor(calibration)
        self._n_kx, n_ky, n_kz = (*kernel, 3)[:3]
        self._n_ky, n_kz = n_ky or 4, n_kz or 3
        self._planes = around(n_kz if self._lines.shape[1] > 1 else 1, 1)
        self._regularizations = regularization, noise_weight
        self._fitted: dict[Neighbourhood, GrappaWeights] = {}

    def filled(self, hybrid: Array, sampled: Mask) -> Array:
        """All lines, those that are missing made from the others. Shapes (channel, kz, ky, x) and (kz, ky).

        `hybrid` is transformed along the readout, and so is what is given.

        Raises:
            DataError: where planes are missing, lines lie in too many ways, or the calibration does not suffice.
        """
        lines = as_tensor(hybrid)
        alike = self._neighbourhoods(sampled)
        if len(alike) > MOST:
            raise DataError(
                f"missing lines have {len(alike)} kinds of neighbourhoods, and more than {MOST} are not fitted; take a "
                "reconstruction for lines in any pattern, such as CgSense"
            )
        result = lines.clone()
        for neighbours, missing in alike.items():
            weights = self._fitted.get(neighbours)
            if weights is None:
                weights = self._fitted[neighbours] = self._weights(neighbours)
            result[:, torch.from_numpy(missing)] = grappa_lines(lines, missing, sampled, weights)
        return as_given(result, hybrid)

    def _weights(self, neighbours: Neighbourhood) -> GrappaWeights:
        target = np.zeros((1, 2), np.int64)
        return fitted_weights(
            self._lines, np.array(neighbours), target, self._n_kx, self._regularizations, (len(neighbours), 1)
        )

    def _neighbourhoods(self, sampled: Mask) -> dict[Neighbourhood, Mask]:
        """The lines to be made, by what lies around them."""
        n_z, n_y = sampled.shape
        planes = np.flatnonzero(sampled.any(axis=1))
        if planes[-1] - planes[0] + 1 != len(planes):
            raise DataError(
                "planes along kz are missing as well as lines in no regular way along ky; take a reconstruction for "
                "lines in any pattern, such as CgSense"
            )
        found: dict[Neighbourhood, Mask] = {}
        for z in planes.tolist():
            rows = np.flatnonzero(sampled[z])
            if len(rows) < 2:
                continue
            periodic = np.concatenate([rows - n_y, rows, rows + n_y])
            left_out = np.flatnonzero(np.diff(periodic) > np.diff(rows).max()) + 1  # where a side ends
            for y in np.flatnonzero(~sampled[z]).tolist():
                after = int(np.searchsorted(periodic, y))
                if after in left_out:
                    continue
                first = max([after - (self._n_ky + 1) // 2, *left_out[left_out < after]])
                last = min([after + self._n_ky // 2, *left_out[left_out > after]])
                around_it = [(dz, dy) for dz in self._planes.tolist() for dy in (periodic[first:last] - y).tolist()]
                neighbours = tuple((dz, dy) for dz, dy in around_it if sampled[(z + dz) % n_z, (y + dy) % n_y])
                found.setdefault(neighbours, np.zeros_like(sampled))[z, y] = True
        return found


def local_grappa(
    kspace: NDArray[np.complex64],
    calibration: NDArray[np.complex64],
    kernel: Sequence[int] = (5, 0),
    regularization: float = 5e-4,
    *,
    sampled: Mask | None = None,
) -> NDArray[np.complex64]:
    """As `grappa`, for lines at changing distances along ky."""
    samples, block = (array[:, None] if array.ndim == 3 else array for array in (kspace, calibration))
    if sampled is None:
        sampled = (samples != 0).any(-1).any(0)
    filled = LocalGrappa(block, kernel, regularization).filled(centred_ifft(samples, (-1,)), np.atleast_2d(sampled))
    return np.asarray(centred_fft(filled, (-1,))).reshape(kspace.shape)
