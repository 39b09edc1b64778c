"""Images as PNG files for a quick look: 8 bits, one file a slice and channel, and a montage of the first series.

The row index grows down the picture and the column index to the right. Nothing is turned or mirrored, so images of
Siemens' own sequences stand on their head: docs/conventions.md says why.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import StorageError

BRIGHT_PERCENTILE = 99.5  # of a series' pixels; what is brighter is white
MAX_TILES = 400  # of the montage

# Counters that may tell the images of a series apart, and how a file's name calls them.
_COUNTERS = {"average": "avg", "contrast": "echo", "phase": "phase", "repetition": "rep", "set": "set"}

Picture = tuple[str, NDArray[np.uint8]]  # name without series and suffix, and pixels (y, x) or (y, x, RGB)


def export_png(images: Iterable[Image], folder: Path) -> list[Path]:
    """Write PNG files such as `series001_slice003_rep002.png`, numbered as in the headers, and `montage.png`.

    Each series is windowed as a whole: magnitude from 0 to the 99.5th percentile, real and imaginary parts
    symmetrically about 0 (rescaled where their attributes say so), phase from -pi to pi (stored as whole numbers: from
    0 to 4095), RGB as it is.

    Raises:
        StorageError: where a file cannot be written.
    """
    folder = Path(folder)
    series: dict[int, list[Image]] = defaultdict(list)
    for image in images:
        series[int(image.head["image_series_index"])].append(image)
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, members in sorted(series.items()):
            pictures = _pictures(members)
            if not written:
                PIL.Image.fromarray(_montage([pixels for _, pixels in pictures[:MAX_TILES]])).save(
                    folder / "montage.png"
                )
            for name, pixels in pictures:
                written.append(folder / f"series{number:03d}_{name}.png")
                PIL.Image.fromarray(pixels).save(written[-1])
    except OSError as reason:
        raise StorageError(f"pictures cannot be written to {folder}: {reason}") from reason
    return [*written, folder / "montage.png"] if written else []


def _pictures(images: list[Image]) -> list[Picture]:
    """The slices of a series in the order of the series, with names that differ."""
    varying = [name for name in (*_COUNTERS, "image_type") if len({int(image.head[name]) for image in images}) > 1]
    by_kind = defaultdict(list)
    for image in images:
        by_kind[int(image.head["image_type"])].append(image)
    grey = {id(image): pixels for kind, same in by_kind.items() for image, pixels in _grey(kind, same)}
    found: dict[str, NDArray[np.uint8]] = {}
    for image in images:
        parts = [f"{_COUNTERS.get(name, 'type')}{int(image.head[name]):03d}" for name in varying]
        for (channel, z), plane in _planes(image, grey[id(image)]):
            counted = [f"slice{int(image.head['slice']):03d}"]
            counted += [f"z{z:03d}"] if image.data.shape[1] > 1 else []
            counted += [*parts, f"channel{channel:03d}"] if channel is not None else parts
            name = "_".join(counted)
            found[name if name not in found else f"{name}_{len(found):04d}"] = plane
    return list(found.items())


def _planes(image: Image, pixels: NDArray[np.uint8]) -> Iterable[tuple[tuple[int | None, int], NDArray[np.uint8]]]:
    """Each plane of (channel, z, y, x) with its channel, where there are several, and z; colours stay together."""
    n_channels, n_z = pixels.shape[:2]
    if image.head["image_type"] == ImageType.RGB and n_channels == 3:
        return [((None, z), np.ascontiguousarray(np.moveaxis(pixels[:, z], 0, -1))) for z in range(n_z)]
    several = n_channels > 1
    return [((c if several else None, z), pixels[c, z]) for c in range(n_channels) for z in range(n_z)]


def _grey(kind: int, images: list[Image]) -> list[tuple[Image, NDArray[np.uint8]]]:
    """Pixels of images of one type in 8 bits, in one window for all."""
    values = [_values(image) for image in images]
    low, high = _window(kind, values)
    scale = 255 / (high - low)
    bytes_of = [
        ((np.nan_to_num(array, nan=low, posinf=high, neginf=low) - low) * scale).clip(0, 255).round().astype(np.uint8)
        for array in values
    ]
    return list(zip(images, bytes_of, strict=True))


def _values(image: Image) -> NDArray[Any]:
    """Pixels as real numbers; those of real and imaginary parts that were stored as whole numbers have their sign."""
    meta = image.meta
    if image.head["image_type"] in (ImageType.REAL, ImageType.IMAGINARY) and "RescaleIntercept" in meta:
        slope, intercept = (float(str(meta.get(f"Rescale{name}", 1))) for name in ("Slope", "Intercept"))
        return image.data * np.float32(slope) + np.float32(intercept)
    return np.abs(image.data) if np.iscomplexobj(image.data) else image.data


def _window(kind: int, values: list[NDArray[Any]]) -> tuple[float, float]:
    """What becomes black and what white."""
    if kind == ImageType.RGB:
        return 0.0, 255.0
    if kind == ImageType.PHASE:
        return (0.0, 4095.0) if np.issubdtype(values[0].dtype, np.integer) else (-math.pi, math.pi)
    sizes = np.concatenate([np.abs(array[np.isfinite(array)].astype(np.float32)).ravel() for array in values])
    bright = float(np.percentile(sizes, BRIGHT_PERCENTILE)) if sizes.size else 0.0
    bright = bright or float(sizes.max(initial=0.0)) or 1.0
    return (-bright, bright) if kind in (ImageType.REAL, ImageType.IMAGINARY) else (0.0, bright)


def _montage(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures side by side in rows, nearly square as a whole; smaller ones lie in the corner of their tile."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    colours = max((picture.shape[2:] for picture in pictures), default=())
    n_columns = math.ceil(math.sqrt(len(pictures)))
    n_rows = math.ceil(len(pictures) / n_columns)
    sheet = np.zeros((n_rows * height, n_columns * width, *colours), np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // n_columns * height, number % n_columns * width
        tile = picture if picture.ndim == sheet.ndim else picture[..., None]
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = tile
    return sheet
