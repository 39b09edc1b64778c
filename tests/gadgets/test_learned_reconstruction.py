"""Learned reconstruction: what its network gives, at the right intensity, with words where it is not to be trusted."""

import numpy as np
import pytest
import torch
from known_coils import HEADER, known_coils, started, unit
from tiny_networks import find_only_in, install_weights
from undersampling import N_CHANNELS, N_KX, N_KY, every, noise, only, relative

from echotrain.clients.recon import reconstruct
from echotrain.gadgets import LearnedReconstruction
from echotrain.gadgets.fourier import centred_ifft
from echotrain.gadgets.learned import reconstruct as reconstruct_module
from echotrain.gadgets.learned.figures import n_centre_lines, outside
from echotrain.gadgets.learned.networks import Network, Reconstruction
from echotrain.gadgets.learned.weights import ModelCard, Weights, load_weights
from echotrain.mrd import Encoding, Header, Image, KSpace, Text
from echotrain.mrd.errors import ConfigError, DataError

SIGNAL = 40  # of the object, where the noise of a line has the deviation 1
N_CENTRE = 13


def sampling(step=3, shape=(1, N_KY), n_centre=N_CENTRE):
    """Every third line, and those around the centre."""
    sampled = every(step, shape=shape)
    first = shape[1] // 2 - n_centre // 2
    sampled[:, first : first + n_centre] = True
    return sampled


def whitened(shape=(1, N_KY, N_KX), n_channels=N_CHANNELS, deviation=1.0):
    """Maps, image and lines of an object, with noise of unit variance."""
    maps, image, kspace = known_coils(shape, n_channels)
    return maps, SIGNAL * image, SIGNAL * kspace + deviation * noise(*kspace.shape, seed=7) * np.float32(0.5**0.5)


