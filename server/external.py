"""Gadgets written for the public `gadgetron` Python package, in processes of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from echotrain.gadgets.gadget import Gadget
from echotrain.gadgets.parameters import parameter
from echotrain.mrd import Acquisitions, Array, Close, ConfigText, Dicom, Header, HeaderText, Image, Waveforms, encode
from echotrain.mrd.errors import ConfigError, ParameterError
from echotrain.mrd.xml import parse_xml

from .child import Child

PYTHON = "ECHOTRAIN_EXTERNAL_PYTHON"  # environment variable of the server: the interpreter for such gadgets

NAME = "ExternalPython"

_TAKEN = {"Acquisitions": Acquisitions, "Waveforms": Waveforms, "Image": Image}
_GIVEN = {**_TAKEN, "Array": Array, "Dicom": Dicom}

Taken = Acquisitions | Waveforms | Image
Given = Acquisitions | Waveforms | Image | Array | Dicom


class ExternalPython(Gadget[Taken, Given]):
    """Run a gadget of the public `gadgetron` Python package: a function or class that is handed a connection.

    It runs as a process of its own, with what it prints in the session's log. What it gives is passed on when the next
    item comes, and at the end. It has to read to the end of its connection.
    """

    packages: ClassVar[Sequence[str]] = ()
    """Packages whose modules may be named."""

    folders: ClassVar[Sequence[Path]] = ()
    """Folders whose files may be named, and import one another."""

    module: str = parameter("", "Module of the gadget, in a package or folder that the server allows.")
    target: str = parameter("", "Name of the function or class in the module.")
    takes: tuple[str, ...] = parameter(tuple(_TAKEN), "What it is sent, of Acquisitions, Waveforms and Image.")
    gives: tuple[str, ...] = parameter(tuple(_GIVEN), "What it may send, of those, Array and Dicom.")
    configuration: str = parameter("<configuration/>", "XML that the gadget finds in `connection.config`.")

    def __init__(self, **values: Any) -> None:
        """Check the parameters; nothing is started.

        Raises:
            ConfigError: where the module is not one that the server allows.
        """
        super().__init__(**values)
        self._check_module()
        parse_xml(self.configuration, "the configuration of an ExternalPython", ConfigError)
        # Of the instance: what other gadgets say once, in the class line.
        vars(self).update(accepts=_types("takes", self.takes, _TAKEN), yields=_types("gives", self.gives, _GIVEN))

    def start(self, header: Header) -> None:
        """Start the process.

        Raises:
            ConfigError: where the package `gadgetron` is not installed.
            GadgetError: where the process does not connect.
        """
        opening = bytes(encode(ConfigText(self.configuration))) + bytes(encode(HeaderText(header.xml)))
        python = os.environ.get(PYTHON, sys.executable)
        self._child = Child(python, self.module, self.target, self.folders, opening)

    def process(self, item: Taken) -> Iterator[Any]:
        """Send `item`, and give what has come by then."""
        return self._child.exchange(encode(item))

    def finish(self) -> Iterator[Any]:
        """Say that this was all, and give the rest."""
        yield from self._child.exchange(encode(Close()), to_the_end=True)
        yield from self._child.end()

    def _check_module(self) -> None:
        parts = self.module.split(".")
        if not (self.target and all(map(str.isidentifier, parts))):
            raise ParameterError(
                f"module={self.module!r} target={self.target!r}: must be the names of a module and of a "
                "function or class in it",
                gadget=NAME,
            )
        if any(parts[: package.count(".") + 1] == package.split(".") for package in self.packages):
            return
        if not any(Path(folder, *parts).with_suffix(".py").is_file() for folder in self.folders):
            allowed = ", ".join(self.packages) or "none"
            raise ConfigError(
                f"module {self.module!r} is in no package that this server allows (allowed: {allowed}), and in no "
                "folder of its gadgets; start it with --allow PACKAGE or --gadgets DIR",
                gadget=NAME,
            )


def allowed(packages: Sequence[str], folders: Sequence[Path]) -> type[ExternalPython]:
    """The gadget for a server that allows these packages and folders."""
    places = {"packages": packages, "folders": folders, "__doc__": ExternalPython.__doc__}
    return type(NAME, (ExternalPython,), places)


def _types(name: str, wanted: Sequence[str], known: Mapping[str, type]) -> tuple[type, ...]:
    for kind in wanted:
        if kind not in known:
            hint = "k-space, and Gadgetron's buffers, buckets and image arrays, are not supported yet"
            raise ParameterError(f"{name}={' '.join(wanted)!r}: must be of {', '.join(known)}; {hint}", gadget=NAME)
    return tuple(known[kind] for kind in wanted)
