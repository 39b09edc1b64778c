"""Images in HDF5 files, in ISMRMRD's conventional layout: `/<group>/image_<series>/{data, header, attributes}`.

A dataset holds images of one shape and one type. Where a series has more than one, each further one is stored as
`image_<series>_2`, `image_<series>_3`...; readers that know only the convention then see a further variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import DataError, PeerError
from .hdf5 import PIXELS, group_names, headers, open_file, replacing, storage_errors
from .hdf5_write import write_header
from .image import Image
from .meta import meta_xml, parse_meta
from .records import IMAGE_HEADER

MAX_CHUNK_BYTES = 1 << 30  # HDF5 refuses chunks of 4 GiB


class ImageWriter:
    """Writes images into a file as they come; the file takes the place of `path` when the `with` block ends well.

    After an error what was written stays beside it as `<name>.partial`, and a note on the error says so.

    Raises:
        StorageError: where the file cannot be written.
    """

    def __init__(self, path: Path, group: str = "dataset", header_xml: bytes | str = b"") -> None:
        self._path = Path(path)
        self._group = group
        self._header_xml = header_xml
        self._rows: ImageRows | None = None
        self._replacing = replacing(self._path)

    def __enter__(self) -> ImageWriter:
        self._file = self._replacing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._scan()
        self._replacing.__exit__(kind, error, trace)

    def write(self, image: Image) -> None:
        """Append one image to its series.

        Raises:
            StorageError: where it cannot be written.
            DataError: where it has no pixels.
        """
        with storage_errors(self._path, "written"):
            if self._rows is None:
                self._rows = ImageRows(self._scan())
            self._rows.write(image)

    def _scan(self) -> h5py.Group:
        """The group of everything, with the scan's header."""
        group = self._file.require_group(self._group)
        if self._header_xml and "xml" not in group:
            write_header(group, self._header_xml)
        return group


class ImageRows:
    """The images of a group, one variable for each shape and type of a series."""

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self._variables: dict[tuple[Any, ...], h5py.Group] = {}

    def write(self, image: Image) -> None:
        """Append one image to its series.

        Raises:
            DataError: where it has no pixels.
        """
        if not image.data.size:
            raise DataError(f"an image of shape {image.data.shape} has no pixels and cannot be stored")
        attributes = meta_xml(image.meta)
        head = image.described()
        head["attribute_string_len"] = len(attributes)
        pixels = np.ascontiguousarray(image.data)
        pixels = pixels.view(PIXELS.get(pixels.dtype, pixels.dtype))
        variable = self._variable(int(head["image_series_index"]), pixels)
        row = len(variable["header"])
        for name, value in (("data", pixels), ("header", head), ("attributes", attributes)):
            variable[name].resize(row + 1, axis=0)
            variable[name][row] = value

    def _variable(self, series: int, pixels: NDArray[Any]) -> h5py.Group:
        key = (series, pixels.shape, pixels.dtype)
        if key not in self._variables:
            n_same = sum(other[0] == series for other in self._variables)
            name = f"image_{series}" if not n_same else f"image_{series}_{n_same + 1}"
            variable = self._group.create_group(name)
            chunk = pixels.shape if pixels.nbytes <= MAX_CHUNK_BYTES else (1, 1, *pixels.shape[2:])
            limits = (None, *pixels.shape)
            variable.create_dataset("data", (0, *pixels.shape), pixels.dtype, maxshape=limits, chunks=(1, *chunk))
            variable.create_dataset("header", (0,), IMAGE_HEADER, maxshape=(None,), chunks=(64,))
            variable.create_dataset("attributes", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(64,))
            self._variables[key] = variable
        return self._variables[key]


def read_images(path: Path, group: str | None = None) -> Iterator[Image]:
    """The images of a file in the order of series, then image index; without `group`, of the one that has any.

    Raises:
        StorageError: where the file is missing, not HDF5 or damaged.
        DataError: where there are no images, several groups have some, or they are not in the layout of ISMRMRD.
    """
    with open_file(path) as file:
        found = file[_group_with_images(file, group)]
        heads = {name: _headers(found[name]) for name in _variables(found)}
        places = [
            (int(head["image_series_index"]), int(head["image_index"]), name, row)
            for name in heads
            for row, head in enumerate(heads[name])
        ]
        for _, _, name, row in sorted(places):
            yield _image(found[name], heads[name], row)


def _variables(group: h5py.Group) -> list[str]:
    """Names of the image variables of `group`; any name is good, since ISMRMRD's own tools take others."""
    wanted = {"data", "header", "attributes"}
    return [name for name, member in group.items() if isinstance(member, h5py.Group) and wanted <= set(member)]


def _group_with_images(file: h5py.File, wanted: str | None) -> str:
    having = [name for name in group_names(file) if _variables(file[name])]
    if wanted in having:
        return str(wanted)
    if wanted is None and len(having) == 1:
        return having[0]
    names = ", ".join(having or group_names(file)) or "none"
    if wanted is None and having:
        raise DataError(f"{file.filename} has images in several groups; choose one: {names}")
    asked = f" in group {wanted!r}" if wanted is not None else ""
    raise DataError(f"{file.filename} has no images{asked}; groups {'with images' if having else 'there are'}: {names}")


def _headers(variable: h5py.Group) -> NDArray[np.void]:
    data, header, attributes = (variable[name] for name in ("data", "header", "attributes"))
    if data.ndim != 5 or header.dtype.names != IMAGE_HEADER.names or not len(data) == len(header) == len(attributes):
        where = f"{variable.file.filename}: {variable.name}"
        raise DataError(f"{where} is not laid out as ISMRMRD lays it out: data {data.shape}, header {header.dtype}")
    return headers(header[:], IMAGE_HEADER)


def _image(variable: h5py.Group, heads: NDArray[np.void], row: int) -> Image:
    data = variable["data"][row]
    if data.dtype.names:
        data = data.view(np.dtype(f"<c{data.dtype.itemsize}"))
    text = variable["attributes"][row]
    text = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)
    try:
        meta = parse_meta(text.rstrip("\0"))
    except PeerError as reason:
        raise DataError(f"image {row} of {variable.name} in {variable.file.filename}: {reason.message}") from reason
    return Image(data, heads[row, ...].copy(), meta)
