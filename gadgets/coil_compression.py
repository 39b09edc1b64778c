"""Fewer virtual channels that hold nearly all of what many channels hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.mrd import KSpace
from echotrain.mrd.errors import DataError

from .gadget import Gadget
from .parameters import parameter
from .tensors import Array, as_given, as_tensor


def compression_matrix(samples: Array, channels: int = 0, threshold: float = 0.002) -> Array:
    """Rows that give virtual channels, the one with most energy first. Samples (channel, ...) give (virtual, channel).

    The rows are orthonormal, so white noise stays white. `channels` is how many there are at most; 0 stands for all
    that hold at least `threshold` times the energy of the first.

    References: F. Huang et al., Magn Reson Imaging 2008, 26:133-141.
    """
    flat = as_tensor(samples).flatten(1)
    energies, vectors = torch.linalg.eigh((flat @ flat.mH).to(torch.complex128))
    n_kept = channels or int((energies >= threshold * energies[-1]).sum())
    return as_given(vectors.flip(-1)[:, :n_kept].mH.to(flat.dtype).resolve_conj().contiguous(), samples)


def compress_channels(data: Array, matrix: Array) -> Array:
    """Virtual channels of k-space or images. Shape (..., channel, z, y, x) gives (..., virtual, z, y, x)."""
    channels = as_tensor(data)
    compressed = torch.matmul(as_tensor(matrix), channels.flatten(-3))
    return as_given(compressed.view(*compressed.shape[:-1], *channels.shape[-3:]), data)


@dataclass(frozen=True, slots=True, eq=False)
class _Compression:
    """The matrix of a scene, and the calibration that it compressed last, before and after."""

    matrix: NDArray[np.complex64]
    given: KSpace | None
    compressed: KSpace | None


class CompressCoils(Gadget[KSpace, KSpace]):
    """Replace the channels of k-space and its calibration by fewer virtual ones that hold nearly all their energy.

    The virtual channels are the principal components of the calibration lines or, where there are none, of the k-space
    itself; later repetitions of the same slice, contrast, ... keep them. Belongs after Prewhiten, so that noise counts
    the same in all channels, and it stays white.

    References: F. Huang et al., Magn Reson Imaging 2008, 26:133-141.

    Raises:
        DataError: where the number of channels changes between repetitions, or samples are not finite.
    """

    takes_image_space_readout = True

    channels: int = parameter(0, "Virtual channels to keep at most; 0: as many as the threshold asks for.", low=0)
    threshold: float = parameter(
        0.002, "Least energy of a virtual channel, as a fraction of the strongest's.", low=0, high=1
    )

    def start(self, header: object, /) -> None:
        self._scenes: dict[tuple[int, ...], _Compression] = {}

    def process(self, kspace: KSpace, /) -> Iterator[KSpace]:
        scene, calibration = kspace.scene, kspace.calibration
        known = self._scenes.get(scene)
        matrix = self._matrix(kspace) if known is None else known.matrix
        for part in (kspace, calibration):
            if part is not None and part.n_channels != matrix.shape[1]:
                raise DataError(
                    f"the compression is for {matrix.shape[1]} channels, and a k-space or its calibration has "
                    f"{part.n_channels}; send lines of one set of channels"
                )
        compressed = None
        if calibration is not None:
            # The same calibration stays the same object, so that what is made of it need not be made again.
            same = known is not None and known.given is calibration
            compressed = known.compressed if known and same else _compressed(calibration, matrix, None)
        self._scenes[scene] = _Compression(matrix, calibration, compressed)
        yield _compressed(kspace, matrix, compressed)

    def finish(self) -> None:
        self._scenes.clear()

    def _matrix(self, kspace: KSpace) -> NDArray[np.complex64]:
        source = kspace.calibration or kspace
        if not np.isfinite(source.data).all():
            raise DataError("samples are not finite, so have no principal components; look at the source of the data")
        return compression_matrix(np.moveaxis(source.data, -4, 0), self.channels, self.threshold)


def _compressed(kspace: KSpace, matrix: NDArray[np.complex64], calibration: KSpace | None) -> KSpace:
    return replace(kspace, data=compress_channels(kspace.data, matrix), calibration=calibration)
