"""Inputs made of others: bytes changed anywhere, and changes that keep the form of what is decoded."""

import contextlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from echotrain.mrd import decode
from echotrain.mrd.errors import StreamError
from echotrain.mrd.messages import MessageId
from echotrain.mrd.records import ACQUISITION_HEADER, IMAGE_HEADER, WAVEFORM_HEADER

MAX_BYTES = 16 << 10  # of an input

Mutate = Callable[[bytes, Random, Sequence[bytes]], bytes]
"""An input, where chance comes from, and inputs to take parts of."""

_NUMBERS = [0, 1, 2, 3, 7, 8, 16, 31, 32, 33, 64, 127, 128, 255, 256, 1023, 1024, 1025]
_BITS = (15, 16, 20, 22, 26, 28, 30, 31, 32, 40, 53, 62, 63, 64)
_NUMBERS += [(1 << bits) + more for bits in _BITS for more in (-1, 0, 1)]
_FORMATS = ("<H", "<I", "<Q", ">H", ">I", ">Q", "B")
_HEADERS = {
    MessageId.ACQUISITION: ACQUISITION_HEADER,
    MessageId.IMAGE: IMAGE_HEADER,
    MessageId.WAVEFORM: WAVEFORM_HEADER,
}
_COUNTS = {"number_of_samples", "active_channels", "trajectory_dimensions", "channels", "matrix_size"}
_COUNTS |= {"data_type", "flags"}
_COMPRESSED = (1 << 52, 1 << 53, 1 << 54, 1 << 55)
_PLACES = {
    number: [(2 + place, dtype.base.itemsize) for name, (dtype, place) in header.fields.items() if name in _COUNTS]
    for number, header in _HEADERS.items()
}
_COUNTED = {MessageId.CONFIG_TEXT: 4, MessageId.HEADER: 4, MessageId.TEXT: 4, MessageId.DICOM: 4}
_COUNTED |= {MessageId.ERROR: 8, MessageId.DEPENDENCY_QUERY: 8}


