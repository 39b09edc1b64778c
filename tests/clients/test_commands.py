"""The command line without a server: what is printed, and the exit status."""

import re

import numpy as np
import pytest

from echotrain.clients.commands import config_text
from echotrain.mrd import Acquisitions, read_header, read_images, read_items
from echotrain.server.configs import config_names

SIMULATE = ["--matrix", "24,20", "--coils", "3", "--slices", "2", "--repetitions", "2", "--noise", "0.02"]


@pytest.fixture
def scan_file(tmp_path, succeed):
    succeed("simulate", tmp_path / "scan.h5", *SIMULATE)
    return tmp_path / "scan.h5"


# -- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["recon"],
        ["recon", "in.h5", "--output", "out.h5"],
        ["recon", "in.h5", "--config", "rss", "--output", "out.h5", "--set", "width=3"],
        ["recon", "in.h5", "--config", "rss", "--output", "out.h5", "--set", "A.width"],
        ["replay", "in.h5", "--config", "rss", "--output", "out.h5", "--speed", "fast"],
        ["replay", "in.h5", "--config", "rss", "--output", "out.h5", "--speed", "-1"],
        ["replay", "in.h5", "--config", "rss", "--output", "out.h5", "--lines", "-1"],
        ["serve", "--warm", "many"],
        ["serve", "--patience", "-1"],
        ["sessions", "dance"],
        ["sessions", "show"],
        ["simulate", "out.h5", "--matrix", "1,2,3"],
        ["simulate", "out.h5", "--matrix", "wide"],
        ["export", "in.h5"],
    ],
)
def test_usage_errors_have_status_2_and_write_nothing_to_standard_output(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, [])
    assert err[0].startswith("usage: echotrain")


def test_the_version_and_help_are_no_errors(run):
    assert run("--version")[0] == 0
    status, out, _ = run("--help")
    assert status == 0
    for command in ("serve", "replay", "recon", "simulate", "configs", "gadgets", "check", "export", "sessions"):
        assert any(command in line for line in out)


# -- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recon", "{tmp}/none.h5", "--config", "rss", "--output", "{tmp}/o.h5"], ["none.h5"]),
        (["recon", "{tmp}/text.h5", "--config", "rss", "--output", "{tmp}/o.h5"], ["text.h5"]),
        (["recon", "{scan}", "--config", "rs", "--output", "{tmp}/o.h5"], ["'rs'", "did you mean rss?"]),
        (["recon", "{scan}", "--config", "{tmp}/none.xml", "--output", "{tmp}/o.h5"], ["no file", "none.xml"]),
        (["recon", "{scan}", "--config", "{tmp}/bad.xml", "--output", "{tmp}/o.h5"], ["not XML"]),
        (["recon", "{scan}", "--config", "{tmp}/latin.xml", "--output", "{tmp}/o.h5"], ["latin.xml"]),
        (["recon", "{scan}", "--config", "rss", "--output", "{tmp}/none/o.h5"], ["none/o.h5"]),
        (["recon", "{scan}", "--group", "other", "--config", "rss", "--output", "{tmp}/o.h5"], ["other", "dataset"]),
        (["recon", "{scan}", "--config", "rss", "--set", "A.x=3", "--output", "{tmp}/o.h5"], ["'A.x'"]),
        (["replay", "{tmp}/none.h5", "--config", "rss", "--output", "{tmp}/o.h5"], ["none.h5"]),
        (["simulate", "{tmp}/none/o.h5"], ["none/o.h5"]),
        (["simulate", "{tmp}/o.h5", "--trajectory", "zigzag"], ["'zigzag'", "cartesian"]),
        (["simulate", "{tmp}/o.h5", "--coils", "0"], ["coils"]),
        (["configs", "rs"], ["'rs'", "did you mean rss?"]),
        (["configs", "epi"], ["epi of Gadgetron is not yet supported (echo-planar scans)"]),
        (["configs", "<chain/>"], ["'<chain/>'"]),
        (["check", "bad", "--configs", "{tmp}"], ["bad.xml", "not XML"]),
        (["gadgets", "--gadgets", "{tmp}/none"], ["none", "not a folder"]),
        (["gadgets", "Cuont"], ["'Cuont'", "did you mean Count?"]),
        (["check", "rs"], ["'rs'", "did you mean rss?"]),
        (["check", "rss", "--set", "CombineCoils.metod=x"], ["'metod'", "did you mean method?"]),
        (["export", "{tmp}/none.h5", "--png", "{tmp}/png"], ["none.h5"]),
        (["export", "{scan}", "--png", "{tmp}/png"], ["no images"]),
        (["convert", "{tmp}/none.dat", "{tmp}/o.h5"], ["none.dat"]),
        (["sessions", "show", "nothing", "--sessions", "{tmp}"], ["'nothing'"]),
        (["sessions", "retry", "../x", "--sessions", "{tmp}"], ["'../x'"]),
        (["sessions", "delete", "20200101-000000-00000000", "--sessions", "{tmp}"], ["20200101-000000-00000000"]),
    ],
)
def test_failures_have_status_1_and_one_line_that_names_what_is_wrong(run, scan_file, tmp_path, arguments, words):
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "bad.xml").write_text("<chain")
    (tmp_path / "latin.xml").write_bytes("<!-- \u00e9 --><chain/>".encode("latin-1"))
    status, out, err = run(*(argument.format(tmp=tmp_path, scan=scan_file) for argument in arguments))
    assert status == 1
    assert len(err) == 1, err
    assert err[0].startswith(f"echotrain {arguments[0]}: ")
    assert all(word in err[0] for word in words), err[0]
    assert not any("Traceback" in line for line in out)


