"""Gadgets that fit to a scan's own lines: what images say of themselves, and what the client is told."""

import math

import numpy as np
import pytest
import torch
from known_coils import HEADER, known_coils, started, unit
from tiny_networks import install_weights
from undersampling import N_KX, N_KY, every, noise, only, relative

from echotrain.clients.recon import reconstruct
from echotrain.gadgets import FitDecoder, LearnFromScan
from echotrain.gadgets.fourier import centred_ifft
from echotrain.gadgets.learned import scan_specific
from echotrain.gadgets.learned.conv_decoder import DecoderFit, conv_decoder
from echotrain.gadgets.learned.figures import line_residual
from echotrain.gadgets.learned.networks import Reconstruction
from echotrain.gadgets.learned.weights import load_weights
from echotrain.mrd import Image, Text
from echotrain.mrd.errors import ConfigError, DataError

SIGNAL = 40  # of the object, where the noise of a line has the deviation 1
SMALL = {
    FitDecoder: {"iterations": 20, "channels": 6, "layers": 3},
    LearnFromScan: {"iterations": 2, "channels": 2, "cascades": 1},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch makes it with the first optimizer


both = pytest.mark.parametrize("gadget", SMALL)


def sampling(step=2, shape=(1, N_KY), n_centre=14):
    sampled = every(step, shape=shape)
    first = shape[1] // 2 - n_centre // 2
    sampled[:, first : first + n_centre] = True
    return sampled


def whitened(shape=(1, N_KY, N_KX), n_channels=6):
    """Lines of an object, with noise of unit variance."""
    _, _, kspace = known_coils(shape, n_channels)
    return SIGNAL * kspace + noise(*kspace.shape, seed=7) * np.float32(0.5**0.5)


def run(gadget, *units, **values):
    """Images and texts; words on progress are among them where the machine is slow."""
    made = started(gadget(**SMALL[gadget] | values), HEADER)
    items = [item for one in units for item in made.process(one)]
    made.finish()
    return [item for item in items if isinstance(item, Image)], [item.text for item in items if isinstance(item, Text)]


@both
def test_images_name_their_method_and_how_far_they_are_off_the_lines(gadget):
    kspace, sampled = whitened(), sampling()
    ((image,), texts) = run(gadget, unit(kspace, sampled))
    assert image.data.shape == (1, 1, N_KY, N_KX)
    assert image.data.dtype == np.complex64
    assert image.meta["EchotrainModel"] == ("ConvDecoder" if gadget is FitDecoder else "SSDU")
    assert image.meta["EchotrainHeldOut"] > 0
    assert 0 <= image.meta["iterations"] <= 20
    assert image.meta["GADGETRON_ImageProcessingHistory"] == ["FourierTransform", gadget.__name__]
    made = started(gadget(), HEADER)
    maps = torch.from_numpy(made._sense._known(unit(kspace, sampled), None)[0]).movedim(1, 0)
    found = torch.from_numpy(image.data[0])
    expected = line_residual(
        Reconstruction(found.abs(), found, maps),
        torch.from_numpy(only(kspace, sampled)).movedim(1, 0),
        torch.from_numpy(sampled[0]),
    )
    assert image.meta["EchotrainDataConsistency"] == pytest.approx(expected, rel=1e-3)
    assert ("EchotrainOutside" in image.meta) == (expected > 5) == any(text.startswith("warning") for text in texts)


def test_the_gadget_gives_what_the_function_gives():
    kspace, sampled = whitened(), sampling()
    ((image,), _) = run(FitDecoder, unit(kspace, sampled), seed=3)
    maps = started(FitDecoder(), HEADER)._sense._known(unit(kspace, sampled), None)[0]
    lines, mask = torch.from_numpy(only(kspace, sampled)[:, 0]), torch.from_numpy(sampled[0])
    fit = DecoderFit(**SMALL[FitDecoder], seed=3)
    expected = conv_decoder(lines, mask, torch.from_numpy(np.ascontiguousarray(maps[:, 0])), fit)
    assert relative(image.data[0, 0], expected.image.numpy()) < 1e-2


def test_named_weights_are_named_with_their_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_MODELS", str(tmp_path))
    install_weights(tmp_path, "tiny", "modl")
    ((image,), _) = run(LearnFromScan, unit(whitened(), sampling()), model="tiny")
    assert image.meta["EchotrainModel"] == "SSDU tiny"
    assert image.meta["EchotrainWeights"] == load_weights("tiny").sha256
    with pytest.raises(ConfigError, match="no weights are called 'tinny'"):
        started(LearnFromScan(model="tinny"), HEADER)


@both
def test_where_lines_are_not_whitened_it_is_told_once(gadget):
    one = unit(1e-4 * whitened(), sampling())
    images, texts = run(gadget, one, one)
    texts = [text for text in texts if text.startswith("warning")]
    assert len(texts) == 1
    assert texts[0].startswith(f"warning: {gadget.__name__}: lines are not whitened")
    assert all("EchotrainDataConsistency" not in image.meta for image in images)
    assert len(images) == 2


def test_an_image_far_off_the_lines_is_told_once():
    one = unit(50 * whitened(), sampling())
    images, texts = run(FitDecoder, one, one, iterations=1, consistency=1e6)
    texts = [text for text in texts if text.startswith("warning")]
    assert len(texts) == 1
    assert "warning: FitDecoder: residual over noise" in texts[0]
    assert all(image.meta["EchotrainOutside"][0].startswith("residual over noise") for image in images)


@both
def test_a_long_fit_tells_how_far_it_is(gadget, monkeypatch):
    monkeypatch.setattr(scan_specific, "EVERY", 0.0)
    (_, texts) = run(gadget, unit(whitened(), sampling()))
    assert texts
    at_most = SMALL[gadget]["iterations"]
    texts = [text for text in texts if not text.startswith("warning")]
    assert all(
        text.startswith(f"{gadget.__name__}: slice 0: ") and f"of at most {at_most} iterations" in text
        for text in texts
    )


@both
def test_volumes_are_taken_slice_by_slice_and_readouts_in_either_space(gadget):
    shape = (2, 36, 24)
    kspace, sampled = whitened(shape), sampling(2, shape[:2], 12)
    ((volume,), _) = run(gadget, unit(kspace, sampled))
    assert volume.data.shape == (1, *shape)
    assert np.isfinite(volume.data).all()
    one = unit(kspace, sampled)
    other = type(one)(centred_ifft(one.data, (-1,)), one.sampled, one.head, readout_in_image_space=True)
    ((same,), _) = run(gadget, other)
    assert relative(same.data, volume.data) < 0.05


# What is refused


@both
def test_samples_that_are_not_finite_are_refused(gadget):
    kspace = whitened()
    kspace[2, 0, 24, 7] = np.inf
    with pytest.raises(DataError, match="not finite"):
        run(gadget, unit(kspace, sampling()))


@both
def test_few_centre_lines_are_refused(gadget):
    with pytest.raises(DataError, match="calibration lines"):
        run(gadget, unit(whitened(), sampling(n_centre=2)))


@both
def test_maps_without_signal_are_refused(gadget):
    with pytest.raises(DataError, match="no signal"):
        run(gadget, unit(0 * whitened(), sampling()))


@both
def test_lines_that_lack_along_kz_are_refused(gadget):
    shape = (4, 20, 18)
    with pytest.raises(DataError, match="lines lack along kz"):
        run(gadget, unit(whitened(shape), every((2, 1), shape=shape[:2])))


@pytest.mark.parametrize(
    ("chain", "gadget"), [("convdecoder", FitDecoder), ("self_supervised", LearnFromScan)], ids=lambda x: str(x)
)
def test_the_stock_chains_give_images(small_scan, chain, gadget):
    scan = small_scan(matrix=(40, 36), coils=4, acceleration=2, calibration=16, noise=0.01, slices=1)
    values = {f"{gadget.__name__}.{name}": str(value) for name, value in SMALL[gadget].items()}
    items = list(reconstruct(scan.batches, scan.header, chain, values))
    (image,) = [item for item in items if isinstance(item, Image)]
    assert image.data.shape == (1, 1, 36, 40)
    assert image.data.dtype == np.float32
    assert np.isfinite(image.data).all()
    assert image.meta["EchotrainModel"] in ("ConvDecoder", "SSDU")
    assert math.isfinite(image.meta["EchotrainDataConsistency"])
