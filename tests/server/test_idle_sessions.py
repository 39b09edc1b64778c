"""A client that is there but sends nothing for long: its scan is cut off, and never while it sends."""

import time

import pytest

from echotrain.server.folder import create_session
from echotrain.server.session import Session
from echotrain.server.settings import Settings

IDLE = 60.0


@pytest.fixture
def session(tmp_path):
    """A session that takes data, whose client has sent nothing for more than IDLE."""
    settings = Settings(sessions=tmp_path, idle=IDLE)
    made = Session(create_session(tmp_path, {}, b"<xml/>"), settings, lambda *_: True)
    made.ready = True
    made._heard = time.monotonic() - IDLE - 1
    yield made
    made.leave("")


def test_a_client_that_sends_nothing_for_long_is_cut_off_and_its_session_says_why(session):
    session.look_after()
    assert session.input.cut_off == "nothing came for 60 s"
    assert [event["event"] for event in session.folder.events()] == ["input cut off"]


def test_one_that_sends_has_the_whole_time_again(session):
    session.append([b"some of a record"])
    session.look_after()
    assert not session.input.ended


@pytest.mark.parametrize("name", ["it may not send yet", "it is away", "it waits for room on the disk"])
def test_one_that_cannot_send_is_given_the_whole_time_once_it_can(session, name):
    match name:
        case "it may not send yet":
            session.ready = False
        case "it is away":
            session.send = None
        case _:
            session.input.lacking = 1 << 62
    session.look_after()
    session.ready, session.send, session.input.lacking = True, lambda *_: True, 0
    session.look_after()
    assert not session.input.ended
