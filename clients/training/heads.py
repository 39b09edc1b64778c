"""Synthetic slices of a head: the template bent, cut in any plane, given skull and scalp, and any contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .fields import smooth_field
from .tissues import COARSE, Tissues

Map = NDArray[np.float32]

# Proton density, T1 [ms] and T2 [ms] at 3 T, about as in the literature; each head has its own, near these.
TISSUES = {
    "grey": (0.82, 1400.0, 95.0),
    "white": (0.70, 850.0, 70.0),
    "fluid": (1.0, 4000.0, 1500.0),
    "bone": (0.1, 400.0, 5.0),
    "marrow": (0.6, 400.0, 60.0),
    "fat": (0.9, 380.0, 80.0),
    "skin": (0.75, 1100.0, 45.0),
    "lesion": (0.9, 1700.0, 160.0),
    "vessel": (0.9, 1700.0, 120.0),
}
FLOW_VOID, FAT_SATURATED, ARBITRARY, INVERTED = 0.4, 0.3, 0.15, 0.3  # how often
EDGE_MM = 1.2  # width of the border between layers

# Rows and columns of a slice, and how far from the middle it may lie [mm], in x right, y anterior, z superior.
PLANES = {
    "axial": ((0, -1, 0), (1, 0, 0), (-40.0, 55.0)),
    "coronal": ((0, 0, -1), (1, 0, 0), (-65.0, 60.0)),
    "sagittal": ((0, 0, -1), (0, 1, 0), (-55.0, 55.0)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A slice of a head, and where it lies."""

    image: NDArray[np.complex64]
    """Transverse magnetisation, about 1 at the most, shape (y, x)."""

    head: Map
    """1 inside of the head, 0 outside, shape (y, x)."""

    middle_mm: NDArray[np.float64]
    """Of the middle of the picture, from the middle of the head, in x right, y anterior, z superior; shape (3,)."""

    axes_mm: NDArray[np.float64]
    """From one pixel to the next down a column, and along a row; shape (2, 3)."""


def draw_slice(random: np.random.Generator, tissues: Tissues, shape: tuple[int, int]) -> Slice:
    """A head that is unlike any other, in a plane near to axial, coronal or sagittal."""
    middle, axes = _plane(random, shape)
    pixel_mm = float(np.linalg.norm(axes, axis=1).mean())
    positions = _bent(random, _positions(middle, axes, shape), pixel_mm)
    fractions, head = _tissue_fractions(random, tissues, positions, pixel_mm)
    _add_lesions(random, fractions, pixel_mm)
    _add_vessels(random, fractions, head, pixel_mm)
    intensity = _contrast(random)
    image = sum((fraction * intensity[name] for name, fraction in fractions.items()), np.zeros(shape, np.float32))
    for scale_mm, strength in ((15.0, 0.05), (4.0, 0.04), (1.5, 0.03)):
        image *= 1 + strength * random.uniform() * smooth_field(random, shape, scale_mm / pixel_mm)[0]
    image /= max(float(np.percentile(image, 99.5)), 1e-6)
    return Slice((image * np.exp(1j * _phase(random, shape))).astype(np.complex64), head, middle, axes)


