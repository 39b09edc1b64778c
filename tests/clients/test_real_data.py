"""Scanners' data through whole chains: noise, geometry, and which way up pictures are."""

import warnings

import numpy as np
import PIL.Image
import pytest

from echotrain.clients.main import main
from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.mrd import Acquisitions, Flag, Image, parse_header, read_header, read_images, read_items
from echotrain.mrd.flags import NOT_IMAGING

BRAIN, PHANTOM = "brain-16ch-twix/2024-02-06-164128.dat", "twix-gre-epi/gre.dat"
WHITEN = '<chain name="whiten"><gadget name="Prewhiten"/></chain>'
CHANNELS = """<chain name="channels"><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>
<gadget name="FourierTransform"/></chain>"""


@pytest.fixture(scope="module")
def bottles(data_folder):
    """Two bottles beside one another, three-fold accelerated: header and lines."""
    path = data_folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return read_header(path), list(read_items(path))


@pytest.fixture(scope="module")
def twix(data_folder):
    """`twix(name)`: header and lines of a Siemens file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        pytest.importorskip("twixtools", reason="the package twixtools is not installed")

    def read(name):
        if not (data_folder / name).is_file():
            pytest.skip(f"{data_folder / name} is not there")
        xml, lines = read_twix(data_folder / name)
        return xml, list(lines)

    return read


def images_of(header, lines, config):
    return [item for item in reconstruct(lines, header, config) if isinstance(item, Image)]


def along_readout(lines):
    """Lines by the centred unitary transform along the readout, in double precision. Shape (line, channel, x)."""
    shifted = np.fft.ifftshift(lines.astype(np.complex128), axes=-1)
    return np.fft.fftshift(np.fft.ifft(shifted, axis=-1, norm="ortho"), axes=-1)


def deviation(samples):
    """Of real and imaginary parts together, per channel; `samples` are (line, channel, sample)."""
    return np.sqrt((samples.real.var(axis=(0, 2)) + samples.imag.var(axis=(0, 2))) / 2)


@pytest.fixture(scope="module")
def whitened(bottles):
    """Whitened lines beyond the centre of k-space, transformed along the readout. Shape (line, channel, x)."""
    header, lines = bottles
    found = [item for item in reconstruct(lines, header, WHITEN) if isinstance(item, Acquisitions)]
    center = parse_header(header).encoding().limits["kspace_encoding_step_1"].center
    rows = np.concatenate([batch.head["idx"]["kspace_encode_step_1"] for batch in found]).astype(int) - center
    return along_readout(np.concatenate([batch.data for batch in found])[np.abs(rows) >= 20])


def test_whitened_noise_beside_bottles_has_a_deviation_of_one(whitened):
    """Noise was sampled every 20 us, lines every 2.4 us: their raw deviations differ by a factor of 2.6."""
    beside = np.r_[72:100, 292:312]  # of 384: air, in the flat part of the receiver's filter
    found = deviation(whitened[..., beside])
    # A deviation is known to 1 / sqrt(2 * samples) of noise, 2.6 % from 384 complex ones, and less from the lines.
    # Whitening by their covariance adds 384 / (384 - 14), so 1.9 % at most.
    assert found.shape == (14,)
    assert np.abs(found - 1).max() < 4 * 0.026
    assert found.mean() == pytest.approx(1.01, abs=0.03)
    apart = np.corrcoef(np.moveaxis(whitened[..., beside], 1, 0).reshape(14, -1)) - np.eye(14)
    assert np.abs(apart).max() < 4 / np.sqrt(384)


def test_the_receivers_filter_takes_noise_off_the_edges_of_the_readout(whitened):
    """So noise lines have 0.793 of the power that a flat filter would give, which is what the scale allows for."""
    noise = deviation(whitened[..., np.r_[:24, 360:384]])
    assert 0.3 < noise.min() < noise.max() < 0.5


def test_three_fold_undersampling_folds_bottles_three_times(bottles):
    (image,) = images_of(*bottles, "fft")
    rows = image.data[0, 0]
    assert rows.shape == (144, 192)
    np.testing.assert_allclose(rows, np.roll(rows, 48, axis=0), atol=1e-6 * rows.max())
    assert np.abs(rows - np.roll(rows, 24, axis=0)).max() > 0.3 * rows.max()


def test_the_image_of_bottles_lies_where_the_header_says(bottles):
    header, lines = bottles
    (image,) = images_of(header, lines, "fft")
    head = image.described()
    assert head["matrix_size"].tolist() == [192, 144, 1]
    assert head["field_of_view"].tolist() == [280, 210, 8]
    center = next(batch.head[batch.head["idx"]["kspace_encode_step_1"] == 54][-1] for batch in lines)
    for name in ("position", "read_dir", "phase_dir", "slice_dir", "acquisition_time_stamp", "measurement_uid"):
        np.testing.assert_array_equal(head[name], center[name])


def test_rows_of_a_product_sequence_run_against_its_phase_direction(bottles):
    """Which points to the back here, where the spine coils lie: see docs/conventions.md."""
    header, lines = bottles
    calibration = [
        batch[chosen]
        for batch in lines
        if (chosen := batch.has(Flag.IS_PARALLEL_CALIBRATION | Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)).any()
    ]
    for batch in calibration:
        batch.head["flags"] = 0
    (image,) = images_of(header, calibration, CHANNELS)
    power = (np.abs(image.data[:, 0]) ** 2).astype(np.float64)
    share = power / power.sum(axis=0) * (power.sum(axis=0) > 0.04 * power.sum(axis=0).max())
    center = (share * np.arange(144)[:, None]).sum(axis=(1, 2)) / share.sum(axis=(1, 2))
    spine = np.array([name.startswith("Spine") for name in parse_header(header).coil_names])
    np.testing.assert_allclose(lines[0].head["phase_dir"][-1], [0, 1, 0], atol=1e-6)
    assert center[spine].mean() < center[~spine].mean() - 10


@pytest.mark.parametrize("name", [BRAIN, PHANTOM])
def test_images_of_siemens_data_are_those_of_a_plain_transform(twix, name):
    header, lines = twix(name)
    (image,) = images_of(header, lines, "fft")
    n_x, n_y, _ = parse_header(header).encoding().encoded.matrix
    kspace = np.zeros((lines[0].n_channels, n_y, n_x), np.complex128)
    for batch in lines:
        imaging = batch[~batch.has(NOT_IMAGING)]
        kspace[:, imaging.head["idx"]["kspace_encode_step_1"]] = imaging.data.swapaxes(0, 1)
    channels = along_readout(along_readout(kspace).swapaxes(1, 2)).swapaxes(1, 2)
    first = (n_x - image.data.shape[-1]) // 2
    truth = np.sqrt((np.abs(channels[..., first : first + image.data.shape[-1]]) ** 2).sum(axis=0))
    assert np.abs(image.data[0, 0] - truth).max() < 1e-6 * truth.max()


def extent(mask, axis):
    """First and last index along `axis` where more than a few pixels are set."""
    return np.flatnonzero(mask.sum(axis=1 - axis) > 4)[[0, -1]]


def test_a_phantom_has_its_size_and_its_air_where_the_rows_end(twix):
    """The American College of Radiology's: 190 mm across, lying on its back, the air above: so rows lead upwards."""
    (image,) = images_of(*twix(PHANTOM), "fft")
    assert image.head["field_of_view"].tolist() == [200, 200, 4]
    pixels = image.data[0, 0]
    mask = pixels > 0.4 * np.percentile(pixels, 90)
    left, right = extent(mask, 1)
    assert (right - left + 1) * 200 / 160 == pytest.approx(190, abs=4)
    top, bottom = extent(mask, 0)
    assert top < 12
    assert 140 < bottom < 150  # the rest of the circle is air
    assert image.head["phase_dir"][1] == pytest.approx(1, abs=1e-3)  # posterior, the other way


