"""The front's side of one session: appends input, wakes the worker, sends output on; knows no socket."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from echotrain.mrd import Close, HeaderText, encode
from echotrain.mrd.errors import EchotrainError, GadgetError, ProtocolError, StorageError, StreamError, error_from_code
from echotrain.mrd.xml import parse_xml

from .folder import SessionFolder, no_room
from .pool import Worker
from .settings import Settings
from .wire import Credit, Done, Error, Message, Opened, Output

Send = Callable[[Message, bytes], bool]
"""Sends a message with a payload (empty for none) to the client; False where that client cannot be reached."""

SENT_AT_ONCE = 8 << 20  # output is sent in messages of about this size at most, one record if it is larger


class Session:
    """One scan: its logs, its worker and its client.

    The client may go and come back; the worker goes on meanwhile with what is in the log.
    """

    def __init__(self, folder: SessionFolder, settings: Settings, send: Send) -> None:
        """Take up a session whose folder exists; input that is there already is kept.

        Raises:
            StorageError: where the input log cannot be written.
            SessionError: where another process runs it.
        """
        self.folder = folder
        self.id = folder.id
        self._settings = settings
        self.send: Send | None = send
        """How to reach the client, or None while it is away."""
        self.quiet_since = time.monotonic()
        self.worker: Worker | None = None
        self.ready = False
        self.over = False
        """Whether the chain has given all that it will."""
        self.output_window = settings.output_window
        """How much output may be under way to the client [bytes]."""
        self.ended = any(event["event"] == "ended" for event in folder.events())
        """Whether the input is all there."""
        self._cut_off = next((event["reason"] for event in folder.events() if event["event"] == "input cut off"), "")
        """Why the input ends where it does, be it without a record that closes it."""
        self._result: Done | Error | None = None
        self.told = False
        """Whether the client was sent the result."""
        self._asleep_at = -1  # size of the input log that the worker has read, while it waits for more
        self._output_end = 0
        self._unacknowledged: deque[int] = deque()  # where records end in the output log
        self._sendable: deque[int] = deque()  # those of them not yet sent
        self._sent = 0
        self._acknowledged = 0
        self._output_file = -1
        self._credit = 0
        try:
            header = encode(HeaderText(folder.header.read_bytes()))
            self._input_file = os.open(folder.input, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise no_room(error, folder.path) from error
        self.held = os.fstat(self._input_file).st_size
        try:
            folder.claim(self._input_file)
            if self.held == 0:
                self._write([header])
        except EchotrainError:
            os.close(self._input_file)
            raise

    # -- from the client ------------------------------------------------------------------------------------------

    def receive(self, offset: int, payloads: Sequence[Any]) -> None:
        """Append records that belong at `offset`, one after the other; what is held already is not written again.

        Raises:
            ProtocolError: where the session is not taking data, or bytes before `offset` are missing.
            StorageError: where they cannot be written.
        """
        if not self.ready:
            raise ProtocolError("data came before the session was opened; wait for `opened`")
        if self.ended:
            raise ProtocolError("data came after the end of the scan")
        if offset > self.held:
            raise ProtocolError(f"bytes {self.held} to {offset} of the input are missing; send again from {self.held}")
        if offset > self._credit:
            raise ProtocolError(f"data at {offset} is beyond the credit of {self._credit}; wait for `credit`")
        new = []
        for payload in payloads:
            new.append(memoryview(payload)[max(0, self.held - offset) :])
            offset += len(payload)
        self.append(new)

    def append(self, parts: Sequence[Any]) -> None:
        """Append bytes that follow on what is held.

        Raises:
            StorageError: where they cannot be written.
        """
        self._write(parts)
        self._wake_worker()
        if self.ready and self._credit - self.held < self._settings.input_window // 2:
            self._grant()

    def end(self, offset: int) -> None:
        """Close the input.

        Raises:
            ProtocolError: where not all of it is held.
        """
        if self.ended:
            return
        if offset != self.held:
            raise ProtocolError(f"the scan ends at {offset}, but {self.held} bytes are held; send again from there")
        self._write([encode(Close())])
        self._note_end()
        self._wake_worker()

    def cut_off(self, reason: str) -> None:
        """Close the input where its sender left off, be it within a record; what is whole is worked on.

        The worker knows whether the end had come before, and says so to the client where it had not.
        """
        if not self.ended:
            self.ended, self._cut_off = True, reason
            self.folder.write_event("input cut off", bytes=self.held, reason=reason)
            self._wake_worker()

    def acknowledge(self, offset: int) -> None:
        """Note that the client holds the output up to `offset`."""
        self._acknowledged = min(max(self._acknowledged, offset), self._sent)
        while self._unacknowledged and self._unacknowledged[0] <= self._acknowledged:
            self._unacknowledged.popleft()
        self._forward()

    def attach(self, send: Send) -> None:
        """Go on with a client that came back: say what is held, and send what it did not acknowledge."""
        self.send = send
        self._sent = self._acknowledged
        self.told = False
        self._sendable = self._unacknowledged.copy()
        if self.ready or self.over:
            self._grant(Opened)
        self._forward()

    # -- from the worker ------------------------------------------------------------------------------------------

    def start(self, worker: Worker, forget: Callable[[Worker], None]) -> None:
        """Give the session to a worker; `forget` is called before that is let go of."""
        self.worker, self._forget = worker, forget
        worker.send(str(self.folder.path))

    def listen(self) -> None:
        """Take what the worker says."""
        assert self.worker is not None
        message = self.worker.receive()
        if message is None:
            self.fail(self._death())
            return
        match message:
            case ["waiting", size]:
                self._asleep_at = size
                self._wake_worker()
            case ["output", size]:
                self._take_output(size)
            case ["closed"]:
                self._note_end()
            case ["ready"]:
                self.ready = True
                self._grant(Opened)
            case ["done", size, statistics]:
                self._take_output(size)
                self._finish(Done(self.id, {**statistics, "input_bytes": self.held, "output_bytes": size}))
                self.folder.write_event("done", **statistics)
            case ["error", code, text, gadget, detail]:
                self.fail(error_from_code(code, text, gadget=gadget, detail=detail))

    def look_after(self) -> None:
        """Notice that the worker has died where a process that a gadget started keeps its pipe open."""
        if self.worker and not self.worker.alive() and not self.worker.has_message():
            self.fail(self._death())

    def fail(self, error: EchotrainError) -> None:
        """End the session with `error`, once what was made before has been sent."""
        if not self.over:
            self.folder.write_event("error", code=error.code, message=error.message, gadget=error.gadget)
            self._finish(Error.of(error, self.id))

    def leave(self, reason: str) -> None:
        """Let go of the worker, the client and the files; the folder stays."""
        self._end_worker()
        self.send = None
        for file in (self._input_file, self._output_file):
            if file >= 0:
                os.close(file)
        self._input_file = self._output_file = -1
        if not self.over:
            self.folder.write_event("left", reason=reason)

    @property
    def settled(self) -> bool:
        """Whether the client was told of an error, or holds all output, so that there is nothing more to do."""
        return self.told and (isinstance(self._result, Error) or not self._unacknowledged)

    # -- within ---------------------------------------------------------------------------------------------------

    def _write(self, parts: Sequence[Any]) -> None:
        size = sum(map(len, parts))
        try:
            written = os.writev(self._input_file, parts)
            if written < size:  # as when a disk is nearly full; what is left says why
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._input_file, rest) :]
        except OSError as error:
            os.ftruncate(self._input_file, self.held)  # no half record stays
            raise no_room(error, self.folder.path) from error
        self.held += size

    def _note_end(self) -> None:
        if not self.ended or self._cut_off:  # which it was only after its end had come
            self.ended, self._cut_off = True, ""
            self.folder.write_event("ended", bytes=self.held)

    def _wake_worker(self) -> None:
        if self.worker and self._asleep_at >= 0 and (self.held > self._asleep_at or self.ended):
            self._asleep_at = -1
            self.worker.send(self._cut_off or self.ended)

    def _grant(self, kind: type[Opened] | type[Credit] = Credit) -> None:
        self._credit = self.held + self._settings.input_window
        self.tell(kind(self.id, self.held, self._credit))

    def remind(self) -> None:
        """Say the credit once more, which shows whether the client is there."""
        if self.ready:
            self.tell(Credit(self.id, self.held, self._credit))

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
        if size > self._output_end:
            self._output_end = size
            self._unacknowledged.append(size)
            self._sendable.append(size)
            self._forward()

    def _forward(self) -> None:
        """Send as much output as the window allows, and the result when all is sent."""
        while self.send and self._sendable and self._sent - self._acknowledged < self.output_window:
            count, end = 0, self._sent
            while self._sendable and (not count or self._sendable[0] - self._sent <= SENT_AT_ONCE):
                end = self._sendable.popleft()
                count += 1
            try:
                if self.tell(Output(self.id, self._sent, count), self._read_output(end)):
                    self._sent = end
            except (OSError, StreamError) as error:
                self._lose_output(error)
                return
        if self._result and not self.told and not self._sendable:
            self.told = self.tell(self._result)

    def _read_output(self, end: int) -> bytes:
        """The output log from where it was sent to up to `end`."""
        if self._output_file < 0:
            self._output_file = os.open(self.folder.output, os.O_RDONLY)
        parts: list[bytes] = []
        start = self._sent
        while start < end:
            parts.append(os.pread(self._output_file, end - start, start))  # at most 2 GiB at a time
            if not parts[-1]:
                raise OSError(f"it ends at byte {start}")
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _lose_output(self, reason: Exception) -> None:
        """Tell the client that its output is gone, as when someone deleted the session, or damaged; others go on."""
        self._sendable.clear()
        self._unacknowledged.clear()
        error = StorageError(f"the output of session {self.id} cannot be read any more: {reason}")
        if not self.over:
            self.fail(error)
            return
        self._result = Error.of(error, self.id)
        self.told = self.tell(self._result)

    def _finish(self, result: Done | Error) -> None:
        self.over = True
        self._result = result
        self.folder.let_go(self._input_file)
        self._end_worker()
        self._forward()

    def _end_worker(self) -> None:
        if self.worker is not None:
            self._forget(self.worker)
            self.worker.end()
            self.worker = None

    def _death(self) -> EchotrainError:
        """The error for a worker that ended without a word."""
        assert self.worker is not None
        code = self.worker.exit_code()
        try:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        except ValueError:
            how = f"was killed by signal {-code}"
        names = self._running_gadgets()
        log = _tail(self.folder)
        kept = f"all {self.held} bytes of input are kept; `echotrain sessions retry {self.id}` runs them again"
        return GadgetError(
            f"the worker process {how} while it ran {names or 'no gadget'}; {kept}", gadget=names, detail=log
        )

    def _running_gadgets(self) -> str:
        try:
            marks = self.folder.running.read_bytes()
            gadgets = list(parse_xml(self.folder.chain.read_bytes(), "the chain", EchotrainError).iter("gadget"))
        except (OSError, EchotrainError):
            return ""
        return " or ".join(gadgets[mark - 1].get("name", "") for mark in marks if 0 < mark <= len(gadgets))


def _tail(folder: SessionFolder) -> str:
    """The end of what the worker printed, where a crash leaves its trace."""
    try:
        return folder.log.read_text(errors="replace")[-4000:]
    except OSError:
        return ""
