"""Whether maps of uncertainty tell how far images are off, and Stein's estimate the error at acquired samples.

    python benchmarks/uncertainty.py [--dropout NAME] [--ensemble NAME NAME ...] [--posterior NAME]
        [--write] [--card FOLDER] [--slices N] ...

NAME is that of installed weights, or a file. Heads are simulated, with white noise that is known, and no network has
learnt from them; half of them calibrate the factor that deviations are multiplied by, half are judged by. What else
gives samples of an image is a `Sampler` more in `rows_of`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from imaging_report import Report
from torch import Tensor

from echotrain.clients.training.examples import Example
from echotrain.clients.training.masks import Sampling
from echotrain.clients.training.synthetic import Synthetic
from echotrain.clients.training.tissues import icbm152
from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.learned.figures import n_centre_lines
from echotrain.gadgets.learned.networks import Reconstruction, dropping, intensity_scale
from echotrain.gadgets.learned.networks.encoding import along_lines, expand
from echotrain.gadgets.learned.score_sampling import sample_posterior
from echotrain.gadgets.learned.uncertainty import calibration_factor, ensemble, spread, stein_risk, with_dropout
from echotrain.gadgets.learned.weights import Weights, load_weights, read_weights, save_weights

SEED, NOISELESS = 7341, (1e-7, 1e-7)
CENTRE = 0.1  # of the lines, without gaps
PROBES = 2
KERNEL = 6  # of ESPIRiT
DECILES = (0, 2, 4, 6, 8, 9)  # of which a table is given

Sampler = Callable[[Tensor, Tensor, int], Iterator[Reconstruction]]
"""Images by lines with noise of unit variance, (1, channel, ky, kx), the mask of those, and how many at the centre."""


class Case(NamedTuple):
    """A scan of known noise and truth. Intensities are in units of the noise, but for `unit`."""

    clean: Tensor
    """Shape (1, channel, ky, kx)."""
    lines: Tensor
    mask: Tensor
    n_centre: int
    truth: np.ndarray
    head: np.ndarray
    unit: float
    """Of the noise, where the 99th percentile of the image is 1."""


class Judged(NamedTuple):
    """Pixels of the head where the 99th percentile of the image is 1, and mean squared errors of acquired samples."""

    deviation: np.ndarray
    error: np.ndarray
    estimated: float
    true: float


def cases(kind: int, options: argparse.Namespace) -> Iterator[Case]:
    """Heads of a kind, each with lines left out."""
    matrix, channels = (options.matrix,) * 2, (options.channels,) * 2
    heads = Synthetic(icbm152(), matrix, channels, (SEED, kind), n_volumes=options.slices, noise=NOISELESS)
    sampling = Sampling("equispaced", (options.acceleration,), (CENTRE,))
    for number, (example,) in enumerate(heads.volumes()):
        yield undersampled(example, sampling, options.noise, (SEED, kind, number))


def undersampled(example: Example, sampling: Sampling, noise: float, seed: tuple[int, ...]) -> Case:
    """White noise of the deviation `noise` in real and imaginary part, and fewer lines."""
    unit = noise * 2**0.5
    mask = torch.from_numpy(sampling.mask(example.kspace.shape[-2], seed))
    random = np.random.default_rng(seed)
    white = random.standard_normal((*example.kspace.shape, 2), np.float32).view(np.complex64)[..., 0]
    clean = torch.from_numpy(example.kspace / np.float32(unit))[None] * along_lines(mask)
    lines = clean + torch.from_numpy(white * np.float32(0.5**0.5))[None] * along_lines(mask)
    return Case(clean, lines, mask, n_centre_lines(mask.numpy()), example.truth / unit, example.head, unit)


def by_networks(members: Sequence[Weights], seeds: Sequence[int | None] = (None,)) -> Sampler:
    """Of each network an image, or one with channels dropped by each seed."""

    @torch.inference_mode()
    def sample(lines: Tensor, mask: Tensor, n_centre: int) -> Iterator[Reconstruction]:
        scale = intensity_scale(lines, n_centre)
        for weights in members:
            for seed in seeds:
                with dropping(None if seed is None else torch.Generator().manual_seed(seed)):
                    magnitude, image, maps = weights.network.reconstruct(lines / scale, mask, n_centre)
                yield Reconstruction(magnitude * scale, image * scale, maps)

    return sample


def judged(sample: Sampler, case: Case) -> Judged:
    """What the samples say of a case, and what is true."""

    def predict(lines: Tensor) -> Tensor:
        made = spread(sample(lines, case.mask, case.n_centre)).made
        return expand(made.image, made.maps)

    made, deviation = spread(sample(case.lines, case.mask, case.n_centre))
    predicted, acquired = expand(made.image, made.maps), case.mask[:, None]
    off = (predicted - case.clean)[..., case.mask, :]
    error = (made.magnitude[0].numpy() - case.truth)[case.head] * case.unit
    estimated = stein_risk(predict, case.lines, acquired, predicted, probes=PROBES)
    return Judged(deviation[0].numpy()[case.head] * case.unit, error, estimated, float(off.abs().square().mean()))


def by_posterior(weights: Weights, n_samples: int) -> Sampler:
    """Images that a prior draws, by ESPIRiT's maps."""

    @torch.inference_mode()
    def sample(lines: Tensor, mask: Tensor, n_centre: int) -> Iterator[Reconstruction]:
        first = lines.shape[-2] // 2 - n_centre // 2
        kernel = (KERNEL, min(KERNEL, n_centre - 2))
        block = lines[0, :, first : first + n_centre].numpy()
        maps = torch.from_numpy(espirit_maps(block, lines.shape[-2:], kernel=kernel).maps[0])
        scale = float(intensity_scale(lines, n_centre))
        drawn = sample_posterior(weights.network, lines[0] / scale, mask, maps, n_samples=n_samples, noise=1 / scale)
        for image in drawn * scale:
            yield Reconstruction(image.abs()[None], image[None], maps[None])

    return sample


