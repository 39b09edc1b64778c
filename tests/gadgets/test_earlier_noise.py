"""Noise that came with another measurement than the lines to whiten: given on, matched, or missed."""

import re
from dataclasses import replace

import numpy as np
import pytest
from whitening import (
    BANDWIDTH,
    N_CHANNELS,
    correlated,
    given,
    lines,
    measured,
    noise_lines,
    normal,
    samples,
    some_mixing,
    started,
    texts,
)

from echotrain.gadgets.noise import noise_covariance, noise_products
from echotrain.mrd import Header, Noise
from echotrain.mrd.errors import DataError

NAMES = ("H1", "H2", "H3", "H4", "H5")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("echotrain.gadgets.prewhiten.time.time", lambda: 10_000.0)


def naming(noise_id, names=NAMES, measurement_id="7_8"):
    """The header of a scan whose noise is that of measurement `noise_id`."""
    return Header(
        b"",
        measurement_id=measurement_id,
        dependencies={"SenMap": "9_9", "noise": noise_id} if noise_id else {},
        noise_bandwidth=BANDWIDTH,
        coil_names=names,
        scanner="Vendor / Model / Room 5",
    )


def kept(noise, names=NAMES, **head):
    """What a scan of noise lines alone leaves for later ones, 200 s before the clock's time."""
    items = given(started(header=naming("", names, "7_3")), noise_lines(noise, **head))
    return replace(measured(items), time=9_800.0)


def test_a_scan_of_noise_alone_gives_its_noise_for_later_ones_and_says_what_it_is(rng):
    noise = correlated(rng, some_mixing(rng), 3, 64)
    text, item = given(started(header=naming("", measurement_id="7_3")), noise_lines(noise, bits=range(2, 7)))
    covariance = noise_covariance(noise_products(noise), 192)
    np.testing.assert_array_equal(item.covariance, covariance)
    assert (item.n_samples, item.dwell_us, item.time) == (192, 8.0, 0.0)
    assert (item.channel_bits, item.coil_names) == ((2, 3, 4, 5, 6), NAMES)
    assert (item.measurement_id, item.scanner) == ("7_3", "Vendor / Model / Room 5")
    assert "192 noise samples of 5 channels" in text.text
    assert f"condition {np.linalg.cond(covariance):.3g}" in text.text
    assert text.text.endswith("for later scans that name measurement 7_3, as no lines to whiten came")


def test_noise_that_came_with_other_lines_is_given_at_the_end_with_all_that_came(rng):
    noise, data = correlated(rng, some_mixing(rng), 5, 64), lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(), noise_lines(noise[:2]), data, noise_lines(noise[2:]), data)
    assert items[-1] is measured(items)
    np.testing.assert_allclose(items[-1].covariance, noise_covariance(noise_products(noise), 320), rtol=1e-12)


def test_names_that_are_not_those_of_the_channels_are_not_given_on(rng):
    noise = correlated(rng, some_mixing(rng), 3, 64)
    for names in (NAMES[:4], ("H1", "H2", "H3", "H4", ""), ("H1", "H2", "H3", "H4", "H1")):
        assert kept(noise, names).coil_names == ()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda noise: noise[:1, :, :5], "5 noise samples cannot give"),
        (lambda noise: noise * np.float32(np.nan), "noise lines hold samples that are not finite"),
    ],
)
def test_noise_that_can_whiten_nothing_is_not_given_on_and_the_client_is_told(rng, spoil, words):
    (text,) = given(started(), noise_lines(spoil(normal(rng, 3, N_CHANNELS, 64))))
    assert f"cannot whiten later scans: {words}" in text.text


def test_noise_of_an_earlier_measurement_whitens_as_if_its_lines_had_come(rng, clock):
    noise, data = correlated(rng, some_mixing(rng), 3, 64), lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(header=naming("7_3")), kept(noise), data, data)
    together = given(started(), noise_lines(noise), data, data)
    np.testing.assert_array_equal(samples(items), samples(together))
    (text,) = texts(items)
    assert text.startswith(texts(together)[0])
    assert text.endswith("from measurement 7_3, 3 min old")
    assert not [item for item in items if isinstance(item, Noise)]


def test_the_client_is_told_where_noise_was_found_that_the_header_does_not_name(rng, clock):
    noise = replace(kept(normal(rng, 3, N_CHANNELS, 64)), measurement_id="", time=10_000.0 - 9_000)
    (text,) = texts(given(started(header=naming("")), noise, lines(normal(rng, 2, N_CHANNELS, 32))))
    assert text.endswith("from a measurement without an id, 2 h old, found by its scanner and coils")


