"""Parallel imaging on scanners' data, and beside the images that Gadgetron made of the same lines."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.gadgets import CollectKSpace, Grappa, Prewhiten
from echotrain.mrd import (
    Acquisitions,
    Decoder,
    Flag,
    HeaderText,
    Image,
    KSpace,
    parse_header,
    read_header,
    read_items,
)

BEFORE = """<chain name="test"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/><gadget name="CollectKSpace" trigger="end"/>"""
AFTER = '<gadget name="CropFieldOfView"/></chain>'
PLAIN = f'{BEFORE}<gadget name="FourierTransform"/><gadget name="CombineCoils" method="adaptive"/>{AFTER}'
GRAPPA = f'{BEFORE}<gadget name="Grappa"/>{AFTER}'
AS_GADGETRON = f"""{BEFORE}<gadget name="CompressCoils" threshold="0.002"/>
<gadget name="Grappa" noise_weight="0" width="7" snr_units="true"/>
<gadget name="FilterImages" kind="gaussian" sigma="1"/><gadget name="CropFieldOfView"/><gadget name="ComplexParts"/>
</chain>"""


def images_of(header, lines, config, **parameters):
    return [item for item in reconstruct(lines, header, config, parameters) if isinstance(item, Image)]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def bottles(data_folder):
    """Two bottles side by side, threefold accelerated: header and lines."""
    path = data_folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return read_header(path), list(read_items(path))


def test_bottles_accelerated_threefold_are_no_longer_aliased(bottles):
    """They fill the middle of the field of view; folded, each appears three times."""
    header, lines = bottles
    (aliased,) = images_of(header, lines, PLAIN)
    (image,) = images_of(header, lines, GRAPPA)
    assert image.data.shape == (1, 1, 144, 192)
    magnitude = np.abs(image.data[0, 0])
    bottles = magnitude > 0.2 * np.percentile(magnitude, 99)
    assert 0.35 < bottles.mean() < 0.5  # two discs of 83 pixels in 144 x 192
    beside = np.r_[0:12, 120:144]  # rows above and below the bottles
    folded = np.abs(aliased.data[0, 0])
    assert np.median(magnitude[beside]) < 0.02 * np.median(magnitude[bottles])
    assert np.median(folded[beside]) > 0.2 * np.median(folded[bottles])


def test_noise_of_bottles_has_unit_deviation_in_maps_of_the_signal_to_noise_ratio(bottles):
    """Beside them, where the receiver's filter is flat, from the lines beyond those that maps and weights come from.

    The calibration lines' own noise appears 1.2 times as strong there, as maps of air follow it. The dwell times of the
    header, 20 us for noise and 2.4 us for the image, hold.
    """
    header, items = bottles
    for gadget in (Prewhiten(), CollectKSpace(trigger="end")):
        gadget.start(parse_header(header))
        taken = [item for item in items if isinstance(item, Acquisitions)]
        items = [given for item in taken for given in gadget.process(item) or ()] + list(gadget.finish() or ())
    (kspace,) = [item for item in items if isinstance(item, KSpace)]
    grappa, beyond = Grappa(snr_map=True), ~kspace.calibration.sampled
    grappa.start(parse_header(header))
    snr, _ = grappa.process(replace(kspace, data=np.where(beyond[..., None], kspace.data, np.complex64(0))))
    part = np.count_nonzero(kspace.sampled & beyond) / np.count_nonzero(kspace.sampled)
    beside = snr.data[0, 0, :, np.r_[72:100, 292:312]] / 10
    assert part == 20 / 36
    assert np.sqrt(np.mean(np.abs(beside) ** 2) / 2 / part) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("acceleration", "bound"), [(2, 0.05), (3, 0.065), (4, 0.09)])
@pytest.mark.parametrize("flagged", [True, False])
def test_a_brain_with_lines_left_out_is_the_one_with_all(data_folder, acceleration, bound, flagged):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        pytest.importorskip("twixtools", reason="the package twixtools is not installed")
    path = data_folder / "brain-16ch-twix" / "2024-02-06-164128.dat"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    header, given = read_twix(path)
    batches = list(given)
    center = parse_header(header).encoding().limits["kspace_encoding_step_1"].center
    kept = []
    for lines in batches:
        row = lines.head["idx"]["kspace_encode_step_1"].astype(int) - center
        regular, central = row % acceleration == 0, (row >= -12) & (row < 12)
        head = lines.head.copy()
        if flagged:
            head["flags"][central & ~regular] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION)
            head["flags"][central & regular] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
        kept.append(Acquisitions(head, lines.data)[regular | central])
    (expected,) = images_of(header, batches, PLAIN)
    (image,) = images_of(header, kept, GRAPPA)
    assert image.data.shape == expected.data.shape
    assert relative(np.abs(image.data), np.abs(expected.data)) < bound


def test_images_are_those_of_gadgetron(data_folder):
    """A recorded session of Generic_Cartesian_Grappa, whose images are whole numbers, 10 times those in SNR units.

    What is left within the object is their rounding. In the air both show noise, combined by maps of other phases
    ahead of the complex filter.
    """
    stem = data_folder / "recordings" / "grappa_m64_c4_a2_r4"
    if not stem.with_suffix(".client_to_server.bin").is_file():
        pytest.skip(f"{stem}.client_to_server.bin is not there")

    def items(direction):
        return list(Decoder().feed(stem.with_suffix(f".{direction}.bin").read_bytes()))

    sent = items("client_to_server")
    (header,) = [item.xml for item in sent if isinstance(item, HeaderText)]
    found = images_of(header, [item for item in sent if isinstance(item, Acquisitions)], AS_GADGETRON)
    expected = [item for item in items("server_to_client") if isinstance(item, Image)]
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        ours, theirs = one.data[0, 0], other.data[0, 0] / 10
        assert relative(ours, theirs) < 0.04
        inside = theirs > 5
        assert 0.2 < inside.mean() < 0.4
        assert relative(ours[inside], theirs[inside]) < 0.006
        for name in ("repetition", "image_series_index", "image_index", "image_type", "field_of_view", "position"):
            np.testing.assert_array_equal(one.head[name], other.head[name])
