"""Dropout of channels: in training by torch's chance, afterwards only while it is asked for, by a chance of its own."""

import pytest
import torch
from tiny_networks import tiny
from undersampling import noise

from echotrain.gadgets.learned.networks import build, dropping
from echotrain.gadgets.learned.networks.dropout import ChannelDropout
from echotrain.mrd.errors import ConfigError

MASK = torch.arange(21) % 2 == 0
MASK[7:14] = True
with_dropout = pytest.mark.parametrize("name", ["unet", "varnet", "modl"])


def image_of(network):
    kspace = torch.from_numpy(noise(1, 3, 21, 26, seed=0)) * MASK[:, None]
    with torch.no_grad():
        return network(kspace, MASK, 7)


def drawn(network, seed):
    with dropping(torch.Generator().manual_seed(seed)):
        return image_of(network)


@with_dropout
def test_weights_have_the_same_names_and_give_the_same_image(name):
    plain, other = tiny(name), tiny(name, dropout=0.3)
    assert list(plain.state_dict()) == list(other.state_dict())
    other.load_state_dict(plain.state_dict())
    assert torch.equal(image_of(plain), image_of(other))
    assert torch.equal(image_of(plain), drawn(plain, 1))


@with_dropout
def test_images_differ_by_the_seed_alone(name):
    network = tiny(name, dropout=0.3)
    still, first = image_of(network), drawn(network, 1)
    torch.manual_seed(5)  # whatever chance there is elsewhere
    assert torch.equal(drawn(network, 1), first)
    assert not torch.equal(drawn(network, 2), first)
    assert torch.equal(image_of(network), still)


def test_channels_are_kept_whole_and_as_bright_on_the_average():
    layer = ChannelDropout(0.25).eval()
    with dropping(torch.Generator().manual_seed(3)):
        given = layer(torch.ones(100, 40, 3, 2))
    torch.testing.assert_close(given, given[:, :, :1, :1].expand(given.shape))
    assert given.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float(given.mean()) == pytest.approx(1, abs=0.03)


def test_training_drops_channels_by_the_chance_of_torch():
    layer = ChannelDropout(0.5).train()
    torch.manual_seed(1)
    given = layer(torch.ones(1, 30, 2, 2))
    assert 0 < int((given[0, :, 0, 0] == 0).sum()) < 30


@pytest.mark.parametrize("value", [1.0, -0.1, float("nan"), 1, True])
def test_parts_that_are_none_are_refused(value):
    with pytest.raises(ConfigError, match=r"dropout=.* of architecture unet must be a decimal from 0.0 to less than 1"):
        build({"architecture": "unet", "parameters": {"dropout": value}})
