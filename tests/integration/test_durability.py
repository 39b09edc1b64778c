"""A scan whose input and output wait to be synced comes out as any other."""

import os

import numpy as np
import pytest
from mrd_clients import GadgetronClient, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.mrd.errors import StorageError

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def synced_server(running_server, tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("synced"), "--durability", "fsync:5") as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture(scope="module")
def scan(small_scan):
    return small_scan(repetitions=3)


@pytest.fixture
def expected(server, scan):
    """The images of a server that leaves syncing to the system."""
    return images(server, scan)


def play(opened, scan):
    for batch in scan.batches:
        for line in batch:
            opened.send(line)
    opened.end()
    return [image.data for image in opened.images()]


def images(server, scan):
    with open_scan("rss", scan.header, server=server.address) as opened:
        found = play(opened, scan)
    assert len(found) == 6
    return found


def test_at_the_native_door(synced_server, scan, expected):
    assert np.array_equal(images(synced_server, scan), expected)


def test_at_the_mrd_door(synced_server, scan, expected):
    with GadgetronClient(synced_server.mrd) as client:
        client.send(opening(client, scan), *lines_of(client, scan), client.close())
        heard = client.hear()
    assert np.array_equal([pixels for _, pixels, _ in heard.images], expected)


def test_a_broken_sync_ends_the_session_in_words_and_no_other(synced_server, scan, expected):
    with open_scan("rss", scan.header, server=synced_server.address) as opened:
        folder = synced_server.sessions / opened.session
        os.rename(folder, folder.with_name("elsewhere"))  # noqa: PTH104
        with pytest.raises(StorageError, match=f"{opened.session}.*No such file"):
            play(opened, scan)
    assert np.array_equal(images(synced_server, scan), expected)
