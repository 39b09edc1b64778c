"""Which of the sessions that run are let go of."""

from types import SimpleNamespace

import pytest

from echotrain.mrd.errors import BusyError
from echotrain.server.sessions import Sessions
from echotrain.server.settings import Settings

GONE_AT = 1000.0


class RunningSession(SimpleNamespace):
    """A session whose client went away at GONE_AT."""

    id = "one"
    send = None
    settled = False
    quiet_since = GONE_AT
    left = False

    def leave(self, _reason):
        self.left = True

    def look_after(self):
        pass

    def remind(self):
        pass


@pytest.mark.parametrize(
    ("ended", "over", "after", "left"),
    [
        (False, False, 59, False),
        (False, False, 61, True),
        (True, False, 61, False),  # the chain works on, and comes to its end
        (True, True, 59, False),  # who comes back is to find the output where it was left
        (True, True, 61, True),
    ],
)
def test_a_client_that_went_away_has_a_while_to_come_back(ended, over, after, left):
    session = RunningSession(input=SimpleNamespace(ended=ended), over=over)
    sessions = Sessions(Settings(patience=60.0), loop=None)
    sessions._running[session.id] = session
    sessions.look_around(GONE_AT + after)
    assert session.left == left


def test_a_server_that_stops_parts_from_who_has_more_to_send_and_starts_nothing():
    told = []
    sessions = Sessions(Settings(), loop=None)
    for name, ended in (("half", False), ("whole", True)):
        session = RunningSession(id=name, input=SimpleNamespace(ended=ended), over=False, told=False)
        session.tell = told.append
        sessions._running[name] = session
    half = sessions.find("half")
    sessions.stop()
    assert [(error.code, "come back" in error.message) for error in told] == [("busy", True)]
    assert half.left
    assert sessions.ids() == {"whole"}
    assert sessions.at_work
    sessions.find("whole").over = True  # and no client is there to take its output
    assert not sessions.at_work
    with pytest.raises(BusyError, match="the server stops; come back when it runs again"):
        sessions.create({}, b"", lambda *_: True)
    with pytest.raises(BusyError, match="the server stops"):
        sessions.resume("half", lambda *_: True)
