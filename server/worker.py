"""A worker: one process that runs one session's chain, reading its input log and appending to its output log.

Two threads, so that intake never waits for a solve: the first reads lines as they come and runs the gadgets that work
on lines, the second those that work on whole k-spaces and images. The queue between them is short; what waits longer
waits in the log.
"""

from __future__ import annotations

import faulthandler
import fcntl
import io
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import scipy.fft
import torch

from echotrain.gadgets.tensors import N_CORES
from echotrain.mrd import (
    Acquisitions,
    Close,
    ConfigName,
    ConfigText,
    Header,
    HeaderText,
    Image,
    Item,
    Noise,
    Text,
    encode,
    parse_header,
)
from echotrain.mrd.errors import EchotrainError, StreamError

from .allocator import keep_freed_buffers
from .chain import lines_left_out
from .chain_graph import Place
from .chain_xml import chain_xml
from .folder import SessionFolder, no_room
from .information import answered
from .log_reader import LogReader
from .memory import end_before_others, is_memory_error, limit_own_memory
from .noise_store import noise_store
from .output_log import OutputLog
from .prepare import prepare_chain
from .running import BUILDS, IMAGES, LINES, RunningMarks
from .session_noise import SessionNoise
from .settings import Settings
from .watchdog import DUMP

ROOM_IN = 0.5  # [s] until a full disk is tried again
QUEUED_UNITS = 2  # items between the two stages
# [s] between asking for more and asking to be woken; under load there is more by then and no message is needed. While
# there is, naps grow longer, so that batches do.
SHORTEST_NAP, LONGEST_NAP = 0.0002, 0.001

_CLOSE_BYTES = len(encode(Close()))


