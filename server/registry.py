"""Where gadgets are found: Echotrain's own, installed plug-ins, a site's folder, and packages that the site allows.

Text from a client names gadgets; it never makes anything else be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from echotrain import gadgets as stock
from echotrain.gadgets.gadget import Gadget
from echotrain.mrd.errors import ConfigError, nearest

from . import external

ENTRY_POINTS = "echotrain.gadgets"

GadgetClass = type[Gadget[Any, Any]]


@dataclass(frozen=True)
class Registry:
    """Gadget classes by name."""

    folders: Sequence[Path] = ()
    """Folders of a site's own gadgets: each `*.py` file in them is loaded and its gadgets go by their class names."""

    packages: Sequence[str] = ()
    """Packages out of which a chain may name gadgets by dotted path, `package.module.Class`."""

    failures: dict[str, str] = field(default_factory=dict)
    """Sources that could not be loaded, with the reason."""

    @cached_property
    def gadgets(self) -> Mapping[str, GadgetClass]:
        """All gadgets that go by a plain name; a site's folder wins over plug-ins, and those over the stock."""
        found = dict(_gadgets_of(stock))
        found[external.NAME] = external.allowed(self.packages, self.folders)
        for entry in entry_points(group=ENTRY_POINTS):
            try:
                loaded = entry.load()
            except (Exception, SystemExit):
                self.failures[f"plug-in {entry.value}"] = traceback.format_exc(limit=-3)
                continue
            if _is_gadget(loaded):
                found[entry.name] = loaded
            else:
                self.failures[f"plug-in {entry.value}"] = f"{entry.value} is not a gadget"
        for folder in self.folders:
            found.update(self._load_folder(folder))
        return found

    def find(self, name: str) -> GadgetClass:
        """The gadget class called `name`.

        Raises:
            ConfigError: where there is none, with the nearest names.
        """
        if name in self.gadgets:
            return self.gadgets[name]
        if "." in name:
            return self._find_dotted(name)
        hint = nearest(name, self.gadgets)
        failed = "".join(f"; {source} could not be loaded" for source in self.failures)
        raise ConfigError(
            f"there is no gadget {name!r}; {hint}{failed}", gadget=name, detail="\n".join(self.failures.values())
        )

    def _find_dotted(self, path: str) -> GadgetClass:
        module_name, _, class_name = path.rpartition(".")
        if not any(module_name == package or module_name.startswith(package + ".") for package in self.packages):
            allowed = ", ".join(self.packages) or "none"
            raise ConfigError(
                f"gadget {path!r} is in a package that this server does not allow (allowed: {allowed}); "
                "start it with --allow PACKAGE",
                gadget=path,
            )
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{module_name} cannot be imported: {error}", gadget=path, detail=traceback.format_exc()
            ) from error
        if not _is_gadget(found):
            raise ConfigError(f"{module_name} has no gadget {class_name!r}", gadget=path)
        return found

    def _load_folder(self, folder: Path) -> dict[str, GadgetClass]:
        if not folder.is_dir():
            self.failures[str(folder)] = f"{folder} is not a folder"
            return {}
        found: dict[str, GadgetClass] = {}
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # so that a site's files can import one another
        for path in sorted(folder.glob("*.py")):
            try:
                found.update(_gadgets_of(_load_file(path)))
            except (Exception, SystemExit):
                self.failures[str(path)] = traceback.format_exc(limit=-3)
        return found


def _load_file(path: Path) -> ModuleType:
    name = f"echotrain_site_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_gadget(value: object) -> TypeGuard[GadgetClass]:
    return isinstance(value, type) and issubclass(value, Gadget) and value is not Gadget


def _gadgets_of(module: ModuleType) -> dict[str, GadgetClass]:
    """Gadgets that `module` defines, or, where it is a package, gives out."""
    is_package = hasattr(module, "__path__")
    return {
        name: value
        for name, value in vars(module).items()
        if _is_gadget(value) and not name.startswith("_") and (is_package or value.__module__ == module.__name__)
    }
