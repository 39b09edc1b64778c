"""Where a session's own chain has failed for good, the fallback chain of the server runs on the same log."""

import re

import pytest
from fragile_chains import chain, fail, play, records_of_images

from echotrain.clients.client import open_scan
from echotrain.mrd import Image, Text
from echotrain.mrd.errors import ConfigError

pytestmark = pytest.mark.usefixtures("bounded", "good_neighbour")


@pytest.fixture(scope="module")
def server(running_server, tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("fallback"), "--fallback", "rss") as running:
        yield running
        assert running.process.poll() is None


@pytest.mark.parametrize(("how", "attempts"), [("abort", 2), ("raise", None)])
def test_the_fallback_chain_gives_all_its_images_after_those_of_the_chain_that_failed(
    server, small_scan, how, attempts
):
    scan = small_scan(repetitions=2)
    _, _, rss = play(server, scan, "rss")
    _, _, own = play(server, scan, chain())
    items, statistics, folder = play(server, scan, chain(how=how, after=1))
    kinds = [type(item) for item in items]
    turn = next(item.text for item in items if isinstance(item, Text) and "fallback" in item.text)
    assert re.match("warning: chain 'fragile' failed \\(.*Fault: ", turn)  # beside which another may have run
    assert turn.endswith("; what follows is of the fallback chain 'rss'")
    assert kinds[-4:] == [Image] * 4
    assert kinds.count(Image) == 5
    assert list(records_of_images(folder)) == [next(records_of_images(own)), *records_of_images(rss)]
    assert statistics["fallback"] == "rss"
    assert statistics["failure"] in turn
    assert statistics.get("attempts") == attempts
    assert sum("attempt 2" in item.text for item in items if isinstance(item, Text)) == (attempts == 2)


def test_a_session_that_turned_to_the_fallback_is_not_made_twice_when_it_is_opened_again(server, small_scan):
    scan = small_scan()
    items, statistics, folder = play(server, scan, chain(how="raise", after=1))
    with open_scan("", b"", server=server.address, session=folder.name) as again:
        repeated = list(again.items())
        assert again.statistics["images"] == statistics["images"]
    assert [type(item) for item in repeated] == [type(item) for item in items]


def test_a_chain_that_cannot_be_built_is_told_and_not_replaced(server, small_scan):
    with pytest.raises(ConfigError, match="Odd"):
        open_scan("<chain name='odd'><gadget name='Odd'/></chain>", small_scan().header, server=server.address)


def test_the_first_error_is_told_where_the_fallback_fails_as_well(running_server, tmp_path, small_scan):
    other = tmp_path / "other.xml"
    other.write_text("<chain name='other'><gadget name='Stumble' how='raise'/></chain>")
    with running_server(tmp_path / "sessions", "--fallback", str(other)) as server:
        error, _, _ = fail(server, small_scan(), chain(how="raise"))
    assert error.message.startswith("ValueError: the gradient is upside down")
    assert "; the fallback chain failed too: Stumble: " not in error.message.split(";")[0]
    assert "; the fallback chain failed too: Stumble: " in error.message
