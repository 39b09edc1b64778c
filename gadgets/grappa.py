"""Parallel imaging by GRAPPA, from k-space with missing lines to one complex image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, KSpace, Meta, Text
from echotrain.mrd.errors import DataError, ParameterError

from .calibration import calibration_block as calibration_block_at_centre
from .coils import adaptive_coil_maps, combine, smooth_images
from .fourier import FourierTransform, centred_ifft
from .gadget import Gadget
from .grappa_calibration import Calibrated, FrameWindow, calibration_block, has_calibration
from .grappa_local import LocalGrappa
from .grappa_weights import NOISE_WEIGHT, GrappaWeights, grappa_lines, unmix_folded
from .image_headers import worked_on
from .parameters import parameter
from .sampling import IrregularLinesError, Lattice, dense_block, sampling_lattice, wide_gaps

G_FACTOR_SCALE, SNR_SCALE = 100, 10  # as Gadgetron's, so that maps survive as integers


class Grappa(Gadget[KSpace, Image]):
    """Reconstruct k-space of which every nth line along ky (and kz) was acquired to one complex image.

    Weights and coil maps come from the k-space's calibration lines or, where it has none, from the lines that were
    acquired without gaps; they are kept for later repetitions with the same calibration. The channels are combined in
    the same step, by coil maps estimated from the calibration. Lines between those of the regular grid that are not for
    calibration alone stay as acquired. Lines of a volume's planes may be shifted from plane to plane (CAIPIRINHA).
    k-space without gaps is transformed, and combined by maps from the image itself.

    Where lines along ky are at changing distances, or lack beyond the header's acceleration factor, each is made from
    the nearest ones by weights of their own (slower), which the client is told.

    Repetitions without calibration lines whose lines interleave (TGRAPPA) are calibrated by those around them: the
    first wait until together they have all lines, which the client is told, where the header announces repetitions or
    interleaved calibration.

    Intensities are those of the fully sampled image, but for `snr_units`. Maps of the signal-to-noise ratio are of the
    regular grid's lines alone, where the noise is known, and hold for prewhitened lines that were not averaged.

    References: M. Griswold et al., Magn Reson Med 2002, 47:1202-1210; S. Inati et al., ISMRM 2013, p. 2672;
    P. Kellman and E. McVeigh, Magn Reson Med 2005, 54:1439-1447 (units of the noise); F. Breuer et al., Magn Reson Med
    2005, 53:981-985 (TGRAPPA).

    Raises:
        DataError: where planes are missing in no regular way, lines in too many ways, the calibration lines do not
            suffice or have other channels, or samples are not finite.
    """

    takes_image_space_readout = True
    takes_early_calibration = True

    kernel: tuple[int, ...] = parameter(
        (5, 0),
        "Samples along kx (odd) and acquired lines along ky, and along kz (3), that give a missing one; 0 along ky: 4,"
        " or 2 where they are more than 3 apart.",
        low=0,
    )
    regularization: float = parameter(
        5e-4,
        "Tikhonov's, of the fit of the weights, in units of the mean eigenvalue of its normal equations, at least.",
        low=0,
    )
    noise_weight: float = parameter(
        NOISE_WEIGHT,
        "Regularization in units of the smallest eigenvalue, which is that of noise, where that is more; 0: never.",
        low=0,
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

    calibration_in_image: bool = parameter(
        False, "Put lines that are for calibration alone into the image as well, where they are of the same repetition."
    )
    once: bool = parameter(
        False, "Keep the first calibration of a slice for its later repetitions, whatever they bring."
    )
    renew: int = parameter(
        0,
        "Repetitions after which calibration from those around is made anew from the latest ones, to serve after as"
        " many more; 0: never.",
        low=0,
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
        self._scenes: dict[tuple[int, ...], Calibrated] = {}
        self._local: dict[tuple[int, ...], tuple[KSpace | None, NDArray[np.complex64], LocalGrappa]] = {}
        self._warned = False
        self._windows: dict[tuple[int, ...], FrameWindow] = {}
        self._renewing = ThreadPoolExecutor(1)  # so that images need not wait for it
        self._mapped: dict[tuple[int, ...], Calibrated] = {}
        """Of which a map of the g-factor was given."""
        self._n_maps: Counter[int] = Counter()

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        for unit in kspace.units():
            if kspace.early:
                self._calibrate_early(unit, kspace.calibration)
                continue
            lattice = self._lattice(unit)
            if lattice is None:
                yield from self._local_image(unit, kspace.calibration)
            elif max(lattice.acceleration) == 1 or has_calibration(unit, lattice):
                yield from self._images(unit, lattice, kspace.calibration)
            else:
                yield from self._framed(unit, lattice)

    def finish(self) -> None:
        for window in self._windows.values():
            if window.waiting:
                calibration_block(*window.waiting[0], self._header)  # raises, since there is none
        self._renewing.shutdown()
        self._scenes.clear()
        self._local.clear()
        self._windows.clear()
        self._mapped.clear()

    def _lattice(self, unit: KSpace) -> Lattice | None:
        """That of the unit's lines; None where distances along ky change, or are beyond what the header announces."""
        try:
            lattice = sampling_lattice(unit.sampled)
        except IrregularLinesError:
            if unit.sampled.any(axis=1).all():
                return None
            raise
        announced = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration
        if prod(lattice.acceleration) > prod(announced) > 1:
            return None
        between = unit.sampled & ~lattice.mask
        between[dense_block(unit.sampled)] = False
        return None if len(between) == 1 and between.any() else lattice

    def _local_image(self, unit: KSpace, calibration: KSpace | None) -> Iterator[Image | Text]:
        """The image of lines at changing distances, after words on them, once."""
        if not self._warned:
            self._warned = True
            step = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration[0]
            no_maps = ", and there are no maps of the noise" if self.gfactor or self.snr_map else ""
            yield Text(
                f"warning: Grappa: {wide_gaps(unit.sampled, step)}, though the header's acceleration factor is {step} "
                f"along ky; each is made from the nearest ones around it{no_maps}"
            )
        if self.calibration_in_image:
            unit = self._with_calibration(unit)
        known = self._local.get(unit.scene)
        if calibration is None or known is None or known[0] is not calibration or known[1].shape != unit.data.shape:
            block, centre = calibration_block_at_centre(unit, self._header)
            maps = adaptive_coil_maps(smooth_images(block, centre, unit.data.shape[1:]), self.width, self.iterations)
            weights = LocalGrappa(block, self.kernel, self.regularization, self.noise_weight)
            known = self._local[unit.scene] = calibration, maps, weights
        _, maps, weights = known
        hybrid = unit.data if unit.readout_in_image_space else centred_ifft(unit.data, (-1,))
        filled = replace(unit, data=weights.filled(hybrid, unit.sampled), readout_in_image_space=True)
        (channels,) = self._transform.images(filled)
        assert isinstance(channels, Image)
        data = combine(channels.data, maps)
        _check_finite(data, unit)
        if self.snr_units:
            data *= _snr_scale(unit, unit.sampled, _mean_distance(unit.sampled))
        yield worked_on(channels, data[None], by=type(self).__name__)

    def _framed(self, unit: KSpace, lattice: Lattice) -> Iterator[Image | Text]:
        """Images of a frame without calibration, and of those that waited for it, or none if it has to wait."""
        encoding = self._header.encoding(int(unit.head["encoding_space_ref"]))
        repetitions = encoding.limits.get("repetition")
        if encoding.calibration_mode != "interleaved" and (repetitions is None or repetitions.maximum == 0):
            calibration_block(unit, lattice, self._header)  # raises, since there is none
        begins = not self._windows
        window = self._windows.setdefault(unit.scene, FrameWindow(self.renew))
        if not window.add(unit, lattice):
            calibration_block(unit, lattice, self._header)  # so does this: others will not bring any
        latest = window.due()
        if window.calibration is None:
            window.calibration = latest
        elif latest is not None:
            if window.renewal is not None:
                window.calibration, renewed = window.renewal
                self._scenes[unit.scene] = renewed.result()
            frame = replace(unit, calibration=latest)
            window.renewal = latest, self._renewing.submit(self._calibrated, frame, latest, lattice)
        if window.calibration is None:
            window.waiting.append((unit, lattice))
            if begins:
                yield Text(
                    "Grappa: repetitions have no calibration lines, and take those of repetitions around them; the "
                    f"first {prod(lattice.acceleration) - 1} wait until these are there"
                )
            return
        waiting, window.waiting = window.waiting, []
        for frame, its_lattice in (*waiting, (unit, lattice)):
            yield from self._images(replace(frame, calibration=window.calibration), its_lattice, window.calibration)

    def _images(self, unit: KSpace, lattice: Lattice, calibration: KSpace | None) -> Iterator[Image]:
        """The image of a unit, after maps that belong to it; `calibration` is kept to know it again."""
        if self.calibration_in_image:
            unit = self._with_calibration(unit)
        folded, first = _of_lattice(unit, lattice)
        (channels,) = self._transform.images(folded)
        assert isinstance(channels, Image)
        known = self._scenes.get(unit.scene)
        if max(lattice.acceleration) == 1:
            _check_finite(channels.data, unit)
            maps = adaptive_coil_maps(channels.data, self.width, self.iterations)
            known = Calibrated(None, lattice.steps, None, maps, maps.conj())
        elif known is None or not (known.fits(lattice, unit) and (self.once or known.is_of(calibration))):
            known = self._scenes[unit.scene] = self._calibrated(unit, calibration, lattice)
        data = unmix_folded(channels.data, known.unmixing, first)
        _check_finite(data, unit)
        if known.weights is not None and self.gfactor and self._mapped.get(unit.scene) is not known:
            self._mapped[unit.scene] = known
            yield self._g_factor_map(known, channels)
        if self.snr_map:
            yield self._snr_map(known, channels, data * _snr_scale(unit, lattice.mask, prod(lattice.acceleration)))
        if known.weights is not None and (unit.sampled & ~lattice.mask).any():
            data += _correction(unit, lattice, known.weights, known.maps)
            _check_finite(data, unit)
        if self.snr_units:
            data *= _snr_scale(unit, lattice.mask, prod(lattice.acceleration))
        yield worked_on(channels, data[None], by=type(self).__name__)

    def _with_calibration(self, unit: KSpace) -> KSpace:
        mode = self._header.encoding(int(unit.head["encoding_space_ref"])).calibration_mode
        own = unit.calibration
        if (
            own is None
            or mode in ("separate", "external")
            or own.data.shape != unit.data.shape
            or own.head["idx"]["repetition"] != unit.head["idx"]["repetition"]
        ):
            return unit
        more = own.sampled & ~unit.sampled
        data = np.where(more[..., None], own.data, unit.data)
        return replace(unit, data=data, sampled=unit.sampled | own.sampled)

    def _calibrate_early(self, unit: KSpace, calibration: KSpace | None) -> None:
        """Calibrate for the lines to come, which are likely to lie as those before, or as the header says."""
        known = self._scenes.get(unit.scene)
        if self.once and known is not None:
            return
        announced = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration
        steps = known.steps if known is not None else (*announced, 0)
        if max(steps) > 1:
            # What fails now fails again with the lines, unless calibration lines were still to come.
            with suppress(DataError):
                lattice = Lattice(steps[:2], steps[2], unit.sampled)
                self._scenes[unit.scene] = self._calibrated(unit, calibration, lattice)

    def _calibrated(self, unit: KSpace, calibration: KSpace | None, lattice: Lattice) -> Calibrated:
        return Calibrated.of(
            calibration,
            lattice,
            *calibration_block(unit, lattice, self._header),
            unit.data.shape[1:],
            kernel=self.kernel,
            regularization=self.regularization,
            noise_weight=self.noise_weight,
            width=self.width,
            iterations=self.iterations,
        )

    def _g_factor_map(self, known: Calibrated, channels: Image) -> Image:
        series = 10 * (int(channels.head["image_series_index"]) + 1)
        self._n_maps[series] += 1
        index = (self._n_maps[series] - 1) % 65535 + 1
        data = (G_FACTOR_SCALE * known.g_factor).astype(np.complex64)
        return self._map(channels, data, "Gfactor", image_series_index=series, image_index=index)

    def _snr_map(self, known: Calibrated, channels: Image, in_snr_units: NDArray[Any]) -> Image:
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


