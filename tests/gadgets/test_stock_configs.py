"""The stock chains name gadgets that exist, with parameters that they take, and give the images that they promise."""

from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from echotrain import gadgets
from echotrain.gadgets.coils import root_sum_of_squares
from echotrain.gadgets.fourier import centred_ifft
from echotrain.mrd import Acquisitions, Flag, Image, ImageType, Text, acquisition_headers, parse_header

CONFIGS = sorted(
    (path for path in resources.files("echotrain.gadgets.configs").iterdir() if path.name.endswith(".xml")),
    key=lambda path: path.name,
)

HEADER = parse_header("""<ismrmrdHeader><encoding>
  <encodedSpace><matrixSize><x>32</x><y>20</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>640</x><y>200</y><z>8</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>16</x><y>20</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>320</x><y>200</y><z>8</z></fieldOfView_mm></reconSpace>
  <encodingLimits>
    <kspace_encoding_step_1><minimum>0</minimum><maximum>19</maximum><center>10</center></kspace_encoding_step_1>
  </encodingLimits>
</encoding></ismrmrdHeader>""")


def build(path):
    root = ElementTree.fromstring(path.read_text())
    assert root.tag == "chain"
    assert root.get("name") == path.name.removesuffix(".xml")
    chain = []
    for element in root:
        values = dict(element.attrib)
        chain.append(getattr(gadgets, values.pop("name"))(**values))
    return chain


def config(name):
    return build(next(path for path in CONFIGS if path.name == f"{name}.xml"))


def run(chain, items):
    for index, gadget in enumerate(chain):
        gadget.connect(chain[index + 1 :])
        gadget.start(HEADER)
    for gadget in chain:
        given = []
        for item in items:
            given += (gadget.process(item) or ()) if isinstance(item, gadget.accepts) else [item]
        items = given + list(gadget.finish() or ())
    return items


def scan():
    """One slice of random k-space, and noise of unit variance without correlation before it."""
    rng = np.random.default_rng(0)
    head = acquisition_headers(60 + 20, 3, 32)
    head["flags"][:60] = Flag.IS_NOISE_MEASUREMENT
    head["center_sample"] = 16
    head["idx"]["kspace_encode_step_1"][60:] = range(20)
    head["flags"][-1] = Flag.LAST_IN_SLICE
    data = rng.standard_normal((80, 3, 32)) + 1j * rng.standard_normal((80, 3, 32))
    data /= np.sqrt(2)
    data[60:] *= 100
    return Acquisitions(head, data.astype(np.complex64))


def images(name, lines):
    return [item for item in run(config(name), [lines[:60], lines[60:]]) if isinstance(item, Image)]


def expected(lines):
    """Root of the sum of squares of the central half along the readout."""
    kspace = lines.data[60:].transpose(1, 0, 2)
    return root_sum_of_squares(centred_ifft(kspace, (1, 2))[:, :, 8:24])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_each_config_can_be_built_and_says_what_it_does(path):
    assert build(path)
    assert path.read_text().startswith("<!-- ")


def test_rss_gives_the_magnitude_of_what_was_sent():
    lines = scan()
    (image,) = images("rss", lines)
    assert image.data.shape == (1, 1, 20, 16)
    np.testing.assert_allclose(image.data[0, 0], expected(lines), rtol=1e-4)
    assert image.head["field_of_view"].tolist() == [320, 200, 8]


def test_fft_whitens_before_it_combines():
    lines = scan()
    (image,) = images("fft", lines)
    # The noise has unit variance, so whitening changes little but what chance correlation there is.
    np.testing.assert_allclose(image.data[0, 0], expected(lines), rtol=0.15)
    assert not np.allclose(image.data[0, 0], expected(lines), rtol=1e-4)


def test_adaptive_gives_magnitude_and_phase():
    magnitude, phase = images("adaptive", scan())
    assert [int(image.head["image_type"]) for image in (magnitude, phase)] == [ImageType.MAGNITUDE, ImageType.PHASE]
    assert np.abs(phase.data).max() <= np.float32(np.pi)
    assert magnitude.data.dtype == phase.data.dtype == np.float32


