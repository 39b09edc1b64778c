"""The Shepp-Logan head as a sum of ellipsoids: its picture and its Fourier transform, both by formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1


class Ellipsoid(NamedTuple):
    """A part of the object. Lengths in half fields of view, so that -1 to 1 spans the picture along each axis.

    x runs along read_dir, y along phase_dir (down the picture), z along slice_dir. Where ellipsoids overlap their
    intensities add.
    """

    intensity: float
    semi_axes: tuple[float, float, float]
    """Along x, y, z, before rotation."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angle_deg: float = 0.0
    """Rotation about z, from x towards y."""


# At z = 0 the head of Shepp and Logan (1974) with the intensities of Toft (1996), nose up: y and angles have the other
# sign because y runs down here. How far the parts reach along z is ours.
SHEPP_LOGAN = (
    Ellipsoid(1.0, (0.69, 0.92, 1.0)),
    Ellipsoid(-0.8, (0.6624, 0.874, 0.96), (0.0, 0.0184, 0.0)),
    Ellipsoid(-0.2, (0.11, 0.31, 0.5), (0.22, 0.0, 0.0), 18.0),
    Ellipsoid(-0.2, (0.16, 0.41, 0.6), (-0.22, 0.0, 0.0), -18.0),
    Ellipsoid(0.1, (0.21, 0.25, 0.6), (0.0, -0.35, 0.0)),
    Ellipsoid(0.1, (0.046, 0.046, 0.3), (0.0, -0.1, 0.0)),
    Ellipsoid(0.1, (0.046, 0.046, 0.3), (0.0, 0.1, 0.0)),
    Ellipsoid(0.1, (0.046, 0.023, 0.3), (-0.08, 0.605, 0.0)),
    Ellipsoid(0.1, (0.023, 0.023, 0.3), (0.0, 0.606, 0.0)),
    Ellipsoid(0.1, (0.023, 0.046, 0.3), (0.06, 0.605, 0.0)),
    Ellipsoid(0.3, (0.1, 0.1, 0.3), (0.3, -0.3, 0.5)),  # off the plane z = 0: tells which way z runs
)


def phantom_kspace(
    k: NDArray[Any], ellipsoids: Sequence[Ellipsoid] = SHEPP_LOGAN, *, z: float = 0.0
) -> NDArray[np.complex128]:
    """The integral of rho(x) exp(-2 pi i k x) over x in fields of view: at k = 0 the object's mean over the picture.

    Args:
        k: [cycles per field of view]. Shape (..., 2), (x, y), for the plane at `z`, or (..., 3), (x, y, z), for the
            volume.
        ellipsoids: the object.
        z: height of the plane [half fields of view].

    References:
        Van de Walle et al., Reconstruction of MR images from data acquired on a general nonregular grid by
        pseudoinverse calculation, IEEE TMI 19, 2000 (ellipse); Koay et al., Three-dimensional analytical magnetic
        resonance imaging phantom in the Fourier domain, MRM 58, 2007 (ellipsoid).
    """
    n_dims = k.shape[-1]
    total = np.zeros(k.shape[:-1], np.complex128)
    for part in ellipsoids:
        a, b, c = np.array(part.semi_axes) / 2
        if n_dims == 2:
            shrink = _cut(part, z)
            if shrink == 0:
                continue
            a, b = a * shrink, b * shrink
        cos, sin = _turn(part)
        squared = (a * (k[..., 0] * cos + k[..., 1] * sin)) ** 2 + (b * (k[..., 1] * cos - k[..., 0] * sin)) ** 2
        if n_dims == 2:
            size, transform = a * b, _disc(np.sqrt(squared))
        else:
            size, transform = a * b * c, _ball(np.sqrt(squared + (c * k[..., 2]) ** 2))
        shift = np.exp(-1j * np.pi * (k @ np.array(part.centre[:n_dims])))
        total += part.intensity * size * transform * shift
    return total


def phantom_image(
    shape: Sequence[int],
    ellipsoids: Sequence[Ellipsoid] = SHEPP_LOGAN,
    *,
    z: float = 0.0,
    supersampling: int = 1,
) -> NDArray[np.float32]:
    """The object at the centres of the pixels; index n // 2 of each axis is the origin.

    Args:
        shape: (y, x) for the plane at `z`, or (z, y, x) for the volume.
        ellipsoids: the object.
        z: height of the plane [half fields of view].
        supersampling: how many points along each axis are averaged to a pixel.
    """
    axes = [_positions(n, supersampling) for n in shape]
    heights = np.array([z]) if len(shape) == 2 else axes[0]
    z_, y_, x_ = np.meshgrid(heights, axes[-2], axes[-1], indexing="ij", sparse=True)
    total = np.zeros(np.broadcast_shapes(z_.shape, y_.shape, x_.shape), np.float32)
    for part in ellipsoids:
        cos, sin = _turn(part)
        x, y = x_ - part.centre[0], y_ - part.centre[1]
        a, b, c = part.semi_axes
        squared = ((x * cos + y * sin) / a) ** 2 + ((y * cos - x * sin) / b) ** 2 + ((z_ - part.centre[2]) / c) ** 2
        total += part.intensity * (squared <= 1)
    if len(shape) == 2:
        total = total[0]
    if supersampling == 1:
        return total
    blocks = total.reshape([size for n in shape for size in (n, supersampling)])
    mean: NDArray[np.float32] = blocks.mean(axis=tuple(range(1, 2 * len(shape), 2)), dtype=np.float32)
    return mean


def _positions(n: int, supersampling: int) -> NDArray[np.float64]:
    """Points along an axis of n pixels [half fields of view]."""
    pixels = (np.arange(n * supersampling) + 0.5) / supersampling - 0.5
    points: NDArray[np.float64] = (pixels - n // 2) * (2 / n)
    return points


def _turn(part: Ellipsoid) -> tuple[float, float]:
    angle = np.deg2rad(part.angle_deg)
    return float(np.cos(angle)), float(np.sin(angle))


def _cut(part: Ellipsoid, z: float) -> float:
    """By how much the ellipse in which the plane at `z` cuts the ellipsoid is smaller than its equator."""
    return float(np.sqrt(max(0.0, 1 - ((z - part.centre[2]) / part.semi_axes[2]) ** 2)))


def _disc(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the unit disc at radius q."""
    safe = np.where(q == 0, 1.0, q)
    value: NDArray[np.float64] = np.where(q == 0, np.pi, j1(2 * np.pi * safe) / safe)
    return value


def _ball(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the unit ball at radius q."""
    p = 2 * np.pi * q
    small = p < 1e-2  # where the difference below would cancel; the series is exact to 4e-11 there
    safe = np.where(small, 1.0, p)
    exact = 4 * np.pi * (np.sin(safe) - safe * np.cos(safe)) / safe**3
    value: NDArray[np.float64] = np.where(small, 4 * np.pi / 3 * (1 - p**2 / 10), exact)
    return value
