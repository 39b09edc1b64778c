"""Lines are compressed as they come: what is learnt from, when, and what comes out in which order."""

import numpy as np
import pytest

from echotrain.gadgets import CompressCoils, CompressLines, RemoveOversampling
from echotrain.gadgets.coil_compression import compression_matrix
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Acquisitions, Encoding, Flag, Header, KSpace, Limit, Space, Text, acquisition_headers
from echotrain.mrd.errors import DataError

N_CHANNELS, N_SAMPLES, N_KY, N_KZ = 7, 26, 15, 1
CENTRE = 8


def header(mode="", n_kz=N_KZ, first=0):
    limits = {
        "kspace_encoding_step_1": Limit(first, N_KY - 1, CENTRE),
        "kspace_encoding_step_2": Limit(0, n_kz - 1, n_kz // 2),
    }
    space = Space((N_SAMPLES, N_KY, n_kz), (260.0, 150.0, 5.0))
    return Header(
        b"", (Encoding(space, Space((13, N_KY, n_kz), (130.0, 150.0, 5.0)), limits, "cartesian", (1, 1), mode),)
    )


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def lines(rows=range(N_KY), flags=0, seed=0, planes=0, **counters):
    """Lines whose channels see as many sources as there are, each half as strong as the one before."""
    rows = list(rows)
    head = acquisition_headers(len(rows), N_CHANNELS, N_SAMPLES)
    head["idx"]["kspace_encode_step_1"], head["idx"]["kspace_encode_step_2"] = rows, planes
    for name, value in counters.items():
        head["idx"][name] = value
    head["flags"] = flags
    head["center_sample"] = N_SAMPLES // 2
    head["scan_counter"] = np.arange(len(rows))
    head["channel_mask"][:, 0] = 2**N_CHANNELS - 1
    mixing = np.linalg.qr(noise(N_CHANNELS, N_CHANNELS, seed=99))[0] * 0.5 ** np.arange(N_CHANNELS)
    return Acquisitions(head, (mixing @ noise(len(rows), N_CHANNELS, N_SAMPLES, seed=seed)).astype(np.complex64))


def joined(*batches):
    head, data = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("head", "data"))
    return Acquisitions(head, data, readout_in_image_space=batches[0].readout_in_image_space)


def started(head=None, **parameters):
    gadget = CompressLines(**{"channels": 3, "lines": 5, **parameters})
    gadget.start(head or header())
    return gadget


def line_by_line(gadget, batch):
    """For each line that is given to the gadget, the numbers of those that come out."""
    for line in batch:
        given = [item for item in gadget.process(line) if isinstance(item, Acquisitions)]
        yield [number for item in given for number in item.head["scan_counter"].tolist()]


def all_lines(items):
    return joined(*(item for item in items if isinstance(item, Acquisitions)))


def test_lines_wait_until_the_centre_is_there_and_are_given_on_in_their_order():
    given = list(line_by_line(started(), lines()))
    learnt = CENTRE + 2  # the last of the five nearest to the centre
    assert not any(given[:learnt])
    assert given[learnt] == list(range(learnt + 1))
    assert given[learnt + 1 :] == [[number] for number in range(learnt + 1, N_KY)]


def test_the_compression_is_that_of_the_central_lines():
    batch = lines()
    made = all_lines(started().process(batch))
    matrix = compression_matrix(batch.data[CENTRE - 2 : CENTRE + 3].swapaxes(0, 1), 3)
    np.testing.assert_allclose(made.data, matrix @ batch.data, atol=1e-5)
    assert (made.head["active_channels"] == 3).all()
    assert not made.head["channel_mask"].any()
    made.check()


@pytest.mark.parametrize("size", [1, 4, N_KY])
def test_lines_in_batches_of_any_size_give_the_same(size):
    batch = joined(lines(), lines(seed=1, repetition=1), lines(seed=2, slice=1))
    expected = all_lines(started().process(batch))
    gadget = started()
    pieces = [batch[start : start + size] for start in range(0, len(batch), size)]
    found = all_lines([item for piece in pieces for item in gadget.process(piece)])
    np.testing.assert_array_equal(found.head, expected.head)
    np.testing.assert_allclose(found.data, expected.data, atol=1e-5)


def test_later_repetitions_keep_the_compression_and_wait_for_nothing():
    gadget = started()
    list(gadget.process(lines()))
    given = list(line_by_line(gadget, lines(seed=1, repetition=1)))
    assert given == [[number] for number in range(N_KY)]


def test_each_slice_has_its_own_and_as_many_channels_as_the_first():
    batches = [lines(slice=number, seed=number) for number in range(3)]
    gadget = started(channels=0, threshold=0.03)
    items = [item for batch in batches for item in gadget.process(batch)]
    (told,) = [str(item) for item in items if isinstance(item, Text)]
    made = all_lines(items)
    assert "of 7 channels hold" in told
    assert "of 5 lines" in told
    kept = made.n_channels
    matrices = [compression_matrix(one.data[CENTRE - 2 : CENTRE + 3].swapaxes(0, 1), kept) for one in batches]
    for number, (one, matrix) in enumerate(zip(batches, matrices, strict=True)):
        np.testing.assert_allclose(made.data[number * N_KY : (number + 1) * N_KY], matrix @ one.data, atol=1e-4)


