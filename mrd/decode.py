"""Bytes of an MRD stream in, items out; no I/O.

Runs of acquisitions (or waveforms) of one shape come out as one batch, a strided view of the bytes that were handed in:
nothing is copied and nothing is done per line. Compressed acquisitions come out one by one, uncompressed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .acquisitions import Acquisitions
from .compressed import method, payload_limit
from .errors import StreamError
from .flags import COMPRESSED
from .image import Image
from .messages import (
    CONFIG_NAME_BYTES,
    DEPRECATED_IDS,
    MAX_DIMS,
    MAX_LINE_BYTES,
    MAX_META_BYTES,
    MAX_RECORD_BYTES,
    MAX_TEXT_BYTES,
    MessageId,
)
from .meta import parse_meta
from .records import ACQUISITION_HEADER, DATA_TYPES, IMAGE_HEADER, WAVEFORM_HEADER
from .text import (
    Array,
    Close,
    ConfigName,
    ConfigText,
    DependencyQuery,
    Dicom,
    ErrorText,
    HeaderText,
    Query,
    Response,
    Text,
)
from .waveforms import Waveforms

Item = (
    Acquisitions
    | Waveforms
    | Image
    | Array
    | Text
    | HeaderText
    | ConfigName
    | ConfigText
    | Close
    | Query
    | Response
    | ErrorText
    | Dicom
    | DependencyQuery
)

ID_BYTES = 2
BATCH_BYTES = 2 << 20  # of one batch of lines at most, so that arithmetic on it stays near the cache


def decode(buffer: memoryview, start: int = 0, *, base: int = 0) -> Iterator[tuple[Item, int]]:
    """Whole records of `buffer` from `start` on, each with the position of its end.

    Stops, without an error, at a record that is not whole. `base` is where in the stream the buffer begins, for errors.

    Raises:
        StreamError: at bytes that cannot be a record.
    """
    position = start
    while len(buffer) - position >= ID_BYTES:
        (number,) = struct.unpack_from("<H", buffer, position)
        try:
            parser = _PARSERS.get(number)
            if parser is None:
                raise StreamError(_unknown(number))
            parsed = parser(buffer, position + ID_BYTES)
        except StreamError as error:
            raise StreamError(f"{error.message} (record at byte {base + position} of the stream)") from error
        if parsed is None:
            return
        yield parsed
        position = parsed[1]


class Decoder:
    """Items from bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._offset = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Item]:
        """The items that `data` completes; they may be views of it, or of a copy of it."""
        if self._held:
            self._held += data
            data = self._held
        done = 0
        try:
            for item, end in decode(memoryview(data), base=self._offset):
                done = end
                yield item
        finally:
            if done or data is not self._held:
                self._held = bytearray(memoryview(data)[done:])
            self._offset += done

    def close(self) -> None:
        """Say that no more bytes will come.

        Raises:
            StreamError: where the last record is not whole.
        """
        if self._held:
            raise StreamError(truncated(self._offset, len(self._held)))


def truncated(position: int, n_bytes: int) -> str:
    """The words for a stream that ends within a record."""
    return f"the stream ends within a record: {n_bytes} bytes are left over at byte {position}"


def _unknown(number: int) -> str:
    if number in DEPRECATED_IDS:
        return f"message {number} is deprecated and no longer supported"
    return f"these bytes are not an MRD stream: no message has the number {number}"


Parsed = tuple[Item, int] | None  # the item and where it ends, or None where bytes are missing


def _counted(buffer: memoryview, position: int, width: str, limit: int = MAX_TEXT_BYTES) -> tuple[bytes, int] | None:
    """Bytes after their length, an unsigned integer of struct code `width`."""
    start = position + struct.calcsize("<" + width)
    if len(buffer) < start:
        return None
    (length,) = struct.unpack_from("<" + width, buffer, position)
    if length > limit:
        raise StreamError(f"a length field says {length} bytes; at most {limit} are accepted")
    end = start + length
    return (bytes(buffer[start:end]), end) if len(buffer) >= end else None


def _string(raw: bytes) -> str:
    """Text, with or without NULs counted at its end."""
    return raw.rstrip(b"\0").decode("utf-8", errors="replace")


def _text_of(make: Callable[[str], Item], width: str = "I") -> Callable[[memoryview, int], Parsed]:
    def parse(buffer: memoryview, position: int) -> Parsed:
        counted = _counted(buffer, position, width)
        return None if counted is None else (make(_string(counted[0])), counted[1])

    return parse


def _config_name(buffer: memoryview, position: int) -> Parsed:
    end = position + CONFIG_NAME_BYTES
    if len(buffer) < end:
        return None
    name, _, _ = bytes(buffer[position:end]).partition(b"\0")
    return ConfigName(name.decode("utf-8", errors="replace")), end


