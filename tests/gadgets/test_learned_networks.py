"""Networks: their linear parts against matrices, fastMRI's names, any matrix and batch, and finite whatever comes."""

import numpy as np
import pytest
import torch
from tiny_networks import PARAMETERS, Times, tiny
from undersampling import noise, relative

from echotrain.gadgets.fourier import centred_fft
from echotrain.gadgets.learned.networks import ARCHITECTURES, UNet, VarNet, build, intensity_scale
from echotrain.gadgets.learned.networks.encoding import (
    along_lines,
    centre_lines,
    expand,
    magnitude,
    reduce,
    smooth_maps,
    to_image,
    to_kspace,
)
from echotrain.gadgets.learned.networks.modl import conjugate_gradients
from echotrain.gadgets.learned.networks.unet import ComplexUNet
from echotrain.gadgets.learned.networks.varnet import Cascade
from echotrain.mrd.errors import ConfigError

N_KY, N_KX, N_CENTRE = 37, 29, 9
every_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


def random(*shape, seed=0):
    return torch.from_numpy(noise(*shape, seed=seed))


def lines(n_ky=N_KY, step=3, n_centre=N_CENTRE):
    mask = torch.arange(n_ky) % step == 0
    first = n_ky // 2 - n_centre // 2
    mask[first : first + n_centre] = True
    return mask


def unit_maps(*shape):
    maps = random(*shape, seed=5)
    return maps / magnitude(maps)[:, None]


def scan(n_slices=2, n_channels=3):
    """k-space of a smooth object under smooth coils, where lines that were not acquired are 0."""
    centre = torch.zeros(n_slices, n_channels, N_KY, N_KX, dtype=torch.complex64)
    centre[..., 15:22, 11:18] = random(n_slices, n_channels, 7, 7)
    return centre * lines()[:, None]


# Operators


@pytest.mark.parametrize("shape", [(6, 8), (5, 9), (4, 7)])
def test_transforms_are_those_of_the_other_gadgets(shape):
    image = random(2, 3, *shape)
    assert relative(to_kspace(image).numpy(), centred_fft(image.numpy(), (-2, -1))) < 1e-5
    assert relative(to_image(to_kspace(image)).numpy(), image.numpy()) < 1e-5


MAPS = random(2, 3, 7, 10)


@pytest.mark.parametrize(
    ("operator", "adjoint", "channels"),
    [
        (to_kspace, to_image, (3,)),
        (lambda x: expand(x, MAPS), lambda k: reduce(k, MAPS), ()),
        (lambda k: centre_lines(k, 3), lambda k: centre_lines(k, 3), (3,)),
        (lambda k: along_lines(lines(7, 2, 3)) * k, lambda k: along_lines(lines(7, 2, 3)) * k, (3,)),
    ],
    ids=["transform", "coils", "centre", "sampling"],
)
def test_what_stands_for_an_adjoint_is_one(operator, adjoint, channels):
    x, y = random(2, *channels, 7, 10, seed=1), random(2, 3, 7, 10, seed=2)
    one, other = torch.vdot(y.flatten(), operator(x).flatten()), torch.vdot(adjoint(y).flatten(), x.flatten())
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("n_ky", "number", "kept"), [(10, 4, [3, 4, 5, 6]), (9, 3, [3, 4, 5]), (8, 1, [4]), (6, 0, [])]
)
def test_centre_lines_lie_around_index_n_over_2(n_ky, number, kept):
    left = centre_lines(torch.ones(1, 2, n_ky, 3, dtype=torch.complex64), number)
    assert torch.nonzero(left[0, 1, :, 2].real).flatten().tolist() == kept


def test_each_of_a_batch_may_have_its_own_number_of_centre_lines():
    kspace = random(2, 3, 12, 7)
    left = centre_lines(kspace, torch.tensor([4, 7]))
    assert torch.equal(left[0], centre_lines(kspace, 4)[0])
    assert torch.equal(left[1], centre_lines(kspace, 7)[1])


