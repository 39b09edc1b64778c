"""The chains agree with independent software on the same data: ISMRMRD's own tools, BART, and a recorded Gadgetron."""

import os
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import (
    Acquisitions,
    Decoder,
    Flag,
    HeaderText,
    Image,
    parse_header,
    read_header,
    read_images,
    read_items,
    write_acquisitions,
)

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data")) / "recordings"

GENERATE, RECON = "ismrmrd_generate_cartesian_shepp_logan", "ismrmrd_recon_cartesian_2d"
with_tools = pytest.mark.skipif(
    not (shutil.which(GENERATE) and shutil.which(RECON)), reason="ismrmrd-tools are not installed"
)
with_bart = pytest.mark.skipif(not shutil.which("bart"), reason="BART is not installed")


def run(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def generated(folder, *options):
    """Header and lines of a file that ISMRMRD's generator made."""
    run(GENERATE, "-o", folder / "theirs.h5", *options)
    return read_header(folder / "theirs.h5"), list(read_items(folder / "theirs.h5"))


def images_of(header, lines, config="rss"):
    return [item for item in reconstruct(lines, header, config) if isinstance(item, Image)]


def their_image(folder, header, lines):
    """What ISMRMRD's reconstruction makes of these lines, scaled from its plain FFT to a unitary one. Shape (y, x).

    Each line replaces what stood at its place, whatever its counters and flags say.
    """
    path = folder / "for_them.h5"
    write_acquisitions(path, header, lines)
    run(RECON, path)
    with h5py.File(path) as file:
        found = file["dataset/cpp/data"][0, 0, 0]
    n_x, n_y, _ = parse_header(header).encoding().encoded.matrix
    return found / np.sqrt(n_x * n_y)


def only(lines, chosen):
    """Those lines for which `chosen(batch)` is true."""
    return [batch[chosen(batch)] for batch in lines if chosen(batch).any()]


def assert_close(image, truth):
    assert image.shape == truth.shape
    assert np.abs(image - truth).max() < 1e-6 * truth.max()


@with_tools
@pytest.mark.parametrize(
    "options",
    [("-m", 34, "-c", 3), ("-m", 32, "-c", 1), ("-m", 33, "-c", 3, "-O", 1), ("-m", 36, "-c", 2, "-O", 3)],
    ids=str,
)
def test_one_image_is_that_of_ismrmrds_reconstruction(tmp_path, options):
    header, lines = generated(tmp_path, *options)
    (image,) = images_of(header, lines)
    assert_close(image.data[0, 0], their_image(tmp_path, header, lines))


@with_tools
def test_ismrmrds_reconstruction_crops_one_pixel_further_where_only_the_encoded_matrix_is_even(tmp_path):
    """Of 66 pixels we keep those with index 33 at index 16, the middle of 33; they (66 - 33) // 2 and on."""
    header, lines = generated(tmp_path, "-m", 33, "-c", 3)
    (image,) = images_of(header, lines)
    assert_close(image.data[0, 0, :, :-1], their_image(tmp_path, header, lines)[:, 1:])


@with_tools
def test_geometry_is_that_of_ismrmrds_reconstruction(tmp_path):
    header, lines = generated(tmp_path, "-m", 34, "-c", 2)
    (image,) = images_of(header, lines)
    their_image(tmp_path, header, lines)
    (theirs,) = read_images(tmp_path / "for_them.h5")
    assert_close(image.data, theirs.data / np.sqrt(68 * 34))
    ours = image.described()
    for name in ("matrix_size", "field_of_view", "channels", "data_type", "image_type", "slice", "position"):
        np.testing.assert_array_equal(ours[name], theirs.head[name], err_msg=name)


@with_tools
def test_each_repetition_is_an_image_where_ismrmrds_reconstruction_keeps_the_last(tmp_path):
    header, lines = generated(tmp_path, "-m", 34, "-c", 3, "-r", 3, "-n", 0.2)
    images = images_of(header, lines)
    assert [int(image.head["repetition"]) for image in images] == [0, 1, 2]
    assert_close(images[2].data[0, 0], their_image(tmp_path, header, lines))
    for number, image in enumerate(images):
        alone = only(lines, lambda batch, number=number: batch.head["idx"]["repetition"] == number)
        assert_close(image.data[0, 0], their_image(tmp_path, header, alone))


@with_tools
def test_noise_lines_are_no_lines_of_the_image(tmp_path):
    header, lines = generated(tmp_path, "-m", 34, "-c", 3, "-C")
    assert lines[0].has(Flag.IS_NOISE_MEASUREMENT)[0]
    (image,) = images_of(header, lines)
    imaging = only(lines, lambda batch: ~batch.has(Flag.IS_NOISE_MEASUREMENT))
    assert_close(image.data[0, 0], their_image(tmp_path, header, imaging))


@with_tools
def test_lines_that_are_whitened_are_scaled_by_the_noise_that_came_with_them(tmp_path):
    """The generator's noise has one deviation in each real and imaginary part of every channel and line."""
    header, lines = generated(tmp_path, "-m", 64, "-c", 2, "-C", "-n", 0.04)
    (image,) = images_of(header, lines, "fft")
    theirs = their_image(tmp_path, header, only(lines, lambda batch: ~batch.has(Flag.IS_NOISE_MEASUREMENT)))
    # The same dwell time for noise and image; 0.793 of the noise passes the receiver, as the header has no other word.
    expected = np.sqrt(0.793) / 0.04
    bright = theirs > 0.5 * theirs.max()
    # Of 128 samples a deviation is known to 1 / sqrt(2 * 128) of each channel; four times that.
    assert np.median(image.data[0, 0][bright] / theirs[bright]) == pytest.approx(expected, rel=4 / np.sqrt(2 * 128))


@with_tools
@pytest.mark.parametrize("options", [(), ("-w", 8)], ids=["without calibration", "with calibration"])
def test_images_of_accelerated_scans_alias_alike(tmp_path, options):
    header, lines = generated(tmp_path, "-m", 36, "-c", 3, "-a", 3, *options)
    images = images_of(header, lines)
    assert len(images) == 3
    full = their_image(tmp_path, header, lines)  # the repetitions together fill k-space
    for number, image in enumerate(images):
        imaging = only(
            lines,
            lambda batch, number=number: (
                (batch.head["idx"]["repetition"] == number) & ~batch.has(Flag.IS_PARALLEL_CALIBRATION)
            ),
        )
        assert sum(map(len, imaging)) == 12
        assert_close(image.data[0, 0], their_image(tmp_path, header, imaging))
        assert np.abs(image.data[0, 0] - full).max() > 0.3 * full.max()


@with_tools
@pytest.mark.parametrize("oversampling", [1, 2])
def test_a_trajectory_that_says_what_the_counters_say_changes_nothing(tmp_path, oversampling):
    header, lines = generated(tmp_path, "-m", 36, "-c", 3, "-C", "-k", "-O", oversampling)
    assert lines[1].trajectory.shape == (36, 36 * oversampling, 2)
    plain = [Acquisitions(batch.head.copy(), batch.data) for batch in lines]
    for batch in plain:
        batch.head["trajectory_dimensions"] = 0
    for config in ("rss", "fft"):
        (image,), (expected,) = images_of(header, lines, config), images_of(header, plain, config)
        np.testing.assert_array_equal(image.data, expected.data)
    (image,) = images_of(header, lines)
    imaging = only(lines, lambda batch: ~batch.has(Flag.IS_NOISE_MEASUREMENT))
    assert_close(image.data[0, 0], their_image(tmp_path, header, imaging))


def write_cfl(path, array):
    """BART's format: sizes as text, then samples with the first axis fastest."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


def read_cfl(path):
    sizes = [int(size) for size in path.with_suffix(".hdr").read_text().split("\n")[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(sizes, order="F")


@with_bart
@pytest.mark.parametrize(
    "parameters", [{"matrix": (34, 26)}, {"matrix": (25, 21)}, {"matrix": (18, 15), "partitions": 8}], ids=str
)
def test_images_are_those_of_bart(tmp_path, parameters):
    header, batches = simulate(Scan(coils=4, oversampling=1, noise=0.01, noise_lines=0, **parameters))
    batches = list(batches)
    n_x, n_y, n_z = parse_header(header).encoding().encoded.matrix
    kspace = np.zeros((n_x, n_y, n_z, 4), np.complex64)
    for batch in batches:
        index = batch.head["idx"]
        kspace[:, index["kspace_encode_step_1"], index["kspace_encode_step_2"]] = batch.data.transpose(2, 0, 1)
    write_cfl(tmp_path / "kspace", kspace)
    run("bart", "fft", "-iu", 7, tmp_path / "kspace", tmp_path / "channels")
    run("bart", "rss", 8, tmp_path / "channels", tmp_path / "image")
    (image,) = images_of(header, batches)
    assert_close(image.data[0], read_cfl(tmp_path / "image").real.reshape(n_x, n_y, n_z).T)


def recorded(direction):
    decoder = Decoder()
    return list(decoder.feed((RECORDINGS / f"default_m64_c4_r2.{direction}.bin").read_bytes()))


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings: {RECORDINGS} does not exist")
def test_lines_that_gadgetron_reconstructed_give_its_images_and_their_headers():
    sent = recorded("client_to_server")
    (header,) = (item.xml for item in sent if isinstance(item, HeaderText))
    images = images_of(header, [item for item in sent if isinstance(item, Acquisitions)])
    theirs = [item for item in recorded("server_to_client") if isinstance(item, Image)]
    assert len(images) == len(theirs) == 2
    for ours, their in zip(images, theirs, strict=True):
        assert_close(ours.data, their.data)
        head = ours.described()
        for name in set(head.dtype.names) - {"image_series_index"}:  # that of its default chain is 0, of others 1
            np.testing.assert_array_equal(head[name], their.head[name], err_msg=name)
