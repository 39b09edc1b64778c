"""Options of `echotrain serve` that say what is kept of sessions, and where the server's log goes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from echotrain.server.logs import FORMATS, LEVELS, Log
from echotrain.server.settings import KEEP


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of `serve`."""
    kept = parser.add_argument_group("what is kept")
    kept.add_argument(
        "--keep",
        choices=KEEP,
        default="all",
        help="sessions that are over: all, those that failed, or none (default all)",
    )
    kept.add_argument("--keep-days", type=_more_than_0, metavar="N", help="after a session's last event")
    kept.add_argument("--keep-size", type=_more_than_0, metavar="GB", help="of all sessions; the oldest go first")
    kept.add_argument("--archive", type=Path, metavar="DIR", help="put a session here, as ISMRMRD HDF5, before it goes")
    log = parser.add_argument_group("the log")
    log.add_argument("--log", default="-", metavar="FILE|-", help="where it goes (default - for standard error)")
    log.add_argument("--log-format", choices=FORMATS, default="text", help="(default %(default)s)")
    log.add_argument("--log-level", choices=LEVELS, default="info", help="(default %(default)s)")


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What they say, by the names of the settings."""
    log = options.log if options.log == "-" else str(Path(options.log).absolute())
    return {
        "keep": options.keep,
        "keep_days": options.keep_days or math.inf,
        "keep_bytes": 1e9 * options.keep_size if options.keep_size else math.inf,
        "archive": options.archive.absolute() if options.archive else None,
        "log": Log(log, options.log_format, options.log_level),
    }


def _more_than_0(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
