"""The front's side of a session, with a worker and a client that are made up."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from echotrain.mrd import Close, HeaderText, Text, encode
from echotrain.mrd.errors import ConfigError, ProtocolError, SessionError, StorageError, StreamError
from echotrain.server import input_log, output_feed
from echotrain.server.folder import create_session
from echotrain.server.running import RunningMarks
from echotrain.server.session import Session
from echotrain.server.settings import Settings
from echotrain.server.wire import Credit, Done, Error, Notice, Opened, Output

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


class Setup:
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

    def worker_says(self, *message):
        self.worker.says.append(list(message))
        self.session.listen()

    def make_output(self, data):
        """The worker appends a record to the output log and says so."""
        with self.folder.output.open("ab") as file:
            file.write(data)
        self.worker_says("output", self.folder.output.stat().st_size)

    @property
    def input(self):
        return self.folder.input.read_bytes()


@pytest.fixture
def opened(tmp_path):
    """`opened(output_window=5)`: a `Setup` with these settings."""
    made = []

    def make(**settings):
        made.append(Setup(tmp_path, **settings))
        return made[-1]

    yield make
    for setup in made:
        setup.session.leave("the test is over")


def test_a_new_session_holds_the_header_and_opens_when_its_worker_is_ready(opened):
    setup = opened(input_window=100)
    assert setup.input == BEGINNING
    assert setup.worker.told == [[str(setup.folder.path), "", ""]]
    assert setup.client.messages == [Opened(setup.session.id, START, START + 100)]


def test_data_is_appended_as_it_comes_and_in_runs(opened):
    setup = opened()
    setup.session.receive(START, [b"one"])
    setup.session.receive(START + 3, [b"two", b"", b"three"])
    assert setup.input == BEGINNING + b"onetwothree"
    assert setup.session.input.held == START + 11


@pytest.mark.parametrize(
    ("offset", "parts"),
    [(0, [b"onetwo"]), (0, [b"one", b"two"]), (2, [b"etwo"]), (3, [b"two"]), (3, [b"twothree"]), (1, [b"ne", b"twot"])],
)
def test_what_is_held_already_is_not_appended_again(opened, offset, parts):
    setup = opened()
    setup.session.receive(START, [b"onetwo"])
    setup.session.receive(START + offset, parts)
    end = max(6, offset + sum(map(len, parts)))
    assert setup.input == BEGINNING + b"onetwothree"[:end]
    assert setup.session.input.held == START + end


def test_a_gap_is_refused_with_where_to_go_on(opened):
    setup = opened()
    with pytest.raises(ProtocolError, match=f"bytes {START} to {START + 1} .* send again from {START}"):
        setup.session.receive(START + 1, [b"x"])
    assert setup.input == BEGINNING
    setup.session.receive(START, [b"x"])
    assert setup.input == BEGINNING + b"x"


def test_data_beyond_the_credit_is_refused(opened):
    setup = opened(input_window=10)
    setup.session._credit = START + 10  # as if the disk were slow: no more was granted
    setup.session._grant = lambda: None
    setup.session.receive(START, [b"x" * 25])  # a message may end beyond, but not begin
    with pytest.raises(ProtocolError, match=f"beyond the credit of {START + 10}"):
        setup.session.receive(START + 25, [b"x"])


def test_credit_is_granted_again_once_half_of_it_is_used(opened):
    setup = opened(input_window=10)
    setup.session.receive(START, [b"four"])
    assert setup.client.of(Credit) == []
    setup.session.receive(START + 4, [b"xx"])
    assert setup.client.of(Credit) == [Credit(setup.session.id, START + 6, START + 16)]


def test_data_before_the_session_is_opened_is_refused(opened):
    setup = opened()
    setup.session.ready = False
    with pytest.raises(ProtocolError, match="before the session was opened"):
        setup.session.receive(START, [b"x"])


def test_an_end_closes_the_log_once(opened):
    setup = opened()
    setup.session.receive(START, [b"x"])
    setup.session.end(START + 1)
    setup.session.end(START + 1)
    assert setup.input == BEGINNING + b"x" + encode(Close())
    assert [event["event"] for event in setup.folder.events()] == ["ended"]
    with pytest.raises(ProtocolError, match="after the end of the scan"):
        setup.session.receive(START + 1, [b"y"])


@pytest.mark.parametrize("offset", [0, START, START + 2, 2**60])
def test_an_end_elsewhere_than_where_the_input_ends_is_refused(opened, offset):
    setup = opened()
    setup.session.receive(START, [b"x"])
    with pytest.raises(ProtocolError, match=f"ends at {offset}, but {START + 1} bytes are held"):
        setup.session.end(offset)
    assert setup.input == BEGINNING + b"x"


def test_the_worker_is_woken_once_when_there_is_more_than_it_has_read(opened):
    setup = opened()
    setup.worker_says("waiting", START)
    assert setup.worker.told[1:] == []
    setup.session.receive(START, [b"x"])
    setup.session.receive(START + 1, [b"y"])
    assert setup.worker.told[1:] == [False]
    setup.worker_says("waiting", START + 1)  # it has not seen the last byte
    assert setup.worker.told[2:] == [False]
    setup.worker_says("waiting", START + 2)
    setup.session.end(START + 2)
    assert setup.worker.told[3:] == [True]


def test_output_is_sent_as_it_is_made(opened):
    setup = opened()
    for data in (b"first", b"second"):
        setup.make_output(data)
    assert [(message.offset, message.count) for message in setup.client.of(Output)] == [(0, 1), (5, 1)]
    assert setup.client.output() == b"firstsecond"


def test_no_more_output_is_under_way_than_the_window_allows(opened):
    setup = opened(output_window=6)
    for data in (b"four", b"five", b"sixsix", b"seven"):
        setup.make_output(data)
    assert setup.client.output() == b"fourfive"  # a message may end beyond the window, but not begin there
    setup.session.acknowledge(4)
    assert setup.client.output() == b"fourfivesixsixseven"


def test_output_that_waited_is_sent_in_larger_messages_of_whole_records(opened, monkeypatch):
    monkeypatch.setattr(output_feed, "SENT_AT_ONCE", 10)
    setup = opened(output_window=1)
    for data in (b"a", b"bbbb", b"cccccc", b"d" * 30, b"e"):
        setup.make_output(data)
    for _ in range(4):
        setup.session.acknowledge(10**9)  # no more than was sent counts
    assert [(message.offset, message.count) for message in setup.client.of(Output)] == [
        (0, 1),
        (1, 2),
        (11, 1),
        (41, 1),
    ]


def test_the_result_comes_after_all_output(opened):
    setup = opened(output_window=4)
    setup.make_output(b"first")
    setup.make_output(b"second")
    setup.worker_says("done", 11, {"images": 2})
    assert setup.session.over
    assert not setup.session.settled
    assert setup.client.of(Done) == []
    setup.session.acknowledge(5)
    assert isinstance(setup.client.messages[-1], Done)
    assert setup.client.messages[-1].statistics == {"images": 2, "input_bytes": START, "output_bytes": 11}
    assert not setup.session.settled
    setup.session.acknowledge(11)
    assert setup.session.settled
    assert setup.worker.ended
    assert setup.forgotten == [setup.worker]


def test_an_error_comes_after_all_output_and_only_the_first_counts(opened):
    setup = opened()
    setup.make_output(b"first")
    setup.session.fail(ConfigError("no", gadget="Blur"))
    setup.session.fail(ConfigError("again"))
    assert setup.client.output() == b"first"
    assert setup.client.messages[-1] == Error(setup.session.id, "config", "no", "Blur")
    assert len(setup.client.of(Error)) == 1
    assert setup.worker.ended


def test_a_client_that_comes_back_is_told_what_is_held_and_sent_what_it_did_not_receive(opened):
    setup = opened()
    setup.session.receive(START, [b"data"])
    for data in (b"first", b"second", b"third"):
        setup.make_output(data)
    setup.session.acknowledge(5)
    setup.client.there = False
    setup.make_output(b"fourth")
    assert setup.session.send is None
    again = FakeClient()
    setup.session.attach(again, 5)
    assert again.messages[0] == Opened(setup.session.id, START + 4, START + 4 + setup.settings.input_window)
    assert again.messages[1].offset == 5
    assert b"".join(again.payloads) == b"secondthirdfourth"
    setup.worker_says("done", setup.folder.output.stat().st_size, {})
    assert again.of(Done)


def test_a_client_that_comes_back_after_the_end_is_told_the_result(opened):
    setup = opened()
    setup.client.there = False
    setup.make_output(b"first")
    setup.worker_says("done", 5, {})
    assert not setup.session.settled
    again = FakeClient()
    setup.session.attach(again)
    assert again.output() == b"first"
    assert isinstance(again.messages[-1], Done)


def test_a_session_taken_up_again_holds_what_it_held(opened):
    setup = opened()
    setup.session.receive(START, [b"data"])
    setup.session.end(START + 4)
    setup.session.leave("")
    again = Session(setup.folder, setup.settings, FakeClient())
    assert again.input.held == START + 4 + len(encode(Close()))
    again.ready = True
    with pytest.raises(ProtocolError, match="after the end"):
        again.receive(again.input.held, [b"x"])
    again.leave("")


def test_a_session_is_run_once_at_a_time(opened):
    setup = opened()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(SessionError, match="runs at this moment"):
        Session(setup.folder, setup.settings, FakeClient())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    setup.worker_says("error", "data", "odd", "", "", False)
    Session(setup.folder, setup.settings, FakeClient()).leave("")


def died(setup, gadget=2):
    """The worker dies in a gadget; the session gets another one if it asks for it."""
    setup.folder.chain.write_text('<chain name="two"><gadget name="First"/><gadget name="Second"/></chain>')
    RunningMarks(setup.folder).note(1, gadget - 1)
    setup.folder.log.write_text("Segmentation fault in the log")
    setup.worker_dies()
    if setup.asked:
        setup.asked.clear()
        setup.start(FakeWorker())


def test_a_worker_that_dies_is_followed_by_another_and_the_client_told(opened):
    setup = opened()
    first = setup.worker
    setup.worker_says("waiting", START)
    died(setup)
    assert first.ended
    assert setup.forgotten == [first]
    (notice,) = setup.client.of(Notice)
    for words in ("SIGSEGV", "while it ran Second", "run again from its log (attempt 2 of 2)"):
        assert words in notice.message
    assert len(setup.client.of(Opened)) == 1
    assert setup.client.of(Error) == []
    setup.session.receive(START, [b"data"])  # the new worker does not sleep, and is not woken
    assert setup.worker.told == [[str(setup.folder.path), "", ""]]
    setup.worker_says("done", 0, {"images": 2})
    assert setup.client.of(Done)[0].statistics["attempts"] == 2


def test_output_of_the_next_worker_goes_on_where_that_of_the_first_ended(opened):
    setup = opened()
    setup.make_output(b"first")
    died(setup)
    setup.worker_says("output", 3)  # which the log holds already
    setup.worker_says("output", 5)
    setup.make_output(b"second")
    assert setup.client.output() == b"firstsecond"
    assert [message.offset for message in setup.client.of(Output)] == [0, 5]


def test_a_worker_that_dies_in_the_last_attempt_is_an_error_that_names_signal_and_gadget(opened):
    setup = opened()
    died(setup)
    died(setup)
    (error,) = setup.client.of(Error)
    assert (error.code, error.gadget) == ("gadget", "Second")
    words = ("SIGSEGV", "Second", "(attempt 2 of 2)", f"{START} bytes of input are kept", f"retry {setup.session.id}")
    for part in words:
        assert part in error.message
    assert "Segmentation fault in the log" in error.detail
    assert [event["event"] for event in setup.folder.events()] == ["attempt", "error"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_session_is_run_again_as_often_as_the_server_is_told(opened, retries):
    setup = opened(retries=retries)
    for _ in range(retries):
        died(setup)
        assert not setup.session.over
    died(setup)
    assert setup.session.over
    assert len(setup.client.of(Notice)) == retries


def test_an_error_that_would_come_again_is_told_at_once_and_the_lack_of_memory_is_not(opened):
    setup = opened()
    setup.worker_says("error", "gadget", "too large", "Second", "", True)
    assert setup.asked == [setup.session]
    setup.start(FakeWorker())
    setup.worker_says("error", "gadget", "odd", "Second", "", False)
    assert "odd" in setup.client.of(Error)[0].message


def test_a_worker_that_dies_before_the_session_opened_is_an_error_at_once(opened):
    setup = opened()
    setup.session.ready = False
    died(setup)
    assert setup.client.of(Error)
    assert setup.client.of(Notice) == []


def test_a_worker_is_seen_to_have_died_though_something_keeps_its_pipe_open(opened):
    setup = opened()
    setup.session.look_after()
    assert setup.asked == []
    setup.worker.lives = False
    setup.session.look_after()
    assert setup.asked == [setup.session]


def test_the_fallback_chain_runs_where_the_sessions_own_has_failed(opened):
    setup = opened(fallback="rss", retries=0)
    died(setup)
    assert setup.worker.told[0][:2] == [str(setup.folder.path), "rss"]
    assert setup.worker.told[0][2].startswith("chain 'two' failed (Second: the worker process was killed by SIGSEGV")
    setup.worker_says("done", 0, {"images": 1})
    statistics = setup.client.of(Done)[0].statistics
    assert statistics["fallback"] == "two"  # of which the made-up worker wrote no other
    assert "SIGSEGV" in statistics["failure"]


def test_a_fallback_chain_that_fails_as_well_leaves_the_first_error_and_a_note(opened):
    setup = opened(fallback="rss")
    setup.worker_says("error", "data", "odd lines", "First", "", False)
    setup.start(FakeWorker())
    setup.worker_says("error", "gadget", "too few", "Second", "", True)
    (error,) = setup.client.of(Error)
    assert (error.code, error.gadget) == ("data", "First")
    assert error.message.startswith("odd lines; the fallback chain failed too: Second: too few; ")


@pytest.mark.parametrize("code", ["header", "stream", "storage", "protocol", "config"])
def test_what_no_other_chain_would_mend_does_not_lead_to_the_fallback(opened, code):
    setup = opened(fallback="rss")
    setup.worker_says("error", code, "wrong", "", "", False)
    assert setup.client.of(Error)[0].message == "wrong"


def test_a_session_taken_up_again_goes_on_with_the_fallback_chain_that_it_turned_to(opened):
    setup = opened(fallback="rss")
    setup.worker_says("error", "data", "odd lines", "First", "", False)
    job = setup.session._attempts.job
    setup.session.leave("the server stops")
    again = Session(setup.folder, Settings(sessions=setup.settings.sessions), FakeClient())
    assert again._attempts.job == job
    assert job[1] == "rss"
    again.leave("")


def test_input_is_kept_after_an_error_until_it_ends(opened):
    setup = opened(retries=0)
    died(setup)
    assert setup.session.told
    assert not setup.session.settled
    assert "and so is what still comes" in setup.client.of(Error)[0].message
    setup.session.receive(START, [b"late"])
    setup.session.end(START + 4)
    assert setup.input == BEGINNING + b"late" + encode(Close())
    assert setup.session.settled


def test_credit_is_granted_after_an_error_as_before(opened):
    setup = opened(retries=0, input_window=10)
    died(setup)
    setup.session.receive(START, [b"sixsix"])
    assert setup.client.messages[-1] == Credit(setup.session.id, START + 6, START + 16)


def test_a_client_that_goes_away_after_an_error_is_not_waited_for(opened):
    setup = opened(retries=0)
    died(setup)
    setup.client.there = False
    setup.session.remind()
    assert setup.session.settled


@pytest.mark.parametrize("code", ["stream", "header"])
def test_input_that_could_never_be_run_is_not_waited_for(opened, code):
    setup = opened()
    setup.worker_says("error", code, "not an MRD stream", "", "", False)
    assert setup.session.settled


def test_a_write_that_fails_leaves_no_half_record(opened, monkeypatch):
    setup = opened()

    def full(file, parts):
        real(file, [parts[0][:1]])
        raise OSError(5, "Input/output error")

    real = input_log.os.writev
    monkeypatch.setattr(input_log.os, "writev", full)
    with pytest.raises(StorageError, match="Input/output error"):
        setup.session.receive(START, [b"data"])
    monkeypatch.undo()
    assert setup.input == BEGINNING
    assert setup.session.input.held == START


def test_output_that_cannot_be_read_ends_the_session_alone(opened):
    setup = opened()
    setup.worker_says("output", 5)  # but there is no such file: someone deleted the session
    (error,) = setup.client.of(Error)
    assert error.code == "storage"
    assert setup.session.settled
    assert setup.forgotten == [setup.worker]


def test_output_that_is_lost_once_all_was_made_is_an_error_and_not_the_end(opened):
    setup = opened()
    setup.client.there = False
    setup.make_output(b"first")
    setup.worker_says("done", 5, {})
    setup.folder.output.write_bytes(b"fir")
    again = FakeClient()
    setup.session.attach(again)
    (error,) = again.of(Error)
    assert "ends at byte 3" in error.message
    assert again.of(Done) == []


def test_output_that_a_door_cannot_read_is_an_error_and_not_the_end_of_the_server(opened):
    setup = opened(output_window=1)
    setup.make_output(b"first")
    setup.make_output(b"second")
    setup.make_output(b"third")
    setup.client.chokes = True
    setup.session.acknowledge(5)
    assert "not an MRD stream" in setup.client.of(Error)[0].message
    assert setup.session.settled


def test_a_session_that_cannot_be_begun_leaves_no_file_open(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    folder = create_session(tmp_path, {}, HEADER)
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(input_log.os, "writev", full)
    with pytest.raises(StorageError, match="No space left on device"):
        Session(folder, Settings(sessions=tmp_path), FakeClient())
    folder.header.unlink()
    with pytest.raises(StorageError, match="No such file"):
        Session(folder, Settings(sessions=tmp_path), FakeClient())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_texts_are_output_like_any_other(opened):
    setup = opened()
    record = bytes(encode(Text("hello")))
    setup.make_output(record)
    assert setup.client.output() == record
