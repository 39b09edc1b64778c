"""Clients of the MRD protocol over TCP, written from its description: as Gadgetron's client speaks, and as FIRE does.

They know nothing of Echotrain. Like the real ones they fail at a message that they do not know, and at anything that
comes after the server's CLOSE; unlike them they never wait for ever.
"""

import itertools
import socket
import struct
from dataclasses import dataclass, field

import ismrmrd
import numpy as np

SECONDS = 120.0  # that a client waits for the server to take or send something

CONFIG_NAME, CONFIG_TEXT, HEADER, CLOSE, TEXT, QUERY, RESPONSE = range(1, 8)
ACQUISITION, DICOM, DEPENDENCY, IMAGE, WAVEFORM = 1008, 1018, 1019, 1022, 1026

PIXELS = {1: "<u2", 2: "<i2", 3: "<u4", 4: "<i4", 5: "<f4", 6: "<f8", 7: "<c8", 8: "<c16"}
LEVELS = ("DEBUG   ", "INFO    ", "WARNING ", "ERROR   ", "CRITICAL")


@dataclass
class Heard:
    """What a server said until it ended the connection."""

    images: list = field(default_factory=list)
    """(ismrmrd.ImageHeader, array of shape (channel, z, y, x), meta as a dict) of each."""

    texts: list = field(default_factory=list)
    responses: dict = field(default_factory=dict)
    dependencies: list = field(default_factory=list)
    closed: bool = False
    """Whether CLOSE came."""


class Client:
    """One connection; everything that it says is made of `message`s."""

    ending = b""  # of texts, and counted in their length
    knows = frozenset()

    def __init__(self, address, seconds=SECONDS):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    # -- to the server

    def send(self, *messages, chunks=()):
        """All of the messages, in pieces of the sizes of `chunks` over and over, or at once."""
        data = memoryview(b"".join(messages))
        sizes = itertools.cycle(chunks or [len(data) or 1])
        while data:
            size = next(sizes)
            self.socket.sendall(data[:size])
            data = data[size:]

    def text_message(self, number, text):
        raw = (text if isinstance(text, bytes) else text.encode()) + self.ending
        return struct.pack("<HI", number, len(raw)) + raw

    def config(self, name):
        return struct.pack("<H1024s", CONFIG_NAME, name.encode())

    def script(self, xml):
        return self.text_message(CONFIG_TEXT, xml)

    def header(self, xml):
        return self.text_message(HEADER, xml)

    def text(self, text):
        return self.text_message(TEXT, text)

    def close(self):
        return struct.pack("<H", CLOSE)

    def query(self, key, number=0):
        return struct.pack("<HQQQ", QUERY, 0, number, len(key)) + key.encode()

    def acquisitions(self, heads, data, trajectories=itertools.repeat(())):  # noqa: B008
        """Messages of lines; headers as arrays or ctypes, data of shape (line, channel, sample)."""
        lines = zip(heads, data, trajectories)  # noqa: B905
        return b"".join(
            struct.pack("<H", ACQUISITION)
            + bytes(head)
            + np.asarray(trajectory, "<f4").tobytes()
            + np.asarray(samples, "<c8").tobytes()
            for head, samples, trajectory in lines
        )

    def waveform(self, data, **fields):
        waveform = ismrmrd.Waveform.from_array(np.asarray(data, np.uint32), **fields)
        return struct.pack("<H", WAVEFORM) + bytes(waveform.getHead()) + np.asarray(data, "<u4").tobytes()

    def image(self, pixels, meta="", **fields):
        """The message of an image of shape (channel, z, y, x)."""
        pixels = np.asarray(pixels)
        head = ismrmrd.ImageHeader()
        head.version, head.data_type = 1, {np.dtype(name): n for n, name in PIXELS.items()}[pixels.dtype]
        head.matrix_size, head.channels = pixels.shape[:0:-1], pixels.shape[0]
        for name, value in fields.items():
            setattr(head, name, value)
        raw = meta.encode()
        return struct.pack("<H", IMAGE) + bytes(head) + struct.pack("<Q", len(raw)) + raw + pixels.tobytes()

    def end(self):
        """Say that nothing more will be sent, without CLOSE."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self):
        """Cut the connection as a machine does that is reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()
        self.socket.close()

    # -- from the server

    def hear(self, heard=None):
        """Everything up to the end of the connection."""
        heard = heard or Heard()
        while not heard.closed:
            opening = self.stream.read(2)
            if not opening:
                return heard
            (number,) = struct.unpack("<H", opening)
            assert number in self.knows, f"message {number} is unknown to {type(self).__name__}"
            self._take(number, heard)
        rest = self.stream.read()
        assert not rest, f"after CLOSE came {rest[:40]!r}"
        return heard

    def _take(self, number, heard):
        match number:
            case 4:
                heard.closed = True
            case 5:
                heard.texts.append(self.read_text(self._counted("<I")))
            case 7:
                (correlation,) = self._read("<Q")
                heard.responses[correlation] = self._counted("<Q").decode()
            case 1019:
                heard.dependencies.append(self._counted("<Q").decode())
            case 1022:
                heard.images.append(self._image())
            case _:
                raise AssertionError(f"a server has no cause to send message {number}")

    def read_text(self, raw):
        return raw.decode().rstrip("\0")

    def _image(self):
        head = ismrmrd.ImageHeader.from_buffer_copy(self._bytes(198))
        raw = self._counted("<Q")
        assert head.attribute_string_len == len(raw)
        x, y, z = head.matrix_size
        dtype = np.dtype(PIXELS[head.data_type])
        pixels = np.frombuffer(self._bytes(x * y * z * head.channels * dtype.itemsize), dtype)
        meta = dict(ismrmrd.Meta.deserialize(raw.rstrip(b"\0").decode())) if raw else {}
        return head, pixels.reshape(head.channels, z, y, x), meta

    def _bytes(self, size):
        raw = self.stream.read(size)
        assert len(raw) == size, f"the server stopped within a message: {len(raw)} of {size} bytes"
        return raw

    def _read(self, layout):
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))

    def _counted(self, layout):
        (length,) = self._read(layout)
        assert length < 1 << 28, f"a length of {length} bytes"
        return self._bytes(length)


