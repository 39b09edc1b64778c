"""Which of the sessions that run are let go of."""

from types import SimpleNamespace

import pytest

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
