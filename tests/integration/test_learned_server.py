"""Learned reconstruction through a server: its images and its words reach the client, whatever is wrong."""

import numpy as np
import pytest
from tiny_networks import install_weights

from echotrain.clients.client import open_scan
from echotrain.mrd import Acquisitions, Image, Text
from echotrain.mrd.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def server(tmp_path_factory, running_server):
    """A server that has weights, and files that are none."""
    models = tmp_path_factory.mktemp("models")
    install_weights(models, "tiny", ranges={"residual": (0, 1e9)})
    install_weights(models, "plane", "unet", ranges={"residual": (0, 1e9)})
    install_weights(models, "single", ranges={"channels": (1, 1)})
    install_weights(models, "far", ranges={"acceleration": (20, 30)})
    models.joinpath("torn.safetensors").write_bytes(models.joinpath("tiny.safetensors").read_bytes()[:-100])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOTRAIN_MODELS", str(models))
        with running_server(tmp_path_factory.mktemp("sessions")) as running:
            yield running
            assert running.process.poll() is None, "a test brought the server down"


@pytest.fixture
def play(server, small_scan):
    """`play("tiny")`: images and warnings of a scan through a chain that takes weights of that name."""

    def run(model, gadget="LearnedReconstruction", change=lambda batches: batches, **parameters):
        chain = '<chain><gadget name="Prewhiten"/><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>'
        chain += f'<gadget name="{gadget}" model="{model}"/></chain>'
        scan = small_scan(**{"acceleration": 2, "calibration": 8, "noise": 0.01, **parameters})
        with open_scan(chain, scan.header, server=server.address) as opened:
            for batch in change(scan.batches):
                opened.send(batch)
            opened.end()
            items = list(opened.items())
        words = [item.text for item in items if isinstance(item, Text)]
        return [item for item in items if isinstance(item, Image)], [each for each in words if "warning: " in each]

    return run


@pytest.mark.parametrize("model", ["tiny", "plane"])
@pytest.mark.parametrize("coils", [1, 3])
def test_images_say_which_weights_they_are_of_whatever_the_coils(play, model, coils):
    images, words = play(model, coils=coils)
    assert [image.data.shape for image in images] == [(1, 1, 20, 24)] * 2
    assert all(np.isfinite(image.data).all() for image in images)
    assert {image.meta["EchotrainModel"] for image in images} == {model}
    assert words == []


def test_what_is_out_of_range_is_told(play):
    images, words = play("far")
    assert len(images) == 2
    assert any("not 20 to 30, as weights far are for; rely on no detail" in word for word in words)


def test_a_gpu_without_memory_leaves_the_work_to_the_cpu(play):
    (expected, _), _ = play("tiny")
    (image, _), words = play("tiny", gadget="OnFullGpu")
    np.testing.assert_array_equal(image.data, expected.data)
    assert any("the GPU has not enough memory free, so images are made on the CPU" in word for word in words)


def not_finite(batches):
    *others, last = batches
    data = last.data.copy()
    data[-1, 0, 3] = np.nan
    return [*others, Acquisitions(last.head, data)]


@pytest.mark.parametrize(
    ("kind", "words", "options"),
    [
        (ConfigError, "no weights are called 'absent'; installed: .*tiny", {"model": "absent"}),
        (ConfigError, r"torn\.safetensors is damaged", {"model": "torn"}),
        (DataError, "weights single are for a single channel, and lines have 3", {"model": "single"}),
        (DataError, "1 lines around the centre", {"model": "tiny", "calibration": 0}),
        (DataError, "samples that are not finite", {"model": "tiny", "change": not_finite}),
    ],
)
def test_the_client_reads_why_there_is_no_image(play, kind, words, options):
    with pytest.raises(kind, match=words) as caught:
        play(**options)
    assert caught.value.gadget == "LearnedReconstruction"