def test_what_nobody_foresaw_is_one_line_too_and_more_with_verbose(run, monkeypatch, scan_file, tmp_path):
    def broken(*_):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("echotrain.clients.commands.recon.read_items", broken)
    arguments = ["recon", scan_file, "--config", "rss", "--output", tmp_path / "o.h5"]
    status, _, err = run(*arguments)
    assert (status, len(err)) == (1, 1)
    assert "ZeroDivisionError: nobody foresaw this" in err[0]
    status, _, err = run(*arguments, "--verbose")
    assert status == 1
    assert any("Traceback" in line for line in err)


def test_an_output_that_failed_leaves_the_file_of_before(run, scan_file, tmp_path):
    (tmp_path / "o.h5").write_text("of before")
    assert run("recon", scan_file, "--config", "fft", "--set", "Prewhiten.x=1", "--output", tmp_path / "o.h5")[0] == 1
    assert (tmp_path / "o.h5").read_text() == "of before"


# -- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [("recon", "--config", "fft"), ("replay", "--config", "fft", "--server", "tcp://127.0.0.1:9"), "convert"],
)
def test_a_recording_is_never_written_over(run, scan_file, tmp_path, arguments):
    before = scan_file.read_bytes()
    (tmp_path / "same.h5").symlink_to(scan_file)
    if arguments == "convert":
        status, _, err = run("convert", scan_file, tmp_path / "same.h5")
    else:
        status, _, err = run(*arguments, scan_file, "--output", tmp_path / "same.h5")
    assert status == 1
    assert err == [
        f"echotrain {err[0].split()[1].rstrip(':')}: {tmp_path / 'same.h5'} is the input, and would be overwritten; "
        "name another file for the output"
    ]
    assert scan_file.read_bytes() == before


def test_simulate_writes_a_scan_of_what_was_asked(scan_file):
    batches = [item for item in read_items(scan_file) if isinstance(item, Acquisitions)]
    assert sum(map(len, batches)) == 16 + 2 * 2 * 20
    assert {batch.data.shape[1:] for batch in batches} == {(3, 48)}
    assert b"<ismrmrdHeader" in read_header(scan_file)


