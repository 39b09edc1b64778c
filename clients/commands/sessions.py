"""`echotrain sessions`: look at what a server keeps, and run it again."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from itertools import chain

from echotrain.mrd import Close, HeaderText, Image, Item, Noise, Text, encode, parse_header
from echotrain.mrd.errors import SessionError
from echotrain.mrd.hdf5_images import ImageWriter
from echotrain.server.folder import SessionFolder, all_sessions, find_session
from echotrain.server.log_reader import LogReader
from echotrain.server.noise_store import noise_for, noise_store
from echotrain.server.settings import Settings

from ..recon import reconstruct
from . import config_text, local_settings

NOT_STATES = ("client away", "noise", "noise kept", "noise not kept")
"""Events that say nothing of how far a session is."""


def run(options: argparse.Namespace) -> int:
    """Do what was asked; without an action, list."""
    {"list": _list, "show": _show, "delete": _delete, "retry": _retry}[options.action or "list"](options)
    return 0


def _list(options: argparse.Namespace) -> None:
    for folder in all_sessions(options.sessions):
        try:
            request, state = folder.request, _state(folder)
        except (SessionError, OSError):
            print(f"{folder.id}  damaged")
            continue
        config = request["config"] if not request["config"].lstrip().startswith("<") else "(XML)"
        size = folder.input.stat().st_size / 1e6 if folder.input.exists() else 0.0
        print(f"{folder.id}  {state:8}  {size:9.1f} MB  {_printable(config[:60]):16}  {_printable(request['label'])}")
    for noise in noise_store(Settings(sessions=options.sessions)).all():
        if not isinstance(noise, Noise):
            print(f"noise  damaged  {_printable(noise.message)}")
            continue
        name = _printable(noise.measurement_id[:60]) or f"at {_printable(noise.scanner)}"
        print(f"noise  {name}  {noise.age(time.time())} old  {noise}")


def _printable(text: str) -> str:
    """A client's words, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _state(folder: SessionFolder) -> str:
    """The last thing that is known of a session: opened, ended, done, error or left."""
    state = "empty"
    for event in folder.events():
        if event["event"] not in NOT_STATES and (state, event["event"]) != ("error", "ended"):
            state = str(event["event"])
    return state


def _show(options: argparse.Namespace) -> None:
    folder = find_session(options.sessions, options.id)
    print(folder.path)
    for event in folder.events():
        details = "  ".join(f"{key}={value}" for key, value in event.items() if key not in ("time", "event") and value)
        print(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['event']}  {_printable(details)}")
    if folder.chain.exists():
        print(*map(_printable, folder.chain.read_text().splitlines()), sep="\n")


def _delete(options: argparse.Namespace) -> None:
    find_session(options.sessions, options.id).delete()


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
        output = files.enter_context(partial.open("wb"))
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


def _logged(folder: SessionFolder) -> Iterator[Item]:
    """The items of a session's input, as far as they are whole."""
    with contextlib.closing(LogReader(folder.input)) as reader:
        size = reader.size()
        yield from (item for item in reader.read(size) if not isinstance(item, HeaderText))
        if not reader.closed:
            torn = f"; the last {size - reader.position} bytes, of a record that was cut off, are left out"
            lost = torn if reader.position < size else ""
            print(f"session {folder.id} was not ended by its client{lost}", file=sys.stderr)
