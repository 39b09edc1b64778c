"""Chains by name: Echotrain's own, those of Gadgetron's names, and a site's folders of XML files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from echotrain.mrd.errors import ConfigError, nearest
from echotrain.mrd.xml import parse_xml

from . import gadgetron_later, gadgetron_xml
from .chain_xml import ChainDescription, parse_chain

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def config_names(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """All chains that go by name; a site's folder wins over the stock."""
    found: dict[str, Path] = {}
    with resources.as_file(resources.files("echotrain.gadgets.configs")) as stock:
        for folder in (stock, *folders):
            found.update({path.stem: path for path in sorted(_xml_files(folder))})
    return found


def find_config(config: str, folders: Sequence[Path] = ()) -> ChainDescription:
    """The chain that `config` names (with or without `.xml`), or is, as XML text.

    Raises:
        ConfigError: where there is no such chain, or it cannot be read.
    """
    if config.lstrip().startswith("<"):
        return parse_config(config)
    return read_config(config_path(config, folders))


def config_path(config: str, folders: Sequence[Path] = ()) -> Path:
    """The file of the chain that `config` names, with or without `.xml`.

    Raises:
        ConfigError: where there is no such chain.
    """
    known = config_names(folders)
    name = config.removesuffix(".xml")
    if _NAME.fullmatch(name) and name in known:
        return known[name]
    if name in gadgetron_later.CONFIGS:
        raise ConfigError(f"{name} of Gadgetron is not yet supported ({gadgetron_later.CONFIGS[name]})")
    hint = "start the server with --openrecon NAME" if name == "openrecon" else nearest(name, known)
    raise ConfigError(f"there is no configuration {config[:100]!r}; {hint}")


def read_config(path: Path) -> ChainDescription:
    """The chain in a file.

    Raises:
        ConfigError: where it cannot be read, or is no chain.
    """
    try:
        return parse_config(path.read_bytes(), path.stem)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error


def parse_config(text: str | bytes, name: str = "gadgetron") -> ChainDescription:
    """The chain that XML says, our own or a configuration of Gadgetron, which is called `name`.

    Raises:
        ConfigError: where it cannot be read.
    """
    root = parse_xml(text, "the chain", ConfigError)
    return gadgetron_xml.parse_gadgetron(text, name) if root.tag in gadgetron_xml.ROOTS else parse_chain(text)


def _xml_files(folder: Path) -> Iterable[Path]:
    return folder.glob("*.xml") if folder.is_dir() else ()