class GadgetronClient(Client):
    """Counts no NUL; prints what texts it gets."""

    knows = frozenset({CLOSE, TEXT, RESPONSE, DICOM, DEPENDENCY, IMAGE})


class FireClient(Client):
    """Counts the NUL that ends each text, and reads a level of eight characters before each that it gets."""

    ending = b"\0"
    knows = frozenset({CONFIG_NAME, CONFIG_TEXT, HEADER, CLOSE, TEXT, ACQUISITION, IMAGE, WAVEFORM})

    def read_text(self, raw):
        """(level, text)."""
        assert raw.endswith(b"\0"), f"no NUL ends the text {raw!r}"
        text = raw[:-1].decode()
        assert "\0" not in text
        assert text[:8] in LEVELS, f"no level before the text {text!r}"
        assert text[8] == " "
        return text[:8].rstrip(), text[9:]


def opening(client, scan, config="rss"):
    """The messages before the lines of a scan."""
    return client.config(config) + client.header(scan.header)


def lines_of(client, scan):
    """The messages of a scan's lines, one for each."""
    return [
        client.acquisitions([head], [data])
        for batch in scan.batches
        for head, data in zip(batch.head, batch.data, strict=True)
    ]


def assert_refused(client, *words):
    """The last text is an error with these words, and CLOSE ends it all; gives what was heard."""
    heard = client.hear()
    assert heard.closed
    assert heard.texts, "nothing was said"
    error = heard.texts[-1]
    if isinstance(client, FireClient):
        assert error[0] == "ERROR"
        error = f"error: {error[1]}"
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    return heard
