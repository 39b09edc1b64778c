"""Fewer virtual channels that hold nearly all of what many channels hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import KSpace
from echotrain.mrd.errors import DataError

from .fourier import centred_fft, centred_ifft
from .gadget import Gadget
from .parameters import parameter
from .tensors import Array, as_given, as_tensor


def compression_matrix(samples: Array, channels: int = 0, threshold: float = 0.002, energy: float = 1.0) -> Array:
    """Rows that give virtual channels, the one with most energy first. Samples (channel, ...) give (virtual, channel).

    The rows are orthonormal, so white noise stays white. `channels` is how many there are at most; 0 stands for all
    that hold at least `threshold` times the energy of the first, and no more than hold `energy` of the whole.

    References: F. Huang et al., Magn Reson Imaging 2008, 26:133-141.
    """
    flat = as_tensor(samples).flatten(1)
    energies, rows = _principal(flat[None])
    kept = rows[0, : _n_kept(energies[0], channels, threshold, energy)]
    return as_given(kept.to(flat.dtype).contiguous(), samples)


def geometric_matrices(samples: Array, channels: int = 0, threshold: float = 0.002, energy: float = 1.0) -> Array:
    """Such rows for each place along the readout. Samples (channel, ..., x) in image space give (x, virtual, channel).

    Fewer channels suffice at one place than for all. From the middle outward the rows of each place are turned within
    what they span to be closest to those of its neighbour, so that virtual channels vary smoothly. How many there are
    is told by the energies of all places together.

    References: T. Zhang et al., Magn Reson Med 2013, 69:571-582.
    """
    tensor = as_tensor(samples)
    energies, rows = _principal(tensor.movedim(-1, 0).flatten(2))
    matrices = rows[:, : _n_kept(energies.sum(0), channels, threshold, energy)].contiguous()
    middle, n = len(matrices) // 2, len(matrices)
    for places in (range(middle + 1, n), range(middle - 1, -1, -1)):
        before = middle
        for x in places:
            left, _, right = torch.linalg.svd(matrices[before] @ matrices[x].mH, full_matrices=False)
            matrices[x] = left @ right @ matrices[x]
            before = x
    return as_given(matrices.to(tensor.dtype), samples)


def compress_channels(data: Array, matrix: Array) -> Array:
    """Virtual channels of k-space or images. Shape (..., channel, z, y, x) gives (..., virtual, z, y, x).

    Matrices of each x (x, virtual, channel) are for data in image space along x.
    """
    channels, rows = as_tensor(data), as_tensor(matrix)
    if rows.ndim == 3:
        return as_given(torch.einsum("xvc,...czyx->...vzyx", rows, channels).contiguous(), data)
    compressed = torch.matmul(rows, channels.flatten(-3))
    return as_given(compressed.view(*compressed.shape[:-1], *channels.shape[-3:]), data)


def _principal(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (x, channel), largest first, and their directions (x, channel, channel) of samples (x, channel, ...)."""
    energies, vectors = torch.linalg.eigh((samples @ samples.mH).to(torch.complex128))
    return energies.flip(-1), vectors.flip(-1).mH.resolve_conj()


def _n_kept(energies: Tensor, channels: int, threshold: float, energy: float) -> int:
    if channels:
        return min(channels, len(energies))
    enough = int((energies.cumsum(0) < energy * energies.sum()).sum()) + 1
    return min(enough, max(1, int((energies >= threshold * energies[0]).sum())))


