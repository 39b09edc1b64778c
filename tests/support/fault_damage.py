"""Damage to the files of a session at rest, as a bad disk or a power cut leaves them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """Which file, and in which way."""

    file: str
    cut: bool
    """Cut off at a random byte; else one random bit is turned."""
    may_alter: bool = False
    """Whether samples may change without a word: a stream of MRD has no checksums."""


DAMAGES = {
    "input log cut off": Damage("input.mrd", cut=True),
    "input log, one bit": Damage("input.mrd", cut=False, may_alter=True),
    "output log cut off": Damage("output.mrd", cut=True),
    "output log, one bit": Damage("output.mrd", cut=False, may_alter=True),
    "events cut off": Damage("events.jsonl", cut=True),
    "events, one bit": Damage("events.jsonl", cut=False),
    "request cut off": Damage("session.json", cut=True),
    "request, one bit": Damage("session.json", cut=False),
    "header cut off": Damage("header.xml", cut=True),
    "header, one bit": Damage("header.xml", cut=False, may_alter=True),
}


def damage(session, how, chance):
    """Do it; gives how many faults that were, none where there is nothing to damage."""
    path = session / how.file
    data = bytearray(path.read_bytes()) if path.exists() else b""
    if not data:
        return 0
    at = chance.randrange(len(data))
    if how.cut:
        del data[at:]
    else:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return 1
