"""Gadgets of the public `gadgetron` package as processes: what reaches them, what comes back, how they fail."""

import gc
import os
import stat
import sys
import time
from itertools import chain

import numpy as np
import pytest

from echotrain.mrd import Acquisitions, Image, Text, Waveforms, acquisition_headers, parse_header
from echotrain.mrd.errors import ConfigError, GadgetError, ParameterError
from echotrain.mrd.records import WAVEFORM_HEADER
from echotrain.server import child
from echotrain.server.chain import build_chain
from echotrain.server.chain_xml import parse_chain
from echotrain.server.external import PYTHON
from echotrain.server.registry import Registry

pytestmark = pytest.mark.usefixtures("bounded")

SITE = '''
import os, signal, socket, sys, time
import gadgetron, ismrmrd, numpy

def back(connection):
    for item in connection:
        connection.send(item)

def flood(connection):
    for item in connection:
        for _ in range(20):
            connection.send(item)

def late(connection):
    for item in list(connection):
        connection.send(item)

def told(connection):
    words = [p.get("value") for p in connection.config.iter("property")]
    words.append(str(connection.header.encoding[0].encodedSpace.matrixSize.y))
    image = ismrmrd.Image.from_array(numpy.zeros((2, 3), numpy.float32))
    meta = ismrmrd.Meta()
    meta["told"] = " ".join(words)
    image.attribute_string = meta.serialize()
    connection.send(image)
    list(connection)

class Handler:
    def handle(self, connection):
        back(connection)

class Legacy(gadgetron.Gadget):
    def process(self, header, data):
        self.put_next(header, data * float(self.get_parameter("factor")))

def raises(connection):
    connection.send(next(iter(connection)))
    raise ValueError("a stone")

def exits(connection):
    print("going home")
    sys.exit(3)

def vanishes(connection):
    next(iter(connection))
    os._exit(0)

def killed(connection):
    next(iter(connection))
    os.kill(os.getpid(), signal.SIGKILL)

def orphan(connection):
    """Its connection stays open when it is gone."""
    next(iter(connection))
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    os._exit(4)

def leaves(connection):
    next(iter(connection))

def babbles(connection):
    connection.socket.write(b"GET / HTTP/1.1")

def says_error(connection):
    connection.socket.write(b"\\x08\\x00" + (5).to_bytes(8, "little") + b"stone")

def hangs(connection):
    time.sleep(100)

not_a_function = 7
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "site_external.py").write_text(SITE)
    (folder / "missing_things.py").write_text("import not_there_at_all")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep.py").write_text("from site_external import back")
    return folder


@pytest.fixture
def make(site):
    """`make("back", takes="Image")`: a gadget that has not started."""

    def build(target="back", module="site_external", packages=(), **values):
        return Registry([site], packages).find("ExternalPython")(module=module, target=target, **values)

    return build


@pytest.fixture
def header(small_scan):
    return parse_header(small_scan().header)


@pytest.fixture
def run(make, header):
    """`run(items, "back")`: everything that comes of `items`."""

    def play(items, target="back", **values):
        gadget = make(target, **values)
        gadget.start(header)
        given = [back for item in items for back in gadget.process(item)]
        return [*given, *gadget.finish()]

    return play


def lines(n=5, n_samples=14, n_dims=2):
    random = np.random.default_rng(n)
    head = acquisition_headers(n, 3, n_samples)
    head["idx"]["kspace_encode_step_1"] = np.arange(n)
    head["trajectory_dimensions"] = n_dims
    data = random.normal(size=(n, 3, n_samples, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return Acquisitions(head, data, random.normal(size=(n, n_samples, n_dims)).astype(np.float32))


def together(batches):
    return [np.concatenate([getattr(batch, name) for batch in batches]) for name in ("head", "data", "trajectory")]


def image(value=1.0, shape=(2, 3, 4, 5)):
    made = Image(np.full(shape, value, np.float32), meta={"Comment": "of a test"})
    made.head["image_series_index"] = 7
    return made


def test_lines_come_back_as_they_were_in_order(run):
    sent = [lines(5), lines(1), lines(4)]
    for got, wanted in zip(together(run(sent)), together(sent), strict=True):
        assert np.array_equal(got, wanted)


def test_waveforms_and_images_come_back_as_they_were(run):
    head = np.zeros(2, WAVEFORM_HEADER)
    head["channels"], head["number_of_samples"], head["waveform_id"] = 2, 3, 1
    pulse = Waveforms(head, np.arange(12, dtype=np.uint32).reshape(2, 2, 3))
    *waves, picture = run([pulse, image(3.5)])
    assert np.array_equal(np.concatenate([wave.data for wave in waves]), pulse.data)
    assert all((wave.head["waveform_id"] == 1).all() for wave in waves)
    assert np.array_equal(picture.data, image(3.5).data)
    assert picture.head["image_series_index"] == 7
    assert picture.meta == {"Comment": "of a test"}


@pytest.mark.parametrize(("target", "times"), [("flood", 20), ("late", 1)])
def test_neither_side_waits_for_the_other_to_read(run, target, times):
    """Both ways more is under way than fits into the connection."""
    sent = [image(value, (1, 1, 512, 512)) for value in range(12)]
    got = [float(item.data[0, 0, 0, 0]) for item in run(sent, target)]
    assert got == [value for value in range(12) for _ in range(times)]


def test_a_line_by_itself_is_not_held_up(make, header):
    """The package writes it in pieces, which must not wait for one another: that would take 40 ms."""
    gadget = make()
    gadget.start(header)
    times = []
    for line in lines(21):
        start = time.perf_counter()
        back = list(gadget.process(line))
        while not back:
            back = list(gadget._child.exchange(b""))
        times.append(time.perf_counter() - start)
    assert sorted(times)[5] < 0.02  # most of them, on a machine that has other things to do


def test_it_is_told_its_configuration_and_the_header(run):
    text = '<configuration><property name="a" value="blue"/><property name="b" value="7"/></configuration>'
    (picture,) = run([], "told", configuration=text)
    assert picture.meta == {"told": "blue 7 20"}


def test_a_class_of_the_connection_interface(run):
    assert len(run([image()], "Handler")) == 1


def test_a_class_of_the_older_interface_with_properties(run):
    text = '<configuration><property name="factor" value="2.5"/></configuration>'
    (batch,) = run([lines(1, n_dims=0)], "Legacy", configuration=text)
    np.testing.assert_allclose(batch.data, 2.5 * lines(1).data, rtol=1e-6)


def test_in_a_chain_other_types_pass_it_by(site, header):
    text = '<chain><gadget name="ExternalPython" module="site_external" target="late" takes="Image"/></chain>'
    built = build_chain(parse_chain(text), Registry([site]))
    given = list(built.run(header, [image(1), Text("a"), lines(), image(2)]))
    assert [type(item) for item in given] == [Text, Acquisitions, Image, Image]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("raises", "raises failed with status 1: ValueError: a stone"),
        ("exits", "exits failed with status 3: going home"),
        ("vanishes", "vanishes ended"),
        ("killed", "killed was killed by signal 9"),
        ("orphan", "orphan failed with status 4"),
        ("babbles", "babbles sent what is not supported"),
        ("says_error", "says_error: stone"),
        ("not_a_function", "not_a_function failed with status 1: TypeError"),
        ("nothing_of_that_name", "nothing_of_that_name failed with status 1: TypeError"),
    ],
)
def test_a_child_that_fails_is_an_error_that_names_it(run, target, words):
    with pytest.raises(GadgetError) as caught:
        run([lines(), lines()], target)
    assert caught.value.message.startswith("site_external:" + words)


def test_what_it_printed_is_in_the_details_and_on_standard_error(run, capfd):
    with pytest.raises(GadgetError) as caught:
        run([lines()], "raises")
    assert "Traceback" in caught.value.detail
    assert "a stone" in capfd.readouterr().err


def test_a_module_that_cannot_be_imported_is_an_error_that_names_it(run):
    with pytest.raises(GadgetError, match=r"missing_things:f failed .* No module named 'not_there_at_all'"):
        run([lines()], "f", module="missing_things")


def test_lines_after_its_end_are_an_error_and_not_lost(make, header):
    gadget = make("leaves")
    gadget.start(header)
    with pytest.raises(GadgetError, match="ended before the scan did"):
        list(chain.from_iterable(gadget.process(lines()) for _ in range(10000)))


def test_it_may_end_by_itself_when_there_is_nothing_more_to_come(run):
    assert run([image()], "leaves") == []


def test_a_file_in_a_folder_of_the_sites_folder_is_allowed(run):
    assert len(run([image()], module="inner.deep")) == 1


def test_a_module_of_an_allowed_package_is_allowed(run):
    assert len(run([image()], "pass_through", module="gadgetron.examples", packages=["gadgetron.examples"])) == 1


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("os", []),
        ("gadgetron.examples", ["own"]),
        ("gadgetron_other", ["gadgetron"]),
        ("inner", []),
        ("inner.shallow", []),
    ],
)
def test_text_of_a_client_reaches_no_other_module(make, module, packages):
    with pytest.raises(ConfigError, match="in no package that this server allows"):
        make(module=module, packages=packages)


@pytest.mark.parametrize("module", ["", "..site_external", "../site_external", "inner/deep", "a b", "-c"])
def test_what_is_no_name_of_a_module_is_refused(make, module):
    with pytest.raises(ParameterError, match="must be the names"):
        make(module=module)


@pytest.mark.parametrize("values", [{"takes": "KSpace"}, {"takes": "Image Buffer"}, {"gives": "ImageArray"}])
def test_types_that_are_not_supported_yet_are_refused_by_name(make, values):
    with pytest.raises(ParameterError, match="not supported yet"):
        make(**values)


def test_a_configuration_that_is_no_xml_is_refused(make):
    with pytest.raises(ConfigError, match="is not XML"):
        make(configuration="<oops")


def test_a_gadget_that_is_let_go_of_leaves_no_process(make, header):
    gadget = make("hangs")
    gadget.start(header)
    process = gadget._child._process
    assert process.poll() is None
    del gadget
    gc.collect()
    assert process.poll() is not None


# -- before it connects --------------------------------------------------------------------------------------------


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """`interpreter("exit 3")`: that shell command in the place of Python."""

    def use(command):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(PYTHON, str(path))
        return path

    return use


def test_a_python_without_the_package_is_told_what_to_install(run, interpreter):
    path = interpreter(f'exec {sys.executable} -S "$@"')
    with pytest.raises(ConfigError) as caught:
        run([])
    assert str(path) in caught.value.message
    assert "pip install gadgetron" in caught.value.message


def test_a_child_that_ends_before_it_connects(run, interpreter):
    interpreter("echo no licence; exit 3")
    with pytest.raises(GadgetError, match="site_external:back failed with status 3: no licence"):
        run([])


def test_a_child_that_never_connects(run, interpreter, monkeypatch):
    monkeypatch.setattr(child, "CONNECT_SECONDS", 0.3)
    interpreter("exec sleep 100")
    with pytest.raises(GadgetError, match=r"did not connect within 0\.3 s"):
        run([])


def test_a_python_that_is_none(run, monkeypatch):
    monkeypatch.setenv(PYTHON, os.devnull)
    with pytest.raises(ConfigError, match=os.devnull):
        run([])
