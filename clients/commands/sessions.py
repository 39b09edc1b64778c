"""`echotrain sessions`: look at what a server keeps, and run it again."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from itertools import chain

from echotrain.mrd import Close, HeaderText, Image, Item, Noise, Text, encode, parse_header
from echotrain.mrd.errors import SessionError
from echotrain.mrd.hdf5_images import ImageWriter
from echotrain.mrd.noise import in_words
from echotrain.server.archive import archive_session
from echotrain.server.folder import SessionFolder, all_sessions, find_session
from echotrain.server.log_reader import LogReader
from echotrain.server.noise_store import noise_for, noise_store
from echotrain.server.outcome import outcome, shown_state, size_of
from echotrain.server.settings import Settings

from ..recon import reconstruct
from . import config_text, local_settings


def run(options: argparse.Namespace) -> int:
    """Do what was asked; without an action, list."""
    actions = {"list": _list, "show": _show, "archive": _archive, "delete": _delete, "retry": _retry}
    actions[options.action or "list"](options)
    return 0


def _list(options: argparse.Namespace) -> None:
    for folder in all_sessions(options.sessions):
        try:
            request, state, since = folder.request, shown_state(folder), outcome(folder).time
        except (SessionError, OSError):
            print(f"{folder.id}  damaged")
            continue
        config = request["config"] if not request["config"].lstrip().startswith("<") else "(XML)"
        facts = f"{state:8}  {size_of(folder) / 1e6:9.1f} MB  {in_words(time.time() - since):>8}"
        print(f"{folder.id}  {facts}  {_printable(config[:60]):16}  {_printable(request['label'])}")
    for noise in noise_store(Settings(sessions=options.sessions)).all():
        if not isinstance(noise, Noise):
            print(f"noise  damaged  {_printable(noise.message)}")
            continue
        name = _printable(noise.measurement_id[:60]) or f"at {_printable(noise.scanner)}"
        print(f"noise  {name}  {noise.age(time.time())} old  {noise}")


def _printable(text: str) -> str:
    """A client's words, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _show(options: argparse.Namespace) -> None:
    folder = find_session(options.sessions, options.id)
    print(folder.path)
    for event in folder.events():
        details = "  ".join(f"{key}={value}" for key, value in event.items() if key not in ("time", "event") and value)
        print(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['event']}  {_printable(details)}")
    if folder.chain.exists():
        print(*map(_printable, folder.chain.read_text().splitlines()), sep="\n")


def _delete(options: argparse.Namespace) -> None:
    folder = find_session(options.sessions, options.id)
    with folder.alone():
        folder.delete()


def _archive(options: argparse.Namespace) -> None:
    """Write a session into an HDF5 file, and leave it where it is."""
    folder = find_session(options.sessions, options.id)
    with folder.alone():
        counts = archive_session(folder, options.output)
        folder.write_event("archived", file=str(options.output.absolute()), **counts)
    print(f"{', '.join(f'{n} {kind}' for kind, n in counts.items() if n) or 'a header'} in {options.output}")


def _retry(options: argparse.Namespace) -> None:
    """Run a session's input again, here, and put what comes out in the place of its output."""
    folder = find_session(options.sessions, options.id)
    request = folder.request
    config = config_text(options.config) if options.config else request["config"]
    asked = {} if options.config else request
    parameters = {**asked.get("parameters", {}), **dict(options.settings)}
    header = folder.header.read_bytes()
    kept = noise_store(Settings(sessions=options.sessions))
    items = chain(noise_for(kept, folder, parse_header(header)), _logged(folder))
    n_images = 0
    partial = folder.output.with_suffix(".partial")
    with contextlib.ExitStack() as files:
        folder.claim(files.enter_context(folder.input.open("rb")).fileno())
        files.callback(partial.unlink, missing_ok=True)
        output = files.enter_context(open(partial, "wb", opener=_private))
        output.write(encode(HeaderText(header)))
        writer = files.enter_context(ImageWriter(options.output, header_xml=header)) if options.output else None
        for item in reconstruct(items, header, config, parameters, local_settings(options), asked.get("options")):
            output.write(encode(item))
            if isinstance(item, Text):
                print(*map(_printable, item.text.splitlines()), sep="\n", file=sys.stderr)
            if isinstance(item, Image):
                n_images += 1
                if writer:
                    writer.write(item)
        output.write(encode(Close()))
        output.flush()
        partial.replace(folder.output)
    folder.write_event("retried", images=n_images)
    print(f"{n_images} images in {options.output or folder.output}")


def _private(path: str, flags: int) -> int:
    """Open a file that its owner alone may read."""
    return os.open(path, flags, 0o600)


def _logged(folder: SessionFolder) -> Iterator[Item]:
    """The items of a session's input, as far as they are whole."""
    with contextlib.closing(LogReader(folder.input)) as reader:
        size = reader.size()
        yield from (item for item in reader.read(size) if not isinstance(item, HeaderText))
        if not reader.closed:
            torn = f"; the last {size - reader.position} bytes, of a record that was cut off, are left out"
            lost = torn if reader.position < size else ""
            print(f"session {folder.id} was not ended by its client{lost}", file=sys.stderr)
