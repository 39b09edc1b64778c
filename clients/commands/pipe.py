"""`echotrain pipe`: an MRD stream from standard input through a chain to standard output.

The header goes out first and as it came, each item at once when it is made, and CLOSE last. What goes wrong is told in
the stream as a text before CLOSE, as well as on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
from collections.abc import Iterator
from itertools import chain

from echotrain.mrd import Close, ConfigName, ConfigText, Decoder, HeaderText, Item, Text, encode
from echotrain.mrd.errors import EchotrainError, ProtocolError, StreamError
from echotrain.server.prepare import prepare_chain

from ..recon import run_chain
from . import config_text, local_settings

READ_BYTES = 1 << 20  # at most at once; what has come is read without waiting for more


def run(options: argparse.Namespace) -> int:
    """Send on what the chain makes of standard input, until that ends."""
    with contextlib.closing(_Output()) as output:
        _send_on(options, output)
    return 0


def _send_on(options: argparse.Namespace, output: _Output) -> None:
    try:
        _, gadgets = prepare_chain(config_text(options.config), local_settings(options), dict(options.settings))
        items = _items()
        header, before = _opening(items)
        output.send(header)
        for item in run_chain(gadgets, header.xml, map(_for_chain, chain(before, items))):
            output.send(item)
        output.send(Close())
    except (Exception, KeyboardInterrupt) as error:
        if not output.torn:
            words = str(error) if isinstance(error, EchotrainError) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(BrokenPipeError):  # what went wrong before is told on standard error
                output.send(Text(f"error: {words}"))
                output.send(Close())
        raise


class _Output:
    """Standard output, for records only: what gadgets print goes to standard error from here on."""

    def __init__(self) -> None:
        self._file = os.dup(1)
        os.dup2(2, 1)
        self.torn = False
        """Whether the last record was not written whole, so that no other can follow."""

    def send(self, item: Item) -> None:
        data = memoryview(encode(item))
        self.torn = True
        while data:
            data = data[os.write(self._file, data) :]
        self.torn = False

    def close(self) -> None:
        os.close(self._file)


def _items() -> Iterator[Item]:
    """The items of standard input, as they come.

    Raises:
        StreamError: where it is not an MRD stream, ends within a record, or goes on after its end.
    """
    decoder = Decoder()
    closed = False
    # After CLOSE nobody is waited for, but what is there already belongs to no scan.
    while (not closed or select.select([0], [], [], 0)[0]) and (data := os.read(0, READ_BYTES)):
        for item in decoder.feed(data):
            if closed and not isinstance(item, Close):
                raise StreamError("there are records after the end of the stream; send one scan at a time")
            closed = closed or isinstance(item, Close)
            if not closed:
                yield item
    decoder.close()
    if not closed:
        yield Text("warning: the input ended without CLOSE; what came is taken for the whole scan")


def _opening(items: Iterator[Item]) -> tuple[HeaderText, list[Item]]:
    """The header, and what stood before it.

    Raises:
        ProtocolError: where data comes first, or nothing.
    """
    before: list[Item] = []
    for item in items:
        if isinstance(item, HeaderText):
            return item, before
        if not isinstance(item, (Text, ConfigName, ConfigText)):
            raise ProtocolError(f"the stream opens with {type(item).__name__}; the MRD header must come before data")
        before.append(item)
    raise ProtocolError("the stream ended before an MRD header came")


def _for_chain(item: Item) -> Item:
    """What the chain is given for an item after the header."""
    if isinstance(item, HeaderText):
        raise ProtocolError("a second MRD header came; send one scan at a time")
    if isinstance(item, (ConfigName, ConfigText)):
        named = repr(item.name) if isinstance(item, ConfigName) else "given as text"
        return Text(f"warning: the stream's own configuration, {named}, is not used; --config is")
    return item