def _plane(random: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    down, along, (low, high) = PLANES[random.choice(list(PLANES))]
    frame = np.array([down, along, np.cross(down, along)], np.float64)
    turn = Rotation.from_rotvec(random.normal(0, np.deg2rad(8), 3))
    frame = turn.apply(frame)
    middle = frame[2] * np.sign(np.cross(down, along).sum()) * random.uniform(low, high) + random.normal(0, 6, 3)
    if random.uniform() < 0.5:
        frame = frame[[1, 0, 2]]  # the phase may be encoded either way
    pixels_mm = random.uniform(210, 280, 2) / shape * random.choice([-1, 1], 2)
    return middle, frame[:2] * pixels_mm[:, None]


def _positions(middle: NDArray[np.float64], axes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Where the pixels lie [mm]. Shape (3, y, x)."""
    y, x = (np.arange(n) - n // 2 for n in shape)
    positions: NDArray[np.float64] = (
        middle[:, None, None] + axes[0][:, None, None] * y[:, None] + axes[1][:, None, None] * x
    )
    return positions


def _bent(random: np.random.Generator, positions: NDArray[np.float64], pixel_mm: float) -> NDArray[np.float64]:
    """Positions in the template: scaled and sheared, and moved by some millimetres, smoothly."""
    affine = np.diag(random.uniform(0.88, 1.12, 3)) + random.normal(0, 0.03, (3, 3))
    shape = (positions.shape[1], positions.shape[2])
    moved = random.uniform(0, 4) * smooth_field(random, shape, 40 / pixel_mm, 3)
    moved += random.uniform(0, 1) * smooth_field(random, shape, 12 / pixel_mm, 3)
    bent: NDArray[np.float64] = np.einsum("ij,jyx->iyx", affine, positions) + moved
    return bent


def _tissue_fractions(
    random: np.random.Generator, tissues: Tissues, positions: NDArray[np.float64], pixel_mm: float
) -> tuple[dict[str, Map], Map]:
    """What each pixel consists of, and the head; layers around the brain follow its hull."""
    voxels = positions + (np.array(tissues.grey.shape)[:, None, None] - 1) / 2
    fractions = {
        name: scipy.ndimage.map_coordinates(getattr(tissues, name), voxels, np.float32, order=1) / np.float32(255)
        for name in ("grey", "white", "fluid")
    }
    outside = 1 - np.clip(sum(fractions.values(), np.zeros(1, np.float32)), 0, 1)
    distance = scipy.ndimage.map_coordinates(tissues.distance_mm, voxels / COARSE, np.float32, order=1, mode="nearest")
    shape = (positions.shape[1], positions.shape[2])
    uneven = 1 + 0.2 * np.clip(smooth_field(random, shape, 30 / pixel_mm, 6), -2, 2)
    thickness = [random.uniform(*limits) for limits in ((1, 4), (0.8, 2), (1, 5), (0.8, 2), (1, 9), (1, 2.5))]
    depth = np.zeros(shape, np.float32)
    closer = np.zeros(shape, np.float32)
    for name, thick, factor in zip(("fluid", "bone", "marrow", "bone", "fat", "skin"), thickness, uneven, strict=True):
        depth = depth + np.float32(thick) * factor
        within = np.clip(0.5 + (depth - distance) / EDGE_MM, 0, 1)
        fractions[name] = fractions.get(name, np.zeros(shape, np.float32)) + outside * (within - closer)
        closer = within
    return fractions, closer


def _replace(fractions: dict[str, Map], name: str, part: Map) -> None:
    """Let `part` of each pixel consist of `name`, in the place of what was there."""
    for other in fractions:
        fractions[other] = fractions[other] * (1 - part)
    fractions[name] = fractions.get(name, np.zeros_like(part)) + part


def _add_lesions(random: np.random.Generator, fractions: dict[str, Map], pixel_mm: float) -> None:
    shape = fractions["grey"].shape
    solid = fractions["grey"] + fractions["white"]
    inside = np.argwhere(solid > 0.5)
    for _ in range(random.poisson(1.5) if len(inside) else 0):
        centre = inside[random.integers(len(inside))]
        y, x = np.ogrid[: shape[0], : shape[1]]
        radius = np.exp(random.uniform(np.log(1.5), np.log(12))) / pixel_mm
        stretch = random.uniform(0.6, 1.6)
        away = np.hypot((y - centre[0]) * stretch, (x - centre[1]) / stretch) / radius
        uneven = 0.25 * smooth_field(random, (shape[0], shape[1]), max(2.0, radius / 2))[0]
        _replace(fractions, "lesion", (solid * np.clip(2 * (1 - away + uneven), 0, 1)).astype(np.float32))


def _add_vessels(random: np.random.Generator, fractions: dict[str, Map], head: Map, pixel_mm: float) -> None:
    """Thin lines where a smooth field passes 0, as long as another lets them."""
    shape = (head.shape[0], head.shape[1])
    for _ in range(random.integers(0, 4)):
        field, gate = smooth_field(random, shape, 25 / pixel_mm)[0], smooth_field(random, shape, 20 / pixel_mm)[0]
        width_mm = random.uniform(0.5, 2)
        away_mm = np.abs(field) / np.maximum(np.hypot(*np.gradient(field)), 1e-3) * pixel_mm
        line = np.clip(1.5 - away_mm / width_mm, 0, 1) * np.clip(3 * (gate - 0.8), 0, 1) * head
        _replace(fractions, "vessel", line.astype(np.float32))


def _contrast(random: np.random.Generator) -> dict[str, float]:
    """Each tissue's signal in a spin echo with or without inversion, or, now and then, any at all."""
    if random.uniform() < ARBITRARY:
        return {name: random.uniform(0.02 if name == "bone" else 0.1, 0.1 if name == "bone" else 1) for name in TISSUES}
    repetition, echo = np.exp(random.uniform(np.log([300, 3]), np.log([8000, 130])))
    inversion = random.uniform(0.2, 0.45) * repetition if random.uniform() < INVERTED else np.inf
    signals = {}
    for name, values in TISSUES.items():
        density, t1, t2 = np.array(values) * np.exp(random.normal(0, 0.1, 3))
        recovered = 1 - 2 * np.exp(-inversion / t1) + np.exp(-repetition / t1)
        if np.isinf(inversion):
            recovered = 1 - np.exp(-repetition / t1)
        signals[name] = float(density * abs(recovered) * np.exp(-echo / t2))
    if random.uniform() < FLOW_VOID:
        signals["vessel"] = 0.0
    if random.uniform() < FAT_SATURATED:
        signals["fat"] *= 0.1
        signals["marrow"] *= 0.1
    return signals


def _phase(random: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Smooth phase over the picture [rad]."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    constant, down, along = random.normal(0, 1.5, 3)
    smooth = random.uniform(0, 1) * smooth_field(random, shape, max(shape) / 3)[0]
    phase: Map = (constant + down * y[:, None] + along * x + smooth).astype(np.float32)
    return phase