def test_a_brain_comes_out_upright_and_in_its_size(twix):
    (image,) = images_of(*twix(BRAIN), "fft")
    assert image.head["field_of_view"].tolist() == [256, 256, 3]
    pixels = image.data[0, 0]
    mask = pixels > 0.25 * np.percentile(pixels, 95)
    (top, bottom), (left, right) = extent(mask, 0) * 2, extent(mask, 1) * 2  # 2 mm a pixel
    assert 175 < bottom - top < 215
    assert 130 < right - left < 165
    # The back of the head, which lies on the coil, is down.
    assert np.median(pixels[86:102, 50:80]) > 1.3 * np.median(pixels[20:36, 50:80])


def test_adaptive_combination_of_a_brain_has_a_smooth_phase(twix):
    magnitude, phase = images_of(*twix(BRAIN), "adaptive")
    assert [int(image.head["image_series_index"]) for image in (magnitude, phase)] == [1, 3001]
    strong = magnitude.data[0, 0] > 0.3 * np.percentile(magnitude.data, 95)
    turn = np.exp(1j * phase.data[0, 0])
    step = np.abs(np.angle(turn[:, 1:] * turn[:, :-1].conj()))[strong[:, 1:] & strong[:, :-1]]
    assert np.median(step) < 0.2  # the field's gradients turn it by 0.1; noise would by pi / 2
    (rss,) = images_of(*twix(BRAIN), "fft")
    ratio = magnitude.data[0, 0][strong] / rss.data[0, 0][strong]
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert ratio.max() < 1.001


def test_commands_lead_from_a_scanners_file_to_a_picture(twix, data_folder, tmp_path):
    twix(BRAIN)
    scan, images, folder = tmp_path / "scan.h5", tmp_path / "images.h5", tmp_path / "pictures"
    assert main(["convert", str(data_folder / BRAIN), str(scan)]) == 0
    assert main(["recon", str(scan), "--config", "fft", "--output", str(images)]) == 0
    assert main(["export", str(images), "--png", str(folder)]) == 0
    (image,) = read_images(images)
    picture = np.asarray(PIL.Image.open(folder / "series001_slice000.png")).astype(float)
    expected = np.clip(image.data[0, 0] / np.percentile(image.data, 99.5), 0, 1) * 255
    np.testing.assert_allclose(picture, expected, atol=0.51)
