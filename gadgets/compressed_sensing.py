"""Compressed sensing: images of few lines, by what is known of images beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace
from echotrain.mrd.errors import ParameterError

from .calibration import _CalibratedReconstruction, calibration_block
from .cg_sense import joined_sets
from .fourier import centred_fft, centred_ifft
from .image_headers import worked_on
from .parameters import parameter
from .regularized import Regularizer, outer_deviation, solve
from .tensors import Array, as_given, as_tensor


class Reconstructed(NamedTuple):
    """Images, and how they came about."""

    image: NDArray[np.complex64] | Tensor
    """Shape ([frame, set,] y, x) or ([frame, set,] z, y, x), as k-space and maps have them."""

    iterations: int
    """How many it took: as many as there may be where it did not settle."""

    residual: float
    """Root mean square of what acquired samples differ from those of the image, in units of the noise's deviation."""


def compressed_sensing(
    kspace: Array,
    maps: Array,
    *,
    sampled: NDArray[np.bool_] | None = None,
    regularizer: Regularizer = "total_variation",
    weight: float = 0.2,
    time_weight: float = 0.3,
    block: int = 8,
    noise: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    start: Array | None = None,
) -> Reconstructed:
    """Images whose channels fit the acquired lines, and of which the regularizer makes little.

    k-space has the shape (channel, ky, kx), (channel, kz, ky, kx) or (frame, channel, kz, ky, kx); `maps` (channel,
    [z,] y, x), or one axis more for several sets. `sampled` says which lines were acquired, shape ([frame,] [kz,] ky);
    without it, those that are not zero.

    `weight` is in units of `noise`, the deviation of complex samples, which is estimated where it is None. It is of the
    gradient's length (total variation), of wavelet coefficients, or of the singular values of small parts of all
    frames, `block` pixels wide. `time_weight` is that of total variation from frame to frame. From `start`, an image
    of the shape that is given, fewer iterations may do. They end when they change the image by less than `tolerance`.

    References: M. Lustig et al., Magn Reson Med 2007, 58:1182-1195; K. Block et al., ibid. 2007, 57:1086-1098 (total
    variation); L. Feng et al., ibid. 2014, 72:707-717 (time); T. Zhang et al., ibid. 2015, 73:655-661 (low rank).
    """
    samples, sensitivities = as_tensor(kspace), as_tensor(maps)
    frames: int = int(samples.ndim == 5)
    flat = samples.ndim == 3
    sets: int = sensitivities.ndim - samples.ndim + frames
    if flat:
        samples, sensitivities = samples[:, None], sensitivities.unsqueeze(-3)
    lines = samples if frames else samples[None]
    if sampled is None:
        sampled = (lines != 0).any(-1).any(1).cpu().numpy()
    first = None if start is None else as_tensor(start).reshape(len(lines), -1, *lines.shape[2:])
    found, taken, residual = solve(
        centred_ifft(lines, (-3, -2, -1)),
        sensitivities if sets else sensitivities[None],
        sampled.reshape(len(lines), *lines.shape[2:4]),
        outer_deviation(lines.cpu().numpy()) if noise is None else noise,
        regularizer=regularizer,
        weight=weight,
        time_weight=time_weight,
        block=block,
        iterations=iterations,
        tolerance=tolerance,
        start=first,
    )
    shape = *kspace.shape[:frames], *maps.shape[:sets], *kspace.shape[frames + 1 :]
    return Reconstructed(as_given(found.reshape(shape), kspace), taken, residual)


