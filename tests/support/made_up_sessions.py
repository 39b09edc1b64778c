"""A session of the front whose worker and client are made up."""

from collections import deque
from dataclasses import replace

from echotrain.mrd import HeaderText, encode
from echotrain.mrd.errors import StreamError
from echotrain.server.folder import create_session
from echotrain.server.session import Session
from echotrain.server.settings import Settings
from echotrain.server.wire import Output

HEADER = b"<ismrmrdHeader/>"
BEGINNING = bytes(encode(HeaderText(HEADER)))
START = len(BEGINNING)


class FakeWorker:
    def __init__(self):
        self.told = []
        self.says = deque()
        self.ended = False
        self.process = 0  # none that there is
        self.lives = True

    def alive(self):
        return self.lives

    def has_message(self):
        return bool(self.says)

    def send(self, message):
        self.told.append(message)

    def receive(self):
        return self.says.popleft()

    def exit_code(self):
        return -11

    def end(self):
        self.ended = True


class FakeClient:
    def __init__(self):
        self.messages = []
        self.payloads = []
        self.there, self.chokes = True, False

    def __call__(self, message, payload):
        if self.chokes and isinstance(message, Output):
            raise StreamError("these bytes are not an MRD stream")
        if self.there:
            self.messages.append(message)
            self.payloads.append(bytes(payload))
        return self.there

    def of(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    def output(self):
        """The bytes of output received, by offset."""
        received = bytearray()
        for message, payload in zip(self.messages, self.payloads, strict=True):
            if isinstance(message, Output):
                assert message.offset <= len(received), "a gap in the output"
                received[message.offset :] = payload
        return bytes(received)


class WithWorker:
    """What the worker of a session in `folder` does."""

    def worker_says(self, *message):
        self.worker.says.append(list(message))
        self.session.listen()

    def make_output(self, data):
        """The worker appends a record to the output log and says so."""
        with self.folder.output.open("ab") as file:
            file.write(data)
        self.worker_says("output", self.folder.output.stat().st_size)


class Setup(WithWorker):
    """A session with its worker ready, and its client."""

    def __init__(self, root, **settings):
        self.settings = replace(Settings(sessions=root), **settings)
        self.client, self.worker = FakeClient(), FakeWorker()
        self.folder = create_session(root, {"config": "count", "parameters": {}, "label": ""}, HEADER)
        self.session = Session(self.folder, self.settings, self.client)
        self.forgotten, self.asked = [], []
        self.start(self.worker)

    def start(self, worker):
        self.worker = worker
        self.session.start(worker, self.forgotten.append, self.asked.append)
        self.worker_says("ready")

    def worker_dies(self):
        self.worker.says.append(None)
        self.session.listen()

    @property
    def input(self):
        return self.folder.input.read_bytes()
