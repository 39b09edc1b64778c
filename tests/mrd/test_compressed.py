"""Acquisitions whose samples come compressed decode to the samples; what is damaged is refused, and takes no memory."""

import builtins
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echotrain.mrd import Acquisitions, Decoder, Flag, acquisition_headers, decode, encode
from echotrain.mrd.compressed import payload_limit
from echotrain.mrd.errors import StreamError
from echotrain.mrd.flags import COMPRESSED

zfpy = pytest.importorskip("zfpy", reason="zfpy is not installed")

KINDS = [Flag.COMPRESSION1, Flag.COMPRESSION2]


def samples_of(n_channels, n_samples, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2, n_channels, n_samples))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def zfp(samples, **options):
    """A line's samples as Gadgetron's client compresses them: real and imaginary parts in turn, a channel a row."""
    return zfpy.compress_numpy(samples.view(np.float32), **(options or {"tolerance": 1e-3}))


def nhlbi(samples, width=16):
    """Integers of `width` bits that follow on one another from the lowest bit on, after their number and scale."""
    values = samples.view(np.float32).ravel()
    scale = np.float32(((1 << (width - 1)) - 1) / np.abs(values).max() * (1 - 1e-6))  # so that rounding stays within
    packed = 0
    for i, value in enumerate(values):
        packed |= (round(float(value) * float(scale)) & ((1 << width) - 1)) << (i * width)
    n_bytes = -(-len(values) * width // 8)
    return struct.pack("<QfB", len(values), scale, width) + packed.to_bytes(n_bytes, "little")


COMPRESS = {Flag.COMPRESSION1: zfp, Flag.COMPRESSION2: nhlbi}


def record(payload, n_channels, n_samples, flags, n_dims=0, length=None):
    """An acquisition message with a payload in place of the samples, and its trajectory."""
    head = acquisition_headers(1, n_channels, n_samples)
    head["trajectory_dimensions"] = n_dims
    head["flags"] = int(flags)
    head["scan_counter"] = 7
    trajectory = np.arange(n_samples * n_dims, dtype=np.float32).tobytes()
    length = len(payload) if length is None else length
    return struct.pack("<H", 1008) + head.tobytes() + trajectory + struct.pack("<I", length) + payload


def lines(n_lines, n_channels, n_samples):
    head = acquisition_headers(n_lines, n_channels, n_samples)
    return Acquisitions(head, np.stack([samples_of(n_channels, n_samples, seed) for seed in range(n_lines)]))


def items_of(stream):
    decoder = Decoder()
    items = list(decoder.feed(stream))
    decoder.close()
    return items


@pytest.mark.parametrize("n_dims", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_line_comes_out_as_any_other(kind, n_dims):
    samples = samples_of(3, 5)
    flags = kind | Flag.LAST_IN_SLICE | (1 << 63)
    (line,) = items_of(record(COMPRESS[kind](samples), 3, 5, flags, n_dims))
    assert line.data.shape == (1, 3, 5)
    assert line.data.dtype == np.complex64
    np.testing.assert_allclose(line.data[0], samples, atol=1e-3)
    assert line.head["flags"].tolist() == [Flag.LAST_IN_SLICE | (1 << 63)]
    assert line.head["scan_counter"].tolist() == [7]
    if n_dims:
        np.testing.assert_array_equal(line.trajectory, np.arange(10, dtype=np.float32).reshape(1, 5, 2))
    else:
        assert line.trajectory is None
    line.check()
    (again,) = items_of(bytes(encode(line)))
    np.testing.assert_array_equal(again.data, line.data)


@given(
    st.integers(1, 9), st.integers(1, 40), st.integers(0, 99), st.sampled_from([{"precision": 28}, {"rate": 32}, {}])
)
def test_zfp_of_any_size_comes_out(n_channels, n_samples, seed, options):
    samples = samples_of(n_channels, n_samples, seed)
    payload = zfp(samples, **options)
    assert len(payload) <= payload_limit(n_channels, n_samples)
    (line,) = items_of(record(payload, n_channels, n_samples, Flag.COMPRESSION1))
    np.testing.assert_allclose(line.data[0], samples, atol=1e-2 if options == {"rate": 32} else 2e-3)


def test_zfp_without_loss_comes_out_exactly():
    samples = samples_of(3, 37)
    payload = zfpy.compress_numpy(samples.view(np.float32))
    (line,) = items_of(record(payload, 3, 37, Flag.COMPRESSION1))
    np.testing.assert_array_equal(line.data[0], samples)


@given(st.integers(1, 5), st.integers(1, 12), st.integers(2, 31), st.integers(0, 99))
def test_nhlbi_of_any_size_and_width_comes_out(n_channels, n_samples, width, seed):
    samples = samples_of(n_channels, n_samples, seed)
    payload = nhlbi(samples, width)
    assert len(payload) <= payload_limit(n_channels, n_samples)
    (line,) = items_of(record(payload, n_channels, n_samples, Flag.COMPRESSION2))
    step = np.abs(samples.view(np.float32)).max() / ((1 << (width - 1)) - 1)
    np.testing.assert_allclose(line.data[0].view(np.float32), samples.view(np.float32), atol=0.51 * step + 4e-6)


def test_nhlbi_of_a_long_line_takes_little_memory():
    n_channels, n_samples, width = 65, 2501, 7
    numbers = np.random.default_rng(0).integers(-64, 64, 2 * n_channels * n_samples)
    bits = (numbers[:, None] >> np.arange(width)) & 1
    payload = struct.pack("<QfB", len(numbers), 4, width) + np.packbits(bits, bitorder="little").tobytes()
    stream = record(payload, n_channels, n_samples, Flag.COMPRESSION2)
    tracemalloc.start()
    (line,) = items_of(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(line.data.view(np.float32).ravel(), numbers.astype(np.float32) / 4)
    assert peak < 10 << 20  # of which the samples are 1.2; unpacked at once they were 30


def test_integers_of_nhlbi_as_gadgetrons_own_code_packs_them():
    """Six numbers of 5 bits, 0.5 -1 0.25 0 -0.75 1, scaled by 15."""
    payload = bytes.fromhex("0600000000000000 00007041 05 28 12 50 1f")
    (line,) = items_of(record(payload, 1, 3, Flag.COMPRESSION2))
    np.testing.assert_allclose(line.data[0, 0] * 15, [8 - 15j, 4 + 0j, -11 + 15j])


@pytest.mark.parametrize("kind", KINDS)
def test_plain_lines_around_a_compressed_one_stay_in_batches(kind):
    plain = bytes(encode(lines(3, 2, 6)))
    squeezed = record(COMPRESS[kind](samples_of(2, 6)), 2, 6, kind)
    batches = items_of(plain + squeezed + squeezed + plain)
    assert [len(batch) for batch in batches] == [3, 1, 1, 3]
    assert not any(batch.has(COMPRESSED).any() for batch in batches)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_line_may_be_cut_anywhere(kind):
    stream = record(COMPRESS[kind](samples_of(3, 5)), 3, 5, kind, n_dims=2) + bytes(encode(lines(1, 2, 4)))
    (whole, after) = items_of(stream)
    for cut in range(len(stream)):
        decoder = Decoder()
        line, last = [*decoder.feed(stream[:cut]), *decoder.feed(stream[cut:])]
        assert line.head.tobytes() + line.data.tobytes() == whole.head.tobytes() + whole.data.tobytes()
        assert line.trajectory.tobytes() == whole.trajectory.tobytes()
        assert last.data.tobytes() == after.data.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 6), (2, 5), (5, 3), (30, 1)])
