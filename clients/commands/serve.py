"""`echotrain serve`: run the server until it is told to stop."""

from __future__ import annotations

import argparse
import signal
from dataclasses import replace

from echotrain.server.allocator import keep_freed_buffers
from echotrain.server.front import Front

from . import local_settings


def run(options: argparse.Namespace) -> int:
    """Print one line that starts with `ready` once the door is open, and serve."""
    settings = replace(
        local_settings(options),
        bind=options.bind,
        sessions=options.sessions.absolute(),
        warm_workers=max(1, options.warm),
        patience=options.patience,
    )
    keep_freed_buffers()
    front = Front(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: front.stop())
    try:
        front.wait_until_warm()
        print(f"ready at {front.address}, sessions in {settings.sessions}", flush=True)
        front.serve()
    finally:
        front.close()
    return 0
