"""Methods that make an image of few lines: conventional ones, by us and by BART, and networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from imaging_programs import ITERATIONS, OURS, bart, has_bart, optional
from imaging_scans import PLANE
from learned_scans import Case

from echotrain.clients.training import checkpoints
from echotrain.clients.training.plan import Plan
from echotrain.gadgets.cg_sense import cg_sense
from echotrain.gadgets.coils import combine, root_sum_of_squares
from echotrain.gadgets.compressed_sensing import compressed_sensing
from echotrain.gadgets.fourier import centred_ifft
from echotrain.gadgets.grappa_weights import grappa
from echotrain.gadgets.learned.choice import best, candidates
from echotrain.gadgets.learned.figures import scan_figures
from echotrain.gadgets.learned.networks import Network
from echotrain.gadgets.learned.weights import read_weights, weights_files
from echotrain.mrd.errors import ConfigError

KERNEL = 5, 2  # of GRAPPA, along kx and acquired lines along ky: 16 lines for calibration bear no more at R = 8
SLOW = 3  # slices for methods that take many times as long as others

TIKHONOV = 5e-2, 0.2, 0.5, 1, 2
LEAST_SQUARES = 3e-3, 1e-2, 3e-2, 0.1
NOISE_UNITS = 0.05, 0.1, 0.15, 0.2, 0.3, 0.45
BRIGHTNESS_UNITS = 1e-3, 2e-3, 3e-3, 5e-3, 1e-2

PLANES = 3  # BART's flags for the axes x and y

VARNET, TUNED = "varnet", "l1-wavelet, tuned here"
NO_WEIGHTS, NOT_INSTALLED = "no weights", "not installed"

# By acceleration: the best of those below, by --tune, on heads that are not those of the tables.
STRENGTHS: Mapping[tuple[str, str], Mapping[int, float]] = {
    ("GRAPPA", OURS): {4: 0.2, 8: 2},
    ("CG-SENSE", OURS): {4: 3e-2, 8: 1e-2},
    ("CG-SENSE", "BART"): {4: 3e-2, 8: 1e-2},
    ("total variation", OURS): {4: 0.15, 8: 0.05},
    ("total variation", "BART"): {4: 3e-3, 8: 3e-3},
    ("l1-wavelet", OURS): {4: 0.3, 8: 0.15},
    ("l1-wavelet", "BART"): {4: 5e-3, 8: 3e-3},
    ("locally low rank", OURS): {4: 0.3, 8: 0.2},
    ("locally low rank", "BART"): {4: 5e-3, 8: 3e-3},
}

Make = Callable[[Case, float], np.ndarray]


class Method(NamedTuple):
    """A row of a table."""

    name: str
    program: str = ""
    make: Make | None = None
    """An image (y, x) of a case by a weight, complex or its magnitude; None where something is missing."""
    weights: Sequence[float] = (0.0,)
    """To choose from."""
    by_maps: bool = False
    """Whether it takes the case's coil maps, whose time is its own as well."""
    anywhere: bool = False
    """Whether it takes samples that are left out along both axes, and gives a complex image."""
    tuned_here: bool = False
    """Whether its weight is the best of all on the very slices that it is judged by."""
    slices: int = 0
    """To be judged by, in their first repetition; 0 for all in all."""


def conventional() -> Iterator[Method]:
    """In the order of the table. BART is left out where it is not installed."""
    yield Method("zero-filled", OURS, zero_filled)
    yield Method("GRAPPA", OURS, by_grappa, TIKHONOV, by_maps=True)
    yield Method("CG-SENSE", OURS, by_cg_sense, LEAST_SQUARES, True, True)
    regularizers = (
        ("total variation", "total_variation", f"-i 100 -R T:{PLANES}:0:"),
        ("l1-wavelet", "wavelets", f"-i 100 -R W:{PLANES}:0:"),
        ("locally low rank", "low_rank", f"-i 100 -b 8 -R L:{PLANES}:{PLANES}:"),
    )
    if has_bart():
        yield Method("CG-SENSE", "BART", by_bart(f"-i {ITERATIONS} -l2 -r "), LEAST_SQUARES, True, True)
    for name, regularizer, options in regularizers:
        yield Method(name, OURS, sparse(regularizer), NOISE_UNITS, True, True)
        if has_bart():
            yield Method(name, "BART", by_bart(options), BRIGHTNESS_UNITS, True, True)
        if name == "l1-wavelet":
            yield Method(TUNED, OURS, sparse(regularizer), NOISE_UNITS, True, True, tuned_here=True)


