"""Whole scans to learn from: ISMRMRD files, and HDF5 files as fastMRI gives them out, one or folders of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echotrain.gadgets import CollectKSpace, Gadget, PadAsymmetricEcho, Prewhiten, RemoveOversampling
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import Acquisitions, Header, KSpace, parse_header, read_header, read_items
from echotrain.mrd.errors import DataError
from echotrain.mrd.hdf5 import open_file

from .examples import Example, centre_crop, root_sum_of_squares
from .metrics import head_of

# What a chain does to lines before a network sees them.
BEFORE = (Prewhiten, PadAsymmetricEcho, RemoveOversampling, CollectKSpace)
HELD_OUT = 10  # one volume of as many, and at least one, is kept for validation


class Volume(Protocol):
    """Slices of one scan."""

    @property
    def n_slices(self) -> int: ...

    def slice(self, index: int) -> Example:
        """Slice `index` >= 0."""


@dataclass(frozen=True, slots=True)
class Recordings:
    """Slices of volumes, in another order in each round."""

    all_volumes: Sequence[Volume]
    seed: int
    description: str
    contrasts: tuple[str, ...] = ()

    def draw(self, index: int) -> Example:
        places = [(volume, number) for volume in self.all_volumes for number in range(volume.n_slices)]
        turn, place = divmod(index, len(places))
        order = np.random.default_rng((self.seed, turn)).permutation(len(places))
        volume, number = places[order[place]]
        example: Example = volume.slice(number)
        return example

    def volumes(self) -> Iterator[list[Example]]:
        for volume in self.all_volumes:
            yield [volume.slice(number) for number in range(volume.n_slices)]


def find_volumes(paths: Sequence[Path]) -> list[Volume]:
    """The volumes of files, and of all files *.h5 of folders, in the order of their names.

    Raises:
        StorageError: where a file or folder is not there or cannot be read.
        DataError: where it has no whole scans in it.
    """
    found: list[Volume] = []
    for path in paths:
        files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"there are no files *.h5 in the folder {path}; name one with ISMRMRD or fastMRI files")
        for file in files:
            found += _volumes_of(file)
    return found


def held_out(volumes: list[Volume]) -> tuple[list[Volume], list[Volume]]:
    """Volumes to learn from, and every tenth or at least the last one, to judge by.

    Raises:
        DataError: where there is but one.
    """
    if len(volumes) < 2:
        raise DataError("one volume cannot be both learnt from and judged by; add another, or name one by --validation")
    last = (len(volumes) - 1) % HELD_OUT
    judged = [volume for number, volume in enumerate(volumes) if number % HELD_OUT == last]
    return [volume for volume in volumes if volume not in judged], judged


def _volumes_of(path: Path) -> list[Volume]:
    with open_file(path) as file:
        members = set(file)
        shape: tuple[int, ...] = file["kspace"].shape if "kspace" in members else ()
    if "kspace" in members:
        if "mask" in members:
            raise DataError(f"{path} was accelerated already (it has a mask); learning takes whole scans")
        if len(shape) not in (3, 4):
            raise DataError(f"kspace of {path} has shape {shape}, not (slice, coil, readout, line) or without coils")
        return [FastmriVolume(path, int(shape[0]))]
    if "dataset" in members:
        return _scanned(path)
    raise DataError(f"{path} is neither ISMRMRD (group dataset) nor fastMRI (array kspace); it has {sorted(members)}")


@dataclass(frozen=True, slots=True)
class FastmriVolume:
    """A file of fastMRI, read slice by slice. Pictures lie on their side there: lines run along y here."""

    path: Path
    n_slices: int

    def slice(self, index: int) -> Example:
        with open_file(self.path) as file:
            stored = np.asarray(file["kspace"][index], np.complex64)
            header = file["ismrmrd_header"][()] if "ismrmrd_header" in file else b""
        kspace = stored.reshape(-1, *stored.shape[-2:]).swapaxes(-1, -2)
        n_y, n_x = kspace.shape[-2:]
        matrix = parse_header(header).encoding().recon.matrix if header else (n_x, n_y, 1)
        return _example(kspace, (min(n_y, matrix[1]), min(n_x, matrix[0])), f"{self.path}, slice {index}")


@dataclass(frozen=True, slots=True, eq=False)
class ScannedVolume:
    """Slices of an ISMRMRD file, in memory."""

    slices: list[NDArray[np.complex64]]
    """Each of shape (channel, ky, kx)."""

    where: str

    @property
    def n_slices(self) -> int:
        return len(self.slices)

    def slice(self, index: int) -> Example:
        kspace = self.slices[index]
        return _example(kspace, (kspace.shape[-2], kspace.shape[-1]), f"{self.where}, slice {index}")


def _example(kspace: NDArray[np.complex64], shape: tuple[int, int], where: str) -> Example:
    """An example whose truth is the image of all lines, the middle part of it of `shape`; readouts are cropped."""
    if not np.isfinite(kspace).all() or not kspace.any():
        raise DataError(f"k-space of {where} has samples that are not finite, or none but 0")
    n_x = shape[1]
    if n_x < kspace.shape[-1]:
        along = centre_crop(centred_ifft(np.ascontiguousarray(kspace), (-1,)), (n_x,))
        kspace = centred_fft(np.ascontiguousarray(along), (-1,))
    truth = np.ascontiguousarray(centre_crop(root_sum_of_squares(np.ascontiguousarray(kspace)), shape))
    return Example(np.ascontiguousarray(kspace), truth, head_of(truth))


def _scanned(path: Path) -> list[Volume]:
    """Slices of an ISMRMRD file, those of one contrast and matrix together.

    Raises:
        DataError: where lines were left out, or there are none.
    """
    slices: dict[tuple[int, ...], list[NDArray[np.complex64]]] = {}
    items: Iterable[Any] = read_items(path, waveforms=False)
    for kind in BEFORE:
        items = _through(kind(), parse_header(read_header(path)), items)
    for item in items:
        for unit in item.units() if isinstance(item, KSpace) else ():
            taken, all_lines = int(unit.sampled.sum()), unit.sampled.size
            if taken < all_lines:
                raise DataError(f"{path} has {taken} of {all_lines} lines of a slice; learning takes whole scans")
            kspace = centred_fft(unit.data, (-1,)) if unit.readout_in_image_space else unit.data
            head = unit.head.reshape(-1)[0]
            key = (int(head["encoding_space_ref"]), int(head["idx"]["contrast"]), *kspace.shape)
            slices.setdefault(key, []).extend(np.moveaxis(centred_ifft(kspace, (-3,)), -3, 0))
    if not slices:
        raise DataError(f"{path} has no lines of an image")
    return [ScannedVolume(found, str(path)) for found in slices.values()]


def _through(gadget: Gadget[Any, Any], header: Header, items: Iterable[Any]) -> Iterator[Any]:
    """What a gadget gives, and what it does not take; words that it has for a client are no concern here."""
    gadget.start(header)
    for item in items:
        if isinstance(item, gadget.accepts):
            yield from _several(gadget.process(item))
        else:
            yield item
    yield from _several(gadget.finish())


def _several(given: Any) -> Iterable[Any]:
    if given is None:
        return ()
    return given if isinstance(given, Iterable) and not isinstance(given, Acquisitions) else (given,)
