"""How good a network is on slices that it has not learnt from, beside images whose missing lines stay 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.gadgets.learned.networks import Network
from echotrain.gadgets.learned.networks.encoding import magnitude, to_image
from echotrain.mrd import Image

from ..png import export_png
from .batches import Shown, show
from .examples import Source, centre_crop, single_coil
from .masks import Sampling
from .metrics import Figures, compare

PICTURES = 4  # volumes, of whose middle slice a picture is made
AMPLIFIED = 5  # differences, in pictures

Report = dict[str, dict[str, float]]


def validate(
    network: Network,
    source: Source,
    samplings: Sequence[Sampling],
    *,
    device: torch.device,
    one_coil: bool = False,
    pictures: Path | None = None,
) -> Report:
    """Figures for each sampling, means over the volumes, as `network`, `network_head`, `zero_filled` and so on.

    Pictures show the truth, the image of the lines that were taken, the network's, and five times its difference.

    Raises:
        StorageError: where pictures cannot be written.
    """
    network.eval()
    report, drawn = {}, []
    with torch.no_grad():
        for sampling in samplings:
            found: dict[str, list[Figures]] = {}
            for number, volume in enumerate(source.volumes()):
                slices = [single_coil(example) if one_coil else example for example in volume]
                truth, heads = (np.stack([getattr(each, name) for each in slices]) for name in ("truth", "head"))
                pairs = [_images(network, show(each, sampling, (0, number)).to(device)) for each in slices]
                images = {name: np.stack([pair[name] for pair in pairs]) for name in pairs[0]}
                for name, stack in images.items():
                    found.setdefault(name, []).append(compare(stack, truth))
                    found.setdefault(f"{name}_head", []).append(compare(stack, truth, heads))
                if pictures is not None and number < PICTURES:
                    row = _picture(truth, images, len(slices) // 2)
                    drawn.append(Image(row).with_data(row, image_series_index=sampling.accelerations[0], slice=number))
            key = f"R{sampling.accelerations[0]}"
            for name, figures in found.items():
                means = np.mean(np.array(figures), axis=0)
                report[f"{key}_{name}"] = {
                    what: float(value) for what, value in zip(Figures._fields, means, strict=True)
                }
    network.train()
    if pictures is not None:
        export_png(drawn, pictures)
    return report


def _images(network: Network, shown: Shown) -> dict[str, NDArray[np.float32]]:
    """Images at the scale of the scan. Shapes (y, x)."""
    empty = centre_crop(magnitude(to_image(shown.kspace)), tuple(shown.truth.shape[-2:]))
    pair = {"network": shown.image(network), "zero_filled": empty}
    return {name: (shown.scale * image[0]).cpu().numpy() for name, image in pair.items()}


def _picture(truth: NDArray[Any], images: dict[str, NDArray[np.float32]], index: int) -> NDArray[np.float32]:
    """Pictures side by side, the brightest of the truth as 1. Shape (1, 1, y, x)."""
    parts = [truth[index], images["zero_filled"][index], images["network"][index]]
    parts.append(AMPLIFIED * np.abs(parts[2] - parts[0]))
    row: NDArray[np.float32] = (np.concatenate(parts, axis=1) / truth[index].max()).clip(0, 1).astype(np.float32)
    return row[None, None]
