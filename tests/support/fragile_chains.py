"""Chains that go wrong on purpose, and what a client and the session's folder have of them afterwards."""

import contextlib
import json

import pytest

from echotrain.clients.client import open_scan
from echotrain.mrd import Image, Text, decode
from echotrain.mrd.errors import GadgetError


def chain(**fault):
    values = " ".join(f'{name}="{value}"' for name, value in fault.items())
    last = f"<gadget name='Fault' {values}/>" if fault else ""
    gadgets = ("RemoveOversampling", "CollectKSpace", "FourierTransform", "CombineCoils")
    return f"<chain name='fragile'>{''.join(f'<gadget name={name!r}/>' for name in gadgets)}{last}</chain>"


def play(server, scan, text):
    """Send a scan; everything that comes, the statistics, and the session's folder."""
    with open_scan(text, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        items = list(opened.items())
        return items, opened.statistics, server.sessions / opened.session


def fail(server, scan, text):
    """Send a scan whose chain fails; the error, the texts that came before it, and the session's folder."""
    with open_scan(text, scan.header, server=server.address) as opened:
        texts = []
        with contextlib.suppress(GadgetError):  # whichever call learns of it first
            for batch in scan.batches:
                opened.send(batch)
        opened.end()
        with pytest.raises(GadgetError) as caught:
            texts.extend(item.text for item in opened.items() if isinstance(item, Text))
        return caught.value, texts, server.sessions / opened.session


def records_of_images(folder):
    """The bytes of each image in a session's output log."""
    log, start = memoryview((folder / "output.mrd").read_bytes()), 0
    for item, end in decode(log):
        if isinstance(item, Image):
            yield bytes(log[start:end])
        start = end


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
