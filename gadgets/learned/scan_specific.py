"""Gadgets that reconstruct a scan by what is fitted to its own lines alone, or goes on from named weights by them."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import fields
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace, Meta, Text
from echotrain.mrd.errors import DataError

from ..cg_sense import CgSense
from ..fourier import FourierTransform
from ..gadget import Gadget
from ..image_headers import worked_on
from ..parameters import parameter
from ..tensors import as_tensor
from .conv_decoder import DecoderFit
from .device import enough_memory
from .figures import is_whitened, line_residual, outside
from .fitting import Fit, Fitted, Progress
from .networks import Reconstruction
from .networks.encoding import along_lines, to_kspace
from .self_supervised import SelfSupervision
from .weights import ModelCard, load_weights

EVERY = 10.0  # seconds between two words on progress, which also show the server that the gadget gets on


class _ScanSpecific(Gadget[KSpace, Image]):
    """What gadgets share that fit something to the lines of each slice, with ESPIRiT's coil maps.

    Maps come as those of CgSense. Volumes are taken slice by slice where lines lack along ky alone.
    """

    takes_image_space_readout = True
    fit: ClassVar[type[Fit]]

    held_out: float = parameter(0.1, "Share of the data that tells when a fit is at its best.", low=0.01, high=0.5)
    seconds: float = parameter(
        0.0, "That a slice may take; 0 for any. Images differ by what these end.", unit="s", low=0
    )
    seed: int = parameter(0, "Of all that is by chance; the same gives the same image.", low=0)
    kernel: tuple[int, ...] = parameter((6, 6, 4), "Samples of ESPIRiT's kernel along kx, ky, kz.", low=1)
    threshold: float = parameter(
        0.03, "Least singular value of signal in ESPIRiT's calibration, in units of the largest.", low=0, high=1
    )
    crop: float = parameter(0.8, "Least eigenvalue of pixels that ESPIRiT's maps cover; others are 0.", low=0, high=1)

    def start(self, header: Header, /) -> None:
        self._transform = FourierTransform()
        self._transform.start(header)
        self._sense = CgSense(kernel=self.kernel, threshold=self.threshold, crop=self.crop)
        self._sense.start(header)
        names = {field.name for field in fields(self.fit)} & set(self.parameters)
        values = {name: getattr(self, name) for name in names}
        self._fit = self.fit(**values | {"seconds": self.seconds or math.inf})
        self._card = self._named()
        self._told: set[str] = set()

    def _named(self) -> Meta:
        """What images say of their model."""
        raise NotImplementedError

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        for unit in kspace.units():
            (channels,) = self._transform.images(unit)
            if not np.isfinite(channels.data).all():
                raise DataError(
                    f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; "
                    "look at the source of the data"
                )
            if not (unit.sampled == unit.sampled[0]).all():
                raise DataError(
                    "lines lack along kz, and fits are to planes; take a conventional chain, such as cg_sense"
                )
            mask = torch.from_numpy(unit.sampled[0].copy())
            maps = as_tensor(self._sense._known(unit, kspace.calibration)[0]).movedim(1, 0)  # (z, channel, y, x)
            lines = to_kspace(as_tensor(channels.data).movedim(1, 0)) * along_lines(mask)
            fitted = []
            for number, (one, seen) in enumerate(zip(lines, maps, strict=True)):
                with enough_memory(type(self).__name__, lines.shape):
                    fitted.append((yield from self._progress(self._fit.steps(one, mask, seen), number)))
            yield from self._image(channels, fitted, lines, mask)

    def finish(self) -> None:
        self._sense.finish()

    def _progress(self, steps: Generator[Progress, None, Fitted], number: int) -> Generator[Text, None, Fitted]:
        """What a fit comes to, with words on how far it is where it takes long."""
        told = time.monotonic()
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                fitted: Fitted = end.value
                return fitted
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                yield Text(
                    f"{type(self).__name__}: slice {number}: {progress.iteration} of at most {self._fit.iterations} "
                    f"iterations, {progress.held_out:.3g} off what is held out"
                )

    def _image(self, channels: Image, fitted: list[Fitted], lines: Tensor, mask: Tensor) -> Iterator[Image | Text]:
        image, maps = (torch.stack([getattr(one, name) for one in fitted]) for name in ("image", "maps"))
        meta = self._card | {"iterations": max(one.best for one in fitted)}
        if is_whitened(lines, mask):
            residual = line_residual(Reconstruction(image.abs(), image, maps), lines, mask)
            meta["EchotrainDataConsistency"] = residual
            meta["EchotrainHeldOut"] = max(one.held_out for one in fitted)
            if beyond := outside(ModelCard(""), {"residual": (residual,)}):
                meta["EchotrainOutside"] = list(beyond.values())
                yield from self._tell(f"{beyond['residual']}; rely on no detail of such images alone")
        else:
            yield from self._tell(
                "lines are not whitened, so neither their noise nor how far images are off them is known; acquire "
                "noise, and put Prewhiten first"
            )
        yield worked_on(channels, image[None].numpy(), by=type(self).__name__, meta=meta)

    def _tell(self, words: str) -> Iterator[Text]:
        """Warn, of each case once."""
        case = words.split()[0]
        if case not in self._told:
            self._told.add(case)
            yield Text(f"warning: {type(self).__name__}: {words}")


class FitDecoder(_ScanSpecific):
    """Reconstruct k-space with missing lines along ky to one complex image by an untrained ConvDecoder, fitted to them.

    Nothing but the lines of the scan is used. Some are held out; the fit ends when their error has not fallen for
    `patience` iterations, and then goes on with all lines for a quarter as long. Images are brought to the lines in the
    end, and say in their meta attributes: EchotrainModel, `iterations` until the error of what was held out was least,
    that error in units of the noise (EchotrainHeldOut), and EchotrainDataConsistency as LearnedReconstruction does.

    Raises:
        DataError: where samples are not finite, calibration lines are missing or too few, the maps see no signal, lines
            lack along kz, or memory does not suffice.

    References: M. Darestani and R. Heckel, Accelerated MRI with un-trained neural networks, IEEE Trans Comput Imaging
    2021, 7:724-733.
    """

    fit = DecoderFit

    iterations: int = parameter(2000, "Iterations at most.", low=1)
    patience: int = parameter(200, "Iterations without less error of lines that are held out, at most.", low=1)
    rate: float = parameter(0.02, "Of Adam.", low=1e-6, high=1)
    channels: int = parameter(32, "Channels of each layer.", low=1)
    layers: int = parameter(6, "Layers, from 8 x 8 pixels to the image.", low=2)
    consistency: float = parameter(
        0.05, "Weight of the decoder's image beside the lines, 1 being theirs in a fully sampled pixel.", low=1e-3
    )

    def _named(self) -> Meta:
        return {"EchotrainModel": "ConvDecoder"}


class LearnFromScan(_ScanSpecific):
    """Reconstruct k-space with missing lines along ky to one complex image by a network that learns from them alone.

    With `model`, weights of that name go on from what they are. The network unrolls a solution for the acquired samples
    (MoDL), and learns to tell some of them from the others; some are held out, and the weights with which they have
    least error are used. Meta attributes are as those of FitDecoder, and EchotrainWeights.

    Raises:
        ConfigError: where there are no such weights, or they are of a network without coil maps.
        DataError: where samples are not finite, calibration lines are missing or too few, the maps see no signal, lines
            lack along kz, or memory does not suffice.

    References: B. Yaman et al., Magn Reson Med 2020, 84:3172-3191; B. Yaman et al., Zero-shot self-supervised learning
    for MRI reconstruction, ICLR 2022, arXiv 2102.07737.
    """

    fit = SelfSupervision

    iterations: int = parameter(120, "Iterations at most.", low=1)
    patience: int = parameter(60, "Iterations without less error of samples that are held out, at most.", low=1)
    rate: float = parameter(4e-3, "Of Adam; 0.0005 suits weights that were trained.", low=1e-6, high=1)
    model: str = parameter("", "Name of the weights to go on from; none for those by chance.")
    cascades: int = parameter(3, "Turns of the network, where it has weights by chance.", low=1)
    channels: int = parameter(16, "Channels of its first layer, where it has weights by chance.", low=1)

    def _named(self) -> Meta:
        if not self.model:
            return {"EchotrainModel": "SSDU"}
        return {"EchotrainModel": f"SSDU {self.model}", "EchotrainWeights": load_weights(self.model).sha256}
