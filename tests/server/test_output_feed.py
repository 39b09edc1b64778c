"""What of an output log is sent to a client, and when."""

from contextlib import closing

import pytest

from echotrain.server import output_feed
from echotrain.server.output_feed import OutputFeed

RECORDS = (b"first", b"the second", b"3rd", b"number four")


@pytest.fixture
def feed(tmp_path):
    """With four records in its log, none of them safe."""
    path = tmp_path / "output.mrd"
    path.write_bytes(b"".join(RECORDS))
    with closing(OutputFeed(path, 20)) as opened:
        for n in range(1, 5):
            opened.grow(len(b"".join(RECORDS[:n])))
        yield opened


def sent(feed):
    """All messages that may be sent now."""
    messages = []
    while message := feed.next():
        feed.note_sent(*message)
        messages.append(message)
    return messages


def test_what_is_not_safe_is_not_sent(feed):
    assert not sent(feed)
    feed.release(17)
    assert sent(feed) == [(0, 2, b"firstthe second")]
    feed.release(18)
    assert sent(feed) == [(15, 1, b"3rd")]
    assert not feed.all_sent


def test_what_is_released_twice_stays_so(feed):
    feed.release(29)
    feed.release(5)
    assert sent(feed) == [(0, 4, b"".join(RECORDS))]
    assert feed.all_sent


def test_records_go_together_in_messages_of_a_bounded_size_and_a_larger_one_by_itself(feed, monkeypatch):
    monkeypatch.setattr(output_feed, "SENT_AT_ONCE", 8)
    feed.release(29)
    feed.window = 100
    assert [message[2] for message in sent(feed)] == list(RECORDS)
    feed.rewind(15)
    monkeypatch.setattr(output_feed, "SENT_AT_ONCE", 14)
    assert sent(feed) == [(15, 2, b"3rdnumber four")]


def test_no_more_records_are_under_way_than_a_client_may_leave_untaken(feed, monkeypatch):
    monkeypatch.setattr(output_feed, "RECORDS_UNDER_WAY", 3)
    feed.release(29)
    feed.window = 100
    assert [message[:2] for message in sent(feed)] == [(0, 3)]
    feed.acknowledge(15)
    assert [message[:2] for message in sent(feed)] == [(18, 1)]


def test_no_more_is_under_way_than_the_window(feed, monkeypatch):
    monkeypatch.setattr(output_feed, "SENT_AT_ONCE", 1)
    feed.release(29)
    feed.window = 16
    assert [message[2] for message in sent(feed)] == list(RECORDS[:3])
    feed.acknowledge(5)
    assert [message[2] for message in sent(feed)] == [RECORDS[3]]
    assert not feed.all_acknowledged
    feed.acknowledge(29)
    assert feed.all_acknowledged