def test_short_gives_integers_with_the_99th_percentile_at_2048():
    (image,) = images("short", scan())
    assert image.data.dtype == np.uint16
    assert np.percentile(image.data, 99) == pytest.approx(2048, abs=2)


def test_count_gives_no_image():
    assert run(config("count"), [scan()]) == [Text(f"80 lines, {80 * (340 + 3 * 32 * 8)} bytes")]


def test_default_gives_the_magnitude_of_what_was_sent_as_series_0():
    lines = scan()
    (image,) = images("default", lines)
    np.testing.assert_allclose(image.data[0, 0], expected(lines), rtol=1e-4)
    assert int(image.head["image_series_index"]) == 0
    assert image.data.dtype == np.float32


def test_default_makes_an_image_of_each_average_and_segment():
    lines = scan()
    lines.head["idx"]["average"][70:] = 1
    lines.head["flags"][69] = Flag.LAST_IN_SLICE
    assert [int(image.head["average"]) for image in images("default", lines)] == [0, 1]


def test_default_short_gives_integers_up_to_4095_each_image_scaled_by_itself():
    lines = scan()
    (image,) = images("default_short", lines)
    assert image.data.dtype == np.uint16
    assert np.percentile(image.data, 99) == pytest.approx(2048, abs=2)
    lines.data[60:, :, 16] *= 100  # a bright pixel column in k-space's centre makes bright pixels
    (image,) = images("default_short", lines)
    assert image.data.max() <= 4095


def test_default_optimized_whitens_and_keeps_the_energy_of_few_channels():
    lines = scan()
    (image,) = images("default_optimized", lines)
    (whitened,) = images("fft", lines)
    np.testing.assert_allclose(image.data, whitened.data, rtol=1e-3)


@pytest.mark.parametrize("name", ["Generic_Cartesian_FFT", "Generic_Cartesian_Grappa"])
def test_the_generic_chains_give_integers_in_units_of_the_noise(name):
    (image,) = images(name, scan())
    assert image.data.dtype == np.uint16
    assert int(image.head["image_series_index"]) == 1
    (whitened,) = images("fft", scan())
    scale = 10 if name.endswith("Grappa") else 1
    # White k-space keeps its mean square through the filter; the coil maps leave one channel's share at least.
    assert 3**-0.5 < np.linalg.norm(image.data) / (scale * np.linalg.norm(whitened.data)) < 1


@pytest.mark.parametrize("name", ["grappa", "grappa_cpu", "grappa_float", "grappa_float_cpu"])
def test_gadgetrons_first_grappa_gives_series_0_as_integers_or_floats(name):
    (image,) = images(name, scan())
    assert int(image.head["image_series_index"]) == 0
    assert image.data.dtype == (np.float32 if "float" in name else np.uint16)


def test_a_complex_chain_gives_complex_images():
    (image,) = images("Generic_Cartesian_Grappa_Complex", scan())
    assert image.data.dtype == np.complex64


@pytest.mark.parametrize("name", ["isalive", "default_measurement_dependencies"])
def test_chains_without_images_give_neither_lines_nor_images(name):
    items = run(config(name), [scan()])
    assert not any(isinstance(item, (Acquisitions, Image)) for item in items)


def test_streams_of_images_work_on_images_alone():
    image = Image((np.ones((1, 1, 20, 16)) * (3 + 4j)).astype(np.complex64))
    (magnitude,) = run(config("stream_complex_to_float"), [image])[:1]
    assert (magnitude.data == 5).all()
    (scaled,) = run(config("stream_image_array_scaling"), [magnitude])[:1]
    assert (scaled.data == 50).all()
    (integers,) = run(config("stream_float_to_short"), [scaled])[:1]
    assert integers.data.dtype == np.uint16
    assert (integers.data == 50).all()
    assert run(config("stream_image_array_split"), [image])[0] is image