def test_recon_writes_images_and_says_how_many(succeed, scan_file, tmp_path):
    out = tmp_path / "o.h5"
    assert succeed("recon", scan_file, "--config", "fft", "--output", out) == [f"4 images in {out}"]
    assert [image.data.shape for image in read_images(out)] == [(1, 1, 20, 24)] * 4


def test_recon_takes_a_chain_from_a_file_and_sets_its_parameters(succeed, scan_file, tmp_path):
    (tmp_path / "own.xml").write_text(
        '<chain><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/><gadget name="FourierTransform"/>'
        '<gadget name="CombineCoils"/><gadget name="ComplexParts" parts="magnitude"/></chain>'
    )
    out = tmp_path / "o.h5"
    settings = ["--set", "ComplexParts.parts=magnitude phase", "--set", "CombineCoils.method=adaptive"]
    lines = succeed("recon", scan_file, "--config", tmp_path / "own.xml", *settings, "--output", out)
    assert lines == [f"8 images in {out}"]


def test_export_draws_every_image(succeed, scan_file, tmp_path):
    succeed("recon", scan_file, "--config", "fft", "--output", tmp_path / "o.h5")
    (line,) = succeed("export", tmp_path / "o.h5", "--png", tmp_path / "png")
    n_files = len(list((tmp_path / "png").glob("*.png")))
    assert n_files >= 4
    assert line == f"{n_files} pictures in {tmp_path / 'png'}"


def test_configs_lists_all_chains_and_shows_one(succeed):
    lines = succeed("configs")
    assert {line.split()[0] for line in lines} == set(config_names())
    assert any(re.match(r"short +As fft, scaled and rounded to 16-bit integers", line) for line in lines)
    assert max(map(len, lines)) <= 160
    assert '<gadget name="Count"/>' in "\n".join(succeed("configs", "count"))
    assert succeed("configs", "count") == succeed("configs", "count.xml")


def test_the_list_says_which_chains_are_those_of_another_server(succeed):
    others = [line.split()[0] for line in succeed("configs") if re.search("Gadgetron's|python-ismrmrd-server's", line)]
    own = "adaptive cg_sense compressed convdecoder count cs_low_rank cs_tv cs_wavelet fft l1_spirit "
    own += "linear_spirit partial_fourier rss score_prior self_supervised sense short unet varnet varnet_uncertainty"
    assert {*config_names()} - {*others} == {*own.split()}


def test_a_sites_chain_is_listed_by_its_comment_or_its_gadgets(succeed, tmp_path):
    (tmp_path / "plain.xml").write_text('<chain><gadget name="Count"/><!-- not about the chain --></chain>')
    (tmp_path / "told.xml").write_text('<?xml version="1.0"?>\n<!-- For knees,\n  by us. -->\n<chain/>')
    (tmp_path / "latin.xml").write_bytes(
        '<?xml version="1.0" encoding="latin-1"?><!-- caf\xe9 --><chain/>'.encode("latin-1")
    )
    lines = [re.sub(" +", " ", line) for line in succeed("configs", "--configs", tmp_path)]
    assert "plain Count" in lines
    assert any(line.startswith("latin caf") for line in lines)
    assert "told For knees, by us." in lines


def test_a_chain_is_given_as_a_name_a_file_or_its_own_text(tmp_path):
    text = '\n<chain name="a/b"><gadget name="Count"/></chain>'
    (tmp_path / "own.xml").write_text(text)
    assert config_text("rss") == "rss"
    assert config_text(str(tmp_path / "own.xml")) == config_text(text) == text


def test_a_chain_that_cannot_be_read_is_told_and_hides_no_other(run, tmp_path):
    (tmp_path / "bad.xml").write_text("<chain")
    status, out, err = run("configs", "--configs", tmp_path)
    assert status == 0
    assert {line.split()[0] for line in out} == set(config_names())
    (line,) = err
    assert f"{tmp_path / 'bad.xml'}: the chain is not XML" in line