def learned(given: Mapping[str, Path]) -> Iterator[Method]:
    """Those of the usual names, and others that are given; weights that are installed where none are given."""
    for name, architecture, title in (("unet", "unet", "U-Net"), (VARNET, "sense_varnet", "VarNet")):
        yield of_weights(title, given[name]) if name in given else by_acceleration(title, architecture)
    yield conv_decoder()
    yield of_weights("score prior", (weights_files() | given).get("score"))
    for name, path in given.items():
        if name not in ("unet", VARNET, "score"):
            yield of_weights(name, path)


def conv_decoder() -> Method:
    module = optional("echotrain.gadgets.learned.conv_decoder")
    if module is None:
        return Method("ConvDecoder", NOT_INSTALLED)

    def make(case: Case, _: float) -> np.ndarray:
        parts = (torch.from_numpy(part) for part in (case.kspace, case.sampled, case.maps))
        return module.conv_decoder(*parts).image.numpy()

    return Method("ConvDecoder", OURS, make, by_maps=True, slices=SLOW)


def of_weights(title: str, path: Path | None) -> Method:
    if path is None:
        return Method(title, NO_WEIGHTS)
    network = network_of(path)
    if hasattr(network, "denoise"):
        return Method(title, OURS, by_samples(network), by_maps=True, slices=SLOW)
    return Method(title, OURS, by_network(network))


def by_acceleration(title: str, architecture: str) -> Method:
    """Of the weights that are installed those for each scan, as a chain takes them."""
    try:
        weights = candidates(architecture)
    except ConfigError:
        return Method(title, NO_WEIGHTS)

    def make(case: Case, strength: float) -> np.ndarray:
        lines, mask = torch.from_numpy(case.kspace)[None], torch.from_numpy(case.sampled)
        figures = scan_figures(lines, mask, case.n_centre, torch.ones(1))
        return by_network(best(weights, figures).network)(case, strength)

    return Method(title, OURS, make)


def network_of(path: Path) -> Network:
    """The network of a file of weights, or of a training's folder as it is by now."""
    if path.suffix == ".safetensors":
        return read_weights(path).network
    kept = checkpoints.load(path)
    network = Plan(**kept.plan).network()
    network.load_state_dict(kept.network)
    return network.eval()


def zero_filled(case: Case, _: float) -> np.ndarray:
    return root_sum_of_squares(centred_ifft(case.kspace, PLANE))


def by_grappa(case: Case, weight: float) -> np.ndarray:
    filled = grappa(case.kspace, case.block, KERNEL, weight, sampled=case.sampled)
    return combine(centred_ifft(filled, PLANE), case.maps)


def by_cg_sense(case: Case, weight: float) -> np.ndarray:
    kspace, maps = in_three(case)
    image = cg_sense(kspace, maps, sampled=case.sampled, regularization=weight, iterations=ITERATIONS)
    return image.reshape(case.truth.shape)


def sparse(regularizer: str) -> Make:
    def make(case: Case, weight: float) -> np.ndarray:
        kspace, maps = in_three(case)
        made = compressed_sensing(kspace, maps, sampled=case.sampled, regularizer=regularizer, weight=weight)
        return made.image.reshape(case.truth.shape)

    return make


def in_three(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """k-space and maps with an axis along which no sample lacks, shape (channel, ..., kx)."""
    if case.along_lines:
        return case.kspace, case.maps
    return case.kspace[..., None], case.maps[..., None]


def by_bart(options: str) -> Make:
    """By the same maps."""
    return lambda case, weight: bart(f"pics -S {options}{weight}", case.kspace, case.maps)


def by_network(network: Network) -> Make:
    def make(case: Case, _: float) -> np.ndarray:
        with torch.inference_mode():
            made = network(torch.from_numpy(case.kspace)[None], torch.from_numpy(case.sampled), case.n_centre)
        return made[0].numpy()

    return make


def by_samples(prior: Network) -> Make:
    """The mean of some images that there may be."""
    from echotrain.gadgets.learned.score_sampling import sample_posterior

    def make(case: Case, _: float) -> np.ndarray:
        with torch.inference_mode():
            return sample_posterior(prior, case.kspace, case.sampled, case.maps).mean(0)

    return make
