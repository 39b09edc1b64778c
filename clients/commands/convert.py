"""`echotrain convert`: turn vendor data into ISMRMRD."""

from __future__ import annotations

import argparse

from ..convert import convert
from . import keep_input


def run(options: argparse.Namespace) -> int:
    """Convert one file."""
    keep_input(options)
    convert(options.input, options.output)
    print(options.output)
    return 0
