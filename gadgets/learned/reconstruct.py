"""Learned reconstruction of undersampled k-space, checked against the data and against what the weights are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace, Meta, Text
from echotrain.mrd.errors import DataError

from ..cg_sense import CgSense
from ..fourier import FourierTransform
from ..gadget import Gadget
from ..image_headers import STD_MAP, worked_on
from ..parameters import parameter
from ..tensors import as_tensor
from .choice import best, candidates, refused
from .device import best_device, enough_memory
from .figures import line_residual, n_centre_lines, outside, scan_figures
from .networks import Network, Reconstruction, dropping, intensity_scale
from .networks.encoding import along_lines, expand, to_kspace
from .uncertainty import acquired_samples, card_factor, ensemble, has_unit_noise, spread, stein_risk, with_dropout
from .weights import Weights

FEWEST = 4  # lines around the centre, below which nothing tells the coils
BESIDE = 500  # added to the number of the series of conventional images
DEVIATION = 600  # and of maps of the deviation

Given = TypeVar("Given")


class _CheckedReconstruction(Gadget[KSpace, Image]):
    """What gadgets share whose images rest on weights: the image, its deviation, and what is to be said of both."""

    takes_image_space_readout = True

    model: str = parameter(
        "sense_varnet",
        "Name of the weights, or of an architecture, of whose weights those for the scan's acceleration are taken.",
    )
    beside: bool = parameter(
        False, f"Give the image of CgSense, with its default values, with each as well: series + {BESIDE}."
    )
    probes: int = parameter(0, "Random probes for Stein's estimate of the error; 0 for none of it.", low=0)

    def _candidates(self) -> list[Weights]:
        """The weights that there are to choose from."""
        return candidates(self.model)

    def _reconstructed(
        self, members: Sequence[Weights], mask: Tensor, n_centre: int, lines: Tensor
    ) -> tuple[Reconstruction, Tensor | None]:
        """The image, and the deviation of its magnitude where one is wanted. `lines`: (slice, channel, ky, kx)."""
        raise NotImplementedError

    def _samples(self) -> tuple[str, str]:
        """What the deviation is over: the word for it on model cards, and in words."""
        raise NotImplementedError

    def start(self, header: Header, /) -> None:
        self._header = header
        self._transform, self._conventional = FourierTransform(), CgSense()
        self._transform.start(header)
        self._conventional.start(header)
        self._device = best_device()
        self._told: set[str] = set()
        self._weights = self._candidates()
        self._factors = {one.name: card_factor(one, self._samples()[0]) for one in self._weights}

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        for unit in kspace.units():
            unit = self._with_calibration(unit)
            (channels,) = self._transform.images(unit)
            if not np.isfinite(channels.data).all():
                raise DataError(
                    f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; "
                    "look at the source of the data"
                )
            mask, n_centre = self._lines(unit)
            lines = to_kspace(as_tensor(channels.data).movedim(1, 0)) * along_lines(mask)  # (z, channel, ky, kx)
            figures = scan_figures(lines, mask, n_centre, intensity_scale(lines, n_centre))
            members, device = self._members(figures), self._device
            reconstructed = partial(self._reconstructed, members, mask, n_centre)
            made, deviation = reconstructed(lines)
            if self._device != device:
                yield from self._tell("gpu", "the GPU has not enough memory free, so images are made on the CPU")
            if "noise" in figures:
                figures["residual"] = (line_residual(made, lines, mask),)
            else:
                yield from self._tell(
                    "unwhitened",
                    "lines are not whitened, so neither their noise nor how far images are off them is known; acquire "
                    "noise, and put Prewhiten first",
                )
            beyond: list[str] = []
            for weights in members:
                for name, words in outside(weights.card, figures).items():
                    beyond += [words] * (words not in beyond)
                    yield from self._tell(
                        f"{name} {weights.name}",
                        f"{words}, as weights {weights.name} are for; rely on no detail of such images alone",
                    )
            meta: Meta = {
                "EchotrainModel": " ".join(weights.name for weights in members),
                "EchotrainWeights": " ".join(weights.sha256 for weights in members),
            }
            if "residual" in figures:
                meta["EchotrainDataConsistency"] = figures["residual"][0]
            if beyond:
                meta["EchotrainOutside"] = beyond
            if self.probes:
                acquired = mask[:, None] & acquired_samples(unit.head, lines.shape[-1])
                if has_unit_noise(lines, acquired):
                    meta["EchotrainSure"] = _stein_risk(reconstructed, made, lines, acquired, self.probes)
                else:
                    yield from self._tell(
                        "stein",
                        "the noise of lines is not of unit variance, so Stein's estimate of the error is not known; "
                        "acquire noise, put Prewhiten first, and keep averages apart",
                    )
            image = torch.polar(made.magnitude.clamp_min(0), made.image.angle())
            yield worked_on(channels, image[None].numpy(), by=type(self).__name__, meta=meta)
            if deviation is not None:
                yield from self._deviation(meta, members[0], channels, deviation)
            if self.beside:
                yield from self._beside(unit)

    def finish(self) -> None:
        self._conventional.finish()

    def _with_calibration(self, unit: KSpace) -> KSpace:
        """`unit` with lines for calibration alone as well, where they are of the same image."""
        calibration = unit.calibration
        separate = self._header.encoding(int(unit.head["encoding_space_ref"])).calibration_mode
        if calibration is None or separate in ("separate", "external") or calibration.data.shape != unit.data.shape:
            return unit
        added = calibration.sampled & ~unit.sampled
        data = np.where(added[..., None], calibration.data, unit.data)
        return replace(unit, data=data, sampled=unit.sampled | added)

    def _lines(self, unit: KSpace) -> tuple[Tensor, int]:
        """Which lines along ky were acquired, and how many around the centre without gaps."""
        rows = unit.sampled[0]
        if not (unit.sampled == rows).all():
            raise DataError(
                "lines lack along kz, and networks are of planes; take a conventional chain, such as cg_sense"
            )
        n_centre = n_centre_lines(rows)
        if n_centre < min(FEWEST, len(rows)):
            raise DataError(
                f"{n_centre} lines around the centre of k-space were acquired without gaps, and networks need {FEWEST} "
                "or more; acquire the centre of k-space without gaps"
            )
        return torch.from_numpy(rows.copy()), n_centre

    def _members(self, figures: dict[str, tuple[float, ...]]) -> list[Weights]:
        """The weights for a scan."""
        return [_fitting(best(self._weights, figures), figures)]

    def _anywhere(self, weights: Weights, lines: Tensor, run: Callable[[torch.device], Given]) -> Given:
        """What `run` gives for lines on the GPU or, where there is none or too small a one, on the CPU."""
        if self._device.type != "cpu":
            try:
                return run(self._device)
            except torch.OutOfMemoryError:
                self._device = torch.device("cpu")
        with enough_memory(f"weights {weights.name}", lines.shape):
            return run(self._device)

    def _deviation(self, meta: Meta, weights: Weights, channels: Image, deviation: Tensor) -> Iterator[Image | Text]:
        _, over = self._samples()
        said: Meta = {"EchotrainUncertainty": f"standard deviation over {over}"}
        factor = self._factors[weights.name]
        if factor:
            said["EchotrainUncertaintyFactor"] = factor
        else:
            yield from self._tell(
                "factor",
                f"the card of weights {weights.name} has no factor for deviations over {over}, so errors may be "
                "several times as large; calibrate it by benchmarks/uncertainty.py",
            )
        yield worked_on(
            channels,
            (deviation[None] * (factor or 1.0)).to(torch.complex64).numpy(),
            by=type(self).__name__,
            meta={**meta, **said, "DataRole": STD_MAP, "GADGETRON_DataRole": STD_MAP},
            image_series_index=int(channels.head["image_series_index"]) + DEVIATION,
        )

    def _beside(self, unit: KSpace) -> Iterator[Image | Text]:
        try:
            for image in self._conventional.process(unit):
                series = int(image.head["image_series_index"]) + BESIDE
                yield image.with_data(image.data, image_series_index=series)
        except DataError as error:
            yield from self._tell("beside", f"there is no conventional image beside: {error.message}")

    def _tell(self, case: str, words: str) -> Iterator[Text]:
        """Warn of a case, once."""
        if case not in self._told:
            self._told.add(case)
            yield Text(f"warning: {type(self).__name__}: {words}")


class LearnedReconstruction(_CheckedReconstruction):
    """Reconstruct k-space with missing lines along ky to one complex image by a network, whose weights are named.

    Volumes are taken slice by slice where lines lack along ky alone. Lines must be whitened for their noise to be
    known. The image's meta attributes name the weights (EchotrainModel, EchotrainWeights: the file's SHA-256), and say
    how far the image is off the acquired lines in units of their noise (EchotrainDataConsistency), and what of the scan
    is beyond the ranges on the weights' model card (EchotrainOutside), of which the client is warned as well.

    With `uncertainty` the image is a mean, and the deviation of magnitudes comes as series + 600: EchotrainUncertainty
    says what it is over, and EchotrainUncertaintyFactor by what it was multiplied, where the card has a factor that was
    calibrated. With `probes`, EchotrainSure is Stein's estimate of the mean squared error of acquired samples.

    It runs on a GPU where there is one, and on the CPU where memory of that does not suffice.

    Raises:
        ConfigError: where there are no such weights, their file is not what it should be, or they tell no uncertainty.
        DataError: where samples are not finite, lines lack along kz or around the centre, the weights are for a single
            channel, or memory does not suffice.
    """

    uncertainty: Literal["none", "dropout", "ensemble"] = parameter(
        "none", f"Mean and deviation over draws of dropout, or over all weights in `model`: series + {DEVIATION}."
    )
    samples: int = parameter(8, "Draws of dropout.", low=2)

    def _candidates(self) -> list[Weights]:
        if self.uncertainty == "ensemble":
            return ensemble([one for name in self.model.split() for one in candidates(name)])
        found = super()._candidates()
        return with_dropout(found) if self.uncertainty == "dropout" else found

    def _members(self, figures: dict[str, tuple[float, ...]]) -> list[Weights]:
        if self.uncertainty != "ensemble":
            return super()._members(figures)
        return [_fitting(weights, figures) for weights in self._weights]

    def _samples(self) -> tuple[str, str]:
        dropout = self.uncertainty == "dropout"
        return self.uncertainty, f"{self.samples} draws of dropout" if dropout else f"{len(self._weights)} networks"

    def _reconstructed(
        self, members: Sequence[Weights], mask: Tensor, n_centre: int, lines: Tensor
    ) -> tuple[Reconstruction, Tensor | None]:
        scale = intensity_scale(lines, n_centre)
        seeds = range(self.samples) if self.uncertainty == "dropout" else (None,)
        made = (self._made(weights, seed, lines, mask, n_centre, scale) for weights in members for seed in seeds)
        return (next(made), None) if self.uncertainty == "none" else spread(made)

    def _made(
        self, weights: Weights, seed: int | None, lines: Tensor, mask: Tensor, n_centre: int, scale: Tensor
    ) -> Reconstruction:
        return self._anywhere(weights, lines, lambda device: _run(weights, device, seed, lines, mask, n_centre, scale))


def _fitting(weights: Weights, figures: dict[str, tuple[float, ...]]) -> Weights:
    """`weights`, where they are for as many channels."""
    if refused(weights.card, figures):
        raise DataError(
            f"weights {weights.name} are for a single channel, and lines have {figures['channels'][0]:g}; take "
            "weights for several, or compress the coils to one channel"
        )
    return weights


def _stein_risk(
    reconstructed: Callable[[Tensor], tuple[Reconstruction, Tensor | None]],
    made: Reconstruction,
    lines: Tensor,
    acquired: Tensor,
    probes: int,
) -> float:
    def predict(moved: Tensor) -> Tensor:
        image, _ = reconstructed(moved)
        return expand(image.image, image.maps)

    return stein_risk(predict, lines, acquired, expand(made.image, made.maps), probes=probes)


@torch.inference_mode()
def _run(
    weights: Weights,
    device: torch.device,
    seed: int | None,
    lines: Tensor,
    mask: Tensor,
    n_centre: int,
    scale: Tensor,
) -> Reconstruction:
    """What a network makes of slices, one at a time, at the intensities that they came with; on the CPU.

    With a `seed`, channels are dropped.

    Raises:
        DataError: where pixels are not finite.
    """
    network = _placed(weights.network, device)
    slices = []
    with dropping(None if seed is None else torch.Generator().manual_seed(seed)):
        for one, unit in zip(lines, scale, strict=True):
            made = network.reconstruct((one / unit).to(device)[None], mask.to(device), n_centre)
            magnitude, image, maps = (part[0].cpu() for part in made)
            slices.append(Reconstruction(magnitude * unit, image * unit, maps))
    whole = Reconstruction(*(torch.stack(parts) for parts in zip(*slices, strict=True)))
    if not whole.magnitude.isfinite().all():
        raise DataError(f"weights {weights.name} give pixels that are not finite; take others")
    return whole


@lru_cache(maxsize=8)
def _placed(network: Network, device: torch.device) -> Network:
    """`network` on a device; kept there for the k-spaces that follow."""
    return network if device.type == "cpu" else deepcopy(network).to(device)
