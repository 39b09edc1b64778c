"""The server's log: a line for each event of a session, harmless whatever a client says, and never in the way."""

import json
import logging
import os
import subprocess
import sys

import pytest

from echotrain.mrd.errors import StorageError
from echotrain.server import logs
from echotrain.server.folder import create_session
from echotrain.server.logs import Log

SESSION = "20240102-030405-0000000a"


@pytest.fixture
def set_up(tmp_path):
    """`set_up(format="json")` sends the log to a file, whose lines `set_up()()` gives."""
    root, ours = logging.getLogger(), logging.getLogger("echotrain")
    before, level = list(root.handlers), ours.level
    path = tmp_path / "server.log"

    def make(**options):
        Log(str(path), **options).set_up()

        def written():
            for handler in root.handlers:
                handler.flush()
            return path.read_text().splitlines()

        return written

    yield make
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    ours.setLevel(level)


def test_an_event_of_a_session_is_a_line_with_its_details(set_up, tmp_path):
    written = set_up()
    session = create_session(tmp_path, {}, b"")
    session.write_event("done", lines=40, images=2, gadget="")
    (line,) = written()
    time, level, rest = line.split(" ", 2)
    assert time.endswith("+00:00")
    assert (level, rest) == ("INFO", f"   session {session.id}: done  lines=40  images=2")
    assert [event["event"] for event in session.events()] == ["done"]


def test_as_json_the_details_are_fields_which_hide_none_of_its_own(set_up):
    written = set_up(format="json")
    logs.log_event(SESSION, "error", {"message": "too many", "code": "data", "level": "x", "session": "other"})
    (found,) = map(json.loads, written())
    assert found.pop("time").startswith("20")
    assert found == {"message": "too many", "code": "data", "level": "warning", "session": SESSION, "event": "error"}


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_words_of_a_client_make_no_line_and_steer_no_terminal(set_up, format_name):
    written = set_up(format=format_name)
    logs.log_event(SESSION, "opened", {"label": "Knie é\n2024 ERROR forged\x1b[2J\u2028\udcff"})
    (line,) = written()
    assert not set(line) & {"\x1b", "\u2028", "\udcff"}
    assert r"\n2024 ERROR forged\u001b[2J" in line.replace(r"\x1b", r"\u001b")


def test_a_trace_follows_its_line_and_is_escaped_too(set_up):
    written = set_up()
    try:
        raise ValueError("one\ntwo\x1b")
    except ValueError as error:
        logging.getLogger("echotrain.server.sessions").error("a mistake", exc_info=error)
    first, *trace = written()
    assert first.endswith("a mistake")
    assert all(line.startswith("    ") for line in trace)
    assert r"    two\x1b" in trace


def test_the_level_is_of_our_log_and_libraries_only_warn(set_up):
    written = set_up(level="warning")
    logs.log_event(SESSION, "opened", {})
    logs.log_event(SESSION, "input cut off", {"reason": "gone"})
    logging.getLogger("library").info("loud")
    logging.getLogger("library").warning("worse")
    assert [line.split(" ", 1)[1].split()[0] for line in written()] == ["WARNING", "WARNING"]


def test_a_file_that_was_moved_away_is_made_again(set_up, tmp_path):
    written = set_up()
    logs.log_event(SESSION, "opened", {})
    assert len(written()) == 1
    (tmp_path / "server.log").rename(tmp_path / "server.log.1")
    logs.log_event(SESSION, "done", {})
    (logging.getLogger().handlers)[-1].flush()
    assert [line.split()[-1] for line in written()] == ["done"]


def test_a_log_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StorageError, match=r"none/server\.log"):
        Log(str(tmp_path / "none" / "server.log")).set_up()


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_is_left_out_is_counted():
    """A process of its own, whose standard error is read only once it has said all that it will."""
    code = (
        "import logging, sys\n"
        "from echotrain.server import logs\n"
        "logs.QUEUED_LINES, logs.LAST_WORDS = 500, 50\n"
        "logs.Log().set_up()\n"
        "for number in range(3000): logs.log_event(str(number), 'opened', {'label': 200 * 'x'})\n"
        "print('said', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"said\n"
        _, err = process.communicate(timeout=60)
    lines = err.decode().splitlines()
    left_out = [int(line.split()[2]) for line in lines if "were left out" in line]
    assert left_out
    assert sum(left_out) + len(lines) - len(left_out) == 3000
    assert process.returncode == 0


def test_a_process_ends_though_nobody_reads_its_log():
    code = (
        "from echotrain.server import logs\n"
        "logs.LAST_WORDS = 0.1\n"
        "logs.Log().set_up()\n"
        "for number in range(3000): logs.log_event(str(number), 'opened', {'label': 200 * 'x'})\n"
    )
    read, write = os.pipe()
    try:
        ended = subprocess.run([sys.executable, "-c", code], stderr=write, timeout=60, check=False)
    finally:
        os.close(read)
        os.close(write)
    assert ended.returncode == 0
