"""`echotrain replay`: play a recording into a server."""

from __future__ import annotations

import argparse

from echotrain.mrd.hdf5_read import count_lines

from ..progress import Progress
from ..replay import Replay
from . import config_text, keep_input


def run(options: argparse.Namespace) -> int:
    """Play it and say how many images came."""
    keep_input(options)
    replay = Replay(
        source=options.input,
        config=config_text(options.config),
        output=options.output,
        group=options.group,
        parameters=dict(options.settings),
        server=options.server,
        speed=options.speed,
        lines_per_message=options.lines,
        reconnect=options.reconnect,
        keys=options.keys,
    )
    with Progress(options.input.name, count_lines(options.input, options.group)) as progress:
        n_images = replay.run(progress)
    print(f"{n_images} images in {options.output}")
    return 0