def run(gadget, *units, header=HEADER):
    """Images and warnings."""
    started(gadget, header)
    items = [item for one in units for item in gadget.process(one)]
    gadget.finish()
    return [item for item in items if isinstance(item, Image)], [item for item in items if isinstance(item, Text)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return find_only_in(tmp_path, monkeypatch)


class Known(Network):
    """Gives an image and maps that are known, whatever comes, and notes what came."""

    def __init__(self, image, maps):
        super().__init__()
        self.image, self.maps, self.seen = torch.from_numpy(image), torch.from_numpy(maps), []

    def reconstruct(self, kspace, mask, n_centre):
        self.seen.append((kspace, mask, n_centre))
        image = self.image / self.scale
        return Reconstruction(image.abs(), image, self.maps[None, :, 0])


@pytest.fixture
def known(monkeypatch):
    """`known(image, maps, **card)`: weights called known, whose network gives that image."""

    def install(image, maps, **card):
        network = Known(image, maps)
        weights = Weights("known", ModelCard("known", **card), "00", network)
        monkeypatch.setattr(reconstruct_module, "candidates", lambda model: [weights])

        def noted(kspace, n_centre):
            network.scale = scale(kspace, n_centre)
            return network.scale

        scale = reconstruct_module.intensity_scale
        monkeypatch.setattr(reconstruct_module, "intensity_scale", noted)
        return network

    return install


# What comes out


def test_the_image_is_what_the_network_gives_whatever_the_intensity(folder):
    network = install_weights(folder, "tiny")
    _, _, kspace = whitened()
    lines = only(kspace, sampling())
    ((image,), _) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    with torch.no_grad():
        made = network.reconstruct(torch.from_numpy(lines[None, :, 0]), torch.from_numpy(sampling()[0]), N_CENTRE)
    assert image.data.shape == (1, 1, N_KY, N_KX)
    assert image.data.dtype == np.complex64
    assert relative(np.abs(image.data[0]), made.magnitude.numpy()) < 1e-3
    assert relative(image.data[0] / np.abs(image.data[0]), (made.image / made.image.abs()).numpy()) < 1e-2
    ((brighter,), _) = run(LearnedReconstruction(model="varnet"), unit(50 * kspace, sampling()))
    assert relative(brighter.data, 50 * image.data) < 1e-3


def test_networks_see_k_space_whose_centre_has_an_image_of_brightness_1(known):
    maps, image, kspace = whitened()
    network = known(image, maps)
    run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    ((seen, mask, n_centre),) = network.seen
    assert n_centre == N_CENTRE
    assert mask.tolist() == sampling()[0].tolist()
    centre = np.zeros(N_KY, bool)
    centre[N_KY // 2 - N_CENTRE // 2 :][:N_CENTRE] = True
    smooth = np.linalg.norm(centred_ifft(only(seen[0].numpy(), centre), (-2, -1)), axis=0)
    assert smooth.max() == pytest.approx(1, rel=1e-4)
    assert relative(seen[0].numpy() * float(network.scale), only(kspace, sampling())[:, 0]) < 1e-5


def test_meta_names_the_weights_and_how_far_the_image_is_off_the_lines(folder):
    install_weights(folder, "tiny")
    _, _, kspace = whitened()
    ((image,), _) = run(LearnedReconstruction(model="tiny"), unit(kspace, sampling()))
    assert image.meta["EchotrainModel"] == "tiny"
    assert image.meta["EchotrainWeights"] == load_weights("tiny").sha256
    assert image.meta["EchotrainDataConsistency"] > 0
    assert image.meta["GADGETRON_ImageProcessingHistory"] == ["FourierTransform", "LearnedReconstruction"]


def test_the_true_image_is_off_the_lines_by_their_noise_and_another_by_more(known):
    maps, image, kspace = whitened()
    known(image, maps)
    ((good,), words) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    assert good.meta["EchotrainDataConsistency"] == pytest.approx(1, abs=0.03)
    assert "EchotrainOutside" not in good.meta
    assert words == []
    known(np.zeros_like(image), maps)
    ((bad,), words) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    expected = np.sqrt(np.mean(np.abs(kspace[:, sampling()]) ** 2))
    assert bad.meta["EchotrainDataConsistency"] == pytest.approx(expected, rel=1e-4)
    assert bad.meta["EchotrainOutside"] == [f"residual over noise {expected:.3g}, not 0 to 5"]
    assert len(words) == 1
    assert "warning: LearnedReconstruction: residual" in str(words[0])


def test_volumes_are_taken_slice_by_slice(folder):
    install_weights(folder, "tiny")
    shape = (3, 20, 18)
    _, _, kspace = whitened(shape)
    sampled = sampling(2, shape[:2], 6)
    header = Header(b"", (Encoding(HEADER.encodings[0].encoded, HEADER.encodings[0].recon, {}),))
    ((volume,), _) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampled), header=header)
    slices = centred_ifft(only(kspace, sampled), (-3,))
    for z in range(shape[0]):
        ((image,), _) = run(
            LearnedReconstruction(model="varnet"), unit(slices[:, z : z + 1], sampled[z : z + 1]), header=header
        )
        assert relative(volume.data[:, z], image.data[:, 0]) < 1e-3


def test_readouts_in_image_space_or_not_give_the_same(folder):
    install_weights(folder, "tiny")
    one = unit(whitened()[2], sampling())
    other = KSpace(centred_ifft(one.data, (-1,)), one.sampled, one.head, readout_in_image_space=True)
    ((expected,), _), ((found,), _) = (run(LearnedReconstruction(model="varnet"), kspace) for kspace in (one, other))
    assert relative(found.data, expected.data) < 1e-3


def test_lines_for_calibration_alone_are_taken_as_well_unless_they_are_of_another_measurement(folder):
    install_weights(folder, "tiny")
    _, _, kspace = whitened()
    centre = sampling(N_KY)
    ((expected,), _) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    apart = unit(kspace, every(3), unit(kspace, centre))
    ((found,), _) = run(LearnedReconstruction(model="varnet"), apart)
    assert relative(found.data, expected.data) < 1e-5
    (encoding,) = HEADER.encodings
    separate = Header(b"", (Encoding(encoding.encoded, encoding.recon, encoding.limits, calibration_mode="separate"),))
    with pytest.raises(DataError, match="1 lines around the centre"):
        run(LearnedReconstruction(model="varnet"), apart, header=separate)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize(("chain", "expected"), [("unet", "unet"), ("varnet", "sense_varnet")])
def test_the_stock_chains_take_weights_of_their_architecture(folder, small_scan, chain, expected, coils):
    for architecture in ("unet", "varnet", "sense_varnet", "modl"):
        install_weights(folder, f"{architecture}_r2", architecture, ranges={"channels": (1, 8)})
    scan = small_scan(matrix=(40, 36), coils=coils, acceleration=2, noise=0.01)
    items = list(reconstruct(scan.batches, scan.header, chain))
    images = [item for item in items if isinstance(item, Image)]
    assert [image.data.shape for image in images] == [(1, 1, 36, 40)] * 2
    assert all(image.data.dtype == np.float32 and np.isfinite(image.data).all() for image in images)
    assert {image.meta["EchotrainModel"] for image in images} == {f"{expected}_r2"}


