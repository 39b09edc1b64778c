"""How often a session is run: again where its worker was lost, and then with the fallback chain."""

from __future__ import annotations

from typing import Any

from echotrain.mrd.errors import EchotrainError, error_from_code
from echotrain.mrd.xml import parse_xml

from .folder import SessionFolder
from .settings import Settings

OF_THE_CHAIN = ("gadget", "data", "internal")
"""Codes of errors that another chain might not meet on the same input."""


class Attempts:
    """The attempts of one session; that it has turned to the fallback chain is known from its events."""

    def __init__(self, folder: SessionFolder, settings: Settings) -> None:
        self._folder = folder
        self._fallback = settings.fallback
        self._number, self._most = 1, 1 + settings.retries
        self._turned = {}
        for event in folder.events():
            if event["event"] == "fallback":
                self._turned = event

    @property
    def job(self) -> list[str]:
        """What a worker is told: the session's folder, a chain in place of its own, and the reason for that."""
        words = f"chain {self._turned['chain']!r} failed ({self._first})" if self._turned else ""
        return [str(self._folder.path), self._turned.get("config", ""), words]

    @property
    def statistics(self) -> dict[str, Any]:
        """What a client may want to know of attempts that failed."""
        told: dict[str, Any] = {"attempts": self._number} if self._number > 1 else {}
        return {**told, "fallback": self._chain, "failure": str(self._first)} if self._turned else told

    def go_on(self, error: EchotrainError, *, again: bool) -> str | None:
        """Words for the client if the session is to be run once more, or None; `again` if with the same chain, too.

        Where the fallback chain is next there are none, since it has words of its own in the output.
        """
        if self._turned:
            return None
        if again and self._number < self._most:
            self._number += 1
            self._folder.write_event("attempt", number=self._number, reason=error.message, gadget=error.gadget)
            return f"{error.message}; the session is run again from its log ({self._count})"
        if self._fallback and error.code in OF_THE_CHAIN:
            told = {"code": error.code, "message": error.message, "gadget": error.gadget}
            self._turned = {"config": self._fallback, "chain": self._chain, **told}
            self._folder.write_event("fallback", **self._turned)
            return ""
        return None

    def last_words(self, error: EchotrainError, held: int, *, ended: bool) -> EchotrainError:
        """The error for the client when no attempt is left, of which the first chain's counts."""
        told = self._first if self._turned else error
        words = told.message
        if self._number > 1:
            words += f" ({self._count})"
        if self._turned:
            words += f"; the fallback chain failed too: {error}"
        if told.code in OF_THE_CHAIN:
            kept = f"all {held} bytes of input are kept" + ("" if ended else ", and so is what still comes")
            words += f"; {kept}; `echotrain sessions retry {self._folder.id}` runs them again"
        return error_from_code(told.code, words, gadget=told.gadget, detail=error.detail)

    @property
    def _count(self) -> str:
        return f"attempt {self._number} of {self._most}"

    @property
    def _first(self) -> EchotrainError:
        """The error for which the session turned to the fallback chain."""
        return error_from_code(self._turned["code"], self._turned["message"], gadget=self._turned["gadget"])

    @property
    def _chain(self) -> str:
        """The name of the chain that ran last."""
        try:
            return parse_xml(self._folder.chain.read_bytes(), "the chain", EchotrainError).get("name", "")
        except (OSError, EchotrainError):
            return ""