class Compression:
    """What gadgets that compress channels share: their parameters, and how they learn and apply a compression."""

    method: Literal["svd", "geometric"] = parameter(
        "svd",
        "One compression for all of the readout, or one for each place along it, of which fewer channels suffice.",
    )
    channels: int = parameter(
        0, "Virtual channels to keep at most; 0: as many as the threshold and the energy ask for.", low=0
    )
    threshold: float = parameter(
        0.002, "Least energy of a virtual channel, as a fraction of the strongest's.", low=0, high=1
    )
    energy: float = parameter(
        1.0, "Energy of all channels together that suffices, where `channels` is 0.", unit="fraction", low=0, high=1
    )

    def learnt(self, samples: NDArray[Any], image_space: bool, channels: int = 0) -> NDArray[np.complex64]:
        """The matrix, or matrices along the readout, of samples (channel, ..., readout).

        Raises:
            DataError: where they are not finite.
        """
        if not np.isfinite(samples).all():
            raise DataError("samples are not finite, so have no principal components; look at the source of the data")
        limits = channels or self.channels, self.threshold, self.energy
        if self.method == "svd":
            return compression_matrix(samples, *limits)
        return geometric_matrices(samples if image_space else centred_ifft(samples, (-1,)), *limits)


def compressed(data: NDArray[Any], matrix: NDArray[np.complex64], image_space: bool) -> NDArray[np.complex64]:
    """k-space (..., channel, kz, ky, readout) in virtual channels, its readout in image space or not, before and after.

    Raises:
        DataError: where the matrix is for other channels, or for another number of samples.
    """
    if data.shape[-4] != matrix.shape[-1]:
        raise DataError(
            f"the compression is for {matrix.shape[-1]} channels, and lines or their calibration have "
            f"{data.shape[-4]}; send lines of one set of channels"
        )
    if matrix.ndim == 3 and data.shape[-1] != len(matrix):
        raise DataError(
            f"the geometric compression is for readouts of {len(matrix)} samples, and lines or their calibration have "
            f"{data.shape[-1]}; send lines of one length, or set method to svd"
        )
    if matrix.ndim == 2 or image_space:
        return compress_channels(data, matrix)
    return centred_fft(compress_channels(centred_ifft(data, (-1,)), matrix), (-1,))


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The matrix of a scene, and the calibration that it compressed last, before and after."""

    matrix: NDArray[np.complex64]
    early: bool
    """Whether it was learnt from calibration that came early, of which more may come."""
    given: KSpace | None
    compressed: KSpace | None


class CompressCoils(Compression, Gadget[KSpace, KSpace]):
    """Replace the channels of k-space and its calibration by fewer virtual ones that hold nearly all their energy.

    The virtual channels are the principal components of the calibration lines or, where there are none, of the k-space
    itself; later repetitions of the same slice, contrast, ... keep them. Belongs after Prewhiten, so that noise counts
    the same in all channels, and it stays white.

    References: F. Huang et al., Magn Reson Imaging 2008, 26:133-141; T. Zhang et al., Magn Reson Med 2013, 69:571-582.

    Raises:
        DataError: where the number of channels changes between repetitions, or samples are not finite.
    """

    takes_image_space_readout = True
    takes_early_calibration = True

    def start(self, header: object, /) -> None:
        self._scenes: dict[tuple[int, ...], _Known] = {}

    def process(self, kspace: KSpace, /) -> Iterator[KSpace]:
        scene, calibration = kspace.scene, kspace.calibration
        known = self._scenes.get(scene)
        if known is None or (known.early and known.given is not calibration):
            source = calibration or kspace
            matrix = self.learnt(np.moveaxis(source.data, -4, 0), source.readout_in_image_space)
        else:
            matrix = known.matrix
        small = None
        if calibration is not None:
            # The same calibration stays the same object, so that what is made of it need not be made again.
            same = known is not None and known.given is calibration
            small = known.compressed if known and same else _compressed(calibration, matrix, None)
        given = _compressed(kspace, matrix, small)
        self._scenes[scene] = _Known(matrix, kspace.early and (known is None or known.early), calibration, small)
        yield given

    def finish(self) -> None:
        self._scenes.clear()


def _compressed(kspace: KSpace, matrix: NDArray[np.complex64], calibration: KSpace | None) -> KSpace:
    data = compressed(kspace.data, matrix, kspace.readout_in_image_space)
    return replace(kspace, data=data, calibration=calibration)