def test_a_payload_for_another_shape_is_refused(kind, shape):
    stream = record(COMPRESS[kind](samples_of(3, 5)), *shape, kind)
    if kind is Flag.COMPRESSION2 and shape in ((5, 3), (30, 1)):
        shape = (shape[0], shape[1] + 1)  # a count is all that NHLBI's header has
        stream = record(nhlbi(samples_of(3, 5)), *shape, kind)
    with pytest.raises(StreamError, match="payload that does not fit"):
        items_of(stream)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", [b"", b"zfp", b"\xff" * 40, bytes(60)])
def test_a_payload_that_is_none_is_refused(kind, payload):
    with pytest.raises(StreamError, match=r"payload that does not fit.*record at byte 0"):
        items_of(record(payload, 3, 5, kind))


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_zfp_of_another_type_is_refused(dtype):
    payload = zfpy.compress_numpy(np.ones((3, 10), dtype))
    with pytest.raises(StreamError, match=f"does not fit: {np.dtype(dtype).name} of shape"):
        items_of(record(payload, 3, 5, Flag.COMPRESSION1))


@pytest.mark.parametrize("broken", [struct.pack("<QfB", 30, 0.0, 8), struct.pack("<QfB", 30, 1.0, 32)])
def test_nhlbi_without_a_scale_or_with_too_many_bits_is_refused(broken):
    with pytest.raises(StreamError, match="does not fit"):
        items_of(record(broken + bytes(200), 3, 5, Flag.COMPRESSION2))


def test_nhlbi_that_ends_too_early_is_refused():
    with pytest.raises(StreamError, match="does not fit"):
        items_of(record(nhlbi(samples_of(3, 5))[:-1], 3, 5, Flag.COMPRESSION2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_length_beyond_any_payload_is_refused_before_it_is_waited_for(kind):
    stream = record(b"", 3, 5, kind, length=payload_limit(3, 5) + 1)
    with pytest.raises(StreamError, match=f"at most {payload_limit(3, 5)} are accepted"):
        list(decode(memoryview(stream)))


@given(st.binary(max_size=300), st.sampled_from(KINDS))
def test_bytes_of_any_kind_give_samples_or_an_error(payload, kind):
    try:
        (line,) = items_of(record(payload, 3, 5, kind))
    except StreamError:
        return
    assert line.data.shape == (1, 3, 5)


@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 300))
def test_damaged_payloads_give_samples_or_an_error(kind, place, change, n_kept):
    payload = bytearray(COMPRESS[kind](samples_of(3, 5)))
    payload[place % len(payload)] ^= change
    try:
        (line,) = items_of(record(bytes(payload[:n_kept]), 3, 5, kind))
    except StreamError:
        return
    assert line.data.shape == (1, 3, 5)


@pytest.mark.parametrize(
    ("flags", "named"), [(Flag.COMPRESSION3, "55"), (Flag.COMPRESSION1 | Flag.COMPRESSION2, "53 and 54")]
)
def test_other_compression_is_refused_by_its_flags_at_the_header(flags, named):
    stream = record(b"", 3, 5, flags)[:342]
    with pytest.raises(StreamError, match=rf"flag {named}\); send it uncompressed"):
        list(decode(memoryview(stream)))


def test_zfp_without_its_package_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def without_zfpy(name, *others):
        if name == "zfpy":
            raise ModuleNotFoundError("No module named 'zfpy'")
        return imported(name, *others)

    monkeypatch.setattr(builtins, "__import__", without_zfpy)
    with pytest.raises(StreamError, match="pip install zfpy"):
        items_of(record(zfp(samples_of(3, 5)), 3, 5, Flag.COMPRESSION1))
