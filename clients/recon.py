"""The same chain without a server: items of a file in, what the chain makes of them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from echotrain.mrd import Item, Noise, parse_header
from echotrain.server.chain import Chain, build_chain
from echotrain.server.configs import find_config
from echotrain.server.registry import Registry
from echotrain.server.settings import Settings


def make_chain(config: str, parameters: Mapping[str, str], settings: Settings) -> Chain:
    """The chain that `config` names or is, with parameters by `Gadget.parameter`.

    Raises:
        ConfigError: with everything that is wrong.
    """
    description = find_config(config, settings.config_folders).with_parameters(parameters)
    return build_chain(description, Registry(settings.gadget_folders, settings.packages))


def reconstruct(
    items: Iterable[Item | Noise],
    header: bytes,
    config: str,
    parameters: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Iterator[Item]:
    """What the chain gives for a scan, as it is made.

    A `Noise` ahead of the other items is that of the measurement that the scan depends on.

    Raises:
        EchotrainError: where chain, header or data do not fit.
    """
    yield from run_chain(make_chain(config, parameters or {}, settings or Settings()), header, items)


def run_chain(chain: Chain, header: bytes, items: Iterable[Item | Noise]) -> Iterator[Item]:
    """What a chain gives for a scan, but for noise, which is for a server to keep."""
    return (item for item in chain.run(parse_header(header), items) if not isinstance(item, Noise))