def test_the_stock_chains_say_which_weights_there_are(folder, small_scan):
    install_weights(folder, "head", "unet")
    scan = small_scan()
    with pytest.raises(ConfigError, match=r"no weights are called 'sense_varnet'; installed: .*head"):
        list(reconstruct(scan.batches, scan.header, "varnet"))


def test_a_conventional_image_may_come_beside_as_another_series(folder):
    install_weights(folder, "tiny")
    maps, image, kspace = whitened()
    ((learned, conventional), _) = run(LearnedReconstruction(model="varnet", beside=True), unit(kspace, sampling(2)))
    assert int(conventional.head["image_series_index"]) == int(learned.head["image_series_index"]) + 500
    assert "EchotrainModel" not in conventional.meta
    inside = (maps != 0).any(0)
    assert relative(np.abs(conventional.data[0])[inside], np.abs(image)[inside]) < 0.2


def test_where_there_is_no_conventional_image_the_learned_one_comes_with_words(folder):
    install_weights(folder, "tiny")
    kspace = unit(whitened()[2], sampling(3, n_centre=4))
    images, words = run(LearnedReconstruction(model="varnet", beside=True), kspace, kspace)
    assert len(images) == 2
    assert sum("no conventional image beside: 5 x 1 calibration lines" in str(word) for word in words) == 1


# What the weights are for


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"acceleration": (4, 8)}, "acceleration 2, not 4 to 8"),
        ({"matrix": (44, 320)}, "matrix 48 x 40, not 44 to 320"),
        ({"channels": (8, 32)}, "channels 6, not 8 to 32"),
        ({"centre": (16, 32)}, "lines at the centre 13, not 16 to 32"),
        ({"noise": (0.1, 0.2)}, "noise over signal 0.0"),
        ({"residual": (0, 0.5)}, "residual over noise 0.99"),
    ],
)
def test_scans_beyond_what_weights_were_trained_for_are_told_once(known, ranges, words):
    maps, image, kspace = whitened()
    known(image, maps, ranges=ranges)
    one = unit(kspace, sampling())
    images, texts = run(LearnedReconstruction(model="varnet"), one, one)
    assert len(texts) == 1
    assert f"warning: LearnedReconstruction: {words}" in str(texts[0])
    for image in images:
        (outside,) = image.meta["EchotrainOutside"]
        assert outside.startswith(words)


def test_scans_within_are_not_told_of():
    card = ModelCard("unet", ranges={"matrix": (40, 48), "channels": (6, 6)})
    assert outside(card, {"matrix": (48.0, 40.0), "channels": (6.0,), "noise": (3.0,), "residual": (5.0,)}) == {}


def test_the_noise_is_that_of_whitened_lines_over_the_intensity(known):
    maps, image, kspace = whitened()
    network = known(image, maps, ranges={"noise": (0, 0)})
    ((found,), _) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
    assert found.meta["EchotrainOutside"] == [f"noise over signal {1 / float(network.scale):.3g}, not 0 to 0"]


def test_where_lines_are_not_whitened_neither_noise_nor_consistency_is_said(known):
    maps, image, kspace = whitened()
    known(image, maps, ranges={"noise": (0, 0)})
    one = unit(1e-4 * kspace, sampling())
    ((found, _), words) = run(LearnedReconstruction(model="varnet"), one, one)
    assert "EchotrainDataConsistency" not in found.meta
    assert len(words) == 1
    assert "lines are not whitened" in str(words[0])


def test_an_architecture_stands_for_its_weights_for_the_acceleration(folder):
    install_weights(folder, "four", ranges={"acceleration": (3.0, 4.5)})
    install_weights(folder, "two", ranges={"acceleration": (1.5, 2.5)})
    install_weights(folder, "better", "unet", ranges={"acceleration": (1.9, 2.1)})
    _, _, kspace = whitened()
    for sampled, name in ((sampling(3), "two"), (sampling(8, n_centre=8), "four")):
        ((image,), _) = run(LearnedReconstruction(model="varnet"), unit(kspace, sampled))
        assert image.meta["EchotrainModel"] == name


