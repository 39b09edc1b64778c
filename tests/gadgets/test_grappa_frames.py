"""Repetitions whose lines interleave calibrate one another."""

from dataclasses import replace

import numpy as np
import pytest
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets import FourierTransform, Grappa, grappa_calibration
from echotrain.gadgets.coils import adaptive_coil_maps, combine
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Encoding, Header, Image, KSpace, Limit, Space, Text, acquisition_headers
from echotrain.mrd.errors import DataError

SPACE = Space((N_KX, N_KY, 1), (100.0, 120.0, 5.0))
HEADER = Header(b"", (Encoding(SPACE, SPACE, {"repetition": Limit(0, 19, 0)}),))
KSPACE = centred_fft(channel_images(), (-2, -1)) + 0.05 * noise(*PLANE)


def frame(number, step=3, kspace=KSPACE, **counters):
    """A repetition of every `step`th line, from the next line on each time."""
    line = acquisition_headers(1, len(kspace), kspace.shape[-1]).reshape(())
    line["idx"]["repetition"] = number
    for name, value in counters.items():
        line["idx"][name] = value
    sampled = every(step, number)
    return KSpace(only(kspace, sampled), sampled, line)


def started(header=HEADER, **parameters):
    gadget = Grappa(**parameters)
    gadget.start(header)
    return gadget


def truth(kspace=KSPACE):
    transform = FourierTransform()
    transform.start(HEADER)
    (channels,) = transform.process(KSpace(kspace, np.ones((1, N_KY), bool), frame(0).head))
    return np.abs(combine(channels.data, adaptive_coil_maps(channels.data)))


def of(kind, items):
    return [item for item in items if isinstance(item, kind)]


def test_the_first_wait_until_all_lines_are_there_and_the_client_is_told():
    gadget = started()
    given = [list(gadget.process(frame(number))) for number in range(6)]
    assert [len(of(Image, items)) for items in given] == [0, 0, 3, 1, 1, 1]
    given = [item for items in given for item in items]
    (told,) = of(Text, given)
    assert told.text.startswith("Grappa: repetitions have no calibration lines")
    assert "first 2 wait" in told.text
    images = of(Image, given)
    assert [int(image.head["repetition"]) for image in images] == list(range(6))
    assert [int(image.head["image_index"]) for image in images] == list(range(1, 7))
    for image in images:
        assert relative(np.abs(image.data[0]), truth()) < 0.05


def test_slices_are_calibrated_each_by_its_own_repetitions():
    gadget = started()
    other = centred_fft(channel_images()[::-1] * np.linspace(1, 2, N_KY)[:, None], (-2, -1)).astype(np.complex64)
    given = []
    for number in range(3):
        given += gadget.process(frame(number))
        given += gadget.process(frame(number, kspace=other, slice=1))
    assert len(of(Text, given)) == 1
    images = of(Image, given)
    assert [int(image.head["slice"]) for image in images] == [0, 0, 0, 1, 1, 1]
    for image in images:
        expected = truth(other if image.head["slice"] else KSPACE)
        assert relative(np.abs(image.data[0]), expected) < 0.06


def test_calibration_is_kept_or_renewed_from_the_latest_lines(monkeypatch):
    """The receiving coils change their places after half of the repetitions."""
    fits = []
    fit = grappa_calibration.grappa_weights
    monkeypatch.setattr(
        grappa_calibration, "grappa_weights", lambda *given, **named: fits.append(None) or fit(*given, **named)
    )
    moved = np.ascontiguousarray(KSPACE[::-1])
    errors, counts = [], []
    for renew in (0, 3):
        gadget = started(renew=renew)
        images = []
        for number in range(12):
            images += of(Image, gadget.process(frame(number, kspace=KSPACE if number < 6 else moved)))
        gadget.finish()
        errors.append([relative(np.abs(image.data[0]), truth(moved)) for image in images])
        counts.append(len(fits))
        fits.clear()
    assert counts == [1, 4]
    kept, renewed = errors
    # Lines 6 to 8 are the first that are all of the coils' new places, and serve from repetition 11 on.
    assert renewed[11] < 0.05 < 0.3 < min(renewed[10], kept[11])


@pytest.mark.parametrize(("once", "n_fits"), [(False, 3), (True, 1)])
def test_the_first_calibration_may_serve_all_repetitions_whatever_they_bring(monkeypatch, once, n_fits):
    fits = []
    fit = grappa_calibration.grappa_weights
    monkeypatch.setattr(
        grappa_calibration, "grappa_weights", lambda *given, **named: fits.append(None) or fit(*given, **named)
    )
    gadget = started(once=once)
    for number in range(3):
        lines = frame(number)
        whole = KSpace(KSPACE, np.ones((1, N_KY), bool), lines.head)
        (early,) = [list(gadget.process(replace(whole, calibration=whole, early=True)))]
        assert early == []
        (image,) = gadget.process(replace(lines, calibration=whole))
        assert relative(np.abs(image.data[0]), truth()) < 0.05
    assert len(fits) == n_fits


def test_calibration_lines_of_a_repetition_of_its_own_go_before():
    gadget = started()
    whole = KSpace(KSPACE, np.ones((1, N_KY), bool), frame(0).head)
    own = KSpace(*(getattr(frame(0), name) for name in ("data", "sampled", "head")), calibration=whole)
    assert [type(item) for item in gadget.process(own)] == [Image]


# What is refused


def refusal(*frames, header=HEADER, end=False):
    gadget = started(header)
    for one in frames[: None if end else -1]:
        list(gadget.process(one))
    with pytest.raises(DataError) as caught:
        gadget.finish() if end else list(gadget.process(frames[-1]))
    return str(caught.value)


def test_repetitions_of_the_same_lines_are_refused_at_the_second():
    assert "repetitions whose lines interleave" in refusal(frame(0), frame(3))


def test_a_scan_that_ends_before_all_lines_were_there_is_refused():
    assert "there are no calibration lines" in refusal(frame(0), frame(1), end=True)


def test_a_scan_without_repetitions_is_refused_at_once_unless_it_says_that_it_interleaves():
    single = Header(b"", (Encoding(SPACE, SPACE, {}),))
    assert "there are no calibration lines" in refusal(frame(0), header=single)
    interleaved = Header(b"", (Encoding(SPACE, SPACE, {}, calibration_mode="interleaved"),))
    assert of(Text, started(interleaved).process(frame(0)))


def test_other_channels_among_repetitions_are_refused():
    words = refusal(frame(0), frame(1, kspace=KSPACE[:4]))
    assert "a repetition has 4 channels x 40 samples, those before it 6 x 40" in words