def test_gadgets_lists_all_with_a_line_each_and_shows_ones_parameters(succeed):
    lines = succeed("gadgets")
    assert any(line.startswith("CombineCoils ") and len(line.split()) > 3 for line in lines)
    shown = "\n".join(succeed("gadgets", "CombineCoils"))
    assert shown.startswith("CombineCoils: Image to Image")
    assert "method = " in shown


def test_gadgets_of_a_folder_are_listed_and_a_broken_file_is_told(run, tmp_path):
    (tmp_path / "broken.py").write_text("import not_there_at_all")
    (tmp_path / "good.py").write_text(
        "from echotrain.gadgets import Gadget\nfrom echotrain.mrd import Image\n"
        'class Good(Gadget[Image, Image]):\n    """Does good."""\n'
    )
    status, out, err = run("gadgets", "--gadgets", tmp_path)
    assert status == 0
    assert any(re.match("Good +Does good.", line) for line in out)
    (line,) = err
    assert "broken.py" in line
    assert "not_there_at_all" in line


def test_check_shows_every_parameter_and_where_its_value_comes_from(succeed):
    lines = succeed("check", "adaptive", "--set", "CombineCoils.method=rss")
    assert lines[0] == "chain adaptive"
    assert any(re.match(r" +method = rss.*\(set\)", line) for line in lines)
    assert any(re.match(r" +parts = magnitude phase.*\(chain\)", line) for line in lines)
    assert any(re.match(r" +.*\(default\)", line) for line in lines)


# -- sessions ------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_with_state_size_chain_and_label(succeed, session):
    (line,) = succeed("sessions", "list", "--sessions", session.path.parent)
    assert re.match(rf"{session.id} +parked +0.1 MB +\d+ s +rss +knee", line)


def test_a_session_that_failed_before_its_scan_was_over_is_listed_as_failed(succeed, session):
    for event in ("error", "client away", "ended"):
        session.write_event(event)
    (line,) = succeed("sessions", "list", "--sessions", session.path.parent)
    assert line.split()[1] == "failed"


def test_sessions_without_an_action_lists_them(succeed, session, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_SESSIONS", str(session.path.parent))
    assert [line.split()[0] for line in succeed("sessions")] == [session.id]
    assert [line.split()[0] for line in succeed("sessions", "list")] == [session.id]


def test_sessions_of_another_folder_are_listed_with_and_without_an_action(succeed, session, monkeypatch, tmp_path):
    monkeypatch.setenv("ECHOTRAIN_SESSIONS", str(tmp_path / "nowhere"))
    folder = ["--sessions", session.path.parent]
    for arguments in ([*folder], ["list", *folder], [*folder, "list"]):
        (line,) = succeed("sessions", *arguments)
        assert line.startswith(session.id)


def test_a_session_that_is_damaged_hides_no_other(succeed, session):
    (session.path.parent / "20200101-000000-00000000").mkdir()
    (session.path.parent / "20200101-000000-00000001").mkdir()
    (session.path.parent / "20200101-000000-00000001" / "session.json").write_text("[]")
    lines = succeed("sessions", "list", "--sessions", session.path.parent)
    assert len(lines) == 3
    assert lines[-1].startswith(session.id)


def test_no_sessions_are_no_lines(succeed, tmp_path):
    assert succeed("sessions", "list", "--sessions", tmp_path / "nowhere") == []


def test_show_tells_what_happened(succeed, session):
    session.write_event("error", code="data", message="too many")
    lines = succeed("sessions", "show", session.id, "--sessions", session.path.parent)
    assert lines[0] == str(session.path)
    assert "opened" in lines[1]
    assert "error  code=data  message=too many" in lines[2]


def test_images_of_recon_are_finite(succeed, scan_file, tmp_path):
    succeed("recon", scan_file, "--config", "adaptive", "--output", tmp_path / "o.h5")
    assert all(np.isfinite(image.data).all() for image in read_images(tmp_path / "o.h5"))
