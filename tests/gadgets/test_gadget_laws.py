"""Laws that every stock gadget keeps, whatever it does."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_networks import find_only_in, install_script, install_weights

from echotrain import gadgets
from echotrain.gadgets import Gadget, ToInteger
from echotrain.gadgets.learned import scan_specific
from echotrain.mrd import (
    Acquisitions,
    Flag,
    Image,
    ImageType,
    KSpace,
    Noise,
    Text,
    Waveforms,
    acquisition_headers,
    parse_header,
)
from echotrain.mrd.records import WAVEFORM_HEADER

N_CHANNELS, N_SAMPLES, N_KY, N_SLICES = 3, 24, 10, 2
HEADER = parse_header(f"""<ismrmrdHeader><encoding>
  <encodedSpace><matrixSize><x>{N_SAMPLES}</x><y>{N_KY}</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>480</x><y>200</y><z>8</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>12</x><y>8</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>240</x><y>160</y><z>8</z></fieldOfView_mm></reconSpace>
  <encodingLimits>
    <kspace_encoding_step_1><minimum>0</minimum><maximum>9</maximum><center>5</center></kspace_encoding_step_1>
    <slice><minimum>0</minimum><maximum>1</maximum><center>0</center></slice>
  </encodingLimits>
</encoding></ismrmrdHeader>""")


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def scan():
    """Noise, calibration for the first slice, and two slices, one line of them acquired in reverse."""
    n_lines = N_SLICES * N_KY
    head = acquisition_headers(4 + n_lines, N_CHANNELS, N_SAMPLES)
    head["flags"][:2] = Flag.IS_NOISE_MEASUREMENT
    head["flags"][2:4] = Flag.IS_PARALLEL_CALIBRATION
    head["flags"][5] = Flag.IS_REVERSE
    head["idx"]["kspace_encode_step_1"][2:4] = 4, 5
    head["idx"]["kspace_encode_step_1"][4:] = np.tile(np.arange(N_KY), N_SLICES)
    head["idx"]["slice"][4:] = np.repeat(np.arange(N_SLICES), N_KY)
    head["flags"][[3 + N_KY, -1]] = Flag.LAST_IN_SLICE
    head["center_sample"] = N_SAMPLES // 2
    head["sample_time_us"] = 5
    head["scan_counter"] = np.arange(len(head))
    return Acquisitions(head, noise(len(head), N_CHANNELS, N_SAMPLES))


def kspace():
    head = acquisition_headers(2, N_CHANNELS, 12)
    head["idx"]["slice"] = 0, 1
    data = noise(2, N_CHANNELS, 1, N_KY, 12)
    return KSpace(data, np.ones((2, 1, N_KY), bool), head, ("slice",), readout_in_image_space=True)


def undersampled():
    """Every other line of one slice, with a calibration of its own."""
    head = acquisition_headers(1, N_CHANNELS, N_SAMPLES).reshape(())
    data = noise(N_CHANNELS, 1, N_KY, N_SAMPLES, seed=1)
    data[:, :, 1::2] = 0
    all_lines = np.ones((1, N_KY), bool)
    calibration = KSpace(noise(N_CHANNELS, 1, N_KY, N_SAMPLES, seed=2), all_lines, head)
    return KSpace(data, all_lines & (np.arange(N_KY) % 2 == 0), head.copy(), calibration=calibration)


def image(kind):
    data = noise(N_CHANNELS, 1, N_KY, 12)
    if kind == ImageType.MAGNITUDE:
        data = 1000 * np.abs(data)
    one = Image(data, meta={"DataRole": "Image", "sampling_limits_E1": [0, 5, 7]})
    return one.with_data(data, image_type=kind, field_of_view=(240, 200, 8), image_series_index=1)


def items_for(cls):
    kinds = {
        Acquisitions: lambda: [scan()],
        Waveforms: lambda: [Waveforms(np.zeros(3, WAVEFORM_HEADER), np.ones((3, 2, 5), np.uint32))],
        KSpace: lambda: [kspace(), undersampled()],
        Image: lambda: [image(ImageType.MAGNITUDE if cls is ToInteger else ImageType.COMPLEX) for _ in range(2)],
    }
    return [item for accepted in cls.accepts if accepted is not Noise for item in kinds[accepted]()]


STOCK = [
    value
    for name in gadgets.__all__
    if isinstance(value := getattr(gadgets, name), type) and issubclass(value, Gadget) and value is not Gadget
]
every_gadget = pytest.mark.parametrize("cls", STOCK, ids=lambda cls: cls.__name__)
gadgets_on_lines = pytest.mark.parametrize(
    "cls", [cls for cls in STOCK if Acquisitions in cls.accepts], ids=lambda cls: cls.__name__
)


@pytest.fixture(autouse=True, scope="module")
def networks(tmp_path_factory):
    """What gadgets find that run networks, by the default values of their parameters."""
    folder = tmp_path_factory.mktemp("models")
    install_weights(folder, "tiny", "sense_varnet")
    install_weights(folder, "score", "score")
    install_script(folder, "model", lambda x: x[:, :1].abs(), torch.ones(1, 6, 4, 4), takes="kspace", input="parts")
    with pytest.MonkeyPatch.context() as patch:
        find_only_in(folder, patch)
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))  # torch makes it with the first optimizer
        patch.setattr(scan_specific, "EVERY", math.inf)  # how far a fit is depends on the machine
        for cls in (gadgets.FitDecoder, gadgets.LearnFromScan):
            patch.setitem(cls.parameters, "iterations", replace(cls.parameters["iterations"], default=3))
        yield


def run(gadget, items):
    gadget.connect([])
    gadget.start(HEADER)
    given = [out for item in items for out in gadget.process(item) or ()]
    return given + list(gadget.finish() or ())


def arrays(items):
    """Everything that the items hold, lines one by one."""
    for item in items:
        if isinstance(item, Acquisitions):
            for line in item:
                yield from (line.head.copy(), line.data)
        elif isinstance(item, KSpace):
            yield from (item.head.copy(), item.data, item.sampled)
            if item.calibration is not None:
                yield from arrays([item.calibration])
        elif isinstance(item, Noise):
            yield from (item.covariance, np.array([item.dwell_us, item.n_samples]))
        elif isinstance(item, Image):
            yield from (item.head, item.data, np.array(str(item.meta)))
        else:
            yield np.array(str(item))


def assert_alike(items, expected):
    made, wanted = list(arrays(items)), list(arrays(expected))
    assert len(made) == len(wanted)
    assert made
    for one, other in zip(made, wanted, strict=True):
        assert one.shape == other.shape
        if one.dtype.kind in "fc":
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)


@gadgets_on_lines
@pytest.mark.parametrize("size", [1, 7])
def test_lines_in_batches_of_any_size_give_the_same(cls, size):
    lines = scan()
    pieces = [lines[start : start + size] for start in range(0, len(lines), size)]
    assert_alike(run(cls(), pieces), run(cls(), [lines]))


@every_gadget
def test_what_was_given_is_not_written_to(cls):
    items = items_for(cls)
    before = copy.deepcopy(items)
    run(cls(), items)
    assert_alike(items, before)


@every_gadget
def test_read_only_arrays_are_taken(cls):
    items = items_for(cls)
    expected = run(cls(), items)
    for item in items:
        item.data.flags.writeable = item.head.flags.writeable = False
    assert_alike(run(cls(), items), expected)


@every_gadget
def test_finish_leaves_nothing_held(cls):
    gadget = cls()
    run(gadget, items_for(cls))
    assert not [item for item in gadget.finish() or () if not isinstance(item, Text)]


@every_gadget
def test_a_gadget_that_starts_anew_remembers_nothing(cls):
    gadget, items = cls(), items_for(cls)
    first = run(gadget, items)
    assert_alike(run(gadget, items), first)


@every_gadget
def test_a_scan_without_data_gives_none(cls):
    assert not [item for item in run(cls(), []) if not isinstance(item, Text)]


@every_gadget
def test_what_comes_out_is_what_the_class_line_says(cls):
    assert all(isinstance(item, (*cls.yields, Text)) for item in run(cls(), items_for(cls)))


@every_gadget
def test_every_gadget_and_parameter_is_described(cls):
    assert cls.__doc__
    assert all(spec.doc for spec in cls.parameters.values())
