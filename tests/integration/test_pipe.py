"""`echotrain pipe` between other programs: the streams are written and read by the public `ismrmrd` package."""

import contextlib
import io
import os
import subprocess
import sys

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigFile, ConfigText, ProtocolDeserializer, ProtocolSerializer
from ismrmrd.xsd import CreateFromDocument

from echotrain.clients.main import main
from echotrain.clients.recon import reconstruct
from echotrain.mrd import Acquisitions, Close, HeaderText, Image, Query, Response, Text, decode, encode

pytestmark = pytest.mark.usefixtures("bounded")

CLOSE = bytes(encode(Close()))


@pytest.fixture
def scan(small_scan):
    return small_scan(repetitions=2)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, gadgets_folder):
    """`run(stream, "--config", ...)` in this process: exit status, what the stream that came out holds, and errors."""

    def command(stream, *options):
        (tmp_path / "in.mrd").write_bytes(stream)
        standard = [os.dup(number) for number in (0, 1)]
        with (tmp_path / "in.mrd").open("rb") as source, (tmp_path / "out.mrd").open("wb") as sink:
            try:
                os.dup2(source.fileno(), 0)
                os.dup2(sink.fileno(), 1)
                status = main(["pipe", "--gadgets", str(gadgets_folder), *options])
            finally:
                for number, kept in enumerate(standard):
                    os.dup2(kept, number)
                    os.close(kept)
        written = (tmp_path / "out.mrd").read_bytes()
        items, ends = zip(*decode(memoryview(written)), strict=True)
        assert ends[-1] == len(written)
        return status, list(items), capsys.readouterr().err.splitlines()

    return command


@pytest.fixture
def gadgets_folder(tmp_path):
    (tmp_path / "gadgets").mkdir()
    (tmp_path / "gadgets" / "own.py").write_text(
        "import os\n"
        "from echotrain.gadgets import Gadget\n"
        "from echotrain.mrd import Acquisitions, Text\n\n\n"
        "class Loud(Gadget[Acquisitions, Acquisitions]):\n"
        '    """Prints, and says that lines came."""\n\n'
        "    def process(self, lines):\n"
        "        print('printed')\n"
        "        os.write(1, b'written')\n"
        "        yield Text('lines came')\n"
        "        yield lines\n\n\n"
        "class Trip(Gadget[Acquisitions, Acquisitions]):\n"
        '    """Passes lines on, until one of repetition 1."""\n\n'
        "    def process(self, lines):\n"
        "        for line in lines:\n"
        "            if line.head['idx']['repetition'][0] == 1:\n"
        "                raise ValueError('a stone')\n"
        "            yield line\n"
    )
    return tmp_path / "gadgets"


