"""Noise prewhitening: after it, noise has unit variance and is independent between channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Flag, Header, Text
from echotrain.mrd.errors import DataError

from .gadget import Gadget
from .lines import runs
from .noise import noise_covariance, noise_products, noise_scale, whitening_matrix
from .parameters import parameter
from .tensors import as_tensor


class Prewhiten(Gadget[Acquisitions, Acquisitions]):
    """Make noise independent between channels and of unit variance, from the scan's noise lines, which end here.

    Lines before the first noise line pass unchanged. Noise lines that come later add to the ones before, and the lines
    after them are whitened with all. Channels are matched by their bits in channel_mask where both kinds of line have
    as many bits as channels, else by their order.

    Raises:
        DataError: where channels of noise and other lines do not match or change, or the noise does not suffice.
    """

    missing: Literal["warn", "fail"] = parameter("warn", "What to do with lines that no noise line came before.")

    def start(self, header: Header, /) -> None:
        self._bandwidth = header.noise_bandwidth
        self._products: NDArray[np.complex128] | None = None
        self._n_samples = 0
        self._noise_head: NDArray[np.void] | None = None
        self._n_channels = 0
        self._whitening: NDArray[np.complex128] | None = None
        self._by_dwell: dict[float, torch.Tensor] = {}
        self._warned = self._reported = False

    def process(self, lines: Acquisitions, /) -> Iterator[Any]:
        noise = lines.has(Flag.IS_NOISE_MEASUREMENT)
        if not noise.any():
            yield from self._whitened(lines)
            return
        for run in runs(noise):
            if noise[run.start]:
                self._measure(lines[run])
            else:
                yield from self._whitened(lines[run])

    def _measure(self, lines: Acquisitions) -> None:
        """Add noise lines to the statistics."""
        first = lines.head[0]
        if self._noise_head is None:
            self._noise_head = first.copy()
            self._products = np.zeros((lines.n_channels, lines.n_channels), np.complex128)
        assert self._products is not None
        if len(self._products) != lines.n_channels:
            raise DataError(
                f"noise lines have {len(self._products)} channels and, from line {first['scan_counter']} on, "
                f"{lines.n_channels}; send noise of one set of channels"
            )
        dwell = float(self._noise_head["sample_time_us"])
        others = lines.head["sample_time_us"] != dwell
        if others.any():
            other = float(lines.head["sample_time_us"][others][0])
            raise DataError(f"noise lines have dwell times of {dwell:g} and {other:g} us; send noise of one dwell time")
        self._products += noise_products(lines.data)
        self._n_samples += len(lines) * lines.n_samples
        self._whitening = None
        self._by_dwell.clear()

    def _whitened(self, lines: Acquisitions) -> Iterator[Any]:
        if self._noise_head is None:
            if self.missing == "fail":
                raise DataError("no noise line came before the first line; acquire noise, or set missing to warn")
            if not self._warned:
                self._warned = True
                yield Text("Prewhiten: no noise line came before the first line; lines pass as they are")
            yield lines
            return
        if self._whitening is None:
            words = self._prepare(lines)
            if not self._reported:
                self._reported = True
                yield Text(words)
        if lines.n_channels != self._n_channels:
            raise DataError(
                f"lines have {self._n_channels} channels and, from line {lines.head['scan_counter'][0]} on, "
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

    def _prepare(self, lines: Acquisitions) -> str:
        """Compute the whitening of the channels of `lines`; gives the words that tell the client of it."""
        assert self._noise_head is not None
        assert self._products is not None
        covariance = noise_covariance(self._products, self._n_samples)
        chosen = _matched(self._noise_head, lines.head[0], len(covariance), lines.n_channels)
        covariance = covariance[np.ix_(chosen, chosen)]
        self._whitening = whitening_matrix(covariance)
        self._n_channels = lines.n_channels
        deviation = np.sqrt(covariance.diagonal().real)
        return (
            f"Prewhiten: {self._n_samples} noise samples of {len(deviation)} channels at a dwell time of "
            f"{float(self._noise_head['sample_time_us']):g} us; standard deviation {deviation.min():.3g} to "
            f"{deviation.max():.3g}"
        )

    def _matrix(self, dwell: float) -> torch.Tensor:
        """The whitening matrix for lines of a dwell time [us]. Shape (channel, channel)."""
        if dwell not in self._by_dwell:
            assert self._whitening is not None
            assert self._noise_head is not None
            scale = noise_scale(dwell, float(self._noise_head["sample_time_us"]), self._bandwidth)
            self._by_dwell[dwell] = torch.from_numpy((scale * self._whitening).astype(np.complex64))
        return self._by_dwell[dwell]


def _matched(noise: NDArray[np.void], line: NDArray[np.void], n_noise: int, n_line: int) -> list[int]:
    """Which channels of the noise are those of `line`, in its order."""
    noise_bits, line_bits = _channel_bits(noise, n_noise), _channel_bits(line, n_line)
    if noise_bits and line_bits:
        absent = [bit for bit in line_bits if bit not in noise_bits]
        if absent:
            raise DataError(
                f"noise lines have {n_noise} channels and other lines {n_line}, of which the noise lacks those of "
                f"channel_mask bits {', '.join(map(str, absent))}; acquire noise with the same channels"
            )
        return [noise_bits.index(bit) for bit in line_bits]
    if n_noise != n_line:
        raise DataError(
            f"noise lines have {n_noise} channels and other lines {n_line}, and their channel_mask does not say which "
            "belong together; acquire noise with the same channels"
        )
    return list(range(n_line))


def _channel_bits(line: NDArray[np.void], n_channels: int) -> list[int]:
    """Numbers of the set bits of channel_mask, or none where they do not stand for the channels."""
    mask = np.ascontiguousarray(line["channel_mask"]).view(np.uint8)
    bits: list[int] = np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist()
    return bits if len(bits) == n_channels else []
