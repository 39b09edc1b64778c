"""Worker processes that stand ready: forked from a process that has imported everything already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

import msgpack

from echotrain.mrd.errors import EchotrainError

from .settings import Settings

LAST_MOMENT = 0.5  # [s] in which a process ends that has closed its connection


class Worker:
    """The front's end of a worker process."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    def fileno(self) -> int:
        """A descriptor that is readable when the worker has said something, or has died."""
        return self._connection.fileno()

    def send(self, message: Any) -> None:
        """Say something; a worker that is gone shows when it is listened to."""
        try:
            self._connection.send_bytes(msgpack.packb(message))
        except OSError:
            return

    def receive(self) -> list[Any] | None:
        """What the worker said, or None where it has died."""
        try:
            message: list[Any] = msgpack.unpackb(self._connection.recv_bytes())
        except (EOFError, OSError):
            return None
        return message

    def has_message(self) -> bool:
        """Whether `receive` would give something at once."""
        return self._connection.poll()

    @property
    def process(self) -> int:
        """The system's number of the process, and of the group that it leads."""
        return int(self._process.pid)

    def exit_code(self) -> int | None:
        """How the process ended: its status, or minus the signal that ended it; None where it goes on, though mute."""
        self._process.join(LAST_MOMENT)
        code: int | None = self._process.exitcode
        return code

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def end(self) -> None:
        """End the process and those that its gadgets started, whatever they do, without waiting for them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.is_alive():  # before it leads a group of its own
            self._process.kill()
        self._connection.close()


class WorkerPool:
    """Starts workers in a thread of its own, so that the front never waits for a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["echotrain.server.worker"])
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Worker | Exception] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        self._starter = threading.Thread(target=self._start_workers, daemon=True)
        self._starter.start()
        for _ in range(settings.warm_workers):
            self._wanted.put(True)

    def fileno(self) -> int:
        """A descriptor that is readable when a worker has become ready."""
        return self._woken

    def wake(self) -> None:
        """Make `fileno` readable; a signal handler may call this."""
        os.write(self._wake, b"w")

    def acknowledge(self) -> None:
        """Take the wake-up call, so that `fileno` is quiet until the next."""
        os.read(self._woken, 4096)

    def take(self) -> Worker | None:
        """A worker that stands ready, or None where none does yet; another is started in its place.

        Raises:
            EchotrainError: where workers cannot be started.
        """
        while not self._ready.empty():
            worker = self._ready.get()
            self._wanted.put(True)
            if isinstance(worker, Exception):
                raise EchotrainError(f"no worker process can be started: {worker}") from worker
            if worker.alive():
                return worker
            worker.end()
        return None

    def close(self) -> None:
        """End all workers that stand ready."""
        self._wanted.put(False)
        self._starter.join()
        while not self._ready.empty():
            worker = self._ready.get()
            if isinstance(worker, Worker):
                worker.end()
        os.close(self._woken)
        os.close(self._wake)

    def _start_workers(self) -> None:
        while self._wanted.get():
            try:
                ours, theirs = self._context.Pipe()
                process = self._context.Process(target=_work, args=(theirs, self._settings))
                process.start()
                theirs.close()
                self._ready.put(Worker(process, ours))
            except Exception as error:  # told to whoever asks for a worker
                self._ready.put(error)
            self.wake()


def _work(connection: Connection, settings: Settings) -> None:
    from .worker import worker_main  # brings in torch, which the front does without

    worker_main(connection, settings)