def _of_lattice(unit: KSpace, lattice: Lattice) -> tuple[KSpace, int]:
    """Every nth line along ky, those of the lattice alone, n as large as it can be; and which is the first."""
    step = gcd(lattice.acceleration[0], lattice.shift)
    if unit.sampled.shape[1] % step:
        step = 1
    first = int(np.flatnonzero(lattice.mask.any(axis=0))[0]) % step
    data, mask = unit.data[:, :, first::step], lattice.mask[:, first::step]
    if (unit.sampled[:, first::step] & ~mask).any():
        data = np.where(mask[..., None], data, np.complex64(0))
    return replace(unit, data=data), first


def _check_finite(data: NDArray[Any], unit: KSpace) -> None:
    if not np.isfinite(data).all():
        raise DataError(
            f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; look at "
            "the source of the data"
        )


def _correction(
    unit: KSpace, lattice: Lattice, weights: GrappaWeights, maps: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """The image of what lines off the lattice hold beyond what the weights make of them. Shape (z, y, x)."""
    extra = unit.sampled & ~lattice.mask
    hybrid = unit.data if unit.readout_in_image_space else centred_ifft(unit.data, (-1,))
    made = grappa_lines(hybrid, extra, lattice.mask, weights)
    beyond = np.zeros_like(hybrid)
    beyond[:, extra] = hybrid[:, extra] - made
    return combine(centred_ifft(beyond, (-3, -2)), maps)


def _snr_scale(unit: KSpace, lines: NDArray[np.bool_], acceleration: float) -> np.float32:
    """What brings noise of unit deviation in the `lines` of k-space to the g-factor in the image."""
    head, n_samples = unit.head, unit.data.shape[-1]
    acquired = (n_samples - int(head["discard_pre"]) - int(head["discard_post"])) / n_samples
    acquired *= np.count_nonzero(lines & unit.sampled) / unit.sampled.size
    return np.float32(1 / (acceleration * np.sqrt(acquired)))


def _mean_distance(sampled: NDArray[np.bool_]) -> float:
    """How far neighbouring lines of a plane are apart on average."""
    return float(np.concatenate([np.diff(np.flatnonzero(plane)) for plane in sampled]).mean())