class Row(NamedTuple):
    """A line of each table."""

    name: str
    factor: float
    found: list[Judged]

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Deviations and magnitudes of errors, of all heads."""
        return np.concatenate([one.deviation for one in self.found]), np.abs(
            np.concatenate([one.error for one in self.found])
        )

    def cells(self) -> list[str]:
        """Correlations, means over heads; and of the pixels of all heads those within 1 and 2 deviations."""
        kinds = (scipy.stats.pearsonr, scipy.stats.spearmanr)
        correlations = [np.mean([kind(one.deviation, np.abs(one.error))[0] for one in self.found]) for kind in kinds]
        deviation, error = self.pixels()
        within = [f"{np.mean(error <= n * f * deviation):.1%}" for f in (1, self.factor) for n in (1, 2)]
        return [self.name, *(f"{one:.2f}" for one in correlations), *within[:2], f"{self.factor:.2f}", *within[2:]]

    def deciles(self) -> list[str]:
        """Root mean square of errors over that of calibrated deviations, from the tenth with the least of these on."""
        deviation, error = self.pixels()
        parts = np.array_split(np.argsort(deviation), 10)
        ratios = [np.sqrt(np.mean(error[part] ** 2) / np.mean((self.factor * deviation[part]) ** 2)) for part in parts]
        return [self.name, *(f"{ratios[number]:.2f}" for number in DECILES)]

    def risks(self) -> list[str]:
        """Estimated and true errors of acquired samples."""
        estimated, true = (np.array([getattr(one, name) for one in self.found]) for name in ("estimated", "true"))
        off = np.abs(estimated - true) / true
        return [self.name, f"{estimated.mean():.3f}", f"{true.mean():.3f}", f"{np.median(off):.1%}", f"{off.max():.1%}"]


def row(name: str, sample: Sampler, options: argparse.Namespace) -> Row:
    """Calibrated by some heads, judged by others."""
    first = Row(name, 1.0, [judged(sample, case) for case in cases(0, options)])
    return Row(name, calibration_factor(*first.pixels()), [judged(sample, case) for case in cases(1, options)])


def rows_of(options: argparse.Namespace) -> Iterator[tuple[Row, Weights, str]]:
    """Each with the weights whose card has its factor, and the name that it has there."""
    if options.dropout:
        weights = with_dropout([named(options.dropout)])
        name = f"dropout, {options.samples} draws"
        yield row(name, by_networks(weights, range(options.samples)), options), weights[0], "uncertainty_dropout"
    if options.ensemble:
        members = ensemble([named(name) for name in options.ensemble])
        yield row(f"{len(members)} networks", by_networks(members), options), members[0], "uncertainty_ensemble"
    if options.posterior:
        prior, name = named(options.posterior), f"posterior, {options.samples} samples"
        yield row(name, by_posterior(prior, options.samples), options), prior, "uncertainty_posterior"


def named(name: str) -> Weights:
    """Installed weights, or those of a file."""
    return read_weights(Path(name)) if Path(name).is_file() else load_weights(name)


def main() -> None:
    """Print the tables; write them to the page, and factors to cards, where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dropout", metavar="NAME", help="weights that were trained with dropout")
    parser.add_argument("--ensemble", metavar="NAME", nargs="+", help="weights of several networks")
    parser.add_argument("--posterior", metavar="NAME", help="weights of a prior over images")
    parser.add_argument("--samples", type=int, default=8, help="draws of dropout, or of a posterior")
    parser.add_argument("--slices", type=int, default=8, help="to calibrate, and as many to judge by")
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.015, help="where the 99th percentile of the image is 1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="replace the tables of docs/benchmarks.md")
    parser.add_argument("--card", type=Path, help="folder for copies of the weights whose cards have the factors")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, report = [], Report(None)
    for one, weights, name in rows_of(options):
        rows.append(one)
        if options.card:
            figures = {**weights.card.figures, name: {"factor": round(one.factor, 3)}}
            options.card.mkdir(parents=True, exist_ok=True)
            path = options.card / f"{weights.name}.safetensors"
            save_weights(path, weights.network, replace(weights.card, figures=figures))
    what = f"{options.slices} heads of {options.matrix} x {options.matrix}, {options.channels} channels"
    what += f", R = {options.acceleration}, noise {options.noise:g}"
    correlated = ("samples", "Pearson", "Spearman", "within 1", "within 2", "factor", "then within 1", "then within 2")
    report.table(f"Deviations against true errors in {what}", correlated, [one.cells() for one in rows])
    tenths = ("samples", *(f"tenth {number + 1}" for number in DECILES))
    report.table("Errors over calibrated deviations, by tenths of pixels", tenths, [one.deciles() for one in rows])
    risks = ("samples", "Stein's estimate", "true", "median difference", "greatest")
    report.table(
        "Mean squared error of acquired samples over that of their noise", risks, [one.risks() for one in rows]
    )
    if options.write:
        report.write("uncertainty")


if __name__ == "__main__":
    main()
