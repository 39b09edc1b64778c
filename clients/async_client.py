"""The client library for asyncio: the same scan, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from echotrain.mrd import Image, Item
from echotrain.mrd.errors import EchotrainError, PeerError
from echotrain.server.wire import DEFAULT_ADDRESS

from .connection import connect
from .scan import ScanProtocol


class AsyncScan:
    """One scan on its way through a server, made by `open_async_scan`; an async context manager.

    `send` and `items` may run in two tasks at once. Errors of the server are raised by whichever call learns of them.
    """

    def __init__(self, protocol: ScanProtocol, server: str, timeout: float) -> None:
        self._protocol = protocol
        self._server = server
        self._timeout = timeout
        self._context = zmq.asyncio.Context()
        self._socket = connect(self._context.socket(zmq.DEALER), server, timeout)
        self._receiving = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
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
        while not (self._protocol.may_send or self._protocol.error):
            await self._receive(until=lambda: self._protocol.may_send)
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
        if self._protocol.error:  # nothing is waited for any more; the server may be gone
            self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.close()
        self._context.term()

    async def wait_until_open(self) -> None:
        """Wait for the server to accept the chain."""
        await self._flush()
        while not self._protocol.opened:
            await self._receive(until=lambda: self._protocol.opened)

    async def _flush(self) -> None:
        while self._protocol.outgoing:
            try:
                await self._socket.send_multipart(self._protocol.outgoing.popleft())
            except zmq.Again:
                raise PeerError(
                    f"the server at {self._server} took no message within {self._timeout:g} s; is it running?"
                ) from None

    async def _receive(self, until: Callable[[], bool]) -> None:
        """Take one message, unless another task took what makes `until` true meanwhile."""
        async with self._receiving:
            if until() or self._protocol.error:
                return
            try:
                frames = await asyncio.wait_for(self._socket.recv_multipart(), self._timeout)
            except TimeoutError:
                raise PeerError(
                    f"the server at {self._server} gave no answer within {self._timeout:g} s; is it running?"
                ) from None
            self._protocol.receive(frames)
            await self._flush()  # what needs no taking is acknowledged at once


async def open_async_scan(
    config: str,
    header: bytes | str,
    *,
    parameters: Mapping[str, str] | None = None,
    server: str = DEFAULT_ADDRESS,
    label: str = "",
    session: str = "",
    timeout: float = 30.0,
) -> AsyncScan:
    """Open a scan as `open_scan` does."""
    raw = header.encode() if isinstance(header, str) else header
    scan = AsyncScan(ScanProtocol(config, raw, parameters, label, session), server, timeout)
    try:
        await scan.wait_until_open()
    except BaseException as error:
        await scan.__aexit__(type(error), error, error.__traceback__)
        raise
    return scan
