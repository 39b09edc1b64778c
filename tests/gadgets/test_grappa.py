"""The gadget Grappa: images of undersampled k-space, and words where there can be none."""

import numpy as np
import pytest
from known_coils import HEADER, images_of
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets import (
    CollectKSpace,
    CombineCoils,
    FourierTransform,
    Grappa,
    PadAsymmetricEcho,
    RemoveOversampling,
    grappa_calibration,
)
from echotrain.gadgets.coils import adaptive_coil_maps, combine, smooth_images
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.grappa_weights import grappa, grappa_weights
from echotrain.mrd import Encoding, Header, KSpace, Space, acquisition_headers, parse_header
from echotrain.mrd.errors import DataError, ParameterError


def volume_header(shape):
    space = Space(shape[::-1], (100.0, 120.0, 50.0))
    return Header(b"", (Encoding(space, space, {}),))


def unit(data, sampled, calibration=None, **counters):
    line = acquisition_headers(1, len(data), data.shape[-1]).reshape(())
    for name, value in counters.items():
        line["idx"][name] = value
    return KSpace(only(data, sampled), sampled, line, calibration=calibration)


def started(header=HEADER, **parameters):
    gadget = Grappa(**parameters)
    gadget.start(header)
    return gadget


# The gadget


@pytest.mark.parametrize(("acceleration", "bound"), [(1, 1e-6), (2, 0.025), (3, 0.05)])
def test_an_accelerated_scan_gives_the_image_of_the_full_one(small_scan, acceleration, bound):
    parameters = {"matrix": (72, 60), "coils": 8, "slices": 2}
    full = small_scan(**parameters)
    truth = images_of(
        [RemoveOversampling(), CollectKSpace(), FourierTransform(), CombineCoils(method="adaptive")],
        parse_header(full.header),
        full.batches,
    )
    scan = small_scan(**parameters, acceleration=acceleration)
    found = images_of([RemoveOversampling(), CollectKSpace(), Grappa()], parse_header(scan.header), scan.batches)
    assert len(found) == len(truth) == 2
    for one, other in zip(found, truth, strict=True):
        assert one.data.shape == other.data.shape == (1, 1, 60, 72)
        assert relative(np.abs(one.data), np.abs(other.data)) < bound
        for name in (
            "field_of_view",
            "position",
            "read_dir",
            "slice",
            "image_index",
            "image_series_index",
            "image_type",
        ):
            np.testing.assert_array_equal(one.head[name], other.head[name])
        history = one.meta.pop("GADGETRON_ImageProcessingHistory"), other.meta.pop("GADGETRON_ImageProcessingHistory")
        assert history == (["FourierTransform", "Grappa"], ["FourierTransform", "CombineCoils"])
        for image in (one, other):
            image.meta.pop("sampling_limits_E1", None)  # as the lines, which the accelerated scan has fewer of
        assert one.meta == other.meta


def test_volumes_are_reconstructed_in_one(small_scan):
    parameters = {"matrix": (28, 36), "coils": 6, "slices": 1, "partitions": 10, "calibration": 16}
    full, scan = small_scan(**parameters), small_scan(**parameters, acceleration=2)
    chain = [RemoveOversampling(), CollectKSpace()]
    (truth,) = images_of([*chain, Grappa()], parse_header(full.header), full.batches)
    (found,) = images_of([*chain, Grappa(kernel="3 4 3")], parse_header(scan.header), scan.batches)
    assert found.data.shape == (1, 10, 36, 28)
    assert relative(np.abs(found.data), np.abs(truth.data)) < 0.05


def test_shifts_from_plane_to_plane_keep_the_folds_of_a_volume_apart():
    """By a factor of 4 along ky alone: images fold onto others along both axes, and noise grows less."""
    shape = (12, 32, 14)
    header = volume_header(shape)
    images = channel_images(8, shape)
    kspace = centred_fft(images, (-3, -2, -1)) + 0.05 * noise(8, *shape)
    block = unit(kspace, np.ones(shape[:2], bool))
    errors = []
    for shift in (0, 2):
        sampled = np.zeros(shape[:2], bool)
        for plane in range(shape[0]):
            sampled[plane, (shift * plane) % 4 :: 4] = True
        gadget = started(header, kernel="3 2 3", noise_weight=0.0, gfactor=True)
        g_map, image = gadget.process(unit(kspace, sampled, block))
        (full,) = started(header).process(unit(kspace, np.ones(shape[:2], bool)))
        assert image.data.shape == full.data.shape == (1, *shape)
        errors.append((relative(np.abs(image.data), np.abs(full.data)), np.abs(g_map.data).mean()))
    (plain, plain_g), (shifted, shifted_g) = errors
    assert shifted < 0.12
    assert shifted < 0.8 * plain
    assert shifted_g < 0.9 * plain_g, (shifted_g, plain_g)


