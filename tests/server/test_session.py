"""The front's side of a session, with a worker and a client that are made up."""

from pathlib import Path

import pytest
from made_up_sessions import BEGINNING, HEADER, START, FakeClient

from echotrain.mrd import Close, Text, encode
from echotrain.mrd.errors import ConfigError, ProtocolError, SessionError, StorageError
from echotrain.server import input_log, output_feed
from echotrain.server.folder import create_session
from echotrain.server.outcome import shown_state
from echotrain.server.session import Session
from echotrain.server.settings import Settings
from echotrain.server.wire import Credit, Done, Error, Opened, Output


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


def test_a_session_taken_up_again_whose_input_was_cut_off_takes_no_more_and_says_why(opened):
    setup = opened()
    setup.session.cut_off("nothing came for 60 s")
    setup.session.leave("")
    again = Session(setup.folder, setup.settings, FakeClient())
    again.ready = True
    assert (again.input.ended, again.input.cut_off) == (True, "nothing came for 60 s")
    again.attach(FakeClient())
    with pytest.raises(
        ProtocolError, match="after the end of the scan, which was cut off, since nothing came for 60 s"
    ):
        again.receive(again.input.held, [b"x"])
    again.cut_off("the server stopped")
    assert again.input.cut_off == "nothing came for 60 s"
    again.leave("")


def test_a_client_that_comes_back_is_noted(opened):
    setup = opened()
    setup.folder.write_event("opened")
    setup.client.there = False
    setup.session.remind()
    assert shown_state(setup.folder) == "waiting"
    setup.session.attach(FakeClient())
    assert shown_state(setup.folder) == "running"


def test_a_session_is_run_once_at_a_time(opened):
    setup = opened()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(SessionError, match="runs at this moment"):
        Session(setup.folder, setup.settings, FakeClient())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    setup.worker_says("error", "data", "odd", "", "", False)
    Session(setup.folder, setup.settings, FakeClient()).leave("")


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
