"""The noise that one session takes from the store for its scan, and leaves there for later ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from echotrain.gadgets.gadget import Gadget
from echotrain.mrd import Header, Noise, Text
from echotrain.mrd.errors import EchotrainError

from .folder import SessionFolder
from .noise_store import NoiseStore, noise_for, scan_time


class SessionNoise:
    """Looks noise up and keeps it, and notes either among the session's events."""

    def __init__(self, store: NoiseStore, folder: SessionFolder, header: Header) -> None:
        self._store = store
        self._folder = folder
        self._header = header
        self._found: Noise | None = None

    def found(self, gadgets: Iterable[Gadget[Any, Any]]) -> Iterator[Noise | Text]:
        """What is to go into a chain of `gadgets` ahead of the first line."""
        if not any(Noise in gadget.accepts for gadget in gadgets):
            return
        for item in noise_for(self._store, self._folder, self._header):
            if isinstance(item, Noise):
                self._found = item
                self._note("noise", item, age=item.age(time.time()))
            yield item

    def keep(self, noise: Noise) -> Text | None:
        """Keep noise that came out of the chain, unless it is what went in; gives words for the client if it cannot."""
        if noise is self._found:
            return None
        noise = replace(noise, time=scan_time(self._folder))
        try:
            self._store.keep(noise)
        except EchotrainError as error:
            self._folder.write_event("noise not kept", reason=error.message)
            return Text(f"warning: Noise: not kept for later scans: {error.message}")
        self._note("noise kept", noise)
        return None

    def _note(self, event: str, noise: Noise, **details: str) -> None:
        measured = {"id": noise.measurement_id[:60], "samples": noise.n_samples, "channels": noise.n_channels}
        self._folder.write_event(event, **measured, **details)
