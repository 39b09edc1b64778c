"""What a session does when its worker fails: runs again, turns to the fallback chain, or keeps its input for later."""

import pytest
from made_up_sessions import BEGINNING, START, FakeClient, FakeWorker

from echotrain.mrd import Close, encode
from echotrain.server.running import RunningMarks
from echotrain.server.session import Session
from echotrain.server.settings import Settings
from echotrain.server.wire import Credit, Done, Error, Notice, Opened, Output


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
