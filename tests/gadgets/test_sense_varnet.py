"""Variational networks that leave unfolding to SENSE: their maps, and their linear part against matrices."""

import numpy as np
import pytest
import torch
from known_coils import known_coils
from tiny_networks import Times
from undersampling import noise, relative

from echotrain.gadgets.learned.networks import sense_varnet
from echotrain.gadgets.learned.networks.encoding import along_lines, expand, magnitude, reduce
from echotrain.gadgets.learned.networks.sense_varnet import SenseVarNet, centre_maps

N_CHANNELS, N_KY, N_KX, N_CENTRE = 3, 9, 5, 4
FACTORS, WEIGHTS = (0.3, -0.2), (0.7, 0.05)


@pytest.fixture
def scan(monkeypatch):
    """k-space of two slices, which lines were acquired, and the maps that networks find for it."""
    maps = torch.from_numpy(noise(2, N_CHANNELS, N_KY, N_KX, seed=5))
    maps /= magnitude(maps)[:, None]
    monkeypatch.setattr(sense_varnet, "centre_maps", lambda *_: maps)
    mask = torch.arange(N_KY) % 2 == 0
    mask[3:6] = True
    kspace = torch.from_numpy(noise(2, N_CHANNELS, N_KY, N_KX, seed=6)) * mask[:, None]
    return kspace, mask, maps


def linear(factors, weights, iterations=80):
    """A network whose parts that clean take `factors` of the image away."""
    network = SenseVarNet(cascades=len(factors), channels=2, pools=1, iterations=iterations)
    for cascade, factor, weight in zip(network.cascades, factors, weights, strict=True):
        cascade.model = Times(factor)
        cascade.weight.data.fill_(np.log(weight))
    return network


def normal_matrices(mask, maps):
    """What lines make of an image and coils of the lines again, as a matrix for each slice."""
    basis = torch.eye(N_KY * N_KX, dtype=torch.complex64).view(-1, 1, N_KY, N_KX)
    kept = along_lines(mask)
    columns = [reduce(kept * expand(image.expand(2, -1, -1), maps), maps).flatten(1) for image in basis]
    return torch.stack(columns, -1).to(torch.complex128)


@pytest.mark.parametrize("samples_lack", [False, True])
def test_with_linear_networks_it_is_the_matrices_that_it_stands_for(scan, monkeypatch, samples_lack):
    """x becomes (A + w)^-1 (A^H y + w (1 - f) x), from CG-SENSE on."""
    monkeypatch.setattr(sense_varnet, "START_ITERATIONS", 80)
    kspace, mask, maps = scan
    if samples_lack:
        mask = mask[:, None] & (torch.arange(2 * N_KX) % 3 > 0).view(2, 1, 1, N_KX)
        kspace = kspace * mask
    matrices, one = normal_matrices(mask, maps), torch.eye(N_KY * N_KX)
    aliased = reduce(kspace, maps).flatten(1).to(torch.complex128)
    wanted = torch.linalg.solve(matrices + sense_varnet.START_WEIGHT * one, aliased)
    for factor, weight in zip(FACTORS, WEIGHTS, strict=True):
        wanted = torch.linalg.solve(matrices + weight * one, aliased + weight * (1 - factor) * wanted)
    made = linear(FACTORS, WEIGHTS).reconstruct(kspace, mask, N_CENTRE)
    assert relative(made.image.detach().flatten(1).numpy(), wanted.numpy()) < 1e-4
    torch.testing.assert_close(made.magnitude, made.image.abs())
    torch.testing.assert_close(made.maps, maps)


def test_lines_that_coils_can_have_seen_stay_where_cleaned_images_weigh_nothing(scan):
    _, mask, maps = scan
    acquired = mask[:, None] * expand(torch.from_numpy(noise(2, N_KY, N_KX, seed=8)), maps)
    made = linear(FACTORS[:1], (1e-6,)).reconstruct(acquired, mask, N_CENTRE)
    assert relative((mask[:, None] * expand(made.image, maps)).detach().numpy(), acquired.numpy()) < 1e-3


def test_where_no_coil_sees_anything_networks_add_nothing(scan):
    kspace, mask, maps = scan
    maps[..., 1:4] = 0
    made = linear(FACTORS, WEIGHTS, 3)
    made.cascades[1].model = torch.nn.Module()
    made.cascades[1].model.forward = torch.ones_like
    image = made(kspace, mask, N_CENTRE)
    assert not image[..., 1:4].any()
    assert image[..., 4].all()


def test_gradients_reach_the_weights_and_each_network(scan):
    kspace, mask, _ = scan
    network = SenseVarNet(cascades=2, channels=2, pools=1)
    network(kspace, mask, N_CENTRE).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all(cascade.weight.grad.abs() > 0 for cascade in network.cascades)


def test_maps_are_those_of_the_coils_from_the_centre_lines_alone():
    maps, _, kspace = (torch.from_numpy(np.ascontiguousarray(part)) for part in known_coils())
    lines, known = kspace[:, 0], maps[:, 0]
    n_ky, n_centre = lines.shape[1], 12
    lines[:, n_ky // 2 + n_centre :] = 7  # not looked at
    found = centre_maps(lines[None], n_centre)[0]
    inside = (magnitude(known[None])[0] > 0) & (magnitude(found[None])[0] > 0)
    alike = (found.conj() * known).sum(0).abs()[inside]
    assert inside.float().mean() > 0.2
    assert float(alike.mean()) > 0.98


def test_slices_without_signal_have_no_maps():
    assert not centre_maps(torch.zeros(2, 3, 16, 12, dtype=torch.complex64), torch.tensor([6, 4])).any()