class CompressedSensing(_CalibratedReconstruction):
    """Reconstruct k-space of few lines in any pattern to one complex image, by what is known of images beforehand.

    That they have few edges (total variation), few wavelet coefficients, or change in few ways over time in each small
    part (locally low rank). Weights are in units of the noise, which is estimated from the outer samples of k-space, so
    that they serve any intensity. Coil maps and intensities are as those of CgSense. Images begin with what the
    repetition before gave, and say in their meta attributes how many `iterations` they took, and the `residual` of
    their acquired samples in units of the noise: 1 where nothing but noise is left.

    With `frames`, as many repetitions are reconstructed together, and their images wait for the last of these; what is
    left at the end is reconstructed with repetitions before it. Without calibration lines of their own, maps come from
    all lines of these frames together, which are to interleave.

    References: M. Lustig et al., Magn Reson Med 2007, 58:1182-1195; K. Block et al., ibid. 2007, 57:1086-1098 (total
    variation); L. Feng et al., ibid. 2014, 72:707-717 (time); T. Zhang et al., ibid. 2015, 73:655-661 (low rank).

    Raises:
        DataError: where calibration lines are missing, too few or of other channels, or samples are not finite.
    """

    regularizer: Regularizer = parameter("total_variation", "What images are to have little of.")
    weight: float = parameter(
        0.2,
        "Of the gradient's length, of wavelet coefficients, or of singular values, in units of the noise's deviation.",
        low=0,
    )
    time_weight: float = parameter(
        0.3, "Weight of total variation from frame to frame, in units of the noise's deviation.", low=0
    )
    frames: int = parameter(1, "Repetitions that are reconstructed together.", low=1)
    block: int = parameter(8, "Width of the parts that are to be of low rank.", unit="pixels", low=1)
    sets: int = parameter(
        1, "Maps of each pixel, by ESPIRiT: 2 where the object folds in the full image.", low=1, high=2
    )
    iterations: int = parameter(100, "Iterations at most.", low=1)
    tolerance: float = parameter(1e-3, "Change of the image, relative, that ends iterations.", low=0)

    def __init__(self, **values: object) -> None:
        super().__init__(**values)
        if self.regularizer == "low_rank" and self.frames == 1:
            raise ParameterError(
                "regularizer='low_rank' is of several frames; set frames to 8 or more", gadget=type(self).__name__
            )

    def start(self, header: Header, /) -> None:
        super().start(header)
        self._windows: dict[tuple[int, ...], _Window] = {}

    def finish(self) -> Iterator[Image]:
        for window in self._windows.values():
            if window.n_new:
                yield from self._solve(window)
        self._windows.clear()
        super().finish()

    def _calibrate(self, unit: KSpace) -> NDArray[np.complex64]:
        block, centre = calibration_block(unit, self._header)
        return self._coil_maps(block, centre, unit.data.shape[1:], self.sets)

    def _reconstruct(self, unit: KSpace, channels: Image, calibration: KSpace | None) -> Iterator[Image]:
        window = self._windows.get(unit.scene)
        if window is None or window.frames[0].unit.data.shape != unit.data.shape:
            if window is not None and window.n_new:
                yield from self._solve(window)
            window = self._windows[unit.scene] = _Window()
        window.frames = [*window.frames, _Frame(unit, channels, calibration)][-self.frames :]
        window.n_new += 1
        if window.n_new == self.frames:
            yield from self._solve(window)

    def _solve(self, window: _Window) -> Iterator[Image]:
        """The images of the frames that are new, which count as given."""
        frames = window.frames
        last = frames[-1]
        maps = self._known(_together([frame.unit for frame in frames]), last.calibration)
        channels = as_tensor(np.stack([frame.channels.data for frame in frames]))
        lines = np.stack([frame.unit.data for frame in frames])
        found = solve(
            channels,
            as_tensor(maps),
            np.stack([frame.unit.sampled for frame in frames]),
            outer_deviation(centred_fft(lines, (-1,)) if last.unit.readout_in_image_space else lines),
            regularizer=self.regularizer,
            weight=self.weight,
            time_weight=self.time_weight,
            block=self.block,
            iterations=self.iterations,
            tolerance=self.tolerance,
            start=window.last if window.last is None else window.last.expand(len(frames), *window.last.shape),
        )
        window.last = found.images[-1]
        new = frames[len(frames) - window.n_new :]
        for frame, images in zip(new, found.images[len(frames) - len(new) :].numpy(), strict=True):
            yield worked_on(
                frame.channels,
                joined_sets(images)[None],
                by=type(self).__name__,
                meta={"iterations": found.iterations, "residual": round(found.residual, 3)},
            )
        window.n_new = 0


class _Frame(NamedTuple):
    """A repetition, images of its channels alone, and the calibration that it came with."""

    unit: KSpace
    channels: Image
    calibration: KSpace | None


class _Window:
    """The latest repetitions of a scene."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.n_new = 0
        """How many of them, the last ones, were not given yet."""
        self.last: Tensor | None = None
        """The image of the last that was. Shape (set, z, y, x)."""


def _together(units: Sequence[KSpace]) -> KSpace:
    """The last unit with the lines of all, for its calibration; means where they were acquired several times."""
    last = units[-1]
    if last.calibration is not None or len(units) == 1:
        return last
    count = np.sum([unit.sampled for unit in units], axis=0)
    data = np.zeros_like(last.data)
    for unit in units:
        data += unit.data
    data /= np.maximum(count, 1).astype(np.float32)[..., None]
    return replace(last, data=data, sampled=count > 0)
