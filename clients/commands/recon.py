"""`echotrain recon`: reconstruct a file without a server."""

from __future__ import annotations

import argparse
import sys

from echotrain.mrd import Image, Text
from echotrain.mrd.hdf5_images import ImageWriter
from echotrain.mrd.hdf5_read import read_header, read_items

from ..recon import reconstruct
from . import config_text, keep_input, local_settings


def run(options: argparse.Namespace) -> int:
    """Reconstruct and say how many images came."""
    keep_input(options)
    header = read_header(options.input, options.group)
    items = read_items(options.input, options.group)
    settings = local_settings(options)
    n_images = 0
    with ImageWriter(options.output, header_xml=header) as writer:
        for item in reconstruct(items, header, config_text(options.config), dict(options.settings), settings):
            if isinstance(item, Image):
                writer.write(item)
                n_images += 1
            elif isinstance(item, Text):
                print(item.text, file=sys.stderr)
    print(f"{n_images} images in {options.output}")
    return 0
