"""How a client's socket is set up, for the sync and the async client alike."""

from __future__ import annotations

from typing import TypeVar

import zmq

from echotrain.mrd.errors import PeerError
from echotrain.server.wire import DEFAULT_ADDRESS

SomeSocket = TypeVar("SomeSocket", bound=zmq.Socket)  # type: ignore[type-arg]  # zmq.Socket or its asyncio kind


def connect(socket: SomeSocket, server: str, timeout: float) -> SomeSocket:
    """Connect `socket` to `server`; sending, and closing with messages unsent, wait for `timeout` [s] at most.

    Raises:
        PeerError: where `server` is no address; the socket is closed then, and its context ended.
    """
    socket.setsockopt(zmq.LINGER, int(1000 * timeout))  # what was sent is not lost by closing early
    socket.setsockopt(zmq.SNDTIMEO, int(1000 * timeout))
    socket.setsockopt(zmq.IPV6, "[" in server)
    try:
        socket.connect(server)
    except zmq.ZMQError as error:
        socket.context.destroy(linger=0)
        raise PeerError(f"{server!r} is no address of a server, such as {DEFAULT_ADDRESS}") from error
    return socket
