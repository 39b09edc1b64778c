"""The client library: feed a scan to a server and read images as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from echotrain.mrd import Image, Item
from echotrain.mrd.errors import EchotrainError
from echotrain.server.wire import DEFAULT_ADDRESS

from .connection import ASK_AGAIN, RECONNECT, Connection
from .scan import ScanProtocol

COPIED_BELOW = 65536  # [bytes]; larger payloads are handed to ZeroMQ without a copy


class Scan:
    """One scan on its way through a server, made by `open_scan`; a context manager.

    Feed it with `send` and `end`; read with `items`, `images` or `received`. Errors of the server are raised by
    whichever call learns of them. A server that is lost is waited for, and the scan goes on with it by itself, whatever
    was sent or received on the way; a warning among the items tells of it. Not to be shared between threads.
    """

    def __init__(self, protocol: ScanProtocol, connection: Connection) -> None:
        self._protocol = protocol
        self._connection = connection
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = connection.connect(self._context.socket(zmq.DEALER))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self._socket.closed:  # as it is where no other could be had
            self._socket.setsockopt(zmq.LINGER, 0)
        self.close()

    @property
    def session(self) -> str:
        """The session's id; its folder on the server has this name."""
        return self._protocol.session

    @property
    def offset(self) -> int:
        """Where in the input log the next record goes [bytes]; what the server holds, right after going on."""
        return self._protocol.offset

    @property
    def statistics(self) -> Mapping[str, Any]:
        """What the server counted; complete when everything was received."""
        return self._protocol.statistics

    def send(self, item: Item | bytes | bytearray | memoryview) -> None:
        """Send lines (a batch of any length), waveforms, images, or records encoded already.

        Waits while the server has no room. A memoryview must not change afterwards.

        Raises:
            EchotrainError: what the server reports.
            PeerError: where the server is gone.
        """
        self._receive_waiting()
        while not (self._protocol.may_send or self._protocol.error):
            self._receive_one("room for more data")
        if self._protocol.error:
            raise self._protocol.error
        self._protocol.send(item)
        self._flush()

    def end(self) -> None:
        """Say that the scan is over; images may go on coming."""
        self._protocol.end()
        self._flush()

    def items(self) -> Iterator[Item]:
        """Everything that the chain gives, as it comes, until all has come.

        Raises:
            EchotrainError: what the server reports; items that came before it are given first.
            PeerError: where the server is gone.
        """
        while True:
            yield from self.received()
            if self._protocol.done:
                return
            if self._protocol.error:
                raise self._protocol.error
            try:
                self._receive_one("sign of life")  # it gives one every second, however long the chain takes
            except EchotrainError:
                yield from self._taken()
                raise

    def images(self) -> Iterator[Image]:
        """The images among `items`."""
        return (item for item in self.items() if isinstance(item, Image))

    def received(self) -> Iterator[Item]:
        """What has come by now, without waiting.

        Raises:
            EchotrainError: what the server reports; items that came before it are given first.
            PeerError: where the server is gone.
        """
        try:
            self._receive_waiting()
        except EchotrainError:
            yield from self._taken()
            raise
        yield from self._taken()

    def wait(self, seconds: float) -> None:
        """Wait until a message of the server comes, for at most `seconds`."""
        self._socket.poll(max(1, round(1000 * seconds)))

    def abort(self) -> None:
        """Give the scan up; the server keeps what it has."""
        self._protocol.abort()
        self._flush()

    def close(self) -> None:
        """Let go of the connection; a scan that is not over goes on without this client for a while."""
        if self._protocol.error and not self._socket.closed:  # nothing is waited for any more; the server may be gone
            self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.close()
        self._context.term()

    def wait_until_open(self) -> None:
        """Wait for the server to accept the chain.

        Raises:
            EchotrainError: what the server reports.
            PeerError: where no server answers in time.
        """
        self._flush()
        while not self._protocol.opened:
            if not self._socket.poll(int(1000 * self._connection.timeout)):
                raise self._connection.no_answer("answer")
            self._receive()

    def _taken(self) -> Iterator[Item]:
        while self._protocol.items:
            item = self._protocol.take()
            self._flush()
            yield item

    def _flush(self) -> None:
        outgoing = self._protocol.outgoing
        while outgoing:
            frames = outgoing.popleft()
            self._socket.send_multipart(frames, copy=len(frames[-1]) < COPIED_BELOW)

    def _receive_waiting(self) -> None:
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._receive()
        self._flush()  # what needs no taking is acknowledged at once
        if self._protocol.lost or (self._protocol.waits and self._connection.silent):
            self._go_on("sign of life")

    def _receive_one(self, wanted: str) -> None:
        """Wait for one message; where none comes, go on with the server that comes back."""
        self._flush()
        if not self._protocol.lost and self._socket.poll(int(1000 * self._connection.patience)):
            self._receive()
            self._flush()
        else:
            self._go_on(wanted)

    def _receive(self) -> None:
        self._protocol.receive(self._socket.recv_multipart())
        if self._protocol.opened:
            self._connection.heard = time.monotonic()

    def _go_on(self, wanted: str) -> None:
        """Open the session again, on a new connection."""
        lost = self._connection.heard
        for seconds in self._connection.attempts(wanted):
            self._socket = self._connection.connect_again(self._socket)
            self._protocol.reopen()
            self._flush()
            while not (self._protocol.opened or self._protocol.lost) and self._socket.poll(int(1000 * seconds)):
                self._receive()
            if self._protocol.opened:
                self._protocol.note_gap(time.monotonic() - lost)
                self._flush()
                return
            if self._protocol.lost:
                time.sleep(ASK_AGAIN)


def open_scan(
    config: str,
    header: bytes | str,
    *,
    parameters: Mapping[str, str] | None = None,
    server: str = DEFAULT_ADDRESS,
    label: str = "",
    session: str = "",
    timeout: float = 30.0,
    reconnect: float = RECONNECT,
    keys: Path | str = "",
) -> Scan:
    """Open a scan on `server`: `config` is a configuration's name or its XML, `header` the MRD header's XML.

    `parameters` sets values by `Gadget.parameter`. `session` goes on with a session of before: its `offset` says which
    bytes the server holds already. `timeout` [s] bounds the wait for any sign of the server, and `reconnect` [s]
    the wait for one that was lost in the midst of the scan, which at 0 is an error at once.

    `keys` is the file of this client's keys for a server that wants them, unless ECHOTRAIN_KEYS names it.

    Raises:
        EchotrainError: what the server reports, such as an unknown configuration or a bad header.
        PeerError: where no server answers in time.
    """
    raw = header.encode() if isinstance(header, str) else header
    protocol = ScanProtocol(config, raw, parameters, label, session, goes_on=reconnect > 0)
    scan = Scan(protocol, Connection(server, timeout, reconnect, keys))
    try:
        scan.wait_until_open()
    except BaseException as error:
        scan.__exit__(type(error), error, error.__traceback__)
        raise
    return scan
