"""A client's connection to a server, for both clients: how its socket is set up, and how long it may be silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import zmq

from echotrain.mrd.errors import EchotrainError, PeerError
from echotrain.server.wire import DEFAULT_ADDRESS

from .handshake import come_in

SILENCE = 5.0  # [s] after which a server that says the credit each second is taken for lost
ASK_AGAIN = 1.0  # [s] after which a server that said "not now" is asked once more
RECONNECT = 60.0  # [s] that a client tries to go on, unless told otherwise

SomeSocket = TypeVar("SomeSocket", bound=zmq.Socket)  # type: ignore[type-arg]  # zmq.Socket or its asyncio kind


class Connection:
    """Where a server is, and whether it was heard of late."""

    def __init__(self, server: str, timeout: float, reconnect: float, keys: Path | str = "") -> None:
        """The server may be silent for `timeout` [s] at most, and come back within `reconnect` [s]; 0 for never.

        `keys` is the file of this client's keys, where the server wants them.
        """
        self._server = server
        self._keys = keys
        self.timeout = timeout
        """How long to wait for the first answer [s]."""
        self._reconnect = reconnect
        self.heard = time.monotonic()
        """When the server said something of a session that is open last."""
        self.patience = min(timeout, SILENCE) if reconnect else timeout
        """How long to wait for a sign of life of a session that was opened [s]."""

    @property
    def silent(self) -> bool:
        """Whether the server gave no sign of life for too long."""
        return time.monotonic() - self.heard > self.patience

    def connect(self, socket: SomeSocket) -> SomeSocket:
        """Connect `socket`; closing it with messages unsent waits for the timeout at most.

        Raises:
            PeerError: where the server's is no address, or it does not let this client in.
            ConfigError: where the file of keys cannot be used. At either, the socket is closed and its context ended.
        """
        socket.setsockopt(zmq.LINGER, int(1000 * self.timeout))  # what was sent is not lost by closing early
        socket.setsockopt(zmq.SNDHWM, 0)  # what may be under way is bounded by credit, so that sending never waits here
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # a server whose machine is gone shows, and is connected to again
        socket.setsockopt(zmq.IPV6, "[" in self._server)
        try:
            come_in(socket, self._server, self._keys)
        except EchotrainError:
            socket.context.destroy(linger=0)
            raise
        except zmq.ZMQError as error:
            socket.context.destroy(linger=0)
            raise PeerError(f"{self._server!r} is no address of a server, such as {DEFAULT_ADDRESS}") from error
        return socket

    def connect_again(self, socket: SomeSocket) -> SomeSocket:
        """A new socket in the place of `socket`, with nothing of before on its way."""
        context: Any = socket.context
        socket.close(linger=0)
        again: SomeSocket = self.connect(context.socket(zmq.DEALER))
        return again

    def attempts(self, wanted: str) -> Iterator[float]:
        """How long to wait for an answer at each attempt to go on [s]; a server that only is slow gets ever longer.

        Raises:
            PeerError: when there was time enough, or is to be none; it says what was `wanted`.
        """
        pause, limit = self.patience, time.monotonic() + self._reconnect
        while (left := limit - time.monotonic()) > 0:
            yield min(pause, left)
            pause *= 2
        seconds = self._reconnect or self.patience
        raise PeerError(f"the server at {self._server} gave no {wanted} within {seconds:g} s; is it running?")

    def no_answer(self, wanted: str) -> PeerError:
        """The error for a server that gave no sign of what was `wanted` in time."""
        return PeerError(f"the server at {self._server} gave no {wanted} within {self.timeout:g} s; is it running?")