def _header(buffer: memoryview, position: int) -> Parsed:
    counted = _counted(buffer, position, "I")
    return None if counted is None else (HeaderText(counted[0].rstrip(b"\0")), counted[1])


def _close(_buffer: memoryview, position: int) -> Parsed:
    return Close(), position


def _query(buffer: memoryview, position: int) -> Parsed:
    if len(buffer) < position + 16:
        return None
    (correlation_id,) = struct.unpack_from("<Q", buffer, position + 8)
    counted = _counted(buffer, position + 16, "Q")
    return None if counted is None else (Query(correlation_id, _string(counted[0])), counted[1])


def _response(buffer: memoryview, position: int) -> Parsed:
    if len(buffer) < position + 8:
        return None
    (correlation_id,) = struct.unpack_from("<Q", buffer, position)
    counted = _counted(buffer, position + 8, "Q")
    return None if counted is None else (Response(correlation_id, _string(counted[0])), counted[1])


def _dicom(buffer: memoryview, position: int) -> Parsed:
    content = _counted(buffer, position, "I", MAX_RECORD_BYTES)
    name = content and _counted(buffer, content[1], "Q")
    meta = name and _counted(buffer, name[1], "Q")
    if not (content and name and meta):
        return None
    return Dicom(content[0], _string(name[0]), _string(meta[0])), meta[1]


