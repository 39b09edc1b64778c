"""`echotrain configs`: list configurations, or show one."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from echotrain.mrd.errors import ConfigError
from echotrain.server.configs import config_names, config_path, read_config

from . import local_settings

_COMMENT = re.compile(r"\s*(?:<\?.*?\?>)?\s*<!--(.*?)-->", re.DOTALL)


def run(options: argparse.Namespace) -> int:
    """Print names with what they do, or one configuration's text."""
    folders = local_settings(options).config_folders
    if options.name is not None:
        print(config_path(options.name, folders).read_text(), end="")
        return 0
    known = config_names(folders)
    width = max(map(len, known))
    for name, path in sorted(known.items(), key=lambda item: item[0].lower()):
        try:
            print(f"{name:{width}}  {_described(path)}")
        except ConfigError as error:
            print(f"echotrain configs: {error}", file=sys.stderr)
    return 0


def _described(path: Path) -> str:
    """The comment before a chain, in one line, or its gadgets where it has none."""
    steps = read_config(path).steps
    comment = _COMMENT.match(path.read_text("utf-8", errors="replace"))
    return " ".join(comment[1].split()) if comment else ", ".join(step.gadget for step in steps)