def test_slices_that_take_turns_come_out_as_they_came_in():
    batch = joined(*(lines([row], slice=number, seed=2 * row + number) for row in range(N_KY) for number in (0, 1)))
    batch.head["scan_counter"] = np.arange(len(batch))
    gadget = started()
    given = list(line_by_line(gadget, batch))
    assert [number for numbers in given for number in numbers] == list(range(2 * N_KY))
    assert not any(given[: 2 * (CENTRE + 2)])


def test_what_ends_early_is_learnt_from_as_far_as_it_is_there():
    short = lines(range(0, N_KY, 3))
    short.head["flags"][-1] = Flag.LAST_IN_SLICE
    (told, made) = started().process(short)
    assert "of 2 lines" in told.text  # rows 6 and 9
    assert len(made) == 5
    gadget = started()
    assert not list(gadget.process(lines(range(0, N_KY, 3))))
    later = all_lines(gadget.process(lines(range(0, N_KY, 3), repetition=1, seed=1)))
    assert len(later) == 10
    gadget = started()
    assert not list(gadget.process(lines(range(4))))
    assert len(all_lines(gadget.finish())) == 4
    assert not list(gadget.finish())


def test_a_separate_calibration_is_learnt_from_when_it_is_over():
    calibration = lines(range(4), Flag.IS_PARALLEL_CALIBRATION, seed=5)
    gadget = started(header("separate"))
    assert not list(gadget.process(calibration))
    made = all_lines(gadget.process(lines([0])))
    matrix = compression_matrix(calibration.data.swapaxes(0, 1), 3)
    assert len(made) == 5
    np.testing.assert_allclose(made.data[:4], matrix @ calibration.data, atol=1e-5)


def test_an_embedded_calibration_is_learnt_from_with_the_lines_about_it():
    batch = lines()
    batch.head["flags"][CENTRE - 4 : CENTRE + 5 : 2] = Flag.IS_PARALLEL_CALIBRATION
    made = all_lines(started(header("embedded")).process(batch))
    matrix = compression_matrix(batch.data[CENTRE - 2 : CENTRE + 3].swapaxes(0, 1), 3)
    np.testing.assert_allclose(made.data, matrix @ batch.data, atol=1e-5)


def test_volumes_learn_from_the_middle_of_both_phase_directions():
    n_kz = 5
    batch = joined(*(lines(planes=kz, seed=kz) for kz in range(n_kz)))
    batch.head["scan_counter"] = np.arange(len(batch))
    given = list(line_by_line(started(header(n_kz=n_kz)), batch))
    # The five nearest are a cross about (kz 2, ky 8), of which (3, 8) comes last.
    assert next(number for number, item in enumerate(given) if item) == 3 * N_KY + CENTRE


def test_noise_passes_in_its_place_and_navigators_are_compressed():
    batch = joined(lines([0], Flag.IS_NOISE_MEASUREMENT), lines([1, 2]), lines([0, 0], Flag.IS_NAVIGATION_DATA))
    gadget = started()
    first = list(gadget.process(batch[:1]))
    assert first[0].n_channels == N_CHANNELS
    assert not list(gadget.process(batch[1:]))
    assert [item.n_channels for item in gadget.process(lines(range(3, N_KY))) if isinstance(item, Acquisitions)] == [
        3
    ] * 3


def test_what_waits_is_not_held_in_the_memory_that_came():
    batch = lines(range(4))
    gadget = started()
    list(gadget.process(batch))
    kept = batch.data.copy()
    batch.data[:] = np.nan
    batch.head["idx"] = 0
    made = all_lines(gadget.finish())
    matrix = compression_matrix(kept.swapaxes(0, 1), 3)
    np.testing.assert_allclose(np.abs(made.data), np.abs(matrix @ kept), atol=1e-5)


@pytest.mark.parametrize("image_space", [False, True])
def test_along_the_readout_lines_are_compressed_as_whole_k_space(image_space):
    batch = lines()
    batch = Acquisitions(batch.head, batch.data, readout_in_image_space=image_space)
    gadget = started(method="geometric", lines=N_KY)
    made = all_lines(gadget.process(batch))
    assert made.readout_in_image_space is image_space
    data = np.ascontiguousarray(batch.data.swapaxes(0, 1)[:, None])
    whole = KSpace(data, np.ones((1, N_KY), bool), batch.head[0], readout_in_image_space=image_space)
    coils = CompressCoils(method="geometric", channels=3)
    coils.start(None)
    (expected,) = coils.process(whole)
    np.testing.assert_allclose(made.data.swapaxes(0, 1)[:, None], expected.data, atol=1e-4)


def test_oversampling_is_removed_before_without_a_way_back_to_k_space():
    remove, gadget = RemoveOversampling(), started(method="geometric")
    assert gadget.takes_image_space_readout
    remove.start(header())
    (cropped,) = remove.process(lines())
    made = all_lines(gadget.process(cropped))
    assert made.data.shape == (N_KY, 3, 13)
    assert np.isfinite(centred_fft(made.data, (-1,))).all()


def test_other_channels_and_samples_that_are_not_finite_are_refused():
    gadget = started()
    list(gadget.process(lines()))
    fewer = lines([3])
    with pytest.raises(DataError, match=r"7 channels.* have 4"):
        list(gadget.process(fewer.with_data(fewer.data[:, :4])))
    broken = lines()
    broken.data[CENTRE, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        list(started().process(broken))
    gadget = started()
    list(gadget.process(lines([7])))
    shorter = lines([8])
    list(gadget.process(shorter.with_data(shorter.data[..., :20])))
    with pytest.raises(DataError, match=r"slice 0 .* differ in channels or samples"):
        list(gadget.finish())
