"""Which of the sessions that run are let go of."""

from types import SimpleNamespace

import pytest
from made_up_sessions import FakeClient, FakeWorker

from echotrain.mrd.errors import BusyError, StorageError
from echotrain.server import sessions as sessions_module
from echotrain.server.sessions import Sessions
from echotrain.server.settings import Settings
from echotrain.server.wire import Error

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


class FakeLoop:
    def watch(self, _source, callback, _events=0):
        self.callback = callback

    def forget(self, _source):
        pass


@pytest.fixture
def running(tmp_path):
    """`running(request)`: what runs sessions, with a worker that stands ready for each, and the sessions."""
    loop = FakeLoop()
    made = Sessions(Settings(sessions=tmp_path), loop)
    workers = []

    def take():
        workers.append(FakeWorker())
        workers[-1].fileno = lambda: 0
        return workers[-1]

    made._pool = SimpleNamespace(take=take)
    yield made, workers, loop
    for name in made.ids():
        made.leave(made.find(name))


REQUEST = {"config": "count", "parameters": {}, "label": ""}


def test_what_one_session_waited_for_keeps_nobody_out_once_it_is_gone(running, monkeypatch):
    sessions, _, _ = running
    free = 1 << 40
    monkeypatch.setattr(sessions._disk, "_room", lambda: (free, 1000))
    waiting = sessions.create(REQUEST, b"<xml/>", FakeClient())
    free = 4000
    sessions._disk.look_again()
    assert not waiting.append([bytes(9000)])
    with pytest.raises(StorageError):
        sessions.create(REQUEST, b"<xml/>", FakeClient())
    sessions.leave(waiting, "the client aborted")
    sessions.create(REQUEST, b"<xml/>", FakeClient())


def test_a_mistake_in_looking_after_a_session_ends_that_one_alone(running, monkeypatch):
    sessions, _, _ = running
    first, second = (sessions.create(REQUEST, b"<xml/>", FakeClient()) for _ in range(2))
    looked = []
    monkeypatch.setattr(first, "look_after", lambda: 1 // 0)
    monkeypatch.setattr(second, "look_after", lambda: looked.append(second))
    sessions.look_around(0.0)
    assert first.over
    assert looked == [second]


def test_a_session_that_cannot_be_watched_ends_in_words_and_the_server_goes_on(running):
    sessions, _, _ = running
    session = sessions.create(REQUEST, b"<xml/>", FakeClient())
    session.folder.running.mkdir()  # which cannot be removed as a file, nor anything on a disk that is read-only
    session._ask(session)
    assert session.send.of(Error)[0].code == "storage"


def test_a_worker_that_says_much_keeps_no_other_waiting(running, monkeypatch):
    monkeypatch.setattr(sessions_module, "MESSAGES_PER_TURN", 5)
    sessions, workers, loop = running
    sessions.create(REQUEST, b"<xml/>", FakeClient())
    workers[0].says.extend([["waiting", 0]] * 12)
    for left in (7, 2, 0):
        loop.callback(0)
        assert len(workers[0].says) == left
