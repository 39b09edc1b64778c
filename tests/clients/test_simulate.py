"""What a simulated scan sends is what a scanner would, and its k-space is exact."""

import ismrmrd.xsd
import numpy as np
import pytest

from echotrain.clients import simulate as simulation
from echotrain.clients.coils import coil_sensitivities
from echotrain.clients.phantom import Ellipsoid, phantom_image
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, Flag, encode, parse_header
from echotrain.mrd.errors import ConfigError, ParameterError

SMALL = Ellipsoid(1.0, (0.2, 0.25, 0.5), (0.5, -0.25, 0.0))


def lines_of(scan):
    """The parsed header, noise lines (or None) and all other lines."""
    xml, batches = simulate(scan)
    batches = list(batches)
    noise = batches.pop(0) if batches[0].has(Flag.IS_NOISE_MEASUREMENT).any() else None
    head = np.concatenate([batch.head for batch in batches])
    return parse_header(xml), noise, Acquisitions(head, np.concatenate([batch.data for batch in batches]))


def on_grid(header, lines):
    """Lines where the conventions place them, shape (slice, kz, ky, channel, kx), zero where none came."""
    encoding = header.encoding()
    _, n_y, n_z = encoding.encoded.matrix
    index = lines.head["idx"]
    ky = index["kspace_encode_step_1"] + n_y // 2 - encoding.limits["kspace_encoding_step_1"].center
    kz = index["kspace_encode_step_2"] + n_z // 2 - encoding.limits["kspace_encoding_step_2"].center
    grid = np.zeros((encoding.limits["slice"].maximum + 1, n_z, n_y, *lines.data.shape[1:]), np.complex64)
    grid[index["slice"], kz, ky] = lines.data
    return grid


def to_image(grid, axis):
    shifted = np.fft.ifftshift(grid, axis)
    return np.fft.fftshift(np.fft.ifft(shifted, axis=axis, norm="ortho"), axis)


def reconstruct(header, lines):
    """Images by the centred unitary FFT, cropped along x. Shape (slice, z, channel, y, x)."""
    image = on_grid(header, lines)
    for axis in (1, 2, 4):
        image = to_image(image, axis)
    n_x = header.encoding().recon.matrix[0]
    start = (image.shape[-1] - n_x) // 2
    return image[..., start : start + n_x].swapaxes(2, 3)