@contextlib.contextmanager
def piping(*options):
    """The command as a process between two pipes."""
    arguments = [sys.executable, "-m", "echotrain.clients.main", "pipe", *options]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(arguments, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def peers_lines(scan):
    """The scan as the public package's objects."""
    raw = io.BytesIO(b"".join(bytes(encode(batch)) for batch in scan.batches) + CLOSE)
    return list(ProtocolDeserializer(raw).deserialize())


def close_to(image, wanted):
    return np.abs(image.data - wanted.data).max() <= 1e-6 * wanted.data.max()


def test_it_chains_with_programs_that_use_the_public_package(scan):
    wanted = [item for item in reconstruct(scan.batches, scan.header, "rss") if isinstance(item, Image)]
    with piping("--config", "rss") as process:
        with ProtocolSerializer(process.stdin) as writer:
            writer.serialize(CreateFromDocument(scan.header))
            for line in peers_lines(scan):
                writer.serialize(line)
        header, *images = ProtocolDeserializer(process.stdout).deserialize()
        assert process.stdout.read() == b""
        assert (process.wait(), process.stderr.read()) == (0, b"")
    assert header.encoding[0].encodedSpace == CreateFromDocument(scan.header).encoding[0].encodedSpace
    assert len(images) == len(wanted) == 4
    assert all(isinstance(image, ismrmrd.Image) for image in images)
    assert all(close_to(image, other) for image, other in zip(images, wanted, strict=True))


def test_images_go_out_while_the_scan_goes_on_line_by_line(scan):
    """What is made is waited for with the rest of the scan still to come: it would hang if anything held it back."""
    lines = [line for batch in scan.batches for line in batch]
    first = sum(int(line.head["idx"]["repetition"][0]) == 0 for line in lines)
    with piping("--config", "rss") as process:
        out = ProtocolDeserializer(process.stdout).deserialize()
        process.stdin.write(encode(HeaderText(scan.header)))
        process.stdin.flush()
        assert isinstance(next(out), ismrmrd.xsd.ismrmrdHeader)
        for line in lines[: first + 2]:
            process.stdin.write(encode(line))
            process.stdin.flush()
        assert [next(out).repetition for _ in range(2)] == [0, 0]
        for line in lines[first + 2 :]:
            process.stdin.write(encode(line))
        process.stdin.write(CLOSE)
        process.stdin.flush()  # and not closed: a program may wait for our CLOSE before it ends
        assert [image.repetition for image in out] == [1, 1]
        assert process.wait() == 0


def test_a_reader_that_leaves_is_a_quiet_status_1(scan, as_stream):
    with piping("--config", "rss") as process:
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(as_stream(scan) + CLOSE)
            process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (1, b"")


def test_the_header_is_the_one_that_came_and_close_comes_last(run, scan, as_stream):
    status, items, errors = run(as_stream(scan) + CLOSE, "--config", "adaptive", "--set", "ComplexParts.parts=phase")
    assert (status, errors) == (0, [])
    assert items[0] == HeaderText(scan.header)
    assert items[-1] == Close()
    assert [int(item.head["image_series_index"]) for item in items if isinstance(item, Image)] == [3001] * 4


def test_standard_output_holds_nothing_but_the_stream(run, scan, as_stream, gadgets_folder):
    (gadgets_folder / "loud.xml").write_text('<chain><gadget name="Loud"/><gadget name="Count"/></chain>')
    status, items, _ = run(as_stream(scan) + CLOSE, "--config", str(gadgets_folder / "loud.xml"))
    assert status == 0
    assert items[1].text == "lines came"
    assert {type(item) for item in items[1:-1]} == {Text}


def test_a_stream_without_close_is_taken_with_a_warning(run, scan, as_stream):
    status, items, errors = run(as_stream(scan), "--config", "rss")
    assert (status, errors) == (0, [])
    assert sum(isinstance(item, Image) for item in items) == 4
    assert "without CLOSE" in next(item.text for item in items if isinstance(item, Text))


def test_close_twice_is_the_end(run, scan, as_stream):
    status, items, _ = run(as_stream(scan) + 2 * CLOSE, "--config", "rss")
    assert (status, len(items)) == (0, 6)


@pytest.mark.parametrize(("config", "words"), [(ConfigFile("default.xml"), "'default.xml'"), (ConfigText("<x/>"), "")])
def test_a_configuration_in_the_stream_gives_way_to_the_option_and_is_told(run, scan, as_stream, config, words):
    opening = io.BytesIO()
    ProtocolSerializer(opening).serialize(config)
    status, items, _ = run(opening.getvalue() + as_stream(scan) + CLOSE, "--config", "rss")
    assert status == 0
    assert "--config is" in items[1].text
    assert words in items[1].text
    assert sum(isinstance(item, Image) for item in items) == 4


def broken(scan, as_stream):
    stream = as_stream(scan)
    lines = b"".join(bytes(encode(batch)) for batch in scan.batches)
    return {
        "torn": (stream[:-1], "ends within a record"),
        "other": (b"GET / HTTP/1.1\r\n\r\n", "not an MRD stream"),
        "headless": (lines + CLOSE, "opens with Acquisitions; the MRD header must come before"),
        "empty": (b"", "ended before an MRD header"),
        "void": (CLOSE, "ended before an MRD header"),
        "two headers": (2 * stream + CLOSE, "a second MRD header"),
        "two scans": (2 * (stream + CLOSE), "records after the end"),
        "bad header": (bytes(encode(HeaderText(b"<oops"))) + lines + CLOSE, "the MRD header is not XML"),
    }


@pytest.mark.parametrize(
    "kind", ["torn", "other", "headless", "empty", "void", "two headers", "two scans", "bad header"]
)
def test_a_broken_stream_is_told_in_the_stream_and_in_one_line(run, scan, as_stream, kind):
    stream, words = broken(scan, as_stream)[kind]
    status, items, errors = run(stream, "--config", "count")
    assert status == 1
    (line,) = errors
    assert line.startswith("echotrain pipe: ")
    assert words in line
    assert words in items[-2].text
    assert items[-1] == Close()


def test_a_chain_that_cannot_be_built_is_told_before_anything_is_read(run):
    status, items, errors = run(b"", "--config", "rs")
    assert (status, len(errors)) == (1, 1)
    assert [type(item) for item in items[1:]] == [Close]
    assert "did you mean rss?" in items[0].text


def test_what_was_made_before_a_gadget_failed_is_not_lost(run, scan, as_stream, gadgets_folder):
    (gadgets_folder / "trip.xml").write_text('<chain><gadget name="Trip"/></chain>')
    status, items, errors = run(as_stream(scan) + CLOSE, "--config", str(gadgets_folder / "trip.xml"))
    assert status == 1
    assert "Trip: ValueError: a stone" in errors[0]
    assert "Trip: ValueError: a stone" in items[-2].text
    lines = [item for item in items if isinstance(item, Acquisitions)]
    wanted = sum((batch.head["idx"]["repetition"] == 0).sum() for batch in scan.batches)
    assert sum(map(len, lines)) == wanted > 0


def test_a_query_in_the_stream_is_answered_in_its_place(scan, run):
    sent = HeaderText(scan.header), *scan.batches, Query(7, "what?"), Close()
    stream = b"".join(bytes(encode(item)) for item in sent)
    status, items, _ = run(stream, "--config", "rss")
    assert status == 0
    (response,) = [item for item in items if isinstance(item, Response)]
    assert response.correlation_id == 7
    assert "Unknown query 'what?'" in response.text
    assert not any(isinstance(item, Query) for item in items)
