"""Samples of acquisitions that come compressed, as from Gadgetron's client with `--precision` or `--tolerance`."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .errors import StreamError
from .flags import COMPRESSED, Flag

_ZFP_OPENING_BYTES = 64  # at most, with what fills the last word
_ZFP_BLOCK_BYTES = 128  # of 4 by 4 values: twice what single precision needs at most

_NHLBI_HEADER = struct.Struct("<QfB")  # numbers, scale, bits of each
_NHLBI_BITS = range(1, 32)
_NHLBI_BLOCK = 1 << 15  # numbers unpacked at once, which take 32 bytes each; a multiple of 8, so of whole bytes

Uncompress = Callable[[bytes, int, int], NDArray[np.complex64]]


def payload_limit(n_channels: int, n_samples: int) -> int:
    """Bytes that no compressed payload of so many samples exceeds, whatever the method."""
    return _ZFP_OPENING_BYTES + _ZFP_BLOCK_BYTES * _zfp_blocks(n_channels, n_samples)


def _zfp_blocks(n_channels: int, n_samples: int) -> int:
    """Of 4 by 4 values, of which each takes a bit at least."""
    return math.ceil(n_channels / 4) * math.ceil(n_samples / 2)


def method(flags: int) -> Uncompress:
    """What gives the samples, shape (channel, sample), of payload, channels and samples of a line with these flags.

    Raises:
        StreamError: where nothing here does; and later, at a payload that does not fit the line.
    """
    known = _METHODS.get(flags & COMPRESSED)
    if known is None:
        bits = " and ".join(str(bit + 1) for bit in range(64) if flags & COMPRESSED & (1 << bit))
        raise StreamError(f"an acquisition is compressed in a way unknown here (flag {bits}); send it uncompressed")
    return known


def _zfp(payload: bytes, n_channels: int, n_samples: int) -> NDArray[np.complex64]:
    """ZFP's own stream with its full header: single precision, real and imaginary parts in turn, a channel a row."""
    try:
        import zfpy
    except ImportError as error:
        raise StreamError(
            "an acquisition is compressed by ZFP, which needs the package zfpy: pip install zfpy; or send uncompressed"
        ) from error
    try:
        if 8 * len(payload) < _zfp_blocks(n_channels, n_samples):  # before memory is taken for a line so long
            raise ValueError(f"{len(payload)} bytes are less than a bit for each block")
        # ZFP reads on where a payload ends too early: there must be zeros and not the memory of others.
        padded = payload.ljust(payload_limit(n_channels, n_samples), b"\0")
        header = zfpy.header(padded)
        shape = tuple(header[axis] for axis in ("nx", "ny", "nz", "nw"))
        if shape != (2 * n_samples, n_channels, 0, 0) or header["type"] is not np.float32:
            raise ValueError(f"{header['type'].__name__} of shape {shape}")
        if header["config"]["expert"]["minbits"] > 8 * _ZFP_BLOCK_BYTES:
            raise ValueError("blocks of a fixed size beyond any precision")
        values: NDArray[np.float32] = zfpy.decompress_numpy(padded)
    except (ValueError, KeyError, RuntimeError) as error:
        raise StreamError(
            f"an acquisition of {n_channels} channels and {n_samples} samples has a ZFP payload that does not fit: "
            f"{error}"
        ) from error
    return values.view(np.complex64)


def _nhlbi(payload: bytes, n_channels: int, n_samples: int) -> NDArray[np.complex64]:
    """Integers in two's complement of few bits, packed from the lowest bit on without gaps, and what divides them."""
    count = 2 * n_channels * n_samples
    n_values, scale, width = _NHLBI_HEADER.unpack_from(payload.ljust(_NHLBI_HEADER.size, b"\0"))
    n_bytes = len(payload) - _NHLBI_HEADER.size
    if n_values != count or width not in _NHLBI_BITS or not scale > 0 or 8 * n_bytes < count * width:
        raise StreamError(
            f"an acquisition of {n_channels} channels and {n_samples} samples has an NHLBI payload that does not fit: "
            f"{n_values} numbers of {width} bits and scale {scale} in {n_bytes} bytes"
        )
    packed = np.frombuffer(payload, np.uint8, offset=_NHLBI_HEADER.size)
    values = np.empty(count, np.float32)
    for start in range(0, count, _NHLBI_BLOCK):
        block = values[start : start + _NHLBI_BLOCK]
        bits = np.unpackbits(packed[start * width // 8 :], count=len(block) * width, bitorder="little")
        # The highest bit is the sign.
        signed = np.pad(bits.reshape(-1, width), ((0, 0), (0, 32 - width)), mode="edge")
        with np.errstate(over="ignore"):  # infinite samples come uncompressed as well
            block[:] = np.packbits(signed, axis=1, bitorder="little").view("<i4")[:, 0] / scale
    return values.reshape(n_channels, 2 * n_samples).view(np.complex64)


_METHODS: dict[int, Uncompress] = {Flag.COMPRESSION1: _zfp, Flag.COMPRESSION2: _nhlbi}
