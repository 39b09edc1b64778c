"""`echotrain serve`: run the server until it is told to stop."""

from __future__ import annotations

import argparse
import math
import os
import signal
from dataclasses import replace

from echotrain.server.allocator import keep_freed_buffers
from echotrain.server.front import Front

from ..serve_options import settings_of
from . import config_text, local_settings


def run(options: argparse.Namespace) -> int:
    """Print one line that starts with `ready` once the doors are open, and serve."""
    settings = replace(
        local_settings(options),
        bind=options.bind,
        mrd="" if options.mrd == "off" else options.mrd,
        openrecon=config_text(options.openrecon) if options.openrecon else "",
        mrd_allow=options.mrd_allow,
        keys=options.keys.absolute() if options.keys else None,
        insecure=options.insecure,
        sessions_per_client=options.sessions_per_client,
        opens_per_minute=options.opens_per_minute,
        session_bytes=options.session_bytes,
        idle=options.idle or math.inf,
        sessions=options.sessions.absolute(),
        warm_workers=max(1, options.warm),
        patience=options.patience,
        stuck=options.stuck,
        retries=int(options.retries),
        fallback=config_text(options.fallback) if options.fallback else "",
        grace=options.grace,
        **settings_of(options),
        sync_interval=options.durability,
        reserve=None if options.reserve is None else int(1e6 * options.reserve),
    )
    os.umask(0o077)  # what is kept is of patients; workers inherit this
    if settings.log:
        settings.log.set_up()
    if options.memory is not None:
        settings = replace(settings, memory=round(1e9 * options.memory))
    if settings.fallback:
        from echotrain.server.configs import find_config  # brings in torch, which the front does without

        find_config(settings.fallback, settings.config_folders)  # so that a wrong one is told now
    keep_freed_buffers()
    front = Front(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: front.stop())
    try:
        front.wait_until_warm()
        mrd = f"MRD at {front.mrd.address}, " if front.mrd else ""
        print(f"ready at {front.native.address}, {mrd}sessions in {settings.sessions}", flush=True)
        front.serve()
    finally:
        front.close()
    return 0
