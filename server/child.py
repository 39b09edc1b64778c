"""A gadget of the public `gadgetron` Python package as a child process, and the connection to it.

The child connects to a port of ours and is sent a configuration and the MRD header; then items go both ways, and each
side says CLOSE at its end. An error in its code shows in its exit status only.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from echotrain.mrd import Close, Decoder, ErrorText, Item, Text
from echotrain.mrd.errors import ConfigError, EchotrainError, GadgetError, StreamError

CONNECT_SECONDS = 60.0  # for Python and NumPy to start on a busy machine
END_SECONDS = 10.0  # from the child's CLOSE to its end
CHECK_SECONDS = 0.2  # how soon the death of a child is seen whose connection something else holds open
RECEIVE_BYTES = 1 << 20
LAST_LINES = 40  # of what the child printed, in the details of an error

# The package's reader spins for ever on a connection that has gone, so the child ends with its parent by itself. It
# writes an item in pieces, of which the second would wait 40 ms for the first to be acknowledged.
_RUNNER = """
import os, runpy, socket, threading, time
connect = socket.create_connection
def connect_without_delay(*arguments):
    connected = connect(*arguments)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
socket.create_connection = connect_without_delay
def end_with_parent():
    while os.getppid() == {parent}:
        time.sleep(0.5)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("gadgetron", run_name="__main__", alter_sys=True)
"""


class Child:
    """A running child; what it prints goes to our standard error."""

    def __init__(self, python: str, module: str, target: str, folders: Sequence[Path], opening: bytes) -> None:
        """Start it, wait until it has connected, and send it `opening`: configuration and header.

        Raises:
            ConfigError: where the package `gadgetron` is not installed.
            GadgetError: where it ends or hangs before it connects.
        """
        self._name = f"{module}:{target}"
        self._decoder = Decoder()
        self._printed: deque[str] = deque(maxlen=LAST_LINES)
        self._said_close = False
        self.ended = False
        """Whether nothing more will come."""
        held = contextlib.ExitStack()
        self._stop = weakref.finalize(self, held.close)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            command = [python, "-c", _RUNNER.format(parent=os.getpid()), str(listener.getsockname()[1]), module, target]
            try:
                self._process = subprocess.Popen(  # noqa: S603 - `module` was checked against what the server allows
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="backslashreplace",
                    env=_environment(folders),
                )
            except OSError as error:
                raise ConfigError(f"{python} cannot be started for {self._name}: {error}") from error
            held.callback(self._process.wait)
            held.callback(self._process.kill)
            self._listening = threading.Thread(target=_tee, args=(self._process.stdout, self._printed), daemon=True)
            self._listening.start()
            self._socket = held.enter_context(self._accept(listener, python))
        self._socket.settimeout(CONNECT_SECONDS)
        with contextlib.suppress(OSError):  # of a child that has died or hangs, as the first item will find
            self._socket.sendall(opening)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, data: bytes | memoryview, *, to_the_end: bool = False) -> Iterator[Item]:
        """Send `data`, and give what comes meanwhile, or all that comes until the child has ended.

        Both at once, so that neither side waits for the other to read.

        Raises:
            GadgetError: where the child ends before it was sent all, says an error, or what is no MRD stream.
        """
        rest = memoryview(data)
        while not self.ended:
            timeout = CHECK_SECONDS if rest or to_the_end else 0
            came, free, _ = select.select([self._socket], [self._socket] if rest else [], [], timeout)
            if came:
                yield from self._receive()
            if free:
                with contextlib.suppress(ConnectionError):  # what it said before comes first
                    rest = rest[self._socket.send(rest) :]
            if not came and not free:
                if not rest and not to_the_end:
                    return
                self.ended = self._process.poll() is not None
        if rest and not to_the_end:
            raise self.failure("ended before the scan did")

    def end(self) -> Iterator[Text]:
        """Wait for the end of a child that has ended its stream.

        Raises:
            GadgetError: where it failed, or did not say that it was done.
        """
        status = self._status()
        if status or not self._said_close:
            raise self.failure("ended without ending its stream")
        if status is None:
            yield Text(
                f"warning: {self._name} ended its stream, but not itself within {END_SECONDS:g} s, and was stopped"
            )
        self._stop()

    def failure(self, otherwise: str) -> EchotrainError:
        """The error that says how the child failed; `otherwise` for one that ended as if all were well."""
        status = self._status()
        self._stop()
        self._listening.join(1.0)  # unless what the child started holds on to its output
        last = next((line for line in reversed(self._printed) if line.strip()), "it printed nothing").strip()
        if status is None:
            words = f"did not end within {END_SECONDS:g} s"
        elif status < 0:
            words = f"was killed by signal {-status}"
        elif status > 0:
            words = f"failed with status {status}: {last}"
        else:
            words = otherwise
        return GadgetError(f"{self._name} {words}", detail="".join(self._printed))

    def _status(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS)
        return None

    def _receive(self) -> Iterator[Item]:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        self.ended = not data
        try:
            for item in self._decoder.feed(data):
                if isinstance(item, Close):
                    self._said_close = True
                elif isinstance(item, ErrorText):
                    raise GadgetError(f"{self._name}: {item.text}")
                else:
                    yield item
        except StreamError as error:
            raise GadgetError(f"{self._name} sent what is not supported: {error}") from error

    def _accept(self, listener: socket.socket, python: str) -> socket.socket:
        listener.settimeout(CHECK_SECONDS)
        limit = time.monotonic() + CONNECT_SECONDS
        while time.monotonic() < limit:
            with contextlib.suppress(TimeoutError):
                return listener.accept()[0]
            if self._process.poll() is not None:
                error = self.failure("ended before it connected")
                if "No module named gadgetron" in error.detail:
                    raise ConfigError(
                        f"{python} has no package gadgetron, which {self._name} needs: pip install gadgetron"
                    )
                raise error
        self._stop()
        raise GadgetError(f"{self._name} did not connect within {CONNECT_SECONDS:g} s")


def _environment(folders: Sequence[Path]) -> dict[str, str]:
    paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
    return {
        "GADGETRON_EXTERNAL_LOG_LEVEL": "INFO",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",  # the folder that the server happens to run in holds no gadgets
        "PYTHONUNBUFFERED": "1",
    }


def _tee(source: IO[str] | None, printed: deque[str]) -> None:
    with contextlib.closing(source or io.StringIO()) as lines:
        for line in lines:
            printed.append(line)
            sys.stderr.write(line)