def worker_main(connection: Connection, settings: Settings) -> None:
    """Stand ready, run the one session that the front asks for, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to stop
    os.setpgid(0, 0)  # so that processes that gadgets start end with this one
    _end_with_front()
    keep_freed_buffers()
    sys.setswitchinterval(0.0005)  # the two stages hand over often
    # Two stages share the cores, and torch's threads wait for one another by spinning.
    torch.set_num_threads(max(1, N_CORES // 2))
    _warm_up()
    try:
        path, fallback, reason = msgpack.unpackb(connection.recv_bytes())
    except EOFError:
        return
    folder = SessionFolder(Path(path))
    with folder.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    faulthandler.enable()
    faulthandler.register(DUMP)
    end_before_others()
    limit_own_memory(settings.memory)
    _Run(connection, settings, folder, fallback, reason).run()


def _warm_up() -> None:
    """Pay for the first use of the numerical libraries before there is a scan to wait for it."""
    samples = torch.zeros(2, 2, 512, dtype=torch.complex64)
    torch.fft.ifft(samples)
    torch.matmul(samples[0].mT, samples[0])
    for square in (torch.eye(4, dtype=torch.complex64), torch.eye(4, dtype=torch.complex128)):
        torch.linalg.solve(square, torch.linalg.cholesky(square))
        torch.linalg.eigh(square)
    scipy.fft.ifft(np.zeros((2, 256, 4), np.complex64), axis=-2, workers=N_CORES)


class _Failed:
    """Goes through the queue in the place of items when the first stage has failed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Run:
    """One run of a session; with `fallback`, of that chain, for the `reason` that its own has failed."""

    def __init__(
        self, connection: Connection, settings: Settings, folder: SessionFolder, fallback: str, reason: str
    ) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._settings = settings
        self._folder = folder
        self._fallback, self._reason = fallback, reason
        self._queue: queue.Queue[tuple[Item, Place] | _Failed | None] = queue.Queue(QUEUED_UNITS)
        self._statistics = {"lines": 0, "images": 0}
        self._n_unused = 0  # lines that no gadget took

    def run(self) -> None:
        """Run the session to its end or its first error, and say which."""
        try:
            reader, header = self._prepare()
        except Exception as error:
            self._fail(error)
            return
        stages = self._chain.stages
        self._chain.entered = lambda index: self._mark(stages[index], index)
        self._running.begin(IMAGES)
        self._send("ready")
        intake = threading.Thread(target=self._intake, args=(reader,), daemon=True)
        try:
            self._output = OutputLog(self._folder, header, self._wait_for_room, self._tell_output, self._turn)
            if self._output.closed:  # by a run before this one
                self._send("done", self._output.size, self._told_before())
                os._exit(0)
            for text in self._notes:
                self._write(text)
            intake.start()
            while (onward := self._next()) is not None:
                if isinstance(onward, _Failed):
                    raise onward.error
                for given, _ in self._chain.process(*onward):
                    self._write(given)
            for given, _ in self._chain.finish(IMAGES):
                self._write(given)
            if self._n_unused:
                self._write(lines_left_out(self._n_unused))
            self._output.write(Close())
            self._send("done", self._output.size, self._statistics)
            os._exit(0)  # all is written; an interpreter's tidy end would only take time
        except Exception as error:
            self._fail(error)
            os._exit(1)  # the other stage may stand in the middle of anything

    def _prepare(self) -> tuple[LogReader, Header]:
        """Build and start the chain before any line is there."""
        self._running = RunningMarks(self._folder)
        self._running.begin(LINES)
        self._mark(LINES, BUILDS)
        request = self._folder.request
        if self._fallback:
            request = {"config": self._fallback, "parameters": {}, "options": {}, "notes": []}
        header = self._header = parse_header(self._folder.header.read_bytes())
        description, self._chain = prepare_chain(
            request["config"], self._settings, request["parameters"], request["options"]
        )
        self._notes = [*map(Text, request["notes"]), *map(Text, self._chain.notes)]
        self._turn = None
        if self._fallback:
            words = f"warning: {self._reason}; what follows is of the fallback chain {self._chain.name!r}"
            self._turn = Text(words)
            self._notes.insert(0, self._turn)
        self._chain.entered = lambda index: self._mark(LINES, index)
        self._folder.chain.write_text(chain_xml(description, self._chain.gadgets))
        self._chain.start(header)
        self._mark(LINES, -1)
        self._noise = SessionNoise(noise_store(self._settings), self._folder, header)
        return LogReader(self._folder.input), header

    def _intake(self, reader: LogReader) -> None:
        """Run the first stage on the log as it grows."""
        try:
            self._running.begin(LINES)
            for item in self._items(reader):
                if isinstance(item, Acquisitions):
                    self._statistics["lines"] += len(item)
                for onward in self._chain.process(item, stage=LINES):
                    self._hand_on(onward)
            for onward in self._chain.finish(LINES):
                self._hand_on(onward)
            self._hand_on(None)
        except EOFError:
            _end_without_front()
        except BaseException as error:
            self._queue.put(_Failed(error))

    def _items(self, reader: LogReader) -> Any:
        """The items of the log until it is closed; asks the front to be woken when there is nothing to read."""
        yield from self._noise.found(self._chain.gadgets)
        seen, nap = 0, SHORTEST_NAP
        ended: bool | str = False  # or why the input ends without a record that closes it
        while True:
            size = reader.size()
            if size > seen:
                seen = size
                for item in reader.read(size):
                    if isinstance(item, ConfigName | ConfigText):
                        raise StreamError("a configuration came in the midst of data; it is sent first, and once")
                    elif not isinstance(item, HeaderText):
                        yield answered(item)
                    elif item.xml.rstrip(b"\0") != self._header.xml.rstrip(b"\0"):
                        raise StreamError("another header came in the midst of data; it is sent before, and once")
                if reader.closed:
                    self._send("closed")
                    late = reader.size() - reader.position
                    if late > _CLOSE_BYTES:  # a client may send the end itself, and then say it
                        yield Text(f"warning: {late} bytes came after the end of the scan, and mean nothing")
                    return
                self._mark(LINES, -1)
                time.sleep(nap)
                nap = min(1.5 * nap, LONGEST_NAP)
            elif isinstance(ended, str):
                kept = f"what came before is reconstructed, and kept as session {self._folder.id}"
                yield Text(f"warning: {ended}; {kept}")
                if torn := seen - reader.position:
                    yield Text(f"warning: the last {torn} bytes are of a record that was cut off, and are left out")
                return
            elif ended:
                reader.check_whole(seen - _CLOSE_BYTES)
                raise StreamError("the stream ends within a record: its last bytes are missing")
            else:
                nap = SHORTEST_NAP
                self._send("waiting", seen)
                ended = msgpack.unpackb(self._connection.recv_bytes())

    def _hand_on(self, onward: tuple[Item, Place] | None) -> None:
        self._mark(LINES, -1)
        self._queue.put(onward)

    def _next(self) -> tuple[Item, Place] | _Failed | None:
        self._mark(IMAGES, -1)
        return self._queue.get()

    def _mark(self, stage: int, index: int) -> None:
        """Note for the front which gadget runs, or -1 for none, should this process not live to tell."""
        self._running.note(stage, index)

    def _write(self, item: Any) -> None:
        self._mark(IMAGES, -1)
        if isinstance(item, Image):
            self._statistics["images"] += 1
        if self._chain.leaves_out(item):
            self._n_unused += len(item)
            return
        if isinstance(item, Noise):
            item = self._noise.keep(item)
            if item is None:
                return
        self._output.write(item)

    def _told_before(self) -> dict[str, Any]:
        """The statistics of a session that is done, whether the front came to note it or not."""
        done = [event for event in self._folder.events() if event["event"] == "done"]
        last = done[-1] if done else {"images": self._output.n_images}
        return {name: value for name, value in last.items() if name not in ("time", "event")}

    def _tell_output(self, size: int) -> None:
        self._send("output", size)

    def _wait_for_room(self) -> None:
        """Say that the disk is full, and let some time pass."""
        self._send("full")
        time.sleep(ROOM_IN)

    def _fail(self, error: BaseException) -> None:
        lacks_memory = is_memory_error(error)
        if isinstance(error, OSError):  # of the session's own files; a gadget's names the gadget
            error = no_room(error, self._folder.path)
        elif not isinstance(error, EchotrainError):
            detail = "".join(traceback.format_exception(error))
            error = EchotrainError(f"{type(error).__name__}: {error}", detail=detail)
        words = error.message
        if lacks_memory:
            words += f"; a session may have {self._settings.memory / 1e9:.2f} GB (`serve --memory`)"
        self._send("error", error.code, words, error.gadget, error.detail, lacks_memory)

    def _send(self, *message: Any) -> None:
        with self._sending:
            try:
                self._connection.send_bytes(msgpack.packb(message))
            except OSError:
                _end_without_front()


def _end_with_front() -> None:
    """Have the system end this process with the front: the next one may have another worker take up the session.

    No thread of ours could do so while a gadget keeps the interpreter to itself.
    """
    front = multiprocessing.parent_process()
    if front is not None:
        fcntl.fcntl(front.sentinel, fcntl.F_SETOWN, -os.getpid())  # its group
        fcntl.fcntl(front.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(front.sentinel, fcntl.F_SETFL, os.O_ASYNC)  # from now on, when the front's end of the pipe goes
        if not front.is_alive():
            _end_without_front()


def _end_without_front() -> None:
    """End, and so do the processes that gadgets started, which nobody else will end now."""
    os.killpg(os.getpid(), signal.SIGKILL)
