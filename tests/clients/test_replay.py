"""A recording played into a server that says what the test wants."""

import numpy as np
import pytest

from echotrain.clients.progress import Progress
from echotrain.clients.replay import Replay
from echotrain.mrd import Acquisitions, Decoder, Image, Text, encode, read_header, read_images, write_acquisitions
from echotrain.mrd.errors import GadgetError, StorageError
from echotrain.server.wire import Data, Done, End, Error, Open, Opened, Output

pytestmark = pytest.mark.usefixtures("bounded")

ITEMS = [Image(np.full((1, 1, 4, 5), 3, np.float32)), Text("a word"), Image(np.full((1, 1, 4, 5), 7, np.float32))]
OUTPUT = b"".join(bytes(encode(item)) for item in ITEMS)


@pytest.fixture
def scan_file(tmp_path, small_scan):
    scan = small_scan(repetitions=2)
    write_acquisitions(tmp_path / "scan.h5", scan.header, scan.batches)
    return tmp_path / "scan.h5"


@pytest.fixture
def server(stub_server):
    """One that gives the items above at the end."""
    ending = [(Output("id", 0, 3), OUTPUT), Done("id")]
    return stub_server(lambda message: {Open: [Opened("id", 0, 10**9)], End: ending}.get(type(message), []))


def sent(server):
    """The lines of each message of data."""
    for message, *payload in server.heard:
        if isinstance(message, Data):
            batches = list(Decoder().feed(payload[0]))
            assert all(isinstance(batch, Acquisitions) for batch in batches)
            yield [counter for batch in batches for counter in batch.head["scan_counter"].tolist()]


def play(server, source, output, **options):
    replay = Replay(source=source, config="rss", output=output, server=server.address, **options)
    with Progress("test") as progress:
        return replay.run(progress)


@pytest.mark.parametrize(("lines", "largest"), [(0, 80), (1, 1), (7, 7)])
@pytest.mark.parametrize("speed", [0.0, 1000.0])
def test_every_line_is_sent_once_in_order_and_images_are_written(server, scan_file, tmp_path, lines, largest, speed):
    assert play(server, scan_file, tmp_path / "o.h5", lines_per_message=lines, speed=speed) == 2
    messages = list(sent(server))
    assert [counter for message in messages for counter in message] == list(range(80))
    assert max(map(len, messages)) <= largest
    assert [image.data.max() for image in read_images(tmp_path / "o.h5")] == [3, 7]


def test_the_scan_is_opened_with_the_files_header_name_and_parameters(server, scan_file, tmp_path):
    play(server, scan_file, tmp_path / "o.h5", parameters={"A.x": "1"})
    opening = server.heard[0][0]
    assert opening == Open("rss", read_header(scan_file), {"A.x": "1"}, "scan.h5")


def test_the_header_stands_beside_the_images(server, scan_file, tmp_path):
    play(server, scan_file, tmp_path / "o.h5")
    assert read_header(tmp_path / "o.h5") == read_header(scan_file)


def test_texts_are_shown(server, scan_file, tmp_path, capsys):
    play(server, scan_file, tmp_path / "o.h5")
    assert "a word" in capsys.readouterr().err


def test_an_error_half_way_leaves_the_file_of_before_and_keeps_what_came(stub_server, scan_file, tmp_path):
    output = tmp_path / "o.h5"
    output.write_text("of before")
    ending = [(Output("id", 0, 3), OUTPUT), Error("id", "gadget", "it broke", "Blur")]
    server = stub_server(lambda message: {Open: [Opened("id", 0, 10**9)], End: ending}.get(type(message), []))
    with pytest.raises(GadgetError, match="Blur: it broke"):
        play(server, scan_file, output)
    assert output.read_text() == "of before"
    assert len(list(read_images(tmp_path / "o.h5.partial"))) == 2


def test_an_output_that_cannot_be_written_is_an_error_that_names_it(server, scan_file, tmp_path):
    with pytest.raises(StorageError, match=r"none/o\.h5"):
        play(server, scan_file, tmp_path / "none" / "o.h5")
