"""Waits for whatever the front listens to, and calls back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

READ, WRITE = zmq.POLLIN, zmq.POLLOUT


class Loop:
    """Sockets (ZeroMQ's or the system's) and file descriptors, each with what to call when it is ready."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[Any, Callable[[int], None]] = {}

    def watch(self, source: Any, callback: Callable[[int], None], events: int = READ) -> None:
        """Call `callback` with what `source` is ready for, READ or WRITE or both, whenever it is."""
        self._callbacks[source] = callback
        self._poller.register(source, events)

    def forget(self, source: Any) -> None:
        """Listen to `source` no longer."""
        self._callbacks.pop(source, None)
        if source in self._poller:
            self._poller.unregister(source)

    def wait(self) -> None:
        """Wait until anything is ready."""
        self._poller.poll()

    def turn(self, seconds: float) -> None:
        """Call back for all that is ready, waiting for it up to `seconds`."""
        for source, events in self._poller.poll(int(1000 * seconds)):
            callback = self._callbacks.get(source)  # one that was called before may have forgotten it
            if callback is not None:
                callback(events)
