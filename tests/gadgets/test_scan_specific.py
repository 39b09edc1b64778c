"""Fits to one scan's own lines: gradients and adjoints by numbers, what they come to, and when they end."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_coils import known_coils
from tiny_networks import install_weights
from undersampling import relative

from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.learned import conv_decoder as conv_decoder_module
from echotrain.gadgets.learned.conv_decoder import ConvDecoder, DecoderFit, conv_decoder
from echotrain.gadgets.learned.fitting import Lines, held_out_lines
from echotrain.gadgets.learned.self_supervised import SelfSupervision, self_supervised
from echotrain.mrd.errors import ConfigError, DataError

N_KY, N_KX = 40, 32
SIGNAL = 30  # of the object, where the noise of a sample has the deviation 1


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch makes it with the first optimizer


def lines(step=2, n_centre=12):
    """Every nth line, and those around the centre."""
    mask = torch.zeros(N_KY, dtype=torch.bool)
    mask[1::step] = True
    mask[N_KY // 2 - n_centre // 2 : N_KY // 2 + n_centre // 2] = True
    return mask


def scan(mask, noise=0.0, seed=1):
    """Whitened k-space of a smooth object, its maps and the object; lines beyond the mask are 0."""
    maps = torch.from_numpy(known_coils((1, N_KY, N_KX))[0][:, 0])
    y, x = (torch.linspace(-1, 1, n) for n in (N_KY, N_KX))
    bumps = torch.exp(-4 * (y[:, None] ** 2 + (x - 0.2) ** 2)) + 0.5 * torch.exp(-30 * ((y[:, None] - 0.3) ** 2 + x**2))
    image = SIGNAL * torch.polar(bumps, 0.4 * y[:, None] + 0 * x) * (maps != 0).any(0)
    parts = torch.randn(*maps.shape, 2, generator=torch.Generator().manual_seed(seed)) * math.sqrt(0.5)
    kspace = centred_fft(maps * image, (-2, -1)) + noise * torch.view_as_complex(parts)
    return kspace * mask[:, None], maps, image


def random_image(seed):
    return torch.view_as_complex(torch.randn(N_KY, N_KX, 2, generator=torch.Generator().manual_seed(seed)))


def drained(steps, progress):
    """What a fit comes to; what it tells on the way goes to `progress`."""
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as end:
            return end.value


def off_by(image, truth):
    return relative(image.numpy(), truth.numpy())


# Lines


def test_combining_lines_is_the_adjoint_of_seeing_them():
    mask = lines()
    kspace, maps, _ = scan(mask)
    seen = Lines(torch.zeros_like(kspace), mask, maps)
    image, other = random_image(2), torch.randn(kspace.shape, dtype=torch.complex64)
    assert torch.vdot(other.flatten(), seen.off(image).flatten()).item() == pytest.approx(
        torch.vdot(seen.combined(other).flatten(), image.flatten()).item(), rel=1e-4
    )


def test_the_misfit_is_the_mean_square_of_what_acquired_samples_lack():
    mask = lines()
    kspace, maps, image = scan(mask, noise=1)
    misfit, _ = Lines(kspace, mask, maps).misfit(image)
    clean, _, _ = scan(mask)
    assert misfit == pytest.approx(float((kspace - clean)[:, mask].abs().square().mean()), rel=1e-3)
    assert Lines(kspace, mask, maps).error(image) == pytest.approx(1, abs=0.05)


def test_the_gradient_of_the_misfit_is_its_numerical_derivative():
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    kspace, maps = kspace.to(torch.complex128), maps.to(torch.complex128)
    image, direction = random_image(3).to(torch.complex128), random_image(4).to(torch.complex128)
    some = Lines(kspace, mask, maps)
    _, slope = some.misfit(image)
    ahead, behind = (some.misfit(image + sign * 1e-4 * direction)[0] for sign in (1, -1))
    assert torch.vdot(slope.flatten(), direction.flatten()).real.item() == pytest.approx(
        (ahead - behind) / 2e-4, rel=1e-6
    )


def test_what_a_decoder_descends_is_the_misfit():
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    torch.manual_seed(0)
    network, some = ConvDecoder((N_KY, N_KX), 4, 3), Lines(kspace / SIGNAL, mask, maps)
    image = network()
    image.backward(some.misfit(image.detach())[1])
    weights = network.last.weight
    expected, step = weights.grad[1, 2].item(), 1e-2
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            weights[1, 2] += sign * step
            values.append(some.misfit(network())[0])
    assert expected == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-2)


def test_the_image_nearest_to_both_lines_and_another_solves_its_equation():
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    some, other = Lines(kspace, mask, maps), random_image(5)
    found = some.consistent(other, 0.3)
    slope = some.combined(some.off(found)) + 0.3 * (found - other)
    assert float(slope.abs().max()) < 1e-2 * float(found.abs().max())
    assert some.error(found) < some.error(other)


def test_lines_are_held_out_beyond_the_centre_alone():
    mask = lines(3)
    held = held_out_lines(mask, 0.3, torch.Generator().manual_seed(0))
    assert bool((held & ~mask).any()) is False
    assert not held[N_KY // 2 - 6 : N_KY // 2 + 6].any()
    outer = int(mask.sum()) - 12
    assert int(held.sum()) == round(0.3 * outer)
    assert int(held_out_lines(mask, 1e-6, torch.Generator()).sum()) == 1


def test_scans_of_all_lines_hold_some_out_as_well():
    held = held_out_lines(torch.ones(N_KY, dtype=torch.bool), 0.1, torch.Generator().manual_seed(0))
    assert 1 <= int(held.sum()) <= 4


# ConvDecoder


def test_a_decoder_has_the_shape_that_it_is_asked_for():
    for shape in ((40, 32), (37, 5), (8, 8)):
        for layers in (2, 3, 6):
            network = ConvDecoder(shape, 4, layers)
            assert network().shape == shape
            assert len(network.sizes) == layers


def test_with_all_lines_and_no_noise_the_decoder_tends_to_the_image():
    mask = torch.ones(N_KY, dtype=torch.bool)
    kspace, maps, image = scan(mask)
    short, long = (
        conv_decoder(kspace, mask, maps, DecoderFit(iterations=n, channels=16, layers=3, consistency=1e6, patience=n))
        for n in (20, 160)
    )
    assert off_by(long.image, image) < 0.4 * off_by(short.image, image)
    assert off_by(long.image, image) < 0.1


def test_the_decoder_fills_lines_that_lack():
    mask = lines(3, 0)
    kspace, maps, image = scan(mask)
    found = conv_decoder(kspace, mask, maps, DecoderFit(iterations=150, channels=16, layers=3, consistency=0.01))
    zero_filled = (centred_ifft(kspace, (-2, -1)) * maps.conj()).sum(0)
    assert off_by(found.image, image) < 0.3 * off_by(zero_filled, image)


@pytest.mark.parametrize("method", [DecoderFit(iterations=25, channels=8), SelfSupervision(iterations=3, channels=4)])
def test_the_same_seed_gives_the_same_image_and_another_another(method):
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    state = torch.random.get_rng_state()
    images = [method.result(kspace, mask, maps).image for _ in range(2)]
    assert torch.equal(*images)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(replace(method, seed=1).result(kspace, mask, maps).image, images[0])


def test_under_strong_noise_the_fit_ends_before_it_makes_the_noise(monkeypatch):
    mask = lines()
    kspace, maps, image = scan(mask, noise=8)
    values = {"iterations": 250, "channels": 16, "layers": 3, "consistency": 1e6}
    progress = []
    stopped = drained(DecoderFit(patience=40, **values).steps(kspace, mask, maps), progress)
    # A line that was not acquired tells nothing, so that the last iterations count as the best.
    monkeypatch.setattr(conv_decoder_module, "held_out_lines", lambda mask, *_: torch.zeros_like(mask))
    monkeypatch.setattr(Lines, "error", lambda *_: next(falling))
    falling = iter(range(1000, 0, -1))
    overfitted = DecoderFit(patience=250, **values).result(kspace, mask, maps)
    assert overfitted.best == 200
    assert stopped.best < 120
    assert stopped.best + 40 in [step.iteration for step in progress]
    assert stopped.held_out == min(step.held_out for step in progress)
    assert off_by(stopped.image, image) < 0.6 * off_by(overfitted.image, image)


@pytest.mark.parametrize("factor", [1e-6, 1e5])
@pytest.mark.parametrize("method", [DecoderFit(iterations=25, channels=8), SelfSupervision(iterations=2, channels=4)])
def test_any_intensity_gives_the_same_image_at_that_intensity(method, factor):
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    one, other = (method.result(some, mask, maps) for some in (kspace, factor * kspace))
    assert off_by(other.image / factor, one.image) < 1e-2
    assert other.held_out == pytest.approx(factor * one.held_out, rel=1e-2)


@pytest.mark.parametrize("method", [DecoderFit(seconds=0), SelfSupervision(seconds=0, channels=4)])
def test_a_fit_without_time_gives_an_image_all_the_same(method):
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    found = method.result(kspace, mask, maps)
    assert found.image.isfinite().all()
    assert found.best <= 1


# Self-supervision


def test_a_network_that_has_learnt_nothing_gives_the_image_of_sense():
    mask = lines()
    kspace, maps, image = scan(mask)
    found = self_supervised(kspace, mask, maps, SelfSupervision(iterations=1, rate=1e-9, channels=4))
    assert off_by(found.image, image) < 0.05


def test_a_network_learns_to_tell_samples_and_comes_nearer_to_the_image():
    mask = lines(4, 10)
    kspace, maps, image = scan(mask, noise=4)
    first, last = (
        self_supervised(kspace, mask, maps, SelfSupervision(iterations=n, rate=r, channels=8, cascades=2))
        for n, r in ((1, 1e-9), (40, 4e-3))
    )
    assert last.held_out < first.held_out
    assert last.best > 0
    assert off_by(last.image, image) < 0.95 * off_by(first.image, image)


def test_the_weights_of_least_error_are_used_when_the_rate_is_too_large():
    mask = lines()
    kspace, maps, _ = scan(mask, noise=2)
    values = {"channels": 4, "cascades": 1}
    least = self_supervised(kspace, mask, maps, SelfSupervision(iterations=20, rate=10, **values))
    start = self_supervised(kspace, mask, maps, SelfSupervision(iterations=1, rate=1e-9, **values))
    assert least.held_out <= start.held_out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_MODELS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("architecture", ["modl", "varnet"])
def test_named_weights_go_on_from_what_they_are_and_stay_untouched(folder, architecture):
    network = install_weights(folder, "tiny", architecture)
    mask = lines()
    kspace, maps, _ = scan(mask, noise=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = self_supervised(kspace, mask, maps, SelfSupervision(model="tiny", iterations=20, rate=1e-2))
    again = self_supervised(kspace, mask, maps, SelfSupervision(model="tiny", iterations=20, rate=1e-2))
    assert torch.equal(found.image, again.image)
    assert found.maps.shape == maps.shape
    assert found.best > 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_a_network_without_coil_maps_are_refused(folder):
    install_weights(folder, "tiny", "unet")
    mask = lines()
    kspace, maps, _ = scan(mask)
    with pytest.raises(ConfigError, match="weights tiny are of architecture unet, which keeps to no line"):
        self_supervised(kspace, mask, maps, SelfSupervision(model="tiny"))


# What is refused


@pytest.mark.parametrize("method", [DecoderFit(), SelfSupervision()])
def test_maps_without_signal_and_samples_that_are_not_finite_are_refused(method):
    mask = lines()
    kspace, maps, _ = scan(mask)
    for lacking in ((kspace, 0 * maps), (kspace * np.nan, maps)):
        with pytest.raises(DataError, match="coil maps see no signal in the acquired lines, or these are not finite"):
            method.result(lacking[0], mask, lacking[1])


def test_few_lines_are_not_held_out():
    mask = torch.zeros(N_KY, dtype=torch.bool)
    mask[19:22] = True
    kspace, maps, _ = scan(mask)
    with pytest.raises(DataError, match="3 lines were acquired, too few to hold some out"):
        conv_decoder(kspace, mask, maps)
