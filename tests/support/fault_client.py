"""A client that comes back after whatever happens, over as many connections and processes as it takes.

It speaks the protocol from its description, and keeps in its folder what a careful client keeps: the session's id, and
the output that it received, byte for byte. `python fault_client.py FOLDER ADDRESS` runs it as a process of its own.
"""

import contextlib
import os
import pickle
import sys
import time
from bisect import bisect_right
from pathlib import Path

import zmq
from fault_scans import decoded

from echotrain.mrd import Close, Image, encode
from echotrain.server.wire import Abort, Ack, Credit, Data, Done, End, Error, Notice, Open, Opened, Output, pack, unpack

SILENCE = 6.0  # [s] without a word of a server that speaks every second
PATIENCE = 120.0  # [s] for all of a scan
PASSING = ("send again from", "open it again to go on", "runs at this moment", "the server stops")
LINES_A_MESSAGE = 7
CLOSE = bytes(encode(Close()))


class LostError(Exception):
    """The connection is no good any more."""


class FaultClient:
    """Feeds one scan and receives what comes of it; `watch(what, number)` hears of each line, image and turn."""

    def __init__(self, folder, address, scan, watch=lambda what, number: None):
        self.folder, self.address, self.scan, self.watch = folder, address, scan, watch
        self.pace = 0.002
        """It waits so long between messages, for a scan that lasts longer than a blink [s]."""
        self.linger = 0.0
        """A slow reader waits this long after each message [s]."""
        self.notices = []
        self.error = None
        """The error that ended the session."""
        self.passing_error = ""
        """The last after which it tried again."""
        self.connections = 0
        self.done = self.over = False
        self._seen = 0  # images
        folder.mkdir(exist_ok=True)
        self._limit = time.monotonic() + PATIENCE

    @property
    def session(self):
        path = self.folder / "session"
        return path.read_text() if path.exists() else ""

    @property
    def received(self):
        """The output log as it came."""
        path = self.folder / "received.mrd"
        return path.read_bytes() if path.exists() else b""

    def run(self):
        """Go on until the server said that all is done, or that there will be no more."""
        while not self.over:
            with contextlib.suppress(LostError), self._connection():
                self._talk()

    def part(self, at_line):
        """Feed up to a line and abandon the session, which stays on disk."""
        self._until = at_line
        with self._connection():
            self._talk()

    _until = None

    @contextlib.contextmanager
    def _connection(self):
        self.connections += 1
        context = zmq.Context()
        try:
            self._socket = context.socket(zmq.DEALER)
            self._socket.connect(self.address)
            self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            yield
        finally:
            self._socket.disable_monitor()
            context.destroy(linger=0 if self._until is None else 1000)

    def _say(self, message, *payload):
        self._socket.send_multipart([pack(message), *payload])

    def _talk(self):
        self._offset = self._credit = self._told = None
        self._ended = False
        self._data = bytearray(self.received)
        scan, known = self.scan, self.session
        new = {} if known else {"config": scan.config, "header": scan.header}
        self._say(Open(session=known, received=self._whole(), **new))
        while not self.over:
            self._feed()
            if self._until is not None and self._told == self._until:
                self._say(Abort(self.session))
                return
            must_wait = self._offset is None or self._ended or self._offset >= self._credit
            heard = self._hear(SILENCE if must_wait else self.pace)
            if must_wait and not heard:
                raise LostError
            while not self.over and heard:
                time.sleep(self.linger)
                heard = self._hear(0)

    def _feed(self):
        """Send the next message, where there is room."""
        if self._offset is None or self._ended:
            return
        if self._offset >= len(self.scan.stream):
            self._say(End(self.session, self._offset))
            self._ended = True
        elif self._offset < self._credit:
            lines = bisect_right(self.scan.ends, self._offset) + LINES_A_MESSAGE
            if self._until is not None:
                lines = min(lines, self._until + 1)
            end = self.scan.ends[min(lines, len(self.scan.ends)) - 1]
            self._say(Data(self.session, self._offset, 0), self.scan.stream[self._offset : end])
            self._offset, self._told = end, min(lines, len(self.scan.ends)) - 1
            self.watch("line", self._told)

    def _hear(self, seconds):
        """Take one message; False where none came in time."""
        if time.monotonic() > self._limit:
            raise TimeoutError(f"scan {self.session} is not over after {PATIENCE:g} s; {self.passing_error}")
        sources = zmq.Poller()
        sources.register(self._socket, zmq.POLLIN)
        sources.register(self._monitor, zmq.POLLIN)
        ready = dict(sources.poll(1000 * seconds))
        if self._monitor in ready:
            time.sleep(0.02)  # before it is tried again
            raise LostError
        if not ready:
            return False
        frames = self._socket.recv_multipart()
        match unpack(frames[0]):
            case Opened(session, offset, credit):
                (self.folder / "session").write_text(session)
                self._offset, self._credit, self._ended = offset, credit, False
            case Credit(_, _, credit) if self._offset is not None:
                self._credit = max(self._credit, credit)
            case Output(session, offset, _):
                self._take(session, offset, frames[1])
            case Notice(_, message):
                self.notices.append(message)
            case Done():
                self.done = self.over = True
            case Error() as error:
                self._fail(error)
        return True

    def _fail(self, error):
        if any(words in error.message for words in PASSING):
            self.passing_error = f"{error.code}: {error.message}"
            time.sleep(0.1)
            raise LostError
        self.error, self.over = error, True

    def _take(self, session, offset, payload):
        """Keep output where it belongs; what came twice must be the same."""
        assert offset <= len(self._data), f"output at {offset} came when {len(self._data)} bytes were received"
        again = self._data[offset : offset + len(payload)]
        assert again == payload[: len(again)], f"bytes {offset} to {offset + len(again)} came again, and are others"
        self._data += payload[len(again) :]
        with (self.folder / "received.mrd").open("r+b" if self.received else "wb") as file:
            file.seek(offset)
            file.write(payload)
        self._say(Ack(session, offset + len(payload)))
        n_images = sum(isinstance(item, Image) for item in decoded(self._data)[0])
        for number in range(self._seen, n_images):
            self.watch("image", number + 1)
        self._seen = max(self._seen, n_images)

    def _whole(self):
        """How much was received, without a record that was cut off as it was kept."""
        end = decoded(self._data)[1]
        del self._data[end:]
        return end


def tell(*words):
    """Say something to whoever started this process."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(folder, address):
    """Run the scan in `folder`, telling each step on standard output."""
    scan = pickle.loads((Path(folder) / "scan").read_bytes())
    client = FaultClient(Path(folder), address, scan, tell)
    client.run()
    tell("over", client.error or "well")
    os._exit(0 if client.done else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
