"""The lines of a k-space that were acquired without gaps, from which calibrations are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, KSpace
from echotrain.mrd.errors import DataError

from .fourier import centred_fft
from .sampling import dense_block


def block_without_gaps(unit: KSpace, header: Header) -> tuple[NDArray[np.complex64], tuple[int, ...]]:
    """Lines without gaps, shape (channel, kz, ky, kx), and the index of the centre of k-space among them.

    They are the k-space's calibration lines or, where it has none, the lines around its centre.

    Raises:
        DataError: where they have other channels than the unit or samples that are not finite.
    """
    lines = unit.calibration or unit
    planes, rows = dense_block(lines.sampled)
    if lines.n_channels != unit.n_channels:
        raise DataError(
            f"calibration lines have {lines.n_channels} channels, the other lines {unit.n_channels}; they must be "
            "those of one set of coils"
        )
    block = lines.data[:, planes, rows]
    if not np.isfinite(block).all():
        raise DataError("calibration lines hold samples that are not finite; look at the source of the data")
    if lines.readout_in_image_space:
        block = centred_fft(block, (-1,))
    encoding = header.encoding(int(unit.head["encoding_space_ref"]))
    if unit.calibration is not None and encoding.calibration_mode in ("separate", "external"):
        # Their counters start anywhere, so that only their middle tells the centre.
        return block, tuple(n // 2 for n in block.shape[1:])
    n_z, n_y = lines.sampled.shape
    return block, (n_z // 2 - planes.start, n_y // 2 - rows.start, block.shape[-1] // 2)
