"""The front's side of one session: appends input, wakes the worker, sends output on; knows no socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from echotrain.mrd.errors import EchotrainError, ProtocolError, StorageError, StreamError, error_from_code

from .attempts import OF_THE_CHAIN, Attempts
from .disk import Disk
from .folder import SessionFolder, no_room
from .input_log import InputLog
from .output_feed import OutputFeed
from .pool import Worker
from .settings import Settings
from .watchdog import Watchdog
from .wire import Credit, Done, Error, Message, Notice, Opened, Output

Send = Callable[[Message, bytes], bool]
"""Sends a message with a payload (empty for none) to the client; False where that client cannot be reached."""


class Session:
    """One scan: its logs, its worker and its client.

    The client may go and come back; the worker goes on meanwhile with what is in the log.
    """

    def __init__(self, folder: SessionFolder, settings: Settings, send: Send | None, disk: Disk | None = None) -> None:
        """Take up a session whose folder exists; input that is there already is kept.

        Raises:
            StorageError: where the input log cannot be written.
            SessionError: where another process runs it.
        """
        self.folder = folder
        self.id = folder.id
        self._settings = settings
        self.send = send
        """How to reach the client, or None while it is away."""
        self.quiet_since = time.monotonic()
        self._heard = time.monotonic()  # when input came last, or could not be expected
        self.worker: Worker | None = None
        self.ready = False
        self.over = False
        """Whether the chain has given all that it will."""
        self._disk = disk or Disk(settings)
        self._opens = False  # which is said when the worker is ready and the input safe
        self._wait_for_room: set[str] = set()
        """Which logs wait for room on the disk."""
        self.input = InputLog(folder, settings.input_window, self._disk, self._note_synced)
        self.output = OutputFeed(folder.output, settings.output_window)
        self._result: Done | Error | None = None
        self.told = False
        """Whether the client was sent the result."""
        self._attempts = Attempts(folder, settings)
        self._asleep_at = -1  # size of the input log that the worker has read, while it waits for more

    # -- from the client ------------------------------------------------------------------------------------------

    def receive(self, offset: int, payloads: Sequence[Any]) -> None:
        """Append records that belong at `offset`, one after the other; what is held already is not written again.

        Raises:
            ProtocolError: where the session is not taking data, or bytes before `offset` are missing.
            StorageError: where they cannot be written.
        """
        if not self.ready:
            raise ProtocolError("data came before the session was opened; wait for `opened`")
        self._note_input(self.input.append_at(offset, payloads))

    def append(self, parts: Sequence[Any]) -> bool:
        """Append bytes that follow on what is held; False where the disk has no room, until `Opened` is said.

        Raises:
            StorageError: where they cannot be written.
        """
        return self._note_input(self.input.append(parts))

    def end(self, offset: int) -> None:
        """Close the input log, which must hold `offset` bytes.

        Raises:
            ProtocolError: where it holds more or less.
            StorageError: where the record that closes it cannot be written.
        """
        self._note_input(self.input.end(offset))

    def cut_off(self, reason: str) -> None:
        """Close the input where its sender left off, be it within a record; what is whole is worked on.

        The worker knows whether the end had come before, and says so to the client where it had not.
        """
        self.input.cut(reason)
        self._wake_worker()

    def acknowledge(self, offset: int) -> None:
        """Note that the client holds the output up to `offset`."""
        self.output.acknowledge(offset)
        self._forward()

    def attach(self, send: Send, received: int = 0) -> None:
        """Go on with a client that came back: say what is held, and send the output from `received` on."""
        if self.send is None:
            self.folder.write_event("client back")
        self.send = send
        self.told = False
        self.output.rewind(received)
        if self.input.safe and (self.ready or self.over):
            self._grant(Opened)
        if self._wait_for_room:
            self._tell_of_full_disk()
        self._forward()

    # -- from the worker ------------------------------------------------------------------------------------------

    def start(self, worker: Worker, forget: Callable[[Worker], None], ask: Callable[[Session], None]) -> None:
        """Give the session to a worker; `forget` is called before that is let go of, and `ask` if another is wanted."""
        self.worker, self._forget, self._ask = worker, forget, ask
        self._asleep_at = -1
        self._watchdog = Watchdog(self.folder, self._settings, worker.process, time.monotonic())
        worker.send(self._attempts.job)

    def listen(self) -> None:
        """Take what the worker says."""
        assert self.worker is not None
        message = self.worker.receive()
        if message is None:
            self._end_attempt(self._watchdog.death(self.worker.exit_code()), again=True)
            return
        match message:
            case ["waiting", size]:
                self._asleep_at = size
                self._wake_worker()
            case ["output", size]:
                self._wait_for_room.discard("output")
                self._take_output(size)
            case ["full"]:
                self._note_full_disk("output")
            case ["closed"]:
                self.input.note_end()
            case ["ready"]:
                if not self.ready:  # as another worker is for a session that goes on
                    self.ready = self._opens = True
                    self._note_synced(None)
            case ["done", size, statistics]:
                statistics |= self._attempts.statistics
                self._take_output(size)
                self._finish(Done(self.id, {**statistics, "input_bytes": self.input.held, "output_bytes": size}))
                self.folder.write_event("done", **statistics)
            case ["error", code, text, gadget, detail, again]:
                self._end_attempt(error_from_code(code, text, gadget=gadget, detail=detail), again=again)

    def look_after(self) -> None:
        """Notice that there is room again, or that the worker died, hangs, or takes too much memory."""
        self._look_for_input(time.monotonic())
        if self.input.lacking and self._disk.room_is_back(self.input.lacking):
            self.input.lacking = 0
            self._wait_for_room.discard("input")
            self._grant(Opened)
        if not self.worker or self.worker.has_message():
            return
        if not self.worker.alive():  # though a process that a gadget started keeps its pipe open
            self._end_attempt(self._watchdog.death(self.worker.exit_code()), again=True)
        elif error := self._watchdog.look(time.monotonic()):
            self._end_attempt(error, again=True)

    def fail(self, error: EchotrainError) -> None:
        """End the session with `error`, once what was made before has been sent."""
        if not self.over:
            self.folder.write_event("error", code=error.code, message=error.message, gadget=error.gadget)
            self._finish(Error.of(error, self.id))

    def leave(self, reason: str) -> None:
        """Let go of the worker, the client and the files; the folder stays."""
        self._end_worker()
        self.send = None
        self.input.close()
        self.output.close()
        if not self.over:
            self.folder.write_event("left", reason=reason)

    @property
    def settled(self) -> bool:
        """Whether the client was told of an error, or holds all output, so that there is nothing more to do."""
        if isinstance(self._result, Error):
            return self.told and not (self.keeps_input and self.send)
        return self.told and self.output.all_acknowledged

    @property
    def keeps_input(self) -> bool:
        """Whether what still comes goes into the log, be it that the chain has failed, so that it can be run again."""
        failed_for_good = isinstance(self._result, Error) and self._result.code not in OF_THE_CHAIN
        return self.ready and not self.input.ended and not failed_for_good

    # -- within ---------------------------------------------------------------------------------------------------

    def _end_attempt(self, error: EchotrainError, *, again: bool) -> None:
        """Have the session run once more after a worker that failed, or end it with the error."""
        if not self.ready:
            self.fail(error)
            return
        words = self._attempts.go_on(error, again=again)
        if words is None:
            self.fail(self._attempts.last_words(error, self.input.held, ended=self.input.ended))
            return
        self._end_worker()
        if words:
            self.tell(Notice(self.id, words))
        self._ask(self)

    def _note_input(self, taken: bool) -> bool:
        self._heard = time.monotonic()
        if self.input.lacking:
            self._note_full_disk("input")
        self._wake_worker()
        return taken

    def _look_for_input(self, now: float) -> None:
        """Take what came for all that comes where the client is there, but has sent nothing for long."""
        if not self.ready or self.send is None or self.input.ended or self.input.lacking:
            self._heard = now
        elif now - self._heard > self._settings.idle:
            self.cut_off(f"nothing came for {self._settings.idle:g} s")

    def _note_synced(self, error: OSError | None) -> None:
        """Tell the client what more is safe of its input."""
        if error:
            self.fail(no_room(error, self.folder.path))
        elif self.ready and self.input.safe:
            if self._opens:
                self._opens = False
                self._grant(Opened)
            elif self.input.credit_is_low:
                self._grant()
            self._forward()

    def _note_full_disk(self, log: str) -> None:
        """Tell the client, once, that the session waits for room."""
        if not self._wait_for_room:
            self._tell_of_full_disk()
        self._wait_for_room.add(log)

    def _tell_of_full_disk(self) -> None:
        self.tell(Notice(self.id, self._disk.waiting_words(self.id)))

    def _wake_worker(self) -> None:
        if self.worker and self._asleep_at >= 0 and (self.input.held > self._asleep_at or self.input.ended):
            self._asleep_at = -1
            self.worker.send(self.input.cut_off or self.input.ended)

    def _grant(self, kind: type[Opened] | type[Credit] = Credit) -> None:
        self.tell(kind(self.id, self.input.safe, self.input.grant()))

    def remind(self) -> None:
        """Say the credit once more, which shows whether the client is there."""
        if self.ready:
            self.tell(Credit(self.id, self.input.safe, self.input.credit))

    def tell(self, message: Message, payload: bytes = b"") -> bool:
        """Send to the client; where it cannot be reached, note that it is away."""
        if self.send is None:
            return False
        if self.send(message, payload):
            return True
        self.send = None
        self.quiet_since = time.monotonic()
        self.folder.write_event("client away")
        return False

    def _take_output(self, size: int) -> None:
        self.output.grow(size)
        self._disk.sync((self.folder.output, self.folder.path), partial(self._note_output_synced, size))

    def _note_output_synced(self, size: int, error: OSError | None) -> None:
        if error:
            self._lose_output(error)
        else:
            self.output.release(size)
            self._forward()

    def _forward(self) -> None:
        """Send as much output as the window allows, and the result when all is sent."""
        try:
            while self.send and (message := self.output.next()):
                offset, count, data = message
                if self.tell(Output(self.id, offset, count), data):
                    self.output.note_sent(offset, count, data)
        except (OSError, StreamError) as error:
            self._lose_output(error)
            return
        all_safe = isinstance(self._result, Error) or self.input.safe == self.input.held
        if self._result and not self.told and self.output.all_sent and all_safe:
            self.told = self.tell(self._result)

    def _lose_output(self, reason: Exception) -> None:
        """Tell the client that its output is gone, as when someone deleted the session, or damaged; others go on."""
        self.output.drop()
        error = StorageError(f"the output of session {self.id} cannot be read any more: {reason}")
        if not self.over:
            self.fail(error)
            return
        self._result = Error.of(error, self.id)
        self.told = self.tell(self._result)

    def _finish(self, result: Done | Error) -> None:
        self.over = True
        self._result = result
        self.input.let_go()
        self._end_worker()
        self._forward()

    def _end_worker(self) -> None:
        if self.worker is not None:
            self._forget(self.worker)
            self.worker.end()
            self.worker = None
