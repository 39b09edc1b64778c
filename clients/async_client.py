"""The client library for asyncio: the same scan, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from echotrain.mrd import Image, Item
from echotrain.mrd.errors import EchotrainError
from echotrain.server.wire import DEFAULT_ADDRESS

from .connection import ASK_AGAIN, RECONNECT, Connection
from .scan import ScanProtocol


class AsyncScan:
    """One scan on its way through a server, made by `open_async_scan`; an async context manager.

    `send` and `items` may run in two tasks at once. Errors of the server are raised by whichever call learns of them. A
    server that is lost is waited for, as by `Scan`.
    """

    def __init__(self, protocol: ScanProtocol, connection: Connection) -> None:
        self._protocol = protocol
        self._connection = connection
        self._context = zmq.asyncio.Context()
        self._socket = connection.connect(self._context.socket(zmq.DEALER))
        self._receiving = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self._socket.closed:  # as it is where no other could be had
            self._socket.setsockopt(zmq.LINGER, 0)
        self.close()

    @property
    def session(self) -> str:
        """The session's id."""
        return self._protocol.session

    @property
    def offset(self) -> int:
        """Where in the input log the next record goes [bytes]; what the server holds, right after going on."""
        return self._protocol.offset

    @property
    def statistics(self) -> Mapping[str, Any]:
        """What the server counted; complete when everything was received."""
        return self._protocol.statistics

    async def send(self, item: Item | bytes | bytearray | memoryview) -> None:
        """Send lines (a batch of any length), waveforms, images, or records encoded already.

        Raises:
            EchotrainError: what the server reports.
        """
        while not (self._protocol.may_send or self._protocol.error) or self._overdue:
            await self._receive(until=lambda: self._protocol.may_send and not self._overdue)
        if self._protocol.error:
            raise self._protocol.error
        self._protocol.send(item)
        await self._flush()

    async def end(self) -> None:
        """Say that the scan is over; images may go on coming."""
        self._protocol.end()
        await self._flush()

    async def items(self) -> AsyncIterator[Item]:
        """Everything that the chain gives, as it comes, until all has come.

        Raises:
            EchotrainError: what the server reports; items that came before it are given first.
            PeerError: where the server is gone.
        """
        while True:
            while self._protocol.items:
                item = self._protocol.take()
                await self._flush()
                yield item
            if self._protocol.error:
                raise self._protocol.error
            if self._protocol.done:
                return
            try:
                await self._receive(until=lambda: bool(self._protocol.items) or self._protocol.done)
            except EchotrainError as error:
                if error is not self._protocol.error:  # which is raised after what came before it
                    raise

    async def images(self) -> AsyncIterator[Image]:
        """The images among `items`."""
        async for item in self.items():
            if isinstance(item, Image):
                yield item

    async def abort(self) -> None:
        """Give the scan up; the server keeps what it has."""
        self._protocol.abort()
        await self._flush()

    def close(self) -> None:
        """Let go of the connection; a scan that is not over goes on without this client for a while."""
        if self._protocol.error and not self._socket.closed:  # nothing is waited for any more; the server may be gone
            self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.close()
        self._context.term()

    async def wait_until_open(self) -> None:
        """Wait for the server to accept the chain."""
        await self._flush()
        while not self._protocol.opened:
            if not await self._socket.poll(int(1000 * self._connection.timeout)):
                raise self._connection.no_answer("answer")
            await self._take_message()

    @property
    def _overdue(self) -> bool:
        """Whether the server should have been heard of."""
        return self._protocol.waits and self._connection.silent

    async def _flush(self) -> None:
        while self._protocol.outgoing:
            await self._socket.send_multipart(self._protocol.outgoing.popleft())

    async def _receive(self, until: Callable[[], bool]) -> None:
        """Take one message, unless another task took what makes `until` true meanwhile; go on with a lost server."""
        async with self._receiving:
            if until() or self._protocol.error:
                return
            patience = 0 if self._overdue else self._connection.patience  # for what may have come since
            if not self._protocol.lost and await self._socket.poll(int(1000 * patience)):
                await self._take_message()
                await self._flush()  # what needs no taking is acknowledged at once
            else:
                await self._go_on()

    async def _take_message(self) -> None:
        self._protocol.receive(await self._socket.recv_multipart())
        if self._protocol.opened:
            self._connection.heard = time.monotonic()

    async def _go_on(self) -> None:
        """Open the session again, on a new connection."""
        lost = self._connection.heard
        for seconds in self._connection.attempts("sign of life"):
            self._socket = self._connection.connect_again(self._socket)
            self._protocol.reopen()
            await self._flush()
            while not (self._protocol.opened or self._protocol.lost) and await self._socket.poll(int(1000 * seconds)):
                await self._take_message()
            if self._protocol.opened:
                self._protocol.note_gap(time.monotonic() - lost)
                await self._flush()
                return
            if self._protocol.lost:
                await asyncio.sleep(ASK_AGAIN)


async def open_async_scan(
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
) -> AsyncScan:
    """Open a scan as `open_scan` does."""
    raw = header.encode() if isinstance(header, str) else header
    protocol = ScanProtocol(config, raw, parameters, label, session, goes_on=reconnect > 0)
    scan = AsyncScan(protocol, Connection(server, timeout, reconnect, keys))
    try:
        await scan.wait_until_open()
    except BaseException as error:
        await scan.__aexit__(type(error), error, error.__traceback__)
        raise
    return scan
