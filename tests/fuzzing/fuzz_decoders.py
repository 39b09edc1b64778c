"""The decoders that are fuzzed, and what each promises of any bytes at all.

A check takes an input and says whether it was accepted. What it raises is a defect: only errors of Echotrain are
expected, pieces decode as the whole does, and what was decoded is encoded to what decodes to the same.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import fuzz_seeds
from fuzz_mutations import (
    Mutate,
    mutate_archive,
    mutate_bytes,
    mutate_in_place,
    mutate_json,
    mutate_msgpack,
    mutate_stream,
    mutate_words,
    mutate_xml,
)

from echotrain.mrd import (
    Acquisitions,
    Decoder,
    Noise,
    decode,
    encode,
    groups,
    parse_header,
    read_header,
    read_images,
    read_items,
)
from echotrain.mrd.compressed import method
from echotrain.mrd.errors import ConfigError, DataError, HeaderError, PeerError, SessionError, StorageError, StreamError
from echotrain.mrd.flags import COMPRESSED, Flag
from echotrain.mrd.meta import meta_xml, parse_meta
from echotrain.server.chain import build_chain
from echotrain.server.chain_xml import chain_xml, parse_chain
from echotrain.server.configs import parse_config
from echotrain.server.folder import SessionFolder
from echotrain.server.keys import KeyFolder, read_client, read_secret
from echotrain.server.mrd_opening import Opening
from echotrain.server.noise_store import NoiseStore, scan_time
from echotrain.server.registry import Registry
from echotrain.server.settings import Settings
from echotrain.server.wire import Done, pack, unpack

ZFP_MEMORY = 2500  # for each byte: it may hold 8 blocks of 16 zeros, and is filled up to twice the samples


@dataclass(frozen=True)
class Fuzzed:
    """One decoder."""

    check: Callable[[bytes, Path], bool]
    """Of an input, with a folder for files."""
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    share: int = 1
    """How many of its inputs are made for one of the slowest decoder's."""
    memory: int = 200
    """What it may take for each byte of an input, beside what it takes of any [bytes]."""
    foreign: bool = False
    """Whether a library in C reads, whose crashes and hangs are counted, and are no defects of Echotrain."""


def _pieces(data: bytes) -> list[bytes]:
    """`data` cut at places of its own, or byte by byte where it is short."""
    chance = Random(zlib.crc32(data))
    n_cuts = chance.choice((1, 2, 5))
    cuts = range(1, len(data)) if len(data) < 300 else sorted(chance.randrange(len(data)) for _ in range(n_cuts))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


def _encoded(pieces: list[bytes]) -> tuple[bytes, str, bool]:
    """What comes out of a stream, encoded again; the error at its end; and whether all of it could be encoded."""
    decoder, out, whole = Decoder(), bytearray(), True
    try:
        for piece in pieces:
            for item in decoder.feed(piece):
                try:
                    out += encode(item)
                except StreamError:  # a name that is longer in Unicode than it was in bytes
                    whole = False
        decoder.close()
    except StreamError as error:
        return bytes(out), str(error), whole
    return bytes(out), "", whole


def check_stream(data: bytes, _: Path) -> bool:
    encoded, error, whole = _encoded([data])
    assert _encoded(_pieces(data)) == (encoded, error, whole), "in pieces it is another stream"
    if whole:
        assert _encoded([encoded]) == (encoded, "", True), "what was encoded does not decode to the same"
    position = 0
    try:
        for item, end in decode(memoryview(data)):
            flags = int.from_bytes(data[position + 4 : position + 12], "little")
            if isinstance(item, Acquisitions) and not flags & COMPRESSED:
                assert bytes(encode(item)) == data[position:end], "lines are not what came"
            position = end
    except StreamError:
        return False
    return not error


def check_compressed(data: bytes, _: Path) -> bool:
    """Which method, channels and samples, then the payload."""
    which, n_channels, n_samples = struct.unpack("<BHH", data[:5].ljust(5, b"\0"))
    n_channels = n_channels % 64 + 1
    n_samples = n_samples % 256 + 1
    try:
        samples = method(Flag.COMPRESSION2 if which % 2 else Flag.COMPRESSION1)(data[5:], n_channels, n_samples)
    except StreamError:
        return False
    assert samples.shape == (n_channels, n_samples)
    assert samples.dtype.str == "<c8"
    return True


