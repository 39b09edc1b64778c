"""Sessions that are run again and deleted by the command line, without a server."""

from echotrain.mrd import Close, HeaderText, Text, decode, encode, read_images
from echotrain.server.folder import all_sessions
from echotrain.server.session import Session
from echotrain.server.settings import Settings


def test_retry_runs_what_is_kept_and_writes_its_images(run, session, tmp_path):
    out = tmp_path / "o.h5"
    status, lines, err = run("sessions", "retry", session.id, "--sessions", session.path.parent, "--output", out)
    assert (status, lines) == (0, [f"2 images in {out}"])
    assert err == [f"session {session.id} was not ended by its client"]
    assert len(list(read_images(out))) == 2
    assert session.output.stat().st_size > 2 * 20 * 24 * 4
    assert [event["event"] for event in session.events()] == ["opened", "retried"]


def test_retry_takes_another_chain_and_settings(run, session, tmp_path):
    options = ["--sessions", session.path.parent, "--output", tmp_path / "o.h5"]
    assert run("sessions", "retry", session.id, "--config", "adaptive", *options)[0] == 0
    assert len(list(read_images(tmp_path / "o.h5"))) == 4
    status, _, err = run("sessions", "retry", session.id, "--config", "rss", "--set", "Prewhiten.x=1", *options)
    assert status == 1
    assert "'Prewhiten.x'" in err[-1]
    assert len(list(read_images(tmp_path / "o.h5"))) == 4


def test_retry_of_input_that_is_torn_works_on_what_is_whole_and_says_what_it_left_out(run, session):
    data = session.input.read_bytes()
    session.input.write_bytes(data[:-10])
    status, out, err = run("sessions", "retry", session.id, "--sessions", session.path.parent)
    assert status == 0
    assert any("bytes, of a record that was cut off, are left out" in line for line in err)
    assert out[-1].startswith("2 images in")
    assert session.input.read_bytes() == data[:-10]


def test_retry_of_input_that_is_no_mrd_is_an_error_that_keeps_everything(run, session):
    session.input.write_bytes(session.input.read_bytes() + b"no record")
    session.output.write_bytes(b"of before")
    status, _, err = run("sessions", "retry", session.id, "--sessions", session.path.parent)
    assert status == 1
    assert "not an MRD stream" in err[-1]
    assert session.output.read_bytes() == b"of before"
    assert not list(session.path.glob("*.partial"))


def test_the_output_of_a_retry_is_a_whole_stream(run, session):
    assert run("sessions", "retry", session.id, "--sessions", session.path.parent)[0] == 0
    first, *_, last = (item for item, _ in decode(memoryview(session.output.read_bytes())))
    assert isinstance(first, HeaderText)
    assert isinstance(last, Close)


def test_a_session_that_runs_is_not_retried(run, session):
    held = Session(session, Settings(sessions=session.path.parent), lambda *_: True)
    status, _, err = run("sessions", "retry", session.id, "--sessions", session.path.parent)
    held.leave("")
    assert status == 1
    assert "runs at this moment; wait" in err[-1]
    assert not session.output.exists()
    assert run("sessions", "retry", session.id, "--sessions", session.path.parent)[0] == 0


def test_lines_that_no_gadget_takes_are_left_out_as_by_a_server(run, session):
    places = ["--sessions", session.path.parent]
    status, _, err = run("sessions", "retry", session.id, "--config", "stream_float_to_short", *places)
    assert status == 0
    assert any("no gadget of the chain takes lines; 40 were left out" in line for line in err)
    kinds = {type(item) for item, _ in decode(memoryview(session.output.read_bytes()))}
    assert kinds == {HeaderText, Text, Close}


def test_words_of_a_client_do_not_steer_the_terminal(run, session):
    with session.input.open("ab") as file:
        file.write(encode(Text("\x1b[2Jone\ntwo\x9b3m")))
    session.chain.write_text('<chain name="\x9b2J">\n  <gadget name="Count"/>\n</chain>\n')
    places = ["--sessions", session.path.parent]
    status, out, err = run("sessions", "retry", session.id, *places)
    assert status == 0
    assert {"?[2Jone", "two?3m"} <= {*err}
    status, out, err = run("sessions", "show", session.id, *places)
    assert out[-3:] == ['<chain name="?2J">', '  <gadget name="Count"/>', "</chain>"]


def test_delete_removes_a_session(succeed, session):
    assert succeed("sessions", "delete", session.id, "--sessions", session.path.parent) == []
    assert all_sessions(session.path.parent) == []