def test_readouts_in_image_space_or_not_and_batches_of_any_size_give_the_same(small_scan):
    scan = small_scan(matrix=(36, 40), coils=4, acceleration=2, repetitions=2)
    header = parse_header(scan.header)
    expected = images_of([RemoveOversampling(), CollectKSpace(), Grappa()], header, scan.batches)
    singles = [line for batch in scan.batches for line in (batch[i : i + 1] for i in range(len(batch)))]
    by_line = images_of([RemoveOversampling(), CollectKSpace(), Grappa()], header, singles)
    unconnected = images_of([RemoveOversampling()], header, [])
    assert not unconnected
    cropped = RemoveOversampling()
    cropped.start(header)  # without `connect`, so that lines stay in k-space
    lines = [out for batch in scan.batches for out in cropped.process(batch)]
    assert not lines[0].readout_in_image_space
    in_kspace = images_of([CollectKSpace(), Grappa()], header, lines)
    assert len(expected) == len(by_line) == len(in_kspace) == 4
    for one, two, three in zip(expected, by_line, in_kspace, strict=True):
        assert relative(two.data, one.data) < 1e-5
        assert relative(three.data, one.data) < 1e-4


def test_partial_echoes_are_reconstructed_as_well(small_scan):
    parameters = {"matrix": (64, 60), "coils": 8, "slices": 1, "partial_echo": 0.7}

    def chain(last):
        return [PadAsymmetricEcho(), RemoveOversampling(), CollectKSpace(), *last]

    full, scan = small_scan(**parameters), small_scan(**parameters, acceleration=2)
    (truth,) = images_of(
        chain([FourierTransform(), CombineCoils(method="adaptive")]), parse_header(full.header), full.batches
    )
    (found,) = images_of(chain([Grappa()]), parse_header(scan.header), scan.batches)
    assert relative(np.abs(found.data), np.abs(truth.data)) < 0.025


def test_acquired_lines_between_those_of_the_lattice_stay_as_they_are():
    kspace = centred_fft(channel_images(), (-2, -1)) + 0.3 * noise(*PLANE)
    sampled = every(3)
    sampled[:, 14:35] = True
    (image,) = started().process(unit(kspace, sampled))
    filled = grappa(only(kspace, sampled), kspace[:, :, 14:35], sampled=sampled)
    block = unit(kspace, np.pad(np.ones((1, 21), bool), ((0, 0), (14, 13))))
    maps = adaptive_coil_maps(smooth_images(kspace[:, :, 14:35], (0, 10, 20), PLANE[1:]))
    expected = combine(centred_ifft(filled, (-2, -1)), maps)
    assert relative(image.data[0], expected) < 1e-4
    (without,) = started().process(unit(kspace, every(3), calibration=block))
    assert relative(without.data[0], expected) > 1e-3


def test_calibration_lines_may_be_put_into_the_image_of_their_own_repetition():
    kspace = centred_fft(channel_images(), (-2, -1)) + 0.3 * noise(*PLANE)
    block = np.zeros((1, N_KY), bool)
    block[:, 14:35] = True
    plain, other = unit(kspace, every(3)), unit(kspace, every(3), repetition=1)
    (imaging,) = started().process(unit(kspace, every(3) | block))
    for calibrated, same in ((plain, True), (other, False)):
        calibrated = KSpace(calibrated.data, calibrated.sampled, calibrated.head, calibration=unit(kspace, block))
        (with_it,) = started(calibration_in_image=True).process(calibrated)
        (without,) = started().process(calibrated)
        assert (relative(with_it.data, imaging.data) < 1e-5) == same
        assert (relative(with_it.data, without.data) < 1e-5) != same