def _run(buffer: memoryview, position: int, size: int, header: np.dtype, same: tuple[str, ...]) -> NDArray[np.void]:
    """Headers of the records of `size` bytes from `position` on that are whole and agree with the first in `same`.

    Every record before the first that differs has the same size, so each stands where the stride says.
    """
    count = min((len(buffer) - position + ID_BYTES) // size, max(1, BATCH_BYTES // size))
    heads: NDArray[np.void] = np.ndarray((count,), header, buffer, position, (size,))
    if count == 1:
        return heads
    numbers: NDArray[np.uint16] = np.ndarray((count,), "<u2", buffer, position - ID_BYTES, (size,))
    agree = numbers == numbers[0]
    for name in same:
        agree &= heads[name] == heads[name][0]
    return heads if agree.all() else heads[: int(agree.argmin())]


def _acquisitions(buffer: memoryview, position: int) -> Parsed:
    start = position + ACQUISITION_HEADER.itemsize
    if len(buffer) < start:
        return None
    first: NDArray[np.void] = np.ndarray((), ACQUISITION_HEADER, buffer, position)
    n_samples, n_channels = int(first["number_of_samples"]), int(first["active_channels"])
    n_dims = int(first["trajectory_dimensions"])
    trajectory_bytes = 4 * n_samples * n_dims
    size = ID_BYTES + ACQUISITION_HEADER.itemsize + trajectory_bytes + 8 * n_samples * n_channels
    if size > MAX_LINE_BYTES:
        raise StreamError(
            f"an acquisition of {n_channels} channels, {n_samples} samples and {n_dims} trajectory dimensions "
            f"is larger than {MAX_LINE_BYTES} bytes"
        )
    if int(first["flags"]) & COMPRESSED:
        return _compressed(buffer, position, n_channels, n_samples, n_dims)
    if len(buffer) - position + ID_BYTES < size:
        return None
    same = ("number_of_samples", "active_channels", "trajectory_dimensions")
    head = _run(buffer, position, size, ACQUISITION_HEADER, same)
    compressed = (head["flags"] & np.uint64(COMPRESSED)) != 0
    if compressed.any():
        head = head[: int(compressed.argmax())]
    n = len(head)
    trajectory: NDArray[np.float32] | None = None
    if n_dims:
        shape = (n, n_samples, n_dims)
        trajectory = np.ndarray(shape, "<f4", buffer, start, (size, 4 * n_dims, 4))
    data_start = start + trajectory_bytes
    data: NDArray[np.complex64]
    if n_samples * n_channels:
        data = np.ndarray((n, n_channels, n_samples), "<c8", buffer, data_start, (size, 8 * n_samples, 8))
    else:
        data = np.zeros((n, n_channels, n_samples), np.complex64)
    return Acquisitions(head, data, trajectory), position - ID_BYTES + n * size


def _compressed(buffer: memoryview, position: int, n_channels: int, n_samples: int, n_dims: int) -> Parsed:
    """One acquisition whose samples are compressed; it is as any other when it comes out."""
    head: NDArray[np.void] = np.ndarray((1,), ACQUISITION_HEADER, buffer, position).copy()
    samples_of = method(int(head["flags"][0]))
    start = position + ACQUISITION_HEADER.itemsize
    payload = _counted(buffer, start + 4 * n_samples * n_dims, "I", payload_limit(n_channels, n_samples))
    if payload is None:
        return None
    head["flags"] &= ~np.uint64(COMPRESSED)
    trajectory: NDArray[np.float32] | None = None
    if n_dims:
        trajectory = np.ndarray((1, n_samples, n_dims), "<f4", buffer, start)
    return Acquisitions(head, samples_of(payload[0], n_channels, n_samples)[None], trajectory), payload[1]


def _waveforms(buffer: memoryview, position: int) -> Parsed:
    start = position + WAVEFORM_HEADER.itemsize
    if len(buffer) < start:
        return None
    first: NDArray[np.void] = np.ndarray((), WAVEFORM_HEADER, buffer, position)
    n_samples, n_channels = int(first["number_of_samples"]), int(first["channels"])
    size = ID_BYTES + WAVEFORM_HEADER.itemsize + 4 * n_samples * n_channels
    if size > MAX_LINE_BYTES:
        raise StreamError(
            f"a waveform of {n_channels} channels and {n_samples} samples is larger than {MAX_LINE_BYTES} bytes"
        )
    if len(buffer) - position + ID_BYTES < size:
        return None
    head = _run(buffer, position, size, WAVEFORM_HEADER, ("number_of_samples", "channels"))
    shape = (len(head), n_channels, n_samples)
    data: NDArray[np.uint32]
    if n_samples * n_channels:
        data = np.ndarray(shape, "<u4", buffer, start, (size, 4 * n_samples, 4))
    else:
        data = np.zeros(shape, np.uint32)
    return Waveforms(head, data), position - ID_BYTES + len(head) * size


def _array_type(number: int, shape: tuple[int, ...]) -> np.dtype:
    """The dtype of an array of data type `number`, whose shape and size are accepted."""
    dtype = DATA_TYPES.get(number)
    if dtype is None:
        raise StreamError(f"data type {number} is none of ISMRMRD's, 1 to 8")
    if len(shape) > MAX_DIMS:
        raise StreamError(
            f"an array of shape {shape[:8]}... has {len(shape)} dimensions; at most {MAX_DIMS} are accepted"
        )
    if math.prod(extent or 1 for extent in shape) * dtype.itemsize > MAX_RECORD_BYTES:
        raise StreamError(f"an array of shape {shape} is larger than {MAX_RECORD_BYTES} bytes")
    return dtype


def _array_data(
    buffer: memoryview, start: int, dtype: np.dtype, shape: tuple[int, ...]
) -> tuple[NDArray[Any], int] | None:
    """An aligned copy of an array, and where it ends."""
    end = start + math.prod(shape) * dtype.itemsize
    if len(buffer) < end:
        return None
    return np.frombuffer(bytes(buffer[start:end]), dtype).reshape(shape), end


def _image(buffer: memoryview, position: int) -> Parsed:
    start = position + IMAGE_HEADER.itemsize
    if len(buffer) < start:
        return None
    head: NDArray[np.void] = np.ndarray((), IMAGE_HEADER, buffer, position).copy()
    x, y, z = (int(extent) for extent in head["matrix_size"])
    shape = (int(head["channels"]), z, y, x)
    dtype = _array_type(int(head["data_type"]), shape)
    attributes = _counted(buffer, start, "Q", MAX_META_BYTES)
    if attributes is None:
        return None
    content = _array_data(buffer, attributes[1], dtype, shape)
    return None if content is None else (Image(content[0], head, parse_meta(_string(attributes[0]))), content[1])


def _array(buffer: memoryview, position: int) -> Parsed:
    if len(buffer) < position + 6:
        return None
    number, _version, n_dims = struct.unpack_from("<HHH", buffer, position)
    start = position + 6 + 8 * n_dims
    if len(buffer) < start:
        return None
    shape = struct.unpack_from(f"<{n_dims}Q", buffer, position + 6)
    content = _array_data(buffer, start, _array_type(number, shape), shape)
    return None if content is None else (Array(content[0]), content[1])


_PARSERS: dict[int, Callable[[memoryview, int], Parsed]] = {
    MessageId.CONFIG_NAME: _config_name,
    MessageId.CONFIG_TEXT: _text_of(ConfigText),
    MessageId.HEADER: _header,
    MessageId.CLOSE: _close,
    MessageId.TEXT: _text_of(Text),
    MessageId.QUERY: _query,
    MessageId.RESPONSE: _response,
    MessageId.ERROR: _text_of(ErrorText, "Q"),
    MessageId.ACQUISITION: _acquisitions,
    MessageId.DICOM: _dicom,
    MessageId.DEPENDENCY_QUERY: _text_of(DependencyQuery, "Q"),
    MessageId.IMAGE: _image,
    MessageId.WAVEFORM: _waveforms,
    MessageId.ARRAY: _array,
}
