"""One module for each command of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from echotrain.mrd.errors import ConfigError, StorageError
from echotrain.server.settings import Settings


def config_text(config: str) -> str:
    """What `--config` means: the contents of a file where it is one, else a name or the XML itself.

    Raises:
        ConfigError: where the file cannot be read.
    """
    if config.lstrip().startswith("<"):
        return config
    path = Path(config)
    if path.suffix != ".xml" and "/" not in config:
        return config
    if not path.is_file():
        if "/" in config:
            raise ConfigError(f"there is no file {config}")
        return config
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} cannot be read: {error}") from error


def keep_input(options: argparse.Namespace) -> None:
    """Refuse to write the output over the input.

    Raises:
        StorageError: where they are one file.
    """
    if options.input.exists() and options.output.exists() and options.output.samefile(options.input):
        raise StorageError(f"{options.output} is the input, and would be overwritten; name another file for the output")


def local_settings(options: argparse.Namespace) -> Settings:
    """Where this command finds gadgets and chains.

    Raises:
        ConfigError: where a folder is none.
    """
    for folder in (*options.gadgets, *options.configs):
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder")
    return Settings(
        gadget_folders=tuple(path.absolute() for path in options.gadgets),
        config_folders=tuple(path.absolute() for path in options.configs),
        packages=tuple(options.allow),
    )