def _opened(pieces: list[bytes], folder: Path) -> tuple[object, ...]:
    opening = Opening(Settings(sessions=folder / "sessions"))
    answers: list[bytes] = []
    try:
        for piece in pieces:
            answers += (bytes(encode(item)) for item in opening.feed(piece))
    except PeerError as error:
        return (str(error),)
    said = (opening.request, opening.header, opening.fire, opening.awaiting)
    return ("", answers, opening.complete, opening.closed, bytes(opening.rest), *said)


def check_opening(data: bytes, folder: Path) -> bool:
    whole = _opened([data], folder)
    assert _opened(_pieces(data), folder) == whole, "in pieces it is another opening"
    return not whole[0]


def check_envelope(data: bytes, _: Path) -> bool:
    try:
        message = unpack(data)
    except PeerError:
        return False
    if not isinstance(message, Done):  # whose statistics may hold anything, and only a server packs
        assert unpack(pack(message)) == message
    return True


def check_chain(data: bytes, _: Path) -> bool:
    try:
        description = parse_config(data)
        chain = build_chain(description, Registry())
    except ConfigError:
        return False
    written = chain_xml(description, chain.gadgets)
    again = parse_chain(written)
    assert chain_xml(again, build_chain(again, Registry()).gadgets) == written, "the chain is written another one"
    return True


def check_header(data: bytes, _: Path) -> bool:
    try:
        header = parse_header(data)
    except HeaderError:
        return False
    hash(header.noise_dependency)
    return True


def check_meta(data: bytes, _: Path) -> bool:
    try:
        meta = parse_meta(data.decode("utf-8", errors="replace"))
    except PeerError:
        return False
    assert parse_meta(meta_xml(meta).decode()) == meta, "attributes are written others"
    return True


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def check_keys(data: bytes, folder: Path) -> bool:
    path = _file(folder / "client.key", data)
    path.chmod(0o600)
    allowed = folder / "clients"
    allowed.mkdir(exist_ok=True)
    (allowed / "x.pub").write_bytes(data)
    found, damaged = KeyFolder(folder).clients()
    assert len(found) + len(damaged) == 1
    try:
        keys = read_secret(path, "")
        assert keys.public.decode() in found
        read_client(path)
    except ConfigError:
        return False
    return True


def check_request(data: bytes, folder: Path) -> bool:
    _file(folder / "session.json", data)
    try:
        request = SessionFolder(folder).request
    except SessionError:
        return False
    return isinstance(request["config"], str)


def check_events(data: bytes, folder: Path) -> bool:
    _file(folder / "events.jsonl", data)
    session = SessionFolder(folder)
    scan_time(session)
    session.write_event("done")
    *_, last = session.events()
    return last["event"] == "done"


def check_noise(data: bytes, folder: Path) -> bool:
    store = NoiseStore(folder / "noise")
    store.folder.mkdir(exist_ok=True)
    (store.folder / "x.npz").write_bytes(data)
    (found,) = store.all()
    store.latest("v / m / s", ["A"], 1e9 + 1)
    return isinstance(found, Noise)


def check_hdf5(data: bytes, folder: Path) -> bool:
    path = _file(folder / "input.h5", data)
    accepted = False
    for read in (read_header, read_items, read_images):
        try:
            for group in groups(path)[:3]:
                for _ in read(path, group):
                    pass
                accepted = True
        except (StorageError, DataError):
            continue
    return accepted


DECODERS = {
    "stream": Fuzzed(check_stream, fuzz_seeds.streams, mutate_stream, 40, ZFP_MEMORY),
    "compressed": Fuzzed(check_compressed, fuzz_seeds.compressed, mutate_bytes, 40, ZFP_MEMORY),
    "opening": Fuzzed(check_opening, fuzz_seeds.openings, mutate_stream, 30),
    "envelope": Fuzzed(check_envelope, fuzz_seeds.envelopes, mutate_msgpack, 60),
    "chain": Fuzzed(check_chain, fuzz_seeds.chains, mutate_xml, 20),
    "header": Fuzzed(check_header, fuzz_seeds.headers, mutate_xml, 20),
    "meta": Fuzzed(check_meta, fuzz_seeds.metas, mutate_xml, 20),
    "keys": Fuzzed(check_keys, fuzz_seeds.keys, mutate_words, 5),
    "request": Fuzzed(check_request, fuzz_seeds.requests, mutate_json, 10),
    "events": Fuzzed(check_events, fuzz_seeds.events, mutate_json, 10),
    "noise": Fuzzed(check_noise, fuzz_seeds.noises, mutate_archive, 2),
    "hdf5": Fuzzed(check_hdf5, fuzz_seeds.hdf5, mutate_in_place, 1, foreign=True),
}