def fourier_matrix(k, n):
    """exp(-2 pi i k x) / n for n pixels, x in fields of view."""
    return np.exp(-2j * np.pi * np.outer(k, (np.arange(n) - n // 2) / n)) / n


class TestKSpace:
    @pytest.mark.parametrize("oversampling", [1, 2])
    def test_image_is_the_object_without_any_factor(self, oversampling):
        parts = [Ellipsoid(1.0, (0.7, 0.8, 1.0)), Ellipsoid(-0.5, (0.2, 0.3, 1.0), (0.1, 0.2, 0.0), 30.0)]
        header, _, lines = lines_of(Scan(matrix=(96, 80), coils=1, oversampling=oversampling, phantom=parts))
        image = reconstruct(header, lines)[0, 0, 0]
        truth = phantom_image((80, 96), parts)
        # Six pixels off a straight edge Gibbs ringing is below 1 / (6 pi^2) of its height along each of the two axes.
        padded = np.pad(truth, 6, mode="wrap")
        shifts = [padded[y : y + 80, x : x + 96] for y in range(13) for x in range(13)]
        inside = np.ptp(shifts, axis=0) == 0
        assert inside.sum() > 1500
        assert np.abs(image - truth)[inside].max() < 2 / (6 * np.pi**2)
        assert image[inside & (truth == 1)].mean() == pytest.approx(1, abs=2e-3)

    def test_an_ellipse_lies_where_read_and_phase_direction_point(self):
        header, _, lines = lines_of(Scan(matrix=(48, 37), coils=1, phantom=[SMALL]))
        image = reconstruct(header, lines)[0, 0, 0].real
        y, x = np.indices(image.shape)
        # Half of the half field of view to the right, a quarter up; the origin is at index n // 2.
        assert (image * x).sum() / image.sum() == pytest.approx(24 + 0.5 * 24, abs=0.1)
        assert (image * y).sum() / image.sum() == pytest.approx(18 - 0.25 * 18.5, abs=0.1)
        np.testing.assert_array_equal(lines.head["read_dir"], np.tile([1, 0, 0], (37, 1)))
        np.testing.assert_array_equal(lines.head["phase_dir"], np.tile([0, 1, 0], (37, 1)))

    @pytest.mark.parametrize(("slices", "slice_index"), [(1, 0), (3, 2)])
    def test_coil_kspace_is_the_integral_of_sensitivity_times_object(self, slices, slice_index):
        part = [Ellipsoid(1.0, (0.5, 0.6, 0.9), (0.2, 0.1, 0.1), 20.0)]
        header, _, lines = lines_of(Scan(matrix=(12, 9), coils=7, slices=slices, phantom=part))
        fine, z = (540, 600), (2 * slice_index - slices + 1) / slices
        seen = coil_sensitivities(7, fine, z=z) * phantom_image(fine, part, z=z, supersampling=4)
        k_y, k_x = np.arange(9) - 4, (np.arange(24) - 12) / 2
        integral = np.einsum("my,cyx,nx->mcn", fourier_matrix(k_y, 540), seen, fourier_matrix(k_x, 600), optimize=True)
        found = on_grid(header, lines)[slice_index, 0] / np.sqrt(12 * 9 / 2)
        # The sum errs by half a subpixel along the edge (1.75 fields of view), times a sensitivity of about 1.
        tolerance = 0.5 * 1.75 / (4 * 540)
        np.testing.assert_allclose(found, integral, atol=tolerance)
        assert np.abs(integral).max() > 50 * tolerance

    def test_coil_kspace_of_a_volume_is_the_integral_of_sensitivity_times_object(self):
        ball = [Ellipsoid(1.0, (0.6, 0.7, 0.5), (0.1, 0.0, 0.2))]
        header, _, lines = lines_of(Scan(matrix=(10, 8), partitions=5, coils=7, oversampling=1, phantom=ball))
        fine = (60, 64, 70)
        seen = coil_sensitivities(7, fine) * phantom_image(fine, ball, supersampling=3)
        sums = [fourier_matrix(np.arange(n) - n // 2, m) for n, m in zip((5, 8, 10), fine, strict=True)]
        integral = np.einsum("lz,my,nx,czyx->lmcn", *sums, seen, optimize=True)
        found = on_grid(header, lines)[0] / np.sqrt(10 * 8 * 5)
        # Half a subpixel over the surface (1.1 square fields of view), times a sensitivity of about 0.5.
        tolerance = 0.5 * 1.1 / (3 * 60) * 0.5
        np.testing.assert_allclose(found, integral, atol=tolerance)
        assert np.abs(integral).max() > 20 * tolerance

    def test_images_show_sensitivity_times_object(self):
        big = [Ellipsoid(1.0, (0.8, 0.85, 1.0))]
        header, _, lines = lines_of(Scan(matrix=(64, 56), coils=5, phantom=big))
        images = reconstruct(header, lines)[0, 0]
        inside = phantom_image((56, 64), [Ellipsoid(1.0, (0.5, 0.5, 1.0))]) == 1  # at least eight pixels off the edge
        truth = coil_sensitivities(5, (56, 64))
        assert np.abs(images - truth)[:, inside].max() < 2 / (8 * np.pi**2) * np.abs(truth).max()

    def test_the_root_of_the_sum_of_squares_of_an_array_is_near_one(self):
        head = phantom_image((40, 44)) > 0.1
        for n_coils in (2, 8, 31):
            power = (np.abs(coil_sensitivities(n_coils, (40, 44))) ** 2).sum(axis=0)
            assert 0.5 < np.sqrt(power[head]).mean() < 1.5

    @pytest.mark.parametrize(
        "changes",
        [
            {"acceleration": 3, "calibration": 7},
            {"partial_fourier": 0.7},
            {"acceleration": 2, "calibration": 4, "partial_fourier": 0.75},
            {"slices": 3, "interleaved": True},
            {"averages": 2, "contrasts": 2, "t2_star_ms": 1e9},
        ],
        ids=str,
    )
    def test_lines_are_those_of_the_plain_scan_at_the_place_that_the_header_gives(self, changes):
        plain = Scan(matrix=(16, 25), coils=2, slices=changes.get("slices", 1))
        full = on_grid(*lines_of(plain)[::2])
        header, _, lines = lines_of(Scan(matrix=(16, 25), coils=2, **changes))
        grid = on_grid(header, lines)
        taken = grid.any(axis=(0, 1, 3, 4))
        np.testing.assert_allclose(grid[:, :, taken], full[:, :, taken], rtol=1e-5, atol=1e-6)
        assert taken[12]

    def test_a_partial_echo_lacks_the_start_of_the_readout(self):
        _, _, whole = lines_of(Scan(matrix=(20, 6), coils=2))
        _, _, partial = lines_of(Scan(matrix=(20, 6), coils=2, partial_echo=0.7))
        assert (partial.n_samples, partial.head["center_sample"][0]) == (28, 8)
        np.testing.assert_allclose(partial.data, whole.data[..., 12:], rtol=1e-5, atol=1e-6)

    def test_later_echoes_decay_and_repetitions_pulse(self):
        header, _, lines = lines_of(
            Scan(matrix=(8, 6), coils=1, contrasts=3, repetitions=4, tr_ms=8, t2_star_ms=4, pulsation=0.2)
        )
        assert header.echo_times_ms == (2, 4, 6)
        index = lines.head["idx"]
        strength = np.abs(lines.data[index["kspace_encode_step_1"] == 3, 0, 8]).reshape(4, 3)
        np.testing.assert_allclose(strength[0] / strength[0, 0], np.exp([0, -0.5, -1]), rtol=1e-5)
        swing = 1 + 0.2 * np.sin(2 * np.pi * np.arange(4) / 10)
        np.testing.assert_allclose(strength[:, 1] / strength[0, 1], swing, rtol=1e-5)


class TestNoise:
    def test_imaging_lines_have_the_covariance_that_was_asked_for(self):
        mixing = np.eye(3) + 0.4 * np.diag([1j, 1], 1) + 0.4 * np.diag([-1j, 1], -1)
        scan = Scan(matrix=(128, 90), coils=3, noise=0.3, correlation=mixing, phantom=[])
        _, _, lines = lines_of(scan)
        samples = lines.data.swapaxes(0, 1).reshape(3, -1)
        covariance = samples @ samples.conj().T / samples.shape[1]
        # An entry's standard deviation is the noise's power over the root of the number of samples.
        tolerance = 5 * 2 * 0.3**2 / np.sqrt(samples.shape[1])
        np.testing.assert_allclose(covariance, 2 * 0.3**2 * mixing, atol=tolerance)
        assert samples.real.std() == pytest.approx(0.3, rel=5 / np.sqrt(2 * samples.size))

    def test_correlation_falls_with_the_distance_of_channels(self):
        factor = Scan(coils=4, noise=2.0, correlation=0.5).noise_factor()
        expected = 4 * 0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
        np.testing.assert_allclose(np.abs(factor @ factor.conj().T), expected)

    def test_whitening_by_the_noise_lines_gives_unit_deviation(self):
        scan = Scan(
            matrix=(64, 50), coils=4, noise=0.05, correlation=0.6, noise_lines=60, phantom=[], noise_dwell_us=20
        )
        header, noise, lines = lines_of(scan)
        assert len(noise) == 60
        n = noise.data.swapaxes(0, 1).reshape(4, -1)
        dwell = lines.head["sample_time_us"][0] / noise.head["sample_time_us"][0]
        scale = np.sqrt(2 * dwell * header.noise_bandwidth)
        covariance = n @ n.conj().T / (n.shape[1] - 1)
        white = scale * np.linalg.inv(np.linalg.cholesky(covariance)) @ lines.data
        white = white.swapaxes(0, 1).reshape(4, -1)
        # Both the whitening (7680 samples) and this estimate (6400) are uncertain.
        tolerance = 5 * 2 * np.sqrt(1 / n.shape[1] + 1 / white.shape[1])
        np.testing.assert_allclose(white @ white.conj().T / white.shape[1], 2 * np.eye(4), atol=tolerance)

    def test_noise_lines_come_only_with_noise(self):
        assert lines_of(Scan(matrix=(8, 6), coils=2))[1] is None
        assert lines_of(Scan(matrix=(8, 6), coils=2, noise=0.1, noise_lines=0))[1] is None

    def test_noise_is_added_to_the_signal(self):
        _, _, clean = lines_of(Scan(matrix=(32, 30), coils=2))
        _, _, noisy = lines_of(Scan(matrix=(32, 30), coils=2, noise=0.01))
        difference = noisy.data - clean.data
        assert difference.real.std() == pytest.approx(0.01, rel=5 / np.sqrt(2 * difference.size))


class TestLines:
    scan = Scan(
        matrix=(10, 14),
        coils=3,
        slices=4,
        contrasts=2,
        averages=3,
        repetitions=2,
        acceleration=3,
        calibration=5,
        partial_fourier=0.8,
        noise=0.1,
        noise_lines=2,
        slice_thickness_mm=6,
    )

    def test_each_combination_of_counters_comes_once_within_the_limits(self):
        header, noise, lines = lines_of(self.scan)
        index = lines.head["idx"]
        rows = [
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            13,
        ]  # 14 // 2 - 5 // 2 and on, with every third from 7; 3 rows at the start are left out
        names = ("kspace_encode_step_1", "slice", "contrast", "average", "repetition")
        combinations = set(zip(*(index[name].tolist() for name in names), strict=True))
        assert len(combinations) == len(lines) == len(rows) * 4 * 2 * 3 * 2
        assert sorted({row + 4 for row in index["kspace_encode_step_1"].tolist()}) == rows
        limits = header.encoding().limits
        step = limits["kspace_encoding_step_1"]
        assert (step.minimum, step.maximum, step.center) == (0, 9, 3)
        for name in ("slice", "contrast", "average", "repetition"):
            assert (limits[name].minimum, limits[name].maximum) == (0, index[name].max())
        assert set(index["user"][:, 5]) == {3}
        counters = np.concatenate([noise.head["scan_counter"], lines.head["scan_counter"]])
        np.testing.assert_array_equal(counters, np.arange(len(lines) + 2))

    def test_calibration_lines_are_flagged_as_the_pattern_has_them(self):
        header, _, lines = lines_of(self.scan)
        row = lines.head["idx"]["kspace_encode_step_1"] + 4
        both, alone = Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING, Flag.IS_PARALLEL_CALIBRATION
        assert set(row[lines.has(both)]) == {7}
        assert set(row[lines.has(alone)]) == {5, 6, 8, 9}
        assert set(row[~lines.has(both | alone)]) == {4, 10, 13}
        assert (header.encoding().acceleration, header.encoding().calibration_mode) == ((3, 1), "embedded")

    @pytest.mark.parametrize("interleaved", [False, True])
    def test_ends_are_flagged(self, interleaved):
        scan = Scan(matrix=(6, 5), coils=1, slices=3, contrasts=2, averages=2, repetitions=2, interleaved=interleaved)
        _, _, lines = lines_of(scan)
        index, n = lines.head["idx"], len(lines)
        for flag, end in ((Flag.FIRST_IN_SLICE, 0), (Flag.LAST_IN_SLICE, -1)):
            flagged = set(np.flatnonzero(lines.has(flag)))
            images = [
                np.flatnonzero((index["repetition"] == r) & (index["slice"] == s) & (index["contrast"] == c))
                for r in range(2)
                for s in range(3)
                for c in range(2)
            ]
            assert flagged == {image[end] for image in images}
        assert list(np.flatnonzero(lines.has(Flag.LAST_IN_REPETITION))) == [n // 2 - 1, n - 1]
        assert list(np.flatnonzero(lines.has(Flag.LAST_IN_MEASUREMENT))) == [n - 1]

    def test_ends_are_left_unflagged_on_request(self):
        _, _, lines = lines_of(Scan(matrix=(6, 5), coils=1, slices=3, flags=False))
        last = Flag.LAST_IN_SLICE | Flag.LAST_IN_REPETITION | Flag.LAST_IN_MEASUREMENT
        assert not lines.has(last).any()

    def test_interleaved_slices_take_turns_and_share_a_repetition_time(self):
        _, _, lines = lines_of(Scan(matrix=(6, 5), coils=1, slices=4, interleaved=True, tr_ms=20))
        np.testing.assert_array_equal(lines.head["idx"]["slice"], np.tile([0, 1, 2, 3], 5))
        clock = lines.head["acquisition_time_stamp"].astype(int)
        np.testing.assert_array_equal(clock - clock[0], 2 * np.arange(20))  # 5 ms are two ticks

    def test_time_runs_on_from_noise_through_repetitions(self):
        _, noise, lines = lines_of(self.scan)
        clock = np.concatenate([noise.head["acquisition_time_stamp"], lines.head["acquisition_time_stamp"]]).astype(int)
        assert clock[0] > 0
        assert (np.diff(clock) >= 0).all()
        assert clock[-1] - clock[0] == (2 + len(lines) // 2 - 1) * 5 / 2.5

    def test_slices_stand_a_thickness_apart_around_the_isocentre(self):
        _, _, lines = lines_of(self.scan)
        for number, z in enumerate((-9, -3, 3, 9)):
            of_slice = lines.head["idx"]["slice"] == number
            assert (lines.head["position"][of_slice] == (0, 0, z)).all()
        assert (lines.head["slice_dir"] == (0, 0, 1)).all()

    def test_a_volume_has_its_partitions_and_depth_in_the_header(self):
        header, _, lines = lines_of(Scan(matrix=(8, 6), coils=2, partitions=5, slice_thickness_mm=3))
        limit = header.encoding().limits["kspace_encoding_step_2"]
        assert (limit.minimum, limit.maximum, limit.center) == (0, 4, 2)
        assert header.encoding().recon.matrix == (8, 6, 5)
        assert header.encoding().recon.field_of_view_mm[2] == 15
        assert len(lines) == 30

    def test_header_describes_the_scan_and_is_valid(self):
        xml, _ = simulate(
            Scan(matrix=(20, 14), field_of_view_mm=(200, 170), coils=3, contrasts=2, tr_ms=9, oversampling=2)
        )
        document = ismrmrd.xsd.CreateFromDocument(xml)
        assert document.acquisitionSystemInformation.receiverChannels == 3
        header = parse_header(xml)
        assert header.encoding().encoded.matrix == (40, 14, 1)
        assert header.encoding().encoded.field_of_view_mm == (400, 170, 5)
        assert header.encoding().recon.field_of_view_mm == (200, 170, 5)
        assert header.repetition_times_ms == (9,)
        assert header.echo_times_ms == (3, 6)
        assert len(header.coil_names) == 3
        assert (header.patient_position, header.noise_bandwidth) == ("HFS", 0.793)

    def test_the_same_seed_gives_the_same_bytes(self):
        def stream(seed):
            xml, batches = simulate(Scan(matrix=(12, 10), coils=3, noise=0.1, repetitions=2, seed=seed))
            return xml + b"".join(bytes(encode(batch)) for batch in batches)

        assert stream(5) == stream(5)
        assert stream(5) != stream(6)

    def test_batches_of_another_size_hold_the_same_lines(self, monkeypatch):
        scan = Scan(matrix=(12, 10), coils=3, slices=3, contrasts=2, noise=0.1, interleaved=True)
        _, _, lines = lines_of(scan)
        monkeypatch.setattr(simulation, "LINES_PER_BATCH", 7)
        _, _, others = lines_of(scan)
        np.testing.assert_array_equal(others.head, lines.head)
        np.testing.assert_allclose(others.data, lines.data, rtol=1e-5, atol=1e-6)

    def test_lines_are_made_as_they_are_asked_for(self):
        _, batches = simulate(Scan(matrix=(12, 10), coils=3, repetitions=65535))
        assert len(next(batches)) == 10


class TestWrongParameters:
    @pytest.mark.parametrize("trajectory", ["epi", "radial", "spiral"])
    def test_a_trajectory_to_come_is_refused(self, trajectory):
        with pytest.raises(ConfigError, match="not yet supported"):
            Scan(trajectory=trajectory)

    def test_all_that_is_wrong_is_said_at_once(self):
        with pytest.raises(ParameterError, match=r"oversampling=3.*partial_fourier=0\.4.*coils=0"):
            Scan(oversampling=3, partial_fourier=0.4, coils=0)

    @pytest.mark.parametrize(
        "wrong",
        [1.0, np.eye(2), 2 * np.eye(3), np.array([[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]]), np.triu(np.ones((3, 3)))],
        ids=["perfect", "size", "diagonal", "indefinite", "triangular"],
    )
    def test_a_correlation_that_cannot_be_is_refused(self, wrong):
        with pytest.raises(ParameterError, match="correlation"):
            Scan(coils=3, correlation=wrong)

    def test_a_volume_has_one_slab(self):
        with pytest.raises(ParameterError, match="one of them must be 1"):
            Scan(slices=2, partitions=4)
