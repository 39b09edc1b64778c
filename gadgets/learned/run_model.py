"""A gadget that runs a network of another maker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from echotrain.mrd import Header, Image, ImageType, KSpace
from echotrain.mrd.errors import DataError

from ..fourier import FourierTransform
from ..gadget import Gadget
from ..image_headers import image_type, is_map, worked_on
from ..parameters import parameter
from ..tensors import as_tensor
from .device import enough_memory
from .models import SIZES, load_model
from .networks.encoding import along_lines, to_kspace


class RunModel(Gadget[KSpace | Image, Image]):
    """Run a model that the operator installed, TorchScript or ONNX, on k-space or on images, as its description says.

    Slices of volumes are taken one by one. Where it takes images, maps such as that of the g-factor pass untouched;
    where it takes k-space, images do.

    Raises:
        ConfigError: where there is no such model, or its files are not what they should be.
        DataError: where data is not what the model takes or not finite, what it gives is not what it should be, or
            memory does not suffice.
    """

    takes_image_space_readout = True

    model: str = parameter("model", "Name of the model.")

    def start(self, header: Header, /) -> None:
        self._model = load_model(self.model)
        self._transform = FourierTransform()
        self._transform.start(header)

    def process(self, item: KSpace | Image, /) -> Iterator[Image]:
        takes = self._model.description.takes
        if isinstance(item, Image):
            yield item if takes == "kspace" or is_map(item) else self._made(item, as_tensor(item.data).movedim(1, 0))
            return
        if takes == "image":
            raise DataError(
                f"model {self.model} takes images, not k-space; put FourierTransform and CombineCoils first"
            )
        for unit in item.units():
            if not (unit.sampled == unit.sampled[0]).all():
                raise DataError(f"lines lack along kz, and model {self.model} is of planes; take another chain")
            (channels,) = self._transform.images(unit)
            lines = to_kspace(as_tensor(channels.data).movedim(1, 0))
            yield self._made(channels, lines * along_lines(torch.from_numpy(unit.sampled[0].copy())))

    def _made(self, image: Image, slices: Tensor) -> Image:
        """What the model gives for slices, as `image`. Shape (z, channel, y, x)."""
        if not slices.isfinite().all():
            raise DataError(f"image {image.head['image_index']} or its lines are not finite; look at their source")
        for axis, size in zip(SIZES, slices.shape[1:], strict=True):
            wanted = self._model.description.sizes.get(axis, size)
            if size != wanted:
                raise DataError(f"model {self.model} takes {axis} of the size {wanted}, not {size}; resize before it")
        if self._model.description.input == "magnitude":
            if not slices.is_complex() and image_type(image) != ImageType.MAGNITUDE:
                raise DataError(f"model {self.model} takes magnitudes, not {image_type(image).name.lower()} images")
            slices = slices.abs().float()
        elif not slices.is_complex():
            raise DataError(f"model {self.model} takes complex images; put it before parts are taken")
        with enough_memory(f"model {self.model}", slices.shape), torch.inference_mode():
            data = torch.stack([self._slice(one[None])[0] for one in slices], 1).numpy()  # (channel, z, y, x)
        kind = ImageType.COMPLEX if np.iscomplexobj(data) else ImageType.MAGNITUDE
        meta = {"EchotrainModel": self.model}
        return worked_on(image, data, by=type(self).__name__, meta=meta, image_type=kind)

    def _slice(self, image: Tensor) -> Tensor:
        """What the model gives for a slice. Shape (1, channel, y, x)."""
        description = self._model.description
        offset, factor = torch.zeros(()), torch.ones(())
        if description.normalise == "maximum":
            factor = image.abs().max()
        elif description.normalise == "deviation":
            factor = image.std()
            offset = offset if image.is_complex() else image.mean()
        factor = torch.where(factor > 0, factor, 1)
        given = (image - offset) / factor
        if description.input == "parts":
            given = torch.cat([given.real, given.imag], 1)
        made = self._model.run(given)
        parts = description.output == "parts"
        shape, kind = tuple(made.shape), str(made.dtype).removeprefix("torch.")
        fits = len(shape) == 4 and (shape[0], *shape[2:]) == (1, *image.shape[2:]) and not (parts and shape[1] % 2)
        if not fits or made.is_complex() != (description.output == "complex") or not made.isfinite().all():
            raise DataError(
                f"model {self.model} gives {kind} of the shape {shape}, or pixels that are not finite, for slices of "
                f"{tuple(image.shape)}; its description says {description.output}"
            )
        if parts:
            made = torch.complex(*made.float().chunk(2, 1))
        made = made.to(torch.complex64 if made.is_complex() else torch.float32)
        return made * factor + offset
