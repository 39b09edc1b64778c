"""Networks and models with weights by chance, small enough for tests, installed where gadgets find them."""

import json
import warnings

import torch

from echotrain.gadgets.learned import folders
from echotrain.gadgets.learned.networks import build
from echotrain.gadgets.learned.weights import ModelCard, save_weights

PARAMETERS = {
    "unet": {"channels": 2, "pools": 2},
    "naive": {"channels": 2, "pools": 2},
    "varnet": {"cascades": 2, "channels": 2, "pools": 2, "sens_channels": 2, "sens_pools": 1},
    "sense_varnet": {"cascades": 2, "channels": 2, "pools": 2},
    "modl": {"cascades": 2, "channels": 2, "pools": 2, "sens_channels": 2, "sens_pools": 1, "iterations": 3},
    "score": {"channels": 2, "pools": 2},
}


class Times(torch.nn.Module):
    """A network that gives `factor` times what it takes."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, image):
        return self.factor * image


def tiny(architecture, seed=0, **parameters):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build({"architecture": architecture, "parameters": PARAMETERS[architecture] | parameters}).eval()


def find_only_in(folder, monkeypatch):
    """Have gadgets find weights and models in `folder`, and none that ship."""
    monkeypatch.setenv(folders.VARIABLE, str(folder))
    monkeypatch.setattr(folders, "SHIPPED", folder)
    return folder


def install_weights(folder, name, architecture="varnet", seed=0, parameters=(), **card):
    """Weights called `name` in `folder`; gives the network that they are of."""
    parameters = PARAMETERS[architecture] | dict(parameters)
    network = tiny(architecture, seed, **parameters)
    save_weights(folder / f"{name}.safetensors", network, ModelCard(architecture, parameters, **card))
    return network


def install_script(folder, name, function, example, **description):
    """`function` of a tensor as a TorchScript model called `name`; its description is of an image unless given."""
    folder.joinpath(f"{name}.json").write_text(json.dumps(description))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants another form, whose archives hold pickles
        torch.jit.save(torch.jit.trace(function, example), str(folder / f"{name}.pt"))
