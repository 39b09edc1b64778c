"""The chains that go by the names of python-ismrmrd-server's give what those do, computed here in plain NumPy."""

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.mrd import Image, Text, parse_header


@pytest.fixture(scope="module")
def scan(small_scan):
    return small_scan(noise=0.02)


def images(scan, config, items=None):
    given = list(reconstruct(scan.batches if items is None else items, scan.header, config))
    return [item for item in given if isinstance(item, Image)]


def simple_fft(scan):
    """Each slice as (y, x): the root of the sum of squares, its maximum 4095, cropped along the readout."""
    n_x = parse_header(scan.header).encodings[0].recon.matrix[0]
    lines = [line for batch in scan.batches for line in batch if not line.head["flags"][0] & (1 << 18)]
    for slice_index in range(2):
        chosen = [line for line in lines if line.head["idx"]["slice"][0] == slice_index]
        kspace = np.zeros((*chosen[0].data.shape[1:], len(chosen)), np.complex128)
        for line in chosen:
            kspace[..., line.head["idx"]["kspace_encode_step_1"][0]] = line.data[0]
        channels = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(1, 2)), axes=(1, 2)), axes=(1, 2))
        combined = np.sqrt((abs(channels) ** 2).sum(axis=0)).T
        start = (combined.shape[1] - n_x) // 2
        cropped = combined[:, start : start + n_x]
        yield np.rint(cropped * 4095 / cropped.max())


def test_simplefft_is_a_transform_and_a_root_of_squares_up_to_4095(scan):
    for image, expected in zip(images(scan, "simplefft"), simple_fft(scan), strict=True):
        assert image.data.dtype == np.uint16
        assert image.data.shape == (1, 1, 20, 24)
        assert abs(image.data[0, 0] - expected).max() <= 1


def test_invertcontrast_exchanges_bright_and_dark(scan):
    for image, expected in zip(images(scan, "invertcontrast"), simple_fft(scan), strict=True):
        assert abs(image.data[0, 0] - (4095 - expected)).max() <= 1
        assert image.data.min() == 0


def test_invertcontrast_takes_images_as_well(scan):
    sent = images(scan, "simplefft")
    for before, after in zip(sent, images(scan, "invertcontrast", sent), strict=True):
        assert (after.data == 4095 - before.data).all()
        assert after.meta["ImageRowDir"] == before.meta["ImageRowDir"]


def test_finished_images_of_any_size_and_kind_go_through_invertcontrast(scan):
    magnitude = Image(np.full((1, 1, 30, 50), 7, np.int16)).with_data(
        np.arange(1500, dtype=np.int16).reshape(1, 1, 30, 50), image_type=1, field_of_view=(100, 128, 5)
    )
    phase = Image(np.ones((1, 1, 7, 5), np.float32)).with_data(np.ones((1, 1, 7, 5), np.float32), image_type=2)
    inverted, passed = images(scan, "invertcontrast", [magnitude, phase])
    assert inverted.data.shape == (1, 1, 30, 50)
    assert (inverted.data.flat[0], inverted.data.flat[-1]) == (4095, 0)
    assert passed.data.shape == (1, 1, 7, 5)
    assert passed.head["image_type"] == 2


@pytest.mark.parametrize("config", ["null", "savedataonly"])
def test_chains_that_only_keep_the_data_send_no_images_back(scan, config):
    sent = [*scan.batches, *[Image(np.ones((1, 1, 3, 5), np.float32))] * 2]
    (item,) = reconstruct(sent, scan.header, config)
    assert isinstance(item, Text)
    assert item.text.endswith(f": {sum(map(len, scan.batches))} lines, 0 waveforms, 2 images")
