"""Items in, bytes of an MRD stream out; no I/O."""

from __future__ import annotations

import struct

import numpy as np

from .acquisitions import Acquisitions
from .decode import Item
from .errors import StreamError
from .image import Image
from .messages import CONFIG_NAME_BYTES, MAX_META_BYTES, MAX_RECORD_BYTES, MAX_TEXT_BYTES, MessageId
from .meta import meta_xml
from .records import DATA_TYPE_NUMBERS, WAVEFORM_HEADER
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


def encode(item: Item) -> bytes | memoryview:
    """The record, or for a batch the records, of `item`.

    Raises:
        StreamError: where the item cannot be expressed.
        DataError: where a line's header does not count what the line has, or an image is too large for its header.
    """
    match item:
        case Acquisitions():
            return _acquisitions(item)
        case Waveforms():
            return _waveforms(item)
        case Image():
            return _image(item)
        case Array(data=data):
            return _array(data)
        case Text(text=text):
            return _counted(MessageId.TEXT, text.encode())
        case ConfigText(text=text):
            return _counted(MessageId.CONFIG_TEXT, text.encode())
        case HeaderText(xml=xml):
            return _counted(MessageId.HEADER, xml)
        case ErrorText(text=text):
            return _counted(MessageId.ERROR, text.encode(), "Q")
        case DependencyQuery(meta=meta):
            return _counted(MessageId.DEPENDENCY_QUERY, meta.encode(), "Q")
        case Close():
            return struct.pack("<H", MessageId.CLOSE)
        case ConfigName(name=name):
            return _config_name(name)
        case Query(correlation_id=number, key=key):
            raw = key.encode()
            return struct.pack("<HQQQ", MessageId.QUERY, 0, number, len(raw)) + raw
        case Response(correlation_id=number, text=text):
            raw = text.encode()
            return struct.pack("<HQQ", MessageId.RESPONSE, number, len(raw)) + raw
        case Dicom(content=content, name=name, meta=meta):
            parts = struct.pack("<HI", MessageId.DICOM, len(content)), content
            return b"".join((*parts, *(struct.pack("<Q", len(raw)) + raw for raw in (name.encode(), meta.encode()))))


def _counted(number: MessageId, raw: bytes, width: str = "I") -> bytes:
    _check_text(raw, MAX_TEXT_BYTES)
    return struct.pack("<H" + width, number, len(raw)) + raw


def _check_text(raw: bytes, limit: int) -> None:
    if len(raw) > limit:
        raise StreamError(f"a text of {len(raw)} bytes cannot be sent; at most {limit} are accepted")


def _config_name(name: str) -> bytes:
    raw = name.encode()
    if len(raw) >= CONFIG_NAME_BYTES:
        raise StreamError(f"a configuration's name has at most {CONFIG_NAME_BYTES - 1} bytes, not {len(raw)}")
    return struct.pack("<H", MessageId.CONFIG_NAME) + raw.ljust(CONFIG_NAME_BYTES, b"\0")


def _raw(array: np.ndarray, item_bytes: int) -> np.ndarray:
    """`array` as items of `item_bytes` opaque bytes, one for each entry of its first axis."""
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    return rows.view(np.dtype((np.void, item_bytes)))[:, 0]


def _records(number: MessageId, head: np.ndarray, *parts: np.ndarray | None) -> memoryview:
    """Records of one shape: number, header, then each part's entry; one copy of every byte."""
    fields: list[tuple[str, str]] = [("id", "<u2"), ("head", f"V{head.dtype.itemsize}")]
    sizes = {f"part{i}": part[0].nbytes for i, part in enumerate(parts) if part is not None and part[0].nbytes}
    fields += [(name, f"V{size}") for name, size in sizes.items()]
    records = np.empty(len(head), np.dtype(fields))
    records["id"] = number
    records["head"] = head.view(f"V{head.dtype.itemsize}")
    for i, part in enumerate(parts):
        if part is not None and f"part{i}" in sizes:
            records[f"part{i}"] = _raw(part, sizes[f"part{i}"])
    return records.view(np.uint8).data


def _acquisitions(lines: Acquisitions) -> memoryview:
    if lines.readout_in_image_space:
        raise StreamError("lines whose readout is in image space cannot be expressed in an MRD stream")
    lines.check()
    return _records(MessageId.ACQUISITION, lines.head, lines.trajectory, lines.data)


def _waveforms(waveforms: Waveforms) -> memoryview:
    head = np.zeros(len(waveforms), WAVEFORM_HEADER)  # the padding within is sent as zeros
    for name in WAVEFORM_HEADER.names or ():
        head[name] = waveforms.head[name]
    return _records(MessageId.WAVEFORM, head, waveforms.data)


def _check_size(data: np.ndarray) -> None:
    if data.nbytes > MAX_RECORD_BYTES:
        raise StreamError(f"an array of shape {data.shape} cannot be sent; at most {MAX_RECORD_BYTES} bytes are")


def _array(data: np.ndarray) -> bytes:
    _check_size(data)
    number = DATA_TYPE_NUMBERS.get(data.dtype)
    if number is None:
        raise StreamError(
            f"an array of {data.dtype} cannot be sent; ISMRMRD has {', '.join(map(str, DATA_TYPE_NUMBERS))}"
        )
    return struct.pack(f"<HHHH{data.ndim}Q", MessageId.ARRAY, number, 0, data.ndim, *data.shape) + data.tobytes()


def _image(image: Image) -> bytes:
    attributes = meta_xml(image.meta)
    _check_text(attributes, MAX_META_BYTES)
    _check_size(image.data)
    head = image.described()
    head["attribute_string_len"] = len(attributes)
    opening = struct.pack("<H", MessageId.IMAGE), head.tobytes(), struct.pack("<Q", len(attributes)), attributes
    return b"".join((*opening, np.ascontiguousarray(image.data).reshape(-1).view(np.uint8).data))