@pytest.mark.parametrize(
    ("acquired", "n", "expected"),
    [
        (range(10), 10, 10),
        (range(9), 9, 9),
        (range(3, 7), 10, 4),
        (range(4, 7), 10, 3),
        (range(5, 9), 10, 1),
        (range(2, 9), 10, 7),
        ((0, 2, 4, 8), 10, 0),
    ],
)
def test_centre_lines_are_counted_as_networks_take_them(acquired, n, expected):
    sampled = np.zeros(n, bool)
    sampled[list(acquired)] = True
    assert n_centre_lines(sampled) == expected


# Memory


def test_a_gpu_without_memory_leaves_the_work_to_the_cpu(folder, monkeypatch):
    install_weights(folder, "tiny")
    one = unit(whitened()[2], sampling())
    ((expected, _), _) = run(LearnedReconstruction(model="varnet"), one, one)
    given = reconstruct_module._run

    def full(weights, device, *rest):
        if device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return given(weights, device, *rest)

    monkeypatch.setattr(reconstruct_module, "_run", full)
    monkeypatch.setattr(reconstruct_module, "best_device", lambda: torch.device("cuda"))
    ((image, _), words) = run(LearnedReconstruction(model="varnet"), one, one)
    np.testing.assert_array_equal(image.data, expected.data)
    assert sum("the GPU has not enough memory free" in str(word) for word in words) == 1


def test_what_is_too_large_for_memory_is_refused_with_words(folder, monkeypatch):
    install_weights(folder, "tiny")

    def too_large(*_):
        return torch.empty(1 << 60)

    monkeypatch.setattr(load_weights("tiny").network, "reconstruct", too_large)
    with pytest.raises(
        DataError, match="memory does not suffice for weights tiny on data of the shape 1 x 6 x 48 x 40"
    ):
        run(LearnedReconstruction(model="varnet"), unit(whitened()[2], sampling()))


def test_other_errors_of_a_network_are_not_taken_for_those_of_memory(folder, monkeypatch):
    install_weights(folder, "tiny")

    def broken(*_):
        raise RuntimeError("sizes differ")

    monkeypatch.setattr(load_weights("tiny").network, "reconstruct", broken)
    with pytest.raises(RuntimeError, match="sizes differ"):
        run(LearnedReconstruction(model="varnet"), unit(whitened()[2], sampling()))


# What is refused


@pytest.fixture
def tiny_weights(folder):
    install_weights(folder, "tiny")
    return folder


@pytest.mark.usefixtures("tiny_weights")
def test_samples_that_are_not_finite_are_refused():
    kspace = whitened()[2]
    kspace[2, 0, 24, 7] = np.inf
    with pytest.raises(DataError, match="not finite"):
        run(LearnedReconstruction(model="varnet"), unit(kspace, sampling(), scan_counter=5))


@pytest.mark.usefixtures("tiny_weights")
def test_scans_without_lines_around_the_centre_are_refused():
    with pytest.raises(DataError, match="1 lines around the centre of k-space were acquired without gaps"):
        run(LearnedReconstruction(model="varnet"), unit(whitened()[2], every(3)))


@pytest.mark.usefixtures("tiny_weights")
def test_lines_that_lack_along_kz_are_refused():
    shape = (4, 20, 18)
    with pytest.raises(DataError, match="lines lack along kz"):
        run(LearnedReconstruction(model="varnet"), unit(whitened(shape)[2], every((2, 1), shape=shape[:2])))


def test_weights_for_a_single_channel_take_no_other(folder):
    install_weights(folder, "single", ranges={"channels": (1.0, 1.0)})
    with pytest.raises(DataError, match="weights single are for a single channel, and lines have 6"):
        run(LearnedReconstruction(model="varnet"), unit(whitened()[2], sampling()))
    ((image,), _) = run(LearnedReconstruction(model="varnet"), unit(whitened(n_channels=1)[2], sampling()))
    assert image.data.shape == (1, 1, N_KY, N_KX)


def test_weights_that_make_pixels_that_are_not_finite_are_refused(known):
    maps, image, kspace = whitened()
    known(image * np.nan, maps)
    with pytest.raises(DataError, match="weights known give pixels that are not finite"):
        run(LearnedReconstruction(model="varnet"), unit(kspace, sampling()))