@pytest.mark.parametrize("chosen", [(4, 2, 0, 1, 3), (3, 0, 4)])
def test_channels_of_another_measurement_are_matched_by_the_names_of_their_coils(rng, chosen):
    noise, data = correlated(rng, some_mixing(rng), 4, 64), normal(rng, 2, N_CHANNELS, 32)[:, : len(chosen)]
    names = tuple(NAMES[index] for index in chosen)
    misleading = kept(noise, bits=range(5))
    items = given(started(header=naming("7_3", names)), misleading, lines(data, bits=range(len(chosen))))
    expected = given(started(), noise_lines(noise[:, chosen]), lines(data))
    np.testing.assert_allclose(samples(items), samples(expected), rtol=1e-5)


def test_without_names_of_every_channel_they_are_matched_by_mask_bits(rng):
    noise, data = correlated(rng, some_mixing(rng), 4, 64), normal(rng, 2, 3, 32)
    items = given(started(header=naming("7_3", ())), kept(noise, bits=[1, 4, 9, 17, 60]), lines(data, bits=[1, 17, 60]))
    expected = given(started(), noise_lines(noise[:, [0, 3, 4]]), lines(data))
    np.testing.assert_allclose(samples(items), samples(expected), rtol=1e-5)


def test_without_names_and_mask_bits_they_are_matched_by_order(rng):
    noise, data = correlated(rng, some_mixing(rng), 4, 64)[:, :3], normal(rng, 2, 3, 32)
    items = given(started(header=naming("7_3", NAMES[:2])), kept(noise, NAMES[:3]), lines(data, bits=[1, 7, 8]))
    expected = given(started(), noise_lines(noise), lines(data))
    np.testing.assert_array_equal(samples(items), samples(expected))


@pytest.mark.parametrize(
    ("names", "spoil", "words"),
    [
        (("H1", "H2", "H3", "B1", "B2"), lambda noise: noise, "noise has 5 .* 5, .* lacks those of coils B1, B2;"),
        (NAMES, lambda noise: noise * np.float32([1, 1, 0, 1, 1])[:, None], "channel 2 .* has no noise"),
        ((), lambda noise: noise[:, :4], "noise has 4 channels and other lines 5, and neither"),
    ],
)
def test_lines_that_the_earlier_noise_does_not_fit_pass_or_fail_as_the_chain_says(rng, clock, names, spoil, words):
    earlier, data = kept(spoil(normal(rng, 3, N_CHANNELS, 64))), lines(normal(rng, 2, N_CHANNELS, 32))
    words = f"measurement 7_3, 3 min old does not fit: {words}"
    items = given(started(header=naming("7_3", names)), earlier, data, data)
    (text,) = texts(items)
    assert re.search(f"lines pass as they are: noise from {words}", text)
    assert items[1:] == [data, data]
    with pytest.raises(DataError, match=f"{words}.*set missing to warn"):
        given(started(header=naming("7_3", names), missing="fail"), earlier, data)


def test_a_measurement_that_is_not_known_is_named_with_what_to_do(rng):
    data = lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(header=naming("../7_4" + 10_000 * "x")), data, data)
    (text,) = texts(items)
    assert "lines pass as they are" in text
    assert "noise of measurement ../7_4xxx" in text
    assert "send both scans to one server, that of the noise first, or" in text
    assert len(text) < 400
    assert items[1:] == [data, data]
    with pytest.raises(DataError, match="measurement 7_4, which the header names, is not known here; send both"):
        given(started(header=naming("7_4"), missing="fail"), data)


def test_noise_lines_of_the_scan_itself_win_and_the_client_is_told(rng, clock):
    own, other = correlated(rng, some_mixing(rng), 3, 64), correlated(rng, some_mixing(rng), 3, 64)
    data = lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(header=naming("7_3")), kept(other), data, noise_lines(own), data)
    np.testing.assert_array_equal(samples(items)[:2], samples(given(started(header=naming("7_3")), kept(other), data)))
    np.testing.assert_array_equal(samples(items)[2:], samples(given(started(), noise_lines(own), data)))
    first, second = texts(items)
    assert first.endswith("from measurement 7_3, 3 min old")
    assert second.endswith("noise from measurement 7_3, 3 min old is not needed")
    assert measured(items).measurement_id == "7_8"


def test_noise_that_comes_after_lines_that_had_none_is_used_from_then_on(rng):
    data = lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(), data, noise_lines(normal(rng, 3, N_CHANNELS, 64)), data)
    np.testing.assert_array_equal(samples(items)[:2], data.data)
    assert len(texts(items)) == 2
    assert not np.allclose(samples(items)[2:], data.data)
