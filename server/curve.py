"""Who may come in at a socket with CURVE: the clients whose keys are in a folder, as that is at the moment."""

from __future__ import annotations

import logging
from typing import Any

import zmq
import zmq.utils.z85

from echotrain.mrd.errors import ConfigError

from .keys import KeyFolder
from .loop import Loop

_log = logging.getLogger(__name__)

DOMAIN = b"echotrain"


class Doorkeeper:
    """Answers ZeroMQ's question about every client that shakes hands (ZAP, https://rfc.zeromq.org/spec/27)."""

    def __init__(self, folder: KeyFolder, context: zmq.Context[Any], loop: Loop) -> None:
        """Read the keys.

        Raises:
            ConfigError: where the server has none, or they are not its owner's alone.
        """
        self._folder = folder
        self._loop = loop
        self._state = folder.state()
        self._server = folder.server()
        self._clients = self._read_clients()
        self._socket = context.socket(zmq.REP)
        self._socket.bind("inproc://zeromq.zap.01")
        loop.watch(self._socket, self._answer)

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Let only clients of the folder in at what `socket` is bound to from now on."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._server.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody comes in where nobody answers

    def name(self, public_key: str) -> str | None:
        """The client of this key, or None once it was revoked."""
        return self._clients.get(public_key)

    def look_around(self) -> bool:
        """Notice keys that were made or revoked; whether the server's own was replaced, and sockets need it anew."""
        state = self._folder.state()
        if state == self._state:
            return False
        self._state = state
        self._clients = self._read_clients()
        try:
            server = self._folder.server()
        except (ConfigError, OSError) as error:
            _log.warning("the server goes on with the key that it has: %s", error)
            return False
        replaced, self._server = server != self._server, server
        return replaced

    def close(self) -> None:
        """Answer no more."""
        self._loop.forget(self._socket)
        self._socket.close(linger=0)

    def _read_clients(self) -> dict[str, str]:
        found, damaged = self._folder.clients()
        for words in damaged:
            _log.warning("nobody is let in by it: %s", words)
        return found

    def _answer(self, _events: int) -> None:
        """Say whether one client may come in; its messages then bear its public key as their User-Id."""
        _version, number, _domain, _address, _identity, mechanism, *credentials = self._socket.recv_multipart()
        self._clients, _ = self._folder.clients()  # afresh, since a client may come right after its key was made
        key = zmq.utils.z85.encode(credentials[0]).decode() if mechanism == b"CURVE" else ""
        code, words = (b"200", b"") if key in self._clients else (b"400", b"no client of this key")
        self._socket.send_multipart([b"1.0", number, code, words, key.encode(), b""])