def test_the_scale_is_the_brightest_pixel_of_the_centre_and_1_without_signal():
    kspace = scan()
    kspace[1] = 0
    scale = intensity_scale(kspace, N_CENTRE)
    image = np.linalg.norm(to_image(centre_lines(kspace, N_CENTRE))[0].numpy(), axis=0)
    assert scale.tolist() == pytest.approx([image.max(), 1])
    assert float(intensity_scale(7 * kspace, N_CENTRE)[0]) == pytest.approx(7 * image.max())


def test_smooth_maps_of_what_the_centre_lines_hold_give_the_channels_back():
    kspace = centre_lines(scan(), N_CENTRE)
    seen = expand(magnitude(to_image(kspace)).to(torch.complex64), smooth_maps(kspace, N_CENTRE))
    assert relative(seen.numpy(), kspace.numpy()) < 1e-5


def test_the_magnitude_is_the_same_with_gradients_which_are_0_without_signal():
    channels = random(2, 3, 6, 5)
    channels[:, :, 2, 3] = 0
    with_gradient = magnitude(channels.clone().requires_grad_())
    torch.testing.assert_close(magnitude(channels), with_gradient.detach())
    assert relative(magnitude(channels).numpy(), np.linalg.norm(channels.numpy(), axis=1)) < 1e-6
    channels.requires_grad_()
    magnitude(channels).sum().backward()
    assert torch.equal(channels.grad[:, :, 2, 3], torch.zeros(2, 3, dtype=torch.complex64))


# Cascades whose network is known


