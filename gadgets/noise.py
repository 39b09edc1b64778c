"""Noise of receive channels: covariance, the matrix that makes it the identity, and which channels are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from echotrain.mrd import Noise
from echotrain.mrd.errors import DataError
from echotrain.mrd.noise import distinct_names

# Smallest eigenvalue of the correlation between channels; below, only rounding tells them apart.
LEAST_EIGENVALUE = 1e-10


def noise_products(samples: NDArray[np.complex64]) -> NDArray[np.complex128]:
    """Sum of n n^H over all samples n, in double precision; `samples` have the shape (line, channel, sample)."""
    noise = np.moveaxis(samples, 1, 0).reshape(samples.shape[1], -1).astype(np.complex128)
    products: NDArray[np.complex128] = noise @ noise.conj().T
    return products


def noise_covariance(products: NDArray[np.complex128], n_samples: int) -> NDArray[np.complex128]:
    """Covariance E[n n^H] (channel, channel) from the sum of products over `n_samples` samples of mean 0.

    Raises:
        DataError: where there are not more samples than channels, or a sample is not finite.
    """
    n_channels = len(products)
    if n_samples <= n_channels:
        raise DataError(
            f"{n_samples} noise samples cannot give the covariance of {n_channels} channels; "
            "acquire noise lines with many times as many samples as channels, or leave out Prewhiten"
        )
    if not np.isfinite(products).all():
        raise DataError("noise lines hold samples that are not finite; look at the source of the data")
    return products / (n_samples - 1)


def whitening_matrix(covariance: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """W = L^-1 of the Cholesky factor L of the covariance C, so that W C W^H = 1. Shape (channel, channel).

    Raises:
        DataError: where a channel has no noise, or none of its own.
    """
    power = covariance.diagonal().real
    dead = np.flatnonzero(power <= 0)
    if len(dead):
        raise DataError(
            f"channel {dead[0]} (counted from 0) has no noise, so is dead; leave the channel out of the scan"
        )
    correlation = covariance / np.sqrt(np.outer(power, power))
    if np.linalg.eigvalsh(correlation)[0] < LEAST_EIGENVALUE:
        raise DataError(
            f"the noise covariance of {len(power)} channels is not positive definite: a channel repeats others, or "
            "there were too few noise samples; acquire more noise, leave out the channel, or leave out Prewhiten"
        )
    factor = np.linalg.cholesky(covariance)
    inverse: NDArray[np.complex128] = solve_triangular(factor, np.eye(len(power)), lower=True)
    return inverse


def noise_scale(dwell_us: float, noise_dwell_us: float, bandwidth: float) -> float:
    """Factor that gives unit noise in real and imaginary part at dwell time `dwell_us`; 1 where a dwell time is 0.

    `bandwidth` is the receiver's relative noise bandwidth. Reference: Kellman and McVeigh, MRM 2005;54:1439.
    """
    if dwell_us <= 0 or noise_dwell_us <= 0:
        return 1.0
    return math.sqrt(2 * dwell_us / noise_dwell_us * bandwidth)


def match_channels(noise: Noise, line: NDArray[np.void], n_line: int, coil_names: Sequence[str]) -> list[int]:
    """Which channels of the noise are the `n_line` channels of `line`, in its order; the noise may have more.

    They are the same by the names of their coils where both sides name each channel's, else by their bits in
    channel_mask where both have as many as channels, else by their order where there are as many.

    Raises:
        DataError: where the noise lacks a channel.
    """
    both = f"noise has {noise.n_channels} channels and other lines {n_line}"
    bits, names = channel_bits(line, n_line), distinct_names(coil_names, n_line)
    known: Sequence[int | str]
    wanted: Sequence[int | str]
    for what, known, wanted in (
        ("coils", noise.coil_names, names),
        ("channel_mask bits", noise.channel_bits, bits),
    ):
        if known and wanted:
            absent = [name for name in wanted if name not in known]
            if absent:
                raise DataError(
                    f"{both}, of which the noise lacks those of {what} {', '.join(map(str, absent))}; "
                    "acquire noise with the same channels"
                )
            return [known.index(name) for name in wanted]
    if noise.n_channels != n_line:
        raise DataError(
            f"{both}, and neither coil names nor channel_mask say which belong together; "
            "acquire noise with the same channels"
        )
    return list(range(n_line))


def channel_bits(line: NDArray[np.void], n_channels: int) -> tuple[int, ...]:
    """Numbers of the set bits of channel_mask, or none where they do not stand for the channels."""
    mask = np.ascontiguousarray(line["channel_mask"]).view(np.uint8)
    bits: list[int] = np.flatnonzero(np.unpackbits(mask, bitorder="little")).tolist()
    return tuple(bits) if len(bits) == n_channels else ()