def mutate_bytes(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """One to four changes anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(changed, rng, others)
    return bytes(changed[:MAX_BYTES])


def _change(data: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + 1 + int(rng.expovariate(0.1)))
    match rng.randrange(9):
        case 0 if data:
            data[at - 1] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[at - 1] = rng.randrange(256)
        case 2 | 3:
            wide = rng.choice(_FORMATS)
            number = struct.pack(wide, rng.choice(_NUMBERS) % (1 << 8 * struct.calcsize(wide)))
            data[at : at + len(number)] = number
        case 4:
            del data[at:end]
        case 5:
            data[at:at] = rng.randbytes(end - at)
        case 6:
            data[at:at] = data[at:end] * rng.choice((1, 1, 2, 3, MAX_BYTES // (end - at or 1)))
        case 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at:end] = other[start : start + rng.randrange(1, 200)]
        case 8:
            del data[at:]


def mutate_in_place(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    """One to four changes that leave all else where it is."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, wide = rng.randrange(len(data)), rng.choice(_FORMATS)
        size = struct.calcsize(wide)
        number = struct.pack(wide, rng.choice((*_NUMBERS, len(data), rng.randrange(1 << 16))) % (1 << 8 * size))
        changed[at : at + size] = rng.choice((number, number, rng.randbytes(size), data[at - size : at]))
    return bytes(changed[: len(data)])


def mutate_stream(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Records of an MRD stream dropped, repeated, moved or put in, and fields that count set to other numbers."""
    if rng.random() < 0.3:
        return mutate_bytes(data, rng, others)
    records = _records(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(records) + 1)
        match rng.randrange(6):
            case 0:
                del records[at : at + 1]
            case 1:
                records[at:at] = _records(rng.choice(others))
            case 2:
                records[at:at] = records[at : at + 1] * rng.choice((1, 2, 9))
            case 3:
                rng.shuffle(records)
            case _ if at < len(records):
                records[at] = _with_field(records[at], rng, others)
    return b"".join(records)[:MAX_BYTES]


def _records(data: bytes) -> list[bytes]:
    """Whole records, one a batch; what is none stands at the end."""
    edges = [0]
    with contextlib.suppress(StreamError):
        edges += [end for _, end in decode(memoryview(data))]
    return [data[a:b] for a, b in pairwise([*edges, len(data)]) if b > a]


def _with_field(record: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    number = int.from_bytes(record[:2], "little")
    if places := _PLACES.get(number):
        at, width = rng.choice(places)
        value = rng.choice(_NUMBERS)
        if width == 8 and rng.random() < 0.8:
            value = rng.choice(_COMPRESSED)
        return _put(record, at, width, value)
    if (width := _COUNTED.get(number)) and rng.random() < 0.8:
        # Another text that is counted well.
        text = mutate_bytes(record[2 + width :], rng, others)
        return record[:2] + len(text).to_bytes(width, "little") + text
    return _put(record, rng.choice((0, 2, 4, 6, 8, 10, 18)), rng.choice((2, 4, 8)), rng.choice(_NUMBERS))


def _put(record: bytes, at: int, width: int, value: int) -> bytes:
    return record[:at] + (value % (1 << 8 * width)).to_bytes(width, "little") + record[at + width :]


class MutateTokens:
    """Tokens of a text dropped, repeated, moved, or replaced by those of a dictionary or of other inputs."""

    def __init__(self, pattern: bytes, words: Sequence[bytes]) -> None:
        self._pattern = re.compile(pattern, re.DOTALL)
        self._words = words

    def __call__(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        if rng.random() < 0.2:
            return mutate_bytes(data, rng, others)
        tokens = self._pattern.findall(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(tokens) + 1)
            end = at + 1 + int(rng.expovariate(0.3))
            match rng.randrange(8):
                case 0:
                    del tokens[at:end]
                case 1:
                    tokens[at:at] = tokens[at:end]
                case 2:
                    most = MAX_BYTES // max(1, sum(map(len, tokens[at:end])))
                    tokens[at:at] = tokens[at:end] * rng.choice((2, 20, most))
                case 3 | 4 | 5:
                    tokens[at : at + 1] = [rng.choice(self._words)]
                case 6:
                    taken = self._pattern.findall(rng.choice(others))
                    start = rng.randrange(len(taken) + 1)
                    tokens[at:at] = taken[start : start + 1 + int(rng.expovariate(0.2))]
                case 7 if at < len(tokens):
                    other = rng.randrange(len(tokens))
                    tokens[at], tokens[other] = tokens[other], tokens[at]
        return b"".join(tokens)[:MAX_BYTES]


_VALUES = b"0 -1 1 2 65535 65536 4294967296 1e999 -0.0 nan inf 1_0 true False a x/y .. \xc3\xa9 \xff \0".split(b" ")
_VALUES += [b"None", b"1+2j", b"a@b", b"@"]
_VALUES += [b"", b" ", b"\r", b"\n", b"1 2 3", b"[1, 2]", b"9" * 400, b"9" * 5000]
_VALUES += [b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8"]  # half a character, one of four bytes, a line's end
_VALUES += [b'"%s"' % value for value in _VALUES]
_ENCODINGS = b"utf-16 utf-7 hex idna undefined latin-1 shift_jis cp037 unicode_escape punycode".split()
_XML = b"<a> </a> <a/> <c:a/> <!--x--> <![CDATA[]]> <?x?> &lt; &#x10ffff; &#13; &#0; &amp; &b; \" ' = >".split()
_XML += [b"<!DOCTYPE a>", b'<!DOCTYPE a [<!ENTITY b "c">]>', b'<a xmlns="b" xmlns:c="d">']
_XML += [b'<?xml version="1.0" encoding="%s"?>' % name for name in _ENCODINGS]
_JSON = [*b'[ ] { } , : null NaN -Infinity "\\ud800"'.split(), b"[" * 3000, b'{"a":' * 1500]
_WORDS = [*b'= " # \\ [ {}'.split(), b"(" * 200, b"\t", b"\r\n"]
_MSGPACK = [b"\xc0", b"\xc2", b"\xc3", b"\x00", b"\xff", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7)]
_MSGPACK += [b"\xa0", b"\xa1a", b"\xa1\xff", b"\xc4\x00", b"\xc4\x02ab", b"\xd6\xff" + bytes(4), b"\xd4\x05x", b"\xc1"]
_MSGPACK += [b"\x80", b"\x90", b"\x91", b"\x81\xa1a", b"\xdc\x03\xe8", b"\xdd\x00\x00\x30\x00", b"\xde\xff\xff"]
_MSGPACK += [b"\xcb\x7f\xf8" + bytes(6), b"\xdf\x00\x00\x10\x00"]

mutate_xml = MutateTokens(rb"<\w+|</\w+>|/?>|\w+=|\"[^\"]*\"|[^<>\"=]+|.", [*_VALUES, *_XML])
mutate_json = MutateTokens(rb'"[^"]*"|-?[\d.eE+]+|\s+|\w+|.', [*_VALUES, *_JSON])
mutate_words = MutateTokens(rb"\w+|\s+|.", [*_VALUES, *_WORDS])


def mutate_msgpack(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Any bytes, and values of msgpack in any place."""
    if rng.random() < 0.5:
        return mutate_bytes(data, rng, others)
    at = rng.randrange(len(data) + 1)
    value = rng.choice(_MSGPACK) * rng.choice((1, 1, 1, 2, 1000))
    return (data[:at] + value + data[at + rng.choice((0, 1, 1, len(value))) :])[:MAX_BYTES]


def mutate_archive(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    """Bytes within the members of a zip archive, whose checksums are right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        members = {}
    if not members or rng.random() < 0.3:
        return mutate_bytes(data, rng, others)
    chosen = rng.choice(list(members))
    mutate = rng.choice((mutate_bytes, mutate_words))
    members[chosen] = mutate(members[chosen], rng, list(members.values()))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return written.getvalue()