class Fixed(torch.nn.Module):
    """Takes anything, and gives the same."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, *_):
        return self.given


def test_a_cascade_of_weight_1_whose_network_takes_nothing_away_has_the_acquired_lines():
    acquired, mask, maps = scan(), lines(), unit_maps(2, 3, N_KY, N_KX)
    current = random(2, 3, N_KY, N_KX, seed=8)
    given = Cascade(Times(0))(current, acquired, mask, maps)
    torch.testing.assert_close(given[..., mask, :], acquired[..., mask, :], rtol=0, atol=1e-6)
    assert torch.equal(given[..., ~mask, :], current[..., ~mask, :])


def test_cascades_with_linear_networks_are_the_matrices_that_they_stand_for():
    """k becomes k - w M (k - y) - f E E^H k; of few pixels, all can be written down."""
    n_channels, n_ky, n_kx = 2, 6, 5
    mask, maps = lines(n_ky, 2, 3), unit_maps(1, n_channels, n_ky, n_kx)
    acquired = random(1, n_channels, n_ky, n_kx, seed=9) * mask[:, None]
    network = VarNet(cascades=2, channels=2, pools=1, sens_channels=2, sens_pools=1)
    network.sens_net = Fixed(maps)
    factors, weights = (0.3, -0.2), (0.7, 1.4)
    for cascade, factor, weight in zip(network.cascades, factors, weights, strict=True):
        cascade.model = Times(factor)
        torch.nn.init.constant_(cascade.dc_weight, weight)
    basis = torch.eye(n_ky * n_kx, dtype=torch.complex64).view(-1, n_ky, n_kx)
    encoding = expand(basis, maps).flatten(1).T.numpy()  # (sample, pixel)
    sampling = np.diag(mask[:, None].expand(n_channels, n_ky, n_kx).flatten().numpy())
    k = y = acquired.flatten().numpy()
    for factor, weight in zip(factors, weights, strict=True):
        k = k - weight * sampling @ (k - y) - factor * encoding @ (encoding.conj().T @ k)
    with torch.no_grad():
        made = network.reconstruct(acquired, mask, 3)
    channels = to_image(torch.from_numpy(k.astype(np.complex64)).view(1, n_channels, n_ky, n_kx))
    assert relative(made.magnitude.numpy(), magnitude(channels).numpy()) < 1e-5
    assert relative(made.image.flatten().numpy(), encoding.conj().T @ k) < 1e-5


def test_a_varnet_that_takes_nothing_away_gives_the_image_with_gaps():
    network = tiny("varnet")
    for cascade in network.cascades:
        cascade.model = Times(0)
    found = network(scan(), lines(), N_CENTRE)
    torch.testing.assert_close(found, magnitude(to_image(scan())), rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_solve_each_of_a_batch():
    rng = np.random.default_rng(3)
    roots = torch.from_numpy(rng.standard_normal((2, 12, 12)).astype(np.float32)).to(torch.complex64)
    matrices = roots @ roots.mH + 5 * torch.eye(12)
    right = random(2, 3, 4)
    found = conjugate_gradients(
        lambda x: (matrices @ x.flatten(1)[..., None]).view(x.shape), right, torch.zeros_like(right), 12
    )
    expected = torch.linalg.solve(matrices, right.flatten(1)[..., None]).view(right.shape)
    assert relative(found.numpy(), expected.numpy()) < 1e-3


def test_modl_keeps_to_the_acquired_lines_where_its_network_weighs_nothing():
    """Of a fully sampled object its maps explain, whatever the network says."""
    network = tiny("modl", iterations=12)
    torch.nn.init.constant_(network.weight, -30)
    maps, image = unit_maps(2, 3, N_KY, N_KX), random(2, N_KY, N_KX, seed=4)
    network.sens_net = Fixed(maps)
    with torch.no_grad():
        made = network.reconstruct(expand(image, maps), torch.ones(N_KY, dtype=torch.bool), N_KY)
    assert relative(made.image.numpy(), image.numpy()) < 1e-4


def test_modl_with_full_weight_gives_what_its_network_gives():
    network = tiny("modl")
    torch.nn.init.constant_(network.weight, 14)
    network.model = Times(0.25)  # takes a quarter away, in each of two cascades
    kspace, mask = scan(), lines()
    with torch.no_grad():
        made = network.reconstruct(kspace, mask, N_CENTRE)
    assert relative(made.image.numpy(), 0.75**2 * reduce(kspace, made.maps).numpy()) < 1e-4


# U-Nets


def test_images_of_any_size_are_padded_evenly_and_cropped():
    network = UNet(1, 2, channels=2, pools=3).eval()
    image = torch.randn(2, 1, 21, 13, generator=torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(image, (1, 2, 1, 2))  # to 24 x 16
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., 1:22, 1:14])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (16, 16), (17, 5)])
def test_images_of_few_pixels_are_taken(shape):
    image = torch.ones(1, 1, *shape)
    with torch.no_grad():
        assert UNet(1, 1, channels=2, pools=4)(image).shape == image.shape


def test_with_readout_first_the_axes_are_swapped_inside():
    one, other = UNet(1, 1, 2, 2), UNet(1, 1, 2, 2, readout_first=True)
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 1, 11, 18, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(other(image), one(image.mT).mT)


def test_parts_of_complex_images_are_normalised_by_themselves_and_brought_back():
    network, seen = ComplexUNet(2, 1), []
    network.unet = Times(1)
    network.unet.register_forward_pre_hook(lambda _, given: seen.extend(given))
    image = (3 + 2j) + torch.complex(random(2, 9, 7).real, 5 * random(2, 9, 7, seed=1).real)
    torch.testing.assert_close(network(image), image)
    (parts,) = seen
    torch.testing.assert_close(parts.mean((-2, -1)), torch.zeros(2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.std((-2, -1)), torch.ones(2, 2))


def test_images_are_normalised_as_in_training_without_gradients_too():
    image = 5 + 3 * torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(3))
    network = UNet(4, 1, channels=3, pools=2)
    expected = network(image).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected, rtol=1e-5, atol=1e-5)
    (normalise,) = {type(layer) for layer in network.modules() if isinstance(layer, torch.nn.InstanceNorm2d)}
    torch.testing.assert_close(normalise(4)(image), torch.nn.InstanceNorm2d(4)(image), rtol=1e-5, atol=1e-5)


# All architectures


@every_architecture
def test_images_maps_and_types_are_what_is_said(name):
    with torch.no_grad():
        made = tiny(name).reconstruct(scan(), lines(), N_CENTRE)
    assert made.magnitude.shape == made.image.shape == (2, N_KY, N_KX)
    assert made.maps.shape == (2, 3, N_KY, N_KX)
    assert (made.magnitude.dtype, made.image.dtype, made.maps.dtype) == (
        torch.float32,
        torch.complex64,
        torch.complex64,
    )
    squares = magnitude(made.maps)
    assert squares.max() > 0.99
    torch.testing.assert_close(squares, squares.round())  # 1, or 0 where there is no signal


@every_architecture
@pytest.mark.parametrize("n_channels", [1, 5])
def test_a_batch_gives_what_each_of_it_gives(name, n_channels):
    network, kspace = tiny(name), scan(3, n_channels)
    with torch.no_grad():
        together = network(kspace, lines(), N_CENTRE)
        alone = torch.cat([network(one[None], lines(), N_CENTRE) for one in kspace])
        with_masks = network(kspace, lines().expand(3, N_KY), torch.full((3,), N_CENTRE))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, with_masks, rtol=1e-4, atol=1e-5)


@every_architecture
def test_brighter_data_gives_a_brighter_image_and_nothing_else(name):
    network = tiny(name)
    with torch.no_grad():
        one, other = (network(factor * scan(), lines(), N_CENTRE) for factor in (1, 1e-3))
    torch.testing.assert_close(other, 1e-3 * one, rtol=1e-2, atol=1e-6)


@every_architecture
def test_dead_channels_and_empty_slices_leave_images_and_gradients_finite(name):
    network, kspace = tiny(name), scan()
    kspace[0, 1] = kspace[1] = 0
    image = network(kspace, lines(), N_CENTRE)
    image.square().mean().backward()
    gradients = [weight.grad for weight in network.parameters()]
    assert image.isfinite().all()
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# Names and descriptions

UNET_KEYS = [
    "down_sample_layers.0.layers.0.weight",
    "down_sample_layers.0.layers.4.weight",
    "down_sample_layers.1.layers.0.weight",
    "down_sample_layers.1.layers.4.weight",
    "conv.layers.0.weight",
    "conv.layers.4.weight",
    "up_transpose_conv.0.layers.0.weight",
    "up_transpose_conv.1.layers.0.weight",
    "up_conv.0.layers.0.weight",
    "up_conv.0.layers.4.weight",
    "up_conv.1.0.layers.0.weight",
    "up_conv.1.0.layers.4.weight",
    "up_conv.1.1.weight",
    "up_conv.1.1.bias",
]


def test_weights_go_by_the_names_of_fastmri():
    unet = build({"architecture": "unet", "parameters": {"channels": 4, "pools": 2}})
    assert sorted(unet.state_dict()) == sorted(f"unet.{key}" for key in UNET_KEYS)
    parameters = {"cascades": 2, "channels": 4, "pools": 2, "sens_channels": 3, "sens_pools": 2}
    varnet = build({"architecture": "varnet", "parameters": parameters})
    expected = [f"sens_net.norm_unet.unet.{key}" for key in UNET_KEYS]
    for index in range(2):
        expected += [f"cascades.{index}.dc_weight", *(f"cascades.{index}.model.unet.{key}" for key in UNET_KEYS)]
    assert sorted(varnet.state_dict()) == sorted(expected)
    shapes = {key: tuple(value.shape) for key, value in unet.state_dict().items()}
    assert shapes["unet.conv.layers.0.weight"] == (16, 8, 3, 3)
    assert shapes["unet.up_transpose_conv.0.layers.0.weight"] == (16, 8, 2, 2)
    assert shapes["unet.up_conv.1.0.layers.0.weight"] == (4, 8, 3, 3)


def test_the_published_size_of_a_varnet_is_its_default():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in VarNet().parameters()) == 29_936_966


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({}, "no architecture 'None'"),
        ({"architecture": "varnt"}, "did you mean varnet"),
        ({"architecture": "unet", "parameters": {"chans": 3}}, "no parameter 'chans'; did you mean channels"),
        ({"architecture": "unet", "parameters": {"pools": 0}}, "pools=0 of architecture unet must be a whole number"),
        ({"architecture": "unet", "parameters": {"pools": True}}, "whole number from 1"),
        ({"architecture": "unet", "parameters": {"readout_first": 1}}, "must be true or false"),
    ],
)
def test_descriptions_of_no_network_are_refused_with_words(description, words):
    with pytest.raises(ConfigError, match=words):
        build(description)


def test_each_architecture_has_tiny_parameters_for_tests():
    assert set(PARAMETERS) == set(ARCHITECTURES)
