"""Parallel imaging by GRAPPA, from k-space with missing lines to one complex image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, KSpace, Meta
from echotrain.mrd.errors import DataError, ParameterError

from .coils import adaptive_coil_maps, combine, smooth_images
from .fourier import FourierTransform, centred_fft, centred_ifft
from .gadget import Gadget
from .grappa_weights import GrappaWeights, g_factor, grappa_lines, grappa_unmixing, grappa_weights, unmix
from .image_headers import worked_on
from .parameters import parameter
from .sampling import Lattice, dense_block, sampling_lattice

G_FACTOR_SCALE, SNR_SCALE = 100, 10  # as Gadgetron's, so that maps survive as integers


@dataclass(frozen=True, slots=True, eq=False)
class _Calibrated:
    """What the calibration of a scene gave."""

    calibration: KSpace | None
    acceleration: tuple[int, int]
    weights: GrappaWeights | None
    """None where all lines were acquired, and the image itself gives the maps."""

    maps: NDArray[np.complex64]
    unmixing: NDArray[np.complex64]
    """Shape (channel, z, y, x), as the maps."""

    @property
    def g_factor(self) -> NDArray[np.float32]:
        """Shape (z, y, x)."""
        return g_factor(self.unmixing, self.acceleration)

    def serves(self, calibration: KSpace | None, lattice: Lattice, channels: Image) -> bool:
        """Whether it is what an image with this calibration needs."""
        return (
            calibration is not None
            and self.calibration is calibration
            and self.acceleration == lattice.acceleration
            and self.maps.shape == channels.data.shape
        )


class Grappa(Gadget[KSpace, Image]):
    """Reconstruct k-space of which every nth line along ky (and kz) was acquired to one complex image.

    Weights and coil maps come from the k-space's calibration lines or, where it has none, from the lines that were
    acquired without gaps; they are kept for later repetitions with the same calibration. The channels are combined in
    the same step, by coil maps estimated from the calibration. Lines between those of the regular grid that are not for
    calibration alone stay as acquired. k-space without gaps is transformed, and combined by maps from the image itself.
    Intensities are those of the fully sampled image, but for `snr_units`. Maps of the signal-to-noise ratio are of the
    regular grid's lines alone, where the noise is known, and hold for prewhitened lines that were not averaged.

    References: M. Griswold et al., Magn Reson Med 2002, 47:1202-1210; S. Inati et al., ISMRM 2013, p. 2672;
    P. Kellman and E. McVeigh, Magn Reson Med 2005, 54:1439-1447 (units of the noise).

    Raises:
        DataError: where lines are missing in no regular way or beyond the header's acceleration factor, the calibration
            lines do not suffice or have other channels, or samples are not finite.
    """

    takes_image_space_readout = True

    kernel: tuple[int, ...] = parameter(
        (5, 4), "Samples along kx (odd) and acquired lines along ky, and along kz (3), that give a missing one.", low=1
    )
    regularization: float = parameter(
        5e-4, "Tikhonov's, of the fit of the weights, in units of the mean eigenvalue of its normal equations.", low=0
    )
    width: int = parameter(5, "Box within which coil maps vary little; odd.", unit="pixels", low=1)
    iterations: int = parameter(5, "Power iterations of the coil maps.", low=1)
    snr_units: bool = parameter(
        False, "Scale images so that noise of prewhitened lines has the deviation g instead of g times the root of R."
    )
    gfactor: bool = parameter(
        False, "Give a map of the g-factor, times 100, with each calibration: series 20, 30 for the second encoding."
    )
    snr_map: bool = parameter(
        False,
        "Give with each image that in units of its noise, whose real and imaginary part have the deviation 1, times 10:"
        " series 300, 400 for the second encoding.",
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if len(self.kernel) not in (2, 3) or self.kernel[0] % 2 == 0:
            raise ParameterError(
                f"kernel={' '.join(map(str, self.kernel))!r}: must be an odd number of samples along kx and numbers of "
                "lines along ky and, for volumes, kz",
                gadget=type(self).__name__,
            )

    def start(self, header: Header, /) -> None:
        self._header = header
        self._transform = FourierTransform()
        self._transform.start(header)
        self._scenes: dict[tuple[int, ...], _Calibrated] = {}
        self._n_maps: Counter[int] = Counter()

    def process(self, kspace: KSpace, /) -> Iterator[Image]:
        for unit in kspace.units():
            lattice = self._lattice(unit)
            (channels,) = self._transform.process(_of_lattice(unit, lattice))
            if not isinstance(channels, Image) or not np.isfinite(channels.data).all():
                raise DataError(
                    f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; "
                    "look at the source of the data"
                )
            known = self._scenes.get(unit.scene)
            if known is None or not known.serves(kspace.calibration, lattice, channels):
                known = self._calibrated(unit, kspace.calibration, lattice, channels)
                if known.weights is not None:
                    self._scenes[unit.scene] = known
                    if self.gfactor:
                        yield self._g_factor_map(known, channels)
            data = unmix(channels.data, known.unmixing)
            if self.snr_map:
                yield self._snr_map(known, channels, data * _snr_scale(unit, lattice))
            if known.weights is not None and (unit.sampled & ~lattice.mask).any():
                data += _correction(unit, lattice, known.weights, known.maps)
            if self.snr_units:
                data *= _snr_scale(unit, lattice)
            yield worked_on(channels, data[None], by=type(self).__name__)

    def finish(self) -> None:
        self._scenes.clear()

    def _lattice(self, unit: KSpace) -> Lattice:
        lattice = sampling_lattice(unit.sampled)
        announced = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration
        for found, most, axis in zip(lattice.acceleration, announced, ("ky", "kz"), strict=True):
            if found > most > 1:
                raise DataError(
                    f"neighbouring lines are {found} apart along {axis}, though the header's acceleration factor is "
                    f"{most}; send the lines that are missing, or correct the header"
                )
        return lattice

    def _calibrated(self, unit: KSpace, calibration: KSpace | None, lattice: Lattice, channels: Image) -> _Calibrated:
        """Weights, maps and unmixing of a unit; `calibration` is kept to know it again."""
        if max(lattice.acceleration) == 1:
            maps = adaptive_coil_maps(channels.data, self.width, self.iterations)
            return _Calibrated(calibration, lattice.acceleration, None, maps, maps.conj())
        block, centre = self._calibration_block(unit, lattice)
        images = smooth_images(block, centre, channels.data.shape[1:])
        maps = adaptive_coil_maps(images, self.width, self.iterations)
        weights = grappa_weights(block, lattice.acceleration, self.kernel, self.regularization)
        return _Calibrated(calibration, lattice.acceleration, weights, maps, grappa_unmixing(weights, maps))

    def _calibration_block(self, unit: KSpace, lattice: Lattice) -> tuple[NDArray[np.complex64], tuple[int, ...]]:
        """Lines without gaps, shape (channel, kz, ky, kx), and the index of the centre of k-space among them."""
        lines = unit.calibration or unit
        planes, rows = dense_block(lines.sampled)
        if unit.calibration is None and rows.stop - rows.start < 2:
            raise DataError(
                "there are no calibration lines: none are flagged, and of the others only one in "
                f"{lattice.acceleration[0]} along ky and {lattice.acceleration[1]} along kz was acquired; acquire the "
                "centre of k-space without gaps, or separate calibration lines"
            )
        if lines.n_channels != unit.n_channels:
            raise DataError(
                f"calibration lines have {lines.n_channels} channels, the other lines {unit.n_channels}; they must be "
                "those of one set of coils"
            )
        block = lines.data[:, planes, rows]
        if not np.isfinite(block).all():
            raise DataError("calibration lines hold samples that are not finite; look at the source of the data")
        if lines.readout_in_image_space:
            block = centred_fft(block, (-1,))
        encoding = self._header.encoding(int(unit.head["encoding_space_ref"]))
        if unit.calibration is not None and encoding.calibration_mode in ("separate", "external"):
            # Their counters start anywhere, so that only their middle tells the centre, as with Gadgetron.
            return block, tuple(n // 2 for n in block.shape[1:])
        n_z, n_y = lines.sampled.shape
        return block, (n_z // 2 - planes.start, n_y // 2 - rows.start, block.shape[-1] // 2)

    def _g_factor_map(self, known: _Calibrated, channels: Image) -> Image:
        series = 10 * (int(channels.head["image_series_index"]) + 1)
        self._n_maps[series] += 1
        index = (self._n_maps[series] - 1) % 65535 + 1
        data = (G_FACTOR_SCALE * known.g_factor).astype(np.complex64)
        return self._map(channels, data, "Gfactor", image_series_index=series, image_index=index)

    def _snr_map(self, known: _Calibrated, channels: Image, in_snr_units: NDArray[Any]) -> Image:
        """What `snr_units` gives, by the g-factor; 0 where no coil sees anything."""
        g = known.g_factor
        data = np.divide(SNR_SCALE * in_snr_units, g, out=np.zeros_like(in_snr_units), where=g > 0)
        series = 100 * (int(channels.head["image_series_index"]) + 2)
        return self._map(channels, data, "SNR_MAP", image_series_index=series)

    def _map(self, channels: Image, data: NDArray[np.complex64], role: str, **fields: int) -> Image:
        """A complex image like that which it belongs to, so that gadgets on images treat it as one."""
        index = fields.get("image_index", int(channels.head["image_index"]))
        meta: Meta = {"DataRole": role, "GADGETRON_DataRole": role, "GADGETRON_ImageNumber": index}
        return worked_on(channels, data[None], by=type(self).__name__, meta=meta, **fields)


def _of_lattice(unit: KSpace, lattice: Lattice) -> KSpace:
    """The lines of the lattice alone; zero where others were sampled."""
    if not (unit.sampled & ~lattice.mask).any():
        return unit
    return replace(unit, data=np.where(lattice.mask[..., None], unit.data, np.complex64(0)))


def _correction(
    unit: KSpace, lattice: Lattice, weights: GrappaWeights, maps: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """The image of what lines off the lattice hold beyond what the weights make of them. Shape (z, y, x)."""
    extra = unit.sampled & ~lattice.mask
    hybrid = unit.data if unit.readout_in_image_space else centred_ifft(unit.data, (-1,))
    made = grappa_lines(np.where(lattice.mask[..., None], hybrid, np.complex64(0)), extra, weights)
    beyond = np.zeros_like(hybrid)
    beyond[:, extra] = hybrid[:, extra] - made
    return combine(centred_ifft(beyond, (-3, -2)), maps)


def _snr_scale(unit: KSpace, lattice: Lattice) -> np.float32:
    """What brings noise of unit deviation in k-space to the g-factor in the image."""
    head, n_samples = unit.head, unit.data.shape[-1]
    acquired = (n_samples - int(head["discard_pre"]) - int(head["discard_post"])) / n_samples
    acquired *= np.count_nonzero(lattice.mask & unit.sampled) / unit.sampled.size
    return np.float32(1 / (np.prod(lattice.acceleration) * np.sqrt(acquired)))
