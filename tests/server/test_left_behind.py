"""Which sessions the next server takes up, and how often."""

import pytest

from echotrain.mrd.errors import EchotrainError
from echotrain.server.folder import create_session
from echotrain.server.recovery import CUT_OFF, KILLED, STOPPED, LeftBehind, is_unfinished, take_up, waits_for_client


@pytest.fixture
def session(tmp_path):
    """`session("opened", "done")`: one to which this happened; `left: why` is left for a reason."""

    def make(*happened, **request):
        folder = create_session(tmp_path, {"config": "rss", "parameters": {}, "label": "", **request}, b"<xml/>")
        folder.input.write_bytes(b"x" * 70)
        happen(folder, *happened)
        return folder

    return make


def happen(folder, *happened):
    for event in happened:
        name, _, reason = event.partition(": ")
        folder.write_event(name, **({"reason": reason} if reason else {}))


@pytest.mark.parametrize(
    ("happened", "unfinished"),
    [
        ([], False),
        (["opened"], True),
        (["opened", "client away"], True),
        (["opened", "ended", "noise kept"], True),
        (["opened", "ended", "done"], False),
        (["opened", "error", "ended"], False),
        (["opened", "left: the client aborted"], False),
        (["opened", f"left: {KILLED}"], False),
        (["opened", f"left: {STOPPED}"], True),
        (["opened", f"left: {STOPPED}", "opened", "done"], False),
        (["opened", "left: the client went away and did not come back", "retried"], False),
        (["opened", "done", "opened", "taken up"], True),
    ],
)
def test_a_session_is_unfinished_if_a_server_was_at_it_when_it_ended(session, happened, unfinished):
    assert is_unfinished(session(*happened)) == unfinished


@pytest.mark.parametrize(
    ("happened", "door", "waits"),
    [
        (["opened"], "native", True),
        (["opened"], "mrd", False),
        (["opened", "ended"], "native", False),
        (["opened", f"input cut off: {CUT_OFF}"], "native", False),
    ],
)
def test_only_a_native_client_that_has_more_to_send_is_waited_for(session, happened, door, waits):
    assert waits_for_client(session(*happened, door=door)) == waits


def test_a_session_is_taken_up_three_times_and_again_after_any_progress(session):
    folder = session("opened", "ended")
    for _ in range(3):
        take_up(folder)
    with pytest.raises(EchotrainError, match=f"ended 3 times .* `echotrain sessions retry {folder.id}` runs it"):
        take_up(folder)
    folder.output.write_bytes(b"an image")
    for _ in range(3):
        take_up(folder)
    with pytest.raises(EchotrainError, match="ended 3 times"):
        take_up(folder)


def test_a_server_that_ended_well_counts_for_nothing(session):
    folder = session("opened", "ended")
    for _ in range(5):
        take_up(folder)
        happen(folder, f"left: {STOPPED}")


def test_they_are_found_oldest_first_and_one_that_cannot_be_read_keeps_nobody(session, tmp_path):
    folders = [session("opened"), session("opened", "done"), session("opened"), session("opened")]
    broken = folders[2].path / "events.jsonl"
    broken.unlink()
    broken.mkdir()
    found = LeftBehind()
    found.find(tmp_path)
    while found._found.qsize() < 2:
        pass
    assert {found.next().id, found.next().id} == {folders[0].id, folders[3].id}
    assert found.next() is None
