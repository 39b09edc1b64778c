"""How a client comes in at a server: with its key, and told at once where it is not let in."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from echotrain.mrd.errors import PeerError
from echotrain.server.keys import read_client

KEYS = "ECHOTRAIN_KEYS"
"""Environment variable: the file of a client's keys, unless it is told another."""

WAIT = 1.0  # [s] for the handshake; a server that takes longer is waited for as one that gives no answer
_FAILURES = 3  # without a reason, until they are taken for those of a wrong key or none, which a server may not answer
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_CLOSED  # nobody is there
)


def come_in(socket: zmq.Socket[Any], server: str, keys: Path | str = "") -> None:
    """Connect `socket` to `server`, with the keys in a file if one is given.

    Raises:
        ConfigError: where the file is none of a client's keys.
        PeerError: where the server does not let this client in.
        ZMQError: where `server` is no address.
    """
    keys = keys or os.environ.get(KEYS, "")
    if keys:
        own = read_client(Path(keys))  # each time, since it may have been renewed
        socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, own.server)
    told = f"inproc://handshake-{secrets.token_hex(8)}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(socket.context.underlying)
    socket.monitor(told, _EVENTS)
    try:
        with context.socket(zmq.PAIR) as events:
            events.connect(told)
            socket.connect(server)
            _watch(events, server, keys)
    finally:
        socket.disable_monitor()


def _watch(events: zmq.Socket[bytes], server: str, keys: Path | str) -> None:
    """Wait for the end of the handshake.

    Raises:
        PeerError: where it failed, with what to do.
    """
    n_failures = 0
    limit = time.monotonic() + WAIT
    while (left := limit - time.monotonic()) > 0 and events.poll(int(1000 * left) + 1):
        found = recv_monitor_message(events)
        match zmq.Event(found["event"]):
            case zmq.Event.HANDSHAKE_FAILED_AUTH:
                raise PeerError(f"the server at {server} does not let in the key in {keys}; was it revoked?")
            case zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
                if found["value"] != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
                    continue
                if keys:
                    raise PeerError(f"the server at {server} has no keys; start it with --keys, or give none here")
                raise _no_key(server)
            case zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
                n_failures += 1
                if n_failures < _FAILURES:
                    continue
                if keys:
                    raise PeerError(
                        f"the server at {server} has another key than {keys} says, or has no keys; start it with "
                        "--keys, or ask for a new file"
                    )
                raise _no_key(server)  # which it may not come to say before it ends the connection
            case _:
                return


def _no_key(server: str) -> PeerError:
    return PeerError(
        f"the server at {server} lets in only clients with a key; give --keys FILE "
        "(`echotrain keys new NAME` on the server makes one), or the address of the native protocol"
    )
