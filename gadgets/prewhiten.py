"""Noise prewhitening: after it, noise has unit variance and is independent between channels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Flag, Header, Noise, Text
from echotrain.mrd.errors import DataError
from echotrain.mrd.noise import distinct_names

from .gadget import Gadget
from .lines import runs
from .noise import (
    channel_bits,
    match_channels,
    noise_covariance,
    noise_products,
    noise_scale,
    whitening_matrix,
)
from .parameters import parameter
from .tensors import as_tensor


class Prewhiten(Gadget[Acquisitions | Noise, Acquisitions | Noise]):
    """Make noise independent between channels and of unit variance, from the scan's noise lines, which end here.

    Where no noise line came, the `Noise` of an earlier measurement is taken that was given ahead of the lines; a server
    gives the one that the header names. Noise of the scan's own lines is given on at the end, for later scans.

    Lines before the first noise line pass as if there were none. Noise lines that come later add to the ones before,
    and the lines after them are whitened with all. Channels are matched by `match_channels`; within a scan, where one
    header names all coils, by channel_mask or order.

    Raises:
        DataError: where channels of noise and other lines of the scan do not match or change, or its noise does not
            suffice; where noise is missing, or that of another measurement does not fit, if `missing` is fail.
    """

    missing: Literal["warn", "fail"] = parameter(
        "warn", "What to do with lines for which there is no noise: no noise line, none kept that fits."
    )

    def start(self, header: Header, /) -> None:
        self._header = header
        self._earlier: Noise | None = None
        self._products: NDArray[np.complex128] | None = None
        self._n_samples = 0
        self._dwell_us = 0.0
        self._bits: tuple[int, ...] = ()
        self._prepared = False
        self._noise: Noise | None = None
        """That of the lines' channels, in their order, or None while lines pass as they are."""
        self._whitening: NDArray[np.complex128] | None = None
        self._by_dwell: dict[float, torch.Tensor] = {}
        self._told: set[str] = set()

    def process(self, item: Acquisitions | Noise, /) -> Iterator[Any]:
        if isinstance(item, Noise):
            self._earlier, self._prepared = item, False
            return
        noise = item.has(Flag.IS_NOISE_MEASUREMENT)
        if not noise.any():
            yield from self._whitened(item)
            return
        for run in runs(noise):
            if noise[run.start]:
                self._measure(item[run])
            else:
                yield from self._whitened(item[run])

    def finish(self) -> Iterator[Any]:
        if self._products is None:
            return
        try:
            noise = self._measured()
        except DataError as error:
            yield Text(f"warning: Prewhiten: this noise cannot whiten later scans: {error.message}")
            return
        finally:
            self._products = None
        if not self._prepared:
            wanted = f"that name measurement {noise.measurement_id[:60]}" if noise.measurement_id else "of these coils"
            yield Text(f"Prewhiten: {noise}; for later scans {wanted}, as no lines to whiten came")
        yield noise

    def _measure(self, lines: Acquisitions) -> None:
        """Add noise lines to the statistics."""
        first = lines.head[0]
        if self._products is None:
            self._dwell_us = float(first["sample_time_us"])
            self._bits = channel_bits(first, lines.n_channels)
            self._products = np.zeros((lines.n_channels, lines.n_channels), np.complex128)
        if len(self._products) != lines.n_channels:
            raise DataError(
                f"noise lines have {len(self._products)} channels and, from line {first['scan_counter']} on, "
                f"{lines.n_channels}; send noise of one set of channels"
            )
        others = lines.head["sample_time_us"] != self._dwell_us
        if others.any():
            other = float(lines.head["sample_time_us"][others][0])
            raise DataError(
                f"noise lines have dwell times of {self._dwell_us:g} and {other:g} us; send noise of one dwell time"
            )
        self._products += noise_products(lines.data)
        self._n_samples += len(lines) * lines.n_samples
        self._prepared = False

    def _measured(self) -> Noise:
        """The noise of this scan's own lines."""
        assert self._products is not None
        return Noise(
            covariance=noise_covariance(self._products, self._n_samples),
            dwell_us=self._dwell_us,
            n_samples=self._n_samples,
            channel_bits=self._bits,
            coil_names=distinct_names(self._header.coil_names, len(self._products)),
            measurement_id=self._header.measurement_id,
            scanner=self._header.scanner,
        )

    def _whitened(self, lines: Acquisitions) -> Iterator[Any]:
        if not self._prepared:
            yield from self._prepare(lines)
        if self._noise is None:
            yield lines
            return
        if lines.n_channels != self._noise.n_channels:
            raise DataError(
                f"lines have {self._noise.n_channels} channels and, from line {lines.head['scan_counter'][0]} on, "
                f"{lines.n_channels}; noise can be matched to one set of channels only"
            )
        samples = as_tensor(lines.data)
        dwell = lines.head["sample_time_us"]
        if (dwell == dwell[0]).all():
            whitened = torch.matmul(self._matrix(float(dwell[0])), samples)
        else:
            whitened = torch.empty_like(samples)
            for single in np.unique(dwell).tolist():
                chosen = torch.from_numpy(dwell == single)
                whitened[chosen] = torch.matmul(self._matrix(single), samples[chosen])
        yield lines.with_data(whitened.numpy())

    def _prepare(self, lines: Acquisitions) -> Iterator[Text]:
        """Decide which noise `lines` and those after them are whitened by, and tell the client."""
        self._prepared, self._noise = True, None
        if self._products is not None:
            self._take(self._measured(), lines, ())
            yield from self._tell("own", f"{self._noise}{self._set_aside()}")
            return
        try:
            if self._earlier is None:
                raise DataError(self._absent())
            self._take(self._earlier, lines, self._header.coil_names)
            yield from self._tell("earlier", f"{self._noise}; from {self._origin(self._earlier)}")
        except DataError as error:
            reason = error.message
            if self._earlier is not None:
                reason = f"noise from {self._origin(self._earlier)} does not fit: {reason}"
            if self.missing == "fail":
                raise DataError(f"{reason}; or set missing to warn") from error
            yield from self._tell("none", f"lines pass as they are: {reason}")

    def _take(self, noise: Noise, lines: Acquisitions, coil_names: Sequence[str]) -> None:
        """Whiten by `noise`.

        Raises:
            DataError: where its channels are not those of `lines`, or it is no noise to whiten by.
        """
        noise = noise.of_channels(match_channels(noise, lines.head[0], lines.n_channels, coil_names))
        self._whitening = whitening_matrix(noise.covariance)
        self._noise = noise
        self._by_dwell.clear()

    def _tell(self, case: str, words: str) -> Iterator[Text]:
        """Say `words`, once for each case."""
        if case not in self._told:
            self._told.add(case)
            yield Text(f"{'warning: ' if case == 'none' else ''}Prewhiten: {words}")

    def _absent(self) -> str:
        before = "no noise line came before the first line, and"
        if not (wanted := self._header.noise_dependency):
            return f"{before} the header names no noise measurement; acquire noise"
        return (
            f"{before} noise of measurement {wanted[:60]}, which the header names, is not known here; send both scans "
            "to one server, that of the noise first, or put its noise lines at the start of this one"
        )

    def _origin(self, noise: Noise) -> str:
        name = f"measurement {noise.measurement_id[:60]}" if noise.measurement_id else "a measurement without an id"
        how = "" if self._header.noise_dependency else ", found by its scanner and coils"
        return f"{name}, {noise.age(time.time())} old{how}"

    def _set_aside(self) -> str:
        return "" if self._earlier is None else f"; noise from {self._origin(self._earlier)} is not needed"

    def _matrix(self, dwell: float) -> torch.Tensor:
        """The whitening matrix for lines of a dwell time [us]. Shape (channel, channel)."""
        if dwell not in self._by_dwell:
            assert self._whitening is not None
            assert self._noise is not None
            scale = noise_scale(dwell, self._noise.dwell_us, self._header.noise_bandwidth)
            self._by_dwell[dwell] = torch.from_numpy((scale * self._whitening).astype(np.complex64))
        return self._by_dwell[dwell]
