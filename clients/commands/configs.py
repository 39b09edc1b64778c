"""`echotrain configs`: list configurations, or show one."""

from __future__ import annotations

import argparse
import sys

from echotrain.mrd.errors import ConfigError, nearest
from echotrain.server.configs import config_names, read_config

from . import local_settings


def run(options: argparse.Namespace) -> int:
    """Print names with their gadgets, or one configuration's text."""
    known = config_names(local_settings(options).config_folders)
    if options.name is None:
        width = max(map(len, known))
        for name, path in sorted(known.items()):
            try:
                steps = ", ".join(step.gadget for step in read_config(path).steps)
            except ConfigError as error:
                print(f"echotrain configs: {error}", file=sys.stderr)
                continue
            print(f"{name:{width}}  {steps}")
        return 0
    name = options.name.removesuffix(".xml")
    if name not in known:
        raise ConfigError(f"there is no configuration {name!r}; {nearest(name, known)}")
    print(known[name].read_text(), end="")
    return 0
