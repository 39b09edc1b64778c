"""`echotrain export`: turn images into other formats."""

from __future__ import annotations

import argparse

from echotrain.mrd.hdf5_images import read_images

from ..png import export_png


def run(options: argparse.Namespace) -> int:
    """Write the pictures and say where."""
    paths = export_png(read_images(options.input, options.group), options.png)
    print(f"{len(paths)} pictures in {options.png}")
    return 0