def test_weights_are_kept_while_the_calibration_is_the_same(monkeypatch):
    fits = []

    def counted(*arguments, **named):
        fits.append(None)
        return grappa_weights(*arguments, **named)

    monkeypatch.setattr(grappa_calibration, "grappa_weights", counted)
    kspace, whole = centred_fft(channel_images(), (-2, -1)), np.ones((1, N_KY), bool)
    gadget, calibration = started(), unit(kspace, whole)
    first, second = (next(iter(gadget.process(unit(kspace, every(2, k), calibration)))) for k in range(2))
    assert len(fits) == 1
    assert relative(second.data, first.data) < 0.01
    list(gadget.process(unit(kspace, every(2), unit(kspace, whole))))
    assert len(fits) == 2
    list(gadget.process(unit(kspace, every(3), calibration)))
    assert len(fits) == 3


def test_separate_calibration_is_centred_by_its_middle():
    kspace = centred_fft(channel_images(), (-2, -1))
    at_centre = np.zeros((1, N_KY), bool)
    at_centre[:, 12:36] = True
    elsewhere = unit(np.roll(kspace, -12, axis=-2), np.roll(at_centre, -12, axis=-1))
    (encoding,) = HEADER.encodings
    separate = Header(b"", (Encoding(encoding.encoded, encoding.recon, encoding.limits, calibration_mode="separate"),))
    (expected,) = started().process(unit(kspace, every(2), unit(kspace, at_centre)))
    (found,) = started(separate).process(unit(kspace, every(2), elsewhere))
    assert relative(found.data, expected.data) < 1e-5


def test_snr_units_bring_the_deviation_of_noise_to_the_g_factor():
    kspace, whole = centred_fft(channel_images(), (-2, -1)), np.ones((1, N_KY), bool)
    gadget, calibration = started(snr_units=True, gfactor=True), unit(100 * kspace, whole)
    g_map, _ = gadget.process(unit(kspace, every(2), calibration))
    found = [
        image.data[0, 0]
        for seed in range(300)
        for image in gadget.process(unit(noise(*PLANE, seed=seed), every(2), calibration))
    ]
    deviation = np.sqrt(np.mean(np.abs(found) ** 2, axis=0) / 2)
    assert np.mean(deviation / np.abs(g_map.data[0, 0])) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("step", "block"), [(1, 0), (2, 0), (2, 16)])
def test_maps_of_the_signal_to_noise_ratio_have_noise_of_unit_deviation(step, block):
    """By pseudo-replica, where lines between those of the grid and an image in other units make no difference."""
    kspace, whole = centred_fft(channel_images(), (-2, -1)), np.ones((1, N_KY), bool)
    gadget, calibration = started(snr_map=True, snr_units=step == 1), unit(100 * kspace, whole)
    sampled = every(step)
    sampled[:, 24 - block // 2 : 24 + block // 2] = True
    signal = 30 * kspace  # so that noise makes no difference to maps that come from the image itself
    found = []
    for seed in range(100):
        snr, image = gadget.process(unit(signal + noise(*PLANE, seed=seed), sampled, calibration))
        assert snr.head["image_series_index"] == 300
        assert image.head["image_series_index"] == 1
        assert snr.head["image_index"] == image.head["image_index"] == seed + 1
        assert snr.meta["DataRole"] == "SNR_MAP"
        found.append(np.abs(snr.data[0, 0]) / 10)
    deviation = np.std(found, axis=0)[np.mean(found, axis=0) > 20]  # of magnitudes, since the phase is that of the maps
    assert deviation.mean() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(deviation - 1) < 0.2) > 0.98  # one pixel's is known to 1 / sqrt(2 * 100), 7 %


def test_the_g_factor_is_a_series_of_its_own():
    kspace, whole = centred_fft(channel_images(), (-2, -1)), np.ones((1, N_KY), bool)
    gadget, calibration = started(gfactor=True), unit(kspace, whole)
    g_map, image = gadget.process(unit(kspace, every(2), calibration))
    assert (g_map.head["image_series_index"], g_map.head["image_index"]) == (20, 1)
    assert (image.head["image_series_index"], image.head["image_index"]) == (1, 1)
    assert g_map.data.shape == image.data.shape
    assert g_map.meta["DataRole"] == "Gfactor"
    assert image.meta["DataRole"] == "Image"
    assert 100 < np.abs(g_map.data).max() < 1000
    assert len(list(gadget.process(unit(kspace, every(2), calibration)))) == 1  # no other map for the same calibration
    again, _ = gadget.process(unit(kspace, every(2), unit(kspace, whole)))
    assert (again.head["image_series_index"], again.head["image_index"]) == (20, 2)


