"""Coil compression on a scanner's data: few virtual channels give the image of all, and fewer along the readout."""

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.mrd import Image, Text, read_header, read_items

CHAIN = """<chain name="test"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/>{}<gadget name="CollectKSpace"/>{}<gadget name="Grappa"/></chain>"""


@pytest.fixture(scope="module")
def bottles(data_folder):
    path = data_folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return read_header(path), list(read_items(path))


def made(scan, on_lines="", on_kspace=""):
    """The magnitude, and what was told."""
    items = list(reconstruct(scan[1], scan[0], CHAIN.format(on_lines, on_kspace)))
    (image,) = (item for item in items if isinstance(item, Image))
    return np.abs(image.data[0, 0]), [item.text for item in items if isinstance(item, Text)]


def test_four_of_fourteen_channels_give_two_bottles_accelerated_threefold(bottles):
    truth, _ = made(bottles)
    error = {}
    for method in ("svd", "geometric"):
        for gadget in ("CompressLines", "CompressCoils"):
            step = f'<gadget name="{gadget}" method="{method}" channels="4"/>'
            image, told = made(bottles, **{"on_lines" if gadget == "CompressLines" else "on_kspace": step})
            error[gadget, method] = np.linalg.norm(image - truth) / np.linalg.norm(truth)
            assert any("4 of 14 channels hold" in text for text in told) == (gadget == "CompressLines")
    assert max(error["CompressLines", "geometric"], error["CompressCoils", "geometric"]) < 0.015
    assert error["CompressLines", "svd"] < 0.07
    assert abs(error["CompressLines", "svd"] - error["CompressCoils", "svd"]) < 0.001
