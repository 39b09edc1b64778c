"""The rules of the house: packaging, floors, configurations, lint and types."""

import ast
import importlib
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from echotrain import gadgets
from echotrain.gadgets import Gadget
from echotrain.server.chain import build_chain
from echotrain.server.configs import config_names, find_config
from echotrain.server.registry import Registry

ROOT = Path(__file__).parents[1]
FLOORS = ("mrd", "gadgets", "server", "clients")
PACKAGES = sorted(
    "echotrain" + "".join(f".{part}" for part in path.parent.relative_to(ROOT).parts)
    for path in [ROOT / "__init__.py", *(path for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py"))]
)
SOURCES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
MAX_LINES = 400


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("echotrain", *parts)).removesuffix(".__init__")


def imported(path):
    """What a file imports from echotrain, each as a dotted path with the line, wherever in the file it does."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{base}.{alias.name}" for alias in node.names]
        yield from ((name, node.lineno) for name in names if name.split(".")[0] == "echotrain")


def test_the_packages_listed_are_those_on_disk():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == PACKAGES


def test_every_folder_with_code_is_a_package():
    assert {path.parent for path in SOURCES if not (path.parent / "__init__.py").exists()} == set()


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_floor_imports_only_from_floors_before_it(path):
    floor = path.relative_to(ROOT).parts[0]
    allowed = FLOORS[: FLOORS.index(floor) + 1]
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if len(name.split(".")) > 1 and name.split(".")[1] in FLOORS and name.split(".")[1] not in allowed
    ]
    assert wrong == []


def test_clients_use_little_of_the_server():
    """What runs a scan here or speaks the protocol; the front only where it is served."""
    allowed = {
        "archive",
        "chain",
        "chain_xml",
        "configs",
        "folder",
        "keys",
        "log_reader",
        "logs",
        "noise_store",
        "outcome",
        "prepare",
        "registry",
        "settings",
        "wire",
    }
    extra = {"commands/serve.py": {"front", "allocator"}}
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        if parts[0] == "clients":
            used = {name.split(".")[2] for name, _ in imported(path) if name.startswith("echotrain.server.")}
            assert used <= allowed | extra.get("/".join(parts[1:]), set()), path


def test_nothing_is_imported_under_a_bare_name():
    """In a process of its own, as other tests may import what they like."""
    names = [module_name(path) for path in SOURCES if path.stem != "__main__"]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {FLOORS!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_the_front_does_without_the_numerical_libraries():
    """They would take hundreds of megabytes, and seconds of its start."""
    code = "import echotrain.clients.commands.serve, sys; print([n for n in ('torch', 'scipy') if n in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert ended.stdout.strip() == "[]"


def test_no_test_imports_a_floor_under_a_bare_name():
    assert [name for name in FLOORS if name in sys.modules] == []


@pytest.mark.parametrize("name", config_names())
def test_every_stock_chain_is_read_built_and_fits(name):
    description = find_config(name)
    assert description.name == name
    assert len(build_chain(description, Registry()).gadgets) == len(description.steps)


def stock_gadgets():
    return [value for value in vars(gadgets).values() if isinstance(value, type) and issubclass(value, Gadget)]


@pytest.mark.parametrize("gadget", stock_gadgets(), ids=lambda gadget: gadget.__name__)
def test_every_gadget_and_parameter_says_what_it_is(gadget):
    assert gadget.__doc__
    for name, spec in gadget.parameters.items():
        assert spec.doc.endswith("."), name
        assert gadget(**{name: spec.default}) is not None, name


def test_every_gadget_of_the_floor_is_given_out():
    """Whatever a file of the gadgets floor defines can be named in a chain."""
    defined = set()
    for path in (ROOT / "gadgets").rglob("*.py"):
        module = importlib.import_module(module_name(path))
        defined |= {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Gadget) and value.__module__ == module.__name__
        }
    assert {name for name in defined if not name.startswith("_")} == {gadget.__name__ for gadget in stock_gadgets()}


def test_no_file_is_longer_than_it_should_be():
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    long = {str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_files_of_tests_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def check(tool, *arguments, **options):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    ended = subprocess.run(
        [sys.executable, "-m", tool, *arguments], capture_output=True, text=True, check=False, **options
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_finds_nothing(command):
    check("ruff", *command, ".", cwd=ROOT)


def test_mypy_finds_nothing(tmp_path):
    """It needs the checkout under the package's name."""
    (tmp_path / "echotrain").symlink_to(ROOT)
    packages = [argument for floor in FLOORS for argument in ("-p", f"echotrain.{floor}")]
    cache = ROOT / ".mypy_cache" / "house"
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache)]
    check("mypy", *options, *packages, cwd=tmp_path, env={"MYPYPATH": str(tmp_path), "PATH": "/usr/bin:/bin"})