def test_grappa_is_as_near_to_the_truth_as_bart_s_sense(small_scan, bart):
    parameters = {"matrix": (72, 60), "coils": 8, "slices": 1}
    full, scan = small_scan(**parameters), small_scan(**parameters, acceleration=2, noise=0.01, noise_lines=0)
    (truth,) = images_of([RemoveOversampling(), CollectKSpace(), Grappa()], parse_header(full.header), full.batches)
    (image,) = images_of([RemoveOversampling(), CollectKSpace(), Grappa()], parse_header(scan.header), scan.batches)
    collect, crop, header = CollectKSpace(), RemoveOversampling(), parse_header(scan.header)
    crop.start(header)
    collect.start(header)
    (kspace,) = [k for batch in scan.batches for lines in crop.process(batch) for k in collect.process(lines)]
    calibration = np.where(kspace.sampled[..., None], kspace.data, kspace.calibration.data)
    maps = bart("ecalib -m1 -r 24", calibration)
    sense = bart("pics -i 50 -l2 -r 0.001", kspace.data, maps)[0] * np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))
    inside = np.abs(truth.data[0]) > 0.05 * np.abs(truth.data).max()

    def error(found):
        found, wanted = np.abs(found[inside]), np.abs(truth.data[0])[inside]
        return relative(found * (found @ wanted) / (found @ found), wanted)

    assert error(image.data[0]) < 1.1 * error(sense)
    assert error(image.data[0]) < 0.06


# What is refused


def refusal(kspace, header=HEADER, **parameters):
    with pytest.raises(DataError) as caught:
        list(started(header, **parameters).process(kspace))
    return str(caught.value)


def test_a_scan_without_calibration_is_refused():
    assert "no calibration lines" in refusal(unit(noise(*PLANE), every(2)))


def test_calibration_that_is_too_small_for_the_kernel_is_refused():
    sampled = every(3)
    sampled[:, 22:27] = True
    words = refusal(unit(noise(*PLANE), sampled))
    assert "7 x 1 calibration lines" in words or "6 x 1 calibration lines" in words
    assert "10 x 1 lines" in words
    narrow = refusal(
        unit(noise(32, 1, 24, 10), every(2, shape=(1, 24)), unit(noise(32, 1, 24, 10), every(1, shape=(1, 24))))
    )
    assert "640 weights" in narrow


def test_planes_that_are_missing_in_no_regular_way_are_refused():
    shape = (10, 12)
    sampled = np.zeros(shape, bool)
    sampled[[0, 1, 4, 6, 9]] = True
    data = noise(4, *shape, 10)
    words = refusal(unit(data, sampled, unit(data, np.ones(shape, bool))), volume_header((*shape, 10)))
    assert "not sampled at regular distances along kz" in words


def test_calibration_off_the_centre_or_of_other_channels_is_refused():
    at_edge = np.zeros((1, N_KY), bool)
    at_edge[:, :20] = True
    assert "which is 5 off" in refusal(unit(noise(*PLANE), every(2), unit(noise(*PLANE), at_edge)))
    fewer = unit(noise(4, 1, N_KY, N_KX), every(1))
    assert "4 channels, the other lines 6" in refusal(unit(noise(*PLANE), every(2), fewer))


@pytest.mark.parametrize("which", ["lines", "calibration"])
def test_samples_that_are_not_finite_are_refused(which):
    lines, calibration = noise(*PLANE), noise(*PLANE)
    (lines if which == "lines" else calibration)[2, 0, 24, 7] = np.nan
    assert "not finite" in refusal(unit(lines, every(2), unit(calibration, every(1))))


@pytest.mark.parametrize("kernel", ["4 4", "5", "5 4 3 2"])
def test_a_kernel_that_cannot_be_is_refused(kernel):
    with pytest.raises(ParameterError, match="odd number"):
        Grappa(kernel=kernel)
