"""Where files of networks are found: by name, in folders that only the operator names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from echotrain.mrd.errors import ConfigError

VARIABLE = "ECHOTRAIN_MODELS"
"""Of the environment: folders of the operator's own weights and models, parted as those of PATH are."""

SHIPPED = Path(__file__).parent / "weights"


def named_files(*suffixes: str) -> dict[str, Path]:
    """Files that end with one of `suffixes`, by their name without it; the operator's win over those shipped.

    Names are looked up in what the folders hold, so that text from a client never becomes a path.

    Raises:
        ConfigError: where a folder that the operator named is none.
    """
    folders = [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}, which {VARIABLE} names, is not a folder")
    found: dict[str, Path] = {}
    for folder in (SHIPPED, *reversed(folders)):
        found |= {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in suffixes}
    return found


def find_file(kind: str, name: str, files: Mapping[str, Path]) -> Path:
    """The file called `name` among `files`, which are of a kind, such as weights.

    Raises:
        ConfigError: where there is none, with the names that are known.
    """
    if name not in files:
        raise ConfigError(
            f"no {kind} are called {name!r}; installed: {', '.join(sorted(files)) or 'none'}; files of {kind} go "
            f"into a folder that {VARIABLE} names on the server"
        )
    return files[name]
