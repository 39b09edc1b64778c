"""The same chain without a server: items of a file in, what the chain makes of them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from echotrain.mrd import Item, Noise, parse_header
from echotrain.server.chain import Chain, lines_left_out
from echotrain.server.prepare import prepare_chain
from echotrain.server.settings import Settings


def reconstruct(
    items: Iterable[Item | Noise],
    header: bytes,
    config: str,
    parameters: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    options: Mapping[str, str] | None = None,
) -> Iterator[Item]:
    """What the chain gives for a scan, as it is made.

    Parameters go by `Gadget.parameter`, options by the name of the parameter alone. A `Noise` ahead of the other items
    is that of the measurement that the scan depends on.

    Raises:
        EchotrainError: where chain, header or data do not fit.
    """
    _, chain = prepare_chain(config, settings or Settings(), parameters or {}, options)
    yield from run_chain(chain, header, items)


def run_chain(chain: Chain, header: bytes, items: Iterable[Item | Noise]) -> Iterator[Item]:
    """What a chain gives for a scan, but for noise, which a server keeps, and lines that it has no gadget for."""
    n_left_out = 0
    for item in chain.run(parse_header(header), items):
        if chain.leaves_out(item):
            n_left_out += len(item)
        elif not isinstance(item, Noise):
            yield item
    if n_left_out:
        yield lines_left_out(n_left_out)
