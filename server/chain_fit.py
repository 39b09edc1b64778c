"""Whether the gadgets of a chain fit: each is given something, and what comes out at the end can be sent."""

from __future__ import annotations

from collections.abc import Sequence

from echotrain.gadgets.gadget import Gadget
from echotrain.mrd import Acquisitions, Image, Waveforms
from echotrain.mrd.errors import ConfigError

from .chain_graph import AnyGadget, Parts, taken, takes_lines

# Noise is for the worker, which keeps it for later scans instead of sending it.
SENDABLE = frozenset({"Acquisitions", "Waveforms", "Image", "Text", "Array", "Dicom", "Noise"})


def check_fit(parts: Parts, gadgets: Sequence[AnyGadget]) -> set[type]:
    """Check `parts`, of which all gadgets in the order of the text are `gadgets`; gives the types that come out.

    Raises:
        ConfigError: where a gadget would never be given anything, or the chain ends with what cannot be sent.
    """
    if not gadgets:
        raise ConfigError("the chain has no gadgets")
    images_only = not takes_lines(gadgets[0]) and Image in gadgets[0].accepts
    given = _check_flow(parts, {Image} if images_only else {Acquisitions, Waveforms}, ())
    for kind in given:
        if kind.__name__ not in SENDABLE:
            maker = next(gadget for gadget in reversed(gadgets) if kind in gadget.yields)
            raise ConfigError(
                f"the chain ends with {kind.__name__}, which cannot be sent to a client; "
                "a FourierTransform after it makes images",
                gadget=type(maker).__name__,
            )
    return given


def _check_flow(parts: Parts, flowing: set[type], path: tuple[str, ...]) -> set[type]:
    """The types that come out of `parts`, which lie in the branches of `path`, where those `flowing` go in."""
    for part in parts:
        if isinstance(part, Gadget):
            used = flowing & set(part.accepts)
            if not used:
                wanted = " or ".join(kind.__name__ for kind in part.accepts)
                have = " and ".join(sorted(kind.__name__ for kind in flowing))
                where = f"in branch {'/'.join(path)!r} " if path else ""
                message = f"{where}takes {wanted}, but only {have} reach it here"
                raise ConfigError(message, gadget=type(part).__name__)
            flowing = (flowing - used) | set(part.yields)
        else:
            given: set[type] = set()
            passing = flowing
            for name, branch in part.items():
                takes = set(taken(branch))
                # A branch that can take nothing is shown everything, so that its first gadget says so.
                given |= _check_flow(branch, flowing & takes or flowing, (*path, name))
                passing = passing - takes
            flowing = given | passing
    return flowing
