"""Partial Fourier: k-space of which one side was acquired further than the other, completed by its symmetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError, ParameterError

from .filters import kspace_filter
from .fourier import centred_fft, centred_ifft
from .gadget import Gadget
from .image_headers import LIMITS, image_type, is_map, worked_on
from .parameters import parameter
from .tensors import Array, as_given, as_tensor

T = TypeVar("T")

_AXES = ("z", "y", "x")
_FEWEST = 2  # samples beyond the centre that tell a phase


def reach(n: int, sampled: range) -> tuple[int, int]:
    """How many samples lie before the centre and after it, of the range of an axis of `n` that was acquired."""
    return n // 2 - sampled.start, sampled.stop - 1 - n // 2


def zero_filling(image: Array, sampled: Sequence[range], width: Sequence[float] = (0.15,)) -> Array:
    """Take what lies outside the acquired k-space off, with an edge of a Hann window on the side that is short.

    `sampled` says which samples of k-space along the last axes of `image` were acquired, and `width`, for all or each
    of them, what fraction of the matrix the edge is wide. The mean square over what was acquired is 1, so that white
    noise keeps its variance.
    """
    given = as_tensor(image)
    axes, edge = _partial_axes(given, sampled), torch.ones(())
    for axis in axes:
        size, along = given.shape[axis], sampled[axis]
        wide = int(_along(width, axis) * min(size, 2 * max(reach(size, along)) + 2))
        values = _hann(_rise(size, along, wide))
        edge = edge * _on_axis(values / (values.square().sum() / len(along)).sqrt(), axis)
    kspace = centred_fft(given, axes)
    return as_given(centred_ifft(kspace * edge.to(kspace), axes), image)


def homodyne(image: Array, sampled: Sequence[range], band: Sequence[int] = (8,), phase: Array | None = None) -> Array:
    """Count samples whose mirror image about the centre is missing twice, and keep what has the phase of the centre.

    Weights rise over `band` samples from the edge of the acquired k-space, and add up to 2 with those of the mirror
    image: 0 gives Margosian's step, and all that was acquired on both sides Noll's ramp. The step bears phases that
    vary in space best, the ramp rings least. `phase`, as complex numbers of magnitude 1, is estimated where it is None.
    Exact where it is the same everywhere.

    References: P. Margosian et al., Health Care Instrum 1986, 1:195-197; D. Noll et al., IEEE Trans Med Imaging 1991,
    10:154-163.
    """
    given = as_tensor(image)
    axes = _partial_axes(given, sampled)
    if not axes:
        return image
    rise = torch.ones(())
    for axis in axes:
        rise = rise * _on_axis(_rise(given.shape[axis], sampled[axis], _along(band, axis)), axis)
    weights = 2 * rise / (rise + _mirrored(rise)).clamp_min(torch.finfo(rise.dtype).tiny)
    kspace = centred_fft(given, axes)
    unit = _phase(kspace, sampled, axes) if phase is None else as_tensor(phase)
    synthesized = centred_ifft(kspace * weights.to(kspace), axes)
    return as_given((synthesized * unit.conj()).real * unit, image)


def pocs(
    image: Array,
    sampled: Sequence[range],
    band: Sequence[int] = (8,),
    iterations: int = 6,
    threshold: float = 0.01,
    phase: Array | None = None,
) -> Array:
    """Project in turn onto images with the phase of the centre of k-space and onto those that have what was acquired.

    Images keep their own phase where fine detail that was acquired on both sides does not have it, so that nothing is
    made up there. Stops where an iteration changes the image by less than `threshold` of it. What was acquired then
    gives way to what was made over `band` samples. `sampled` and `phase`, which is then trusted everywhere, as for
    `homodyne`; k-space is completed as far as its mirror image reaches.

    References: E. M. Haacke et al., J Magn Reson 1991, 92:126-145.
    """
    given = as_tensor(image)
    axes = _partial_axes(given, sampled)
    if not axes:
        return image
    kspace = centred_fft(given, axes)
    unit = _phase(kspace, sampled, axes) if phase is None else as_tensor(phase)
    trust = _trust(kspace, sampled, axes) if phase is None else 1.0
    acquired, within, edge = torch.ones(()), torch.ones(()), torch.ones(())
    for axis in axes:
        size, along = given.shape[axis], sampled[axis]
        far, near = max(reach(size, along)), min(reach(size, along))
        distance = (torch.arange(size) - size // 2).abs()
        acquired = acquired * _on_axis(_rise(size, along, 0), axis)
        within = within * _on_axis((distance <= far).float(), axis)
        edge = edge * _on_axis(_hann(_rise(size, along, min(_along(band, axis), near))), axis)
    missing, edge = (within * (1 - acquired)).to(given.device), edge.to(given.device)
    known = kspace * acquired.to(given.device)
    current, made = known, known
    for _ in range(iterations):
        images = centred_ifft(current, axes)
        made = centred_fft(images + trust * (images.abs() * unit - images), axes)
        following = torch.addcmul(known, made, missing.to(made.dtype))
        change, before = _norm(following - current), _norm(current)
        current = following
        if change <= threshold * before:
            break
    blended = known + (1 - edge) * (made * within.to(given.device) - known)
    return as_given(centred_ifft(blended, axes), image)


def _partial_axes(image: Tensor | NDArray[Any], sampled: Sequence[range]) -> list[int]:
    """The axes of which not all was acquired, counted from the last; `sampled` may be indexed by them."""
    return [axis for axis in range(-len(sampled), 0) if sampled[axis] != range(image.shape[axis])]


def _along(values: Sequence[T], axis: int) -> T:
    """The value for an axis that is counted from the last; a single one is for all."""
    return values[axis] if len(values) > 1 else values[0]


def _on_axis(values: Tensor, axis: int) -> Tensor:
    """Values along an axis that is counted from the last, to multiply arrays with."""
    return values.reshape(-1, *(1,) * (-1 - axis))


def _rise(n: int, sampled: range, width: int) -> Tensor:
    """0 outside what was acquired, 1 within, and a linear ramp of `width` samples at the end nearer to the centre."""
    before, after = reach(n, sampled)
    inside = torch.zeros(n)
    inside[sampled.start : sampled.stop] = 1
    width = max(0, min(width, 2 * min(before, after) + 1))
    from_edge = torch.arange(n) - sampled.start + 1.0 if before < after else sampled.stop - torch.arange(n)
    return inside * (from_edge / (width + 0.5)).clamp(0, 1)


def _hann(rise: Tensor) -> Tensor:
    return torch.sin(torch.pi / 2 * rise) ** 2


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.view_as_real(values))  # much faster than of complex numbers
    return norm


def _mirrored(values: Tensor) -> Tensor:
    """Values at -k for each k; the first of an even number of samples has no other counterpart than itself."""
    axes = [axis for axis in range(values.ndim) if values.shape[axis] > 1]
    return values.flip(axes).roll([(values.shape[axis] + 1) % 2 for axis in axes], axes)


def _phase(kspace: Tensor, sampled: Sequence[range], axes: Sequence[int]) -> Tensor:
    """The phase of what was acquired on both sides of the centre, as complex numbers of magnitude 1."""
    low = kspace
    for axis in axes:
        size = kspace.shape[axis]
        near = min(reach(size, sampled[axis]))
        window = torch.zeros(size)
        window[size // 2 - near : size // 2 + near + 1] = torch.from_numpy(kspace_filter("hann", 2 * near + 1))
        low = low * _on_axis(window, axis).to(kspace)
    return torch.sgn(centred_ifft(low, axes))


def _trust(kspace: Tensor, sampled: Sequence[range], axes: Sequence[int]) -> Tensor:
    """How far fine detail has the phase of what is coarse, from 0 (not at all) to 1, about each pixel.

    Detail is the outer half of what was acquired on both sides of the centre. Its correlation with its mirror image,
    averaged by a Gaussian of a sixteenth of each axis, is that of what is missing with what symmetry makes of it; noise
    lowers it too.
    """
    inner, both, coarse = list(sampled), torch.ones(()), torch.ones(())
    for axis in axes:
        size, near = kspace.shape[axis], min(reach(kspace.shape[axis], sampled[axis]))
        inner[axis] = range(size // 2 - near // 2, size // 2 + near // 2 + 1)
        distance = (torch.arange(size) - size // 2).abs()
        both = both * _on_axis((distance <= near).float(), axis)
        coarse = coarse * _on_axis((distance <= near // 2).float(), axis)
    unit = _phase(kspace, inner, axes)
    detail = centred_ifft(kspace * (both - coarse).to(kspace), axes) * unit.conj()
    square = detail * detail
    smooth = torch.complex(square.real, square.abs())
    everywhere = [axis for axis in range(-len(sampled), 0) if kspace.shape[axis] > 1]
    spectrum = centred_fft(smooth, everywhere)
    for axis in everywhere:
        k = torch.arange(kspace.shape[axis]) - kspace.shape[axis] // 2
        spectrum = spectrum * _on_axis(torch.exp(-2 * (torch.pi * k / 16) ** 2), axis).to(spectrum)
    smooth = centred_ifft(spectrum, everywhere)
    correlation = smooth.real / smooth.imag.clamp_min(torch.finfo(smooth.imag.dtype).tiny)
    return correlation.clamp(0, 1)


class PartialFourier(Gadget[Image, Image]):
    """Complete complex images whose k-space was acquired on one side of the centre further than on the other.

    Which part was acquired is told by the lines that came, along x as well where the echo is asymmetric; images of
    which as much was acquired on both sides pass as they are, and so do colour images and maps. Lines that are missing
    within that part are those of parallel imaging, which comes before. Belongs before FilterImages and CropFieldOfView.
    Where no phase is to be trusted, zero_filling leaves out what is missing, with a smooth edge.

    References: those of `homodyne` and `pocs`.

    Raises:
        DataError: for images that are not complex or not finite, hardly reach beyond the centre of k-space, or were
            acquired in part along x, y and z at once.
    """

    method: Literal["pocs", "homodyne", "conjugate", "zero_filling"] = parameter(
        "pocs", "Projections onto convex sets; weights with a ramp (homodyne) or a step (conjugate); a filter."
    )
    band: tuple[int, ...] = parameter(
        (8,),
        "Of pocs and homodyne, ramp at the edge of what was acquired; for all, or x, y and z.",
        unit="samples",
        low=0,
    )
    width: tuple[float, ...] = parameter(
        (0.15,), "Of zero_filling, such an edge; one for all, or x, y and z.", unit="fraction", low=0, high=0.5
    )
    iterations: int = parameter(6, "Of pocs, at most.", low=1)
    threshold: float = parameter(0.01, "Of pocs, relative change of an iteration that ends it.", low=0)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for name in ("band", "width"):
            if len(getattr(self, name)) not in (1, 3):
                raise ParameterError(
                    f"{name} has {len(getattr(self, name))} values; give one for all axes, or three for x, y and z",
                    gadget=type(self).__name__,
                )

    def process(self, image: Image, /) -> Iterator[Image]:
        kind = image_type(image)
        sampled = self._sampled(image)
        if kind == ImageType.RGB or is_map(image) or not _partial_axes(image.data, sampled):
            yield image
            return
        self._check(image, kind, sampled)
        if self.method == "zero_filling":
            data = zero_filling(image.data, sampled, self.width[::-1])
        elif self.method == "pocs":
            data = pocs(image.data, sampled, self.band[::-1], self.iterations, self.threshold)
        else:
            data = homodyne(image.data, sampled, self.band[::-1] if self.method == "homodyne" else (0,))
        yield worked_on(image, data, by=type(self).__name__)

    def _sampled(self, image: Image) -> list[range]:
        """What was acquired along z, y and x; all of an axis where no side is short."""
        found = []
        for name, size in zip(LIMITS, image.data.shape[1:], strict=True):
            limits = image.meta.get(name, [])
            sampled = range(size)
            if isinstance(limits, list) and len(limits) == 3 and size > 1:
                first, centre, last = map(int, limits)
                if centre != size // 2 or last >= size:
                    raise DataError(
                        f"image {image.head['image_index']} has {size} pixels along an axis on which k-space was "
                        f"sampled about {centre}, so has been cropped or interpolated; put PartialFourier before"
                    )
                before, after = reach(size, range(first, last + 1))
                if abs(before - after) > 1:  # the first of an even number has no counterpart
                    sampled = range(first, last + 1)
            found.append(sampled)
        return found

    def _check(self, image: Image, kind: ImageType, sampled: Sequence[range]) -> None:
        """Raise where the symmetry of k-space cannot be made use of."""
        number = image.head["image_index"]
        if kind != ImageType.COMPLEX:
            raise DataError(
                f"{kind.name.lower()} images have no k-space to complete; put PartialFourier before ComplexParts, and "
                "combine coils by method=adaptive"
            )
        if not np.isfinite(image.data).all():
            raise DataError(f"image {number} holds pixels that are not finite; look at the source of the data")
        if self.method == "zero_filling":
            return
        partial = _partial_axes(image.data, sampled)
        if len(partial) > 2:
            raise DataError(
                f"image {number} was acquired in part along x, y and z at once, and symmetry serves two axes; acquire "
                "one of them in full, or set method to zero_filling"
            )
        for axis in partial:
            size, along = image.data.shape[axis], sampled[axis]
            if min(reach(size, along)) < _FEWEST:
                raise DataError(
                    f"image {number} was acquired from {along.start} to {along.stop - 1} of {size} samples along "
                    f"{_AXES[axis]}, which must reach {_FEWEST} or more beyond the centre {size // 2} on both sides; "
                    "acquire more than half, or set method to zero_filling"
                )
