"""A server that says what a test wants, and the command line without one, for tests of clients."""

import re
import threading

import pytest
import zmq

from echotrain.clients.main import main
from echotrain.mrd import HeaderText, encode
from echotrain.server.folder import create_session
from echotrain.server.wire import pack, unpack


class StubServer:
    """Answers each message with what `answers` gives for it: messages, or pairs of message and payload."""

    def __init__(self, answers):
        self.answers = answers
        self.heard = []
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.bind("tcp://127.0.0.1:*")
        self.address = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            if not self.router.poll(5):
                continue
            identity, envelope, *payload = self.router.recv_multipart()
            message = unpack(envelope)
            self.heard.append((message, *payload))
            for answer in self.answers(message):
                said, *more = answer if isinstance(answer, tuple) else (answer,)
                self.router.send_multipart([identity, pack(said), *more])

    def close(self):
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.thread.join()
        self.router.close(linger=0)
        self.context.term()


@pytest.fixture
def stub_server():
    """`stub_server(answers)` runs such a server until the test is over."""
    made = []

    def make(answers):
        made.append(StubServer(answers))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def run(capsys):
    """`run("recon", ...)`: exit status, lines of standard output, lines of standard error."""

    def command(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return command


@pytest.fixture
def succeed(run):
    """The same for what must go well: lines of standard output."""

    def command(*arguments):
        status, out, err = run(*arguments)
        assert status == 0, err
        assert all(re.match("(Prewhiten|CollectKSpace): ", line) for line in err), err  # what gadgets tell
        return out

    return command


@pytest.fixture
def session(tmp_path, small_scan):
    """A session that a client left after its last line."""
    scan = small_scan()
    folder = create_session(tmp_path / "sessions", {"config": "rss", "parameters": {}, "label": "knee"}, scan.header)
    stream = b"".join(bytes(encode(item)) for item in (HeaderText(scan.header), *scan.batches))
    folder.input.write_bytes(stream)
    folder.write_event("opened", held=0)
    return folder
