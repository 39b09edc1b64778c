"""Where gadgets are found, and what a client's text can never reach."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from echotrain.gadgets import Count
from echotrain.mrd.errors import ConfigError
from echotrain.server import registry
from echotrain.server.registry import Registry

GADGET = """
from echotrain.gadgets import Gadget
from echotrain.mrd import Acquisitions

class {name}(Gadget[Acquisitions, Acquisitions]):
    def process(self, lines):
        return [lines]

class _Hidden({name}): ...
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for modules; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def plug_in(monkeypatch):
    """`plug_in(name, value)` makes an installed package that has this entry point."""

    def install(name, value):
        points = EntryPoints([EntryPoint(name=name, value=value, group="echotrain.gadgets")])
        monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))

    return install


def test_stock_gadgets_go_by_their_class_names():
    assert Registry().find("Count") is Count


def test_an_unknown_gadget_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"there is no gadget 'Coumt'; did you mean Count\?"):
        Registry().find("Coumt")


@pytest.mark.parametrize("name", ["Gadget", "parameter", "_Hidden", ""])
def test_only_gadgets_go_by_name(name):
    with pytest.raises(ConfigError):
        Registry().find(name)


def test_gadgets_of_a_folder_go_by_their_class_names_and_win_over_stock(folder):
    (folder / "site.py").write_text(GADGET.format(name="Count"))
    found = Registry([folder])
    assert found.find("Count") is not Count
    assert "_Hidden" not in found.gadgets
    assert "Gadget" not in found.gadgets


def test_files_of_a_folder_may_import_one_another(folder):
    (folder / "site_base.py").write_text(GADGET.format(name="Base"))
    (folder / "a_user.py").write_text("from site_base import Base\nclass User(Base): ...\n")
    assert {"Base", "User"} <= set(Registry([folder]).gadgets)


@pytest.mark.parametrize("text", ["import not_there_at_all", "x = 1 +", "raise SystemExit(2)"])
def test_a_broken_file_is_reported_by_name_and_hides_no_other(folder, text):
    (folder / "broken.py").write_text(text)
    (folder / "good.py").write_text(GADGET.format(name="Good"))
    found = Registry([folder])
    assert found.find("Good")
    with pytest.raises(ConfigError, match=r"broken\.py could not be loaded") as caught:
        found.find("Missing")
    assert "broken.py" in caught.value.detail


def test_a_folder_that_is_not_there_is_reported(tmp_path):
    found = Registry([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="nowhere could not be loaded"):
        found.find("Missing")


def test_installed_plug_ins_go_by_the_name_of_their_entry_point(folder, plug_in, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "plugged.py").write_text(GADGET.format(name="Plugged"))
    plug_in("Other", "plugged:Plugged")
    assert Registry().find("Other").__name__ == "Plugged"
    assert Registry().find("Count") is Count


@pytest.mark.parametrize("value", ["plugged:Missing", "not_installed:Plugged", "plugged:number"])
def test_a_broken_plug_in_is_reported_and_hides_no_other(folder, plug_in, monkeypatch, value):
    monkeypatch.syspath_prepend(folder)
    (folder / "plugged.py").write_text("number = 3")
    plug_in("Other", value)
    found = Registry()
    assert found.find("Count") is Count
    with pytest.raises(ConfigError, match=f"plug-in {value} could not be loaded"):
        found.find("Other")


def test_a_package_that_is_allowed_is_reached_by_dotted_path(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "allowed").mkdir()
    (folder / "allowed" / "inner.py").write_text(GADGET.format(name="Deep"))
    assert Registry(packages=["allowed"]).find("allowed.inner.Deep").__name__ == "Deep"


@pytest.mark.parametrize("packages", [[], ["other"], ["forbid"], ["forbidden.other"]])
def test_a_package_that_is_not_allowed_is_refused_and_not_imported(folder, monkeypatch, packages):
    monkeypatch.syspath_prepend(folder)
    (folder / "forbidden.py").write_text(f"open({str(folder / 'touched')!r}, 'w').close()")
    with pytest.raises(ConfigError, match="not allow") as caught:
        Registry(packages=packages).find("forbidden.Gadget")
    assert "'forbidden.Gadget'" in str(caught.value)
    assert "--allow" in str(caught.value)
    assert "forbidden" not in sys.modules
    assert not (folder / "touched").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_there_at_all", "cannot be imported: No module named 'not_there_at_all'"),
        ("raise SystemExit(2)", "cannot be imported"),
        ("number = 3", "has no gadget 'Wanted'"),
        ("Wanted = 3", "has no gadget 'Wanted'"),
    ],
)
def test_an_allowed_package_that_does_not_serve_is_named(folder, monkeypatch, text, words):
    monkeypatch.syspath_prepend(folder)
    (folder / "allowed.py").write_text(text)
    with pytest.raises(ConfigError, match=words):
        Registry(packages=["allowed"]).find("allowed.Wanted")
