"""HDF5 files: bulk reading and writing, agreement with ISMRMRD's own tools, and errors in clear words."""

import shutil
import subprocess

import h5py
import ismrmrd
import ismrmrd.hdf5
import numpy as np
import pytest

from echotrain.mrd import (
    Acquisitions,
    Flag,
    Image,
    ImageWriter,
    Waveforms,
    acquisition_headers,
    groups,
    image_header,
    read_header,
    read_images,
    read_items,
    write_acquisitions,
)
from echotrain.mrd.errors import DataError, StorageError
from echotrain.mrd.hdf5 import ACQUISITION_ROW, WAVEFORM_ROW
from echotrain.mrd.records import DATA_TYPES, IMAGE_HEADER, WAVEFORM_HEADER

XML = b"<ismrmrdHeader/>"


def lines_of(n_lines, n_channels, n_samples, *, n_dims=0, first=0, stamps=None):
    rng = np.random.default_rng([n_lines, n_channels, n_samples, n_dims, first])
    head = acquisition_headers(n_lines, n_channels, n_samples)
    head["scan_counter"] = first + np.arange(n_lines)
    head["trajectory_dimensions"] = n_dims
    head["position"] = rng.random((n_lines, 3))
    head["idx"]["user"] = rng.integers(0, 9, (n_lines, 8))
    head["acquisition_time_stamp"] = 0 if stamps is None else stamps
    data = rng.standard_normal((n_lines, n_channels, 2 * n_samples), np.float32).view(np.complex64)
    return Acquisitions(head, data, rng.random((n_lines, n_samples, n_dims), np.float32) if n_dims else None)


def waveforms_of(stamps, n_channels=2, n_samples=3):
    head = np.zeros(len(stamps), WAVEFORM_HEADER)
    head["time_stamp"], head["channels"], head["number_of_samples"] = stamps, n_channels, n_samples
    values = np.arange(len(stamps) * n_channels * n_samples, dtype=np.uint32)
    return Waveforms(head, values.reshape(len(stamps), n_channels, n_samples) + stamps[0])


def assert_same_lines(actual, expected):
    """Equal line by line, however they are batched."""
    actual, expected = ([line for batch in batches for line in batch] for batches in (actual, expected))
    assert len(actual) == len(expected)
    for mine, theirs in zip(actual, expected, strict=True):
        assert mine.head.tobytes() == theirs.head.tobytes()
        np.testing.assert_array_equal(mine.data, theirs.data)
        assert (mine.trajectory is None) == (theirs.trajectory is None)
        if mine.trajectory is not None:
            np.testing.assert_array_equal(mine.trajectory, theirs.trajectory)


MIXED = [
    lines_of(1, 3, 7),
    lines_of(150, 3, 5, n_dims=2, first=1),
    lines_of(3, 5, 3, n_dims=2, first=151),
    lines_of(4, 3, 5, first=154),
]


def image_of(shape, dtype=np.float32, *, series=1, index=1, meta=None):
    head = image_header()
    head["image_series_index"], head["image_index"] = series, index
    head["field_of_view"] = (200, 150, 5)
    return Image((np.arange(np.prod(shape)).reshape(shape) + index).astype(dtype), head, meta or {})


def test_the_layout_is_that_of_the_package():
    assert ismrmrd.hdf5.acquisition_dtype == ACQUISITION_ROW
    assert ismrmrd.hdf5.waveform_dtype == WAVEFORM_ROW
    assert ismrmrd.hdf5.image_header_dtype == IMAGE_HEADER


def test_lines_of_mixed_shapes_come_back_in_their_order(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", XML, MIXED)
    assert read_header(tmp_path / "scan.h5") == XML
    assert groups(tmp_path / "scan.h5") == ["dataset"]
    batches = list(read_items(tmp_path / "scan.h5"))
    assert_same_lines(batches, MIXED)
    assert [len(batch) for batch in batches] == [1, 150, 3, 4]
    for batch in batches:
        assert batch.aligned() is batch.data


def test_batches_stay_within_the_bytes_asked_for(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", XML, [lines_of(100, 4, 32)])
    batches = list(read_items(tmp_path / "scan.h5", batch_bytes=10_000))
    assert len(batches) > 10
    assert max(batch.data.nbytes for batch in batches) <= 10_000
    assert_same_lines(batches, [lines_of(100, 4, 32)])


def test_lines_that_come_one_by_one_are_stored_alike(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", XML, (line for batch in MIXED for line in batch))
    assert_same_lines(read_items(tmp_path / "scan.h5"), MIXED)


def test_lines_without_samples_are_kept(tmp_path):
    empty = [lines_of(3, 2, 0), lines_of(2, 2, 4, first=3)]
    write_acquisitions(tmp_path / "scan.h5", XML, empty)
    assert_same_lines(read_items(tmp_path / "scan.h5"), empty)


def test_the_package_reads_what_is_written(tmp_path):
    path = tmp_path / "scan.h5"
    write_acquisitions(path, XML, [*MIXED, waveforms_of([5, 6])], group="scan")
    lines = [line for batch in MIXED for line in batch]
    with ismrmrd.Dataset(path, "scan", mode="r") as dataset:
        assert dataset.read_xml_header() == XML
        assert dataset.number_of_acquisitions() == len(lines)
        for number in (0, 1, 150, 151, 157):
            theirs = dataset.read_acquisition(number)
            assert bytes(theirs.getHead()) == lines[number].head[0].tobytes()
            np.testing.assert_array_equal(theirs.data, lines[number].data[0])
            if lines[number].trajectory is not None:
                np.testing.assert_array_equal(theirs.traj, lines[number].trajectory[0])
        assert dataset.number_of_waveforms() == 2
        np.testing.assert_array_equal(dataset.read_waveform(1).data, waveforms_of([5, 6]).data[1])
        assert dataset.read_waveform(1).time_stamp == 6


def test_what_the_package_writes_is_read(tmp_path):
    path = tmp_path / "scan.h5"
    rng = np.random.default_rng(3)
    with ismrmrd.Dataset(path, "dataset") as dataset:
        dataset.write_xml_header(XML)
        theirs = []
        for n_samples in (6, 6, 4):
            data = rng.standard_normal((3, 2 * n_samples), np.float32).view(np.complex64)
            line = ismrmrd.Acquisition.from_array(data, rng.random((n_samples, 2), np.float32))
            line.setFlag(ismrmrd.ACQ_IS_REVERSE)
            dataset.append_acquisition(line)
            theirs.append(line)
        dataset.append_waveform(ismrmrd.Waveform.from_array(np.arange(8, dtype=np.uint32).reshape(2, 4), waveform_id=2))
    first, second, waveform = read_items(path)
    assert (len(first), len(second), len(waveform)) == (2, 1, 1)
    lines = [*first, *second]
    for mine, line in zip(lines, theirs, strict=True):
        assert mine.head[0].tobytes() == bytes(line.getHead())
        np.testing.assert_array_equal(mine.data[0], line.data)
        np.testing.assert_array_equal(mine.trajectory[0], line.traj)
        assert mine.has(Flag.IS_REVERSE).all()
    assert waveform.head["waveform_id"][0] == 2
    np.testing.assert_array_equal(waveform.data[0], np.arange(8).reshape(2, 4))


def test_waveforms_come_before_the_first_later_line(tmp_path):
    lines = lines_of(6, 2, 3, stamps=[10, 20, 30, 40, 50, 60])
    waveforms = [waveforms_of([5, 25]), waveforms_of([26, 30, 60], n_samples=4), waveforms_of([70])]
    write_acquisitions(tmp_path / "scan.h5", XML, [*waveforms, lines])
    order = []
    for item in read_items(tmp_path / "scan.h5"):
        name = "time_stamp" if isinstance(item, Waveforms) else "acquisition_time_stamp"
        order += [(type(item) is Waveforms, stamp) for stamp in item.head[name].tolist()]
    expected = [(True, 5), (False, 10), (False, 20), (True, 25), (True, 26), (False, 30), (True, 30)]
    expected += [(False, 40), (False, 50), (False, 60), (True, 60), (True, 70)]
    assert order == expected
    assert_same_lines(read_items(tmp_path / "scan.h5", waveforms=False), [lines])
    values = [item.data for item in read_items(tmp_path / "scan.h5") if isinstance(item, Waveforms)]
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in values]),
                                  np.concatenate([batch.data.ravel() for batch in waveforms]))  # fmt: skip


def test_waveforms_without_time_stamps_follow_the_lines(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", XML, [waveforms_of([0, 0]), lines_of(3, 2, 4)])
    assert [type(item) for item in read_items(tmp_path / "scan.h5")] == [Acquisitions, Waveforms]


@pytest.mark.skipif(shutil.which("ismrmrd_recon_cartesian_2d") is None, reason="ISMRMRD's tools are not installed")
def test_the_tools_of_ismrmrd_read_and_extend_what_is_written(tmp_path):
    original, copy = tmp_path / "original.h5", tmp_path / "copy.h5"
    subprocess.run(["ismrmrd_generate_cartesian_shepp_logan", "-m", "32", "-c", "3", "-o", original], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    write_acquisitions(copy, read_header(original), read_items(original))
    assert_same_lines(read_items(copy), read_items(original))
    for path in (original, copy):
        subprocess.run(["ismrmrd_recon_cartesian_2d", path], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(original) as file:
        expected = file["dataset/cpp/data"][-1]
    with h5py.File(copy) as file:
        np.testing.assert_array_equal(file["dataset/cpp/data"][-1], expected)
    (image,) = read_images(copy)
    np.testing.assert_array_equal(image.data, expected)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_header, groups, lambda path: list(read_items(path)), lambda path: list(read_images(path))):
        with pytest.raises(StorageError, match=r"there is no file .*nowhere\.h5"):
            read(tmp_path / "nowhere.h5")


def test_a_file_that_is_not_hdf5_is_told_by_how_it_begins(tmp_path):
    (tmp_path / "text.h5").write_bytes(b"plain text")
    with pytest.raises(StorageError, match="not an HDF5 file: it begins with b'plain te'"):
        read_header(tmp_path / "text.h5")


def test_a_truncated_file_is_a_storage_error(tmp_path):
    write_acquisitions(tmp_path / "whole.h5", XML, [lines_of(300, 4, 50)])
    whole = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match=r"half\.h5 cannot be"):
        list(read_items(tmp_path / "half.h5"))


def test_a_missing_group_is_answered_with_those_there_are(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", XML, [lines_of(2, 1, 3)], group="dataset_2")
    with pytest.raises(DataError, match="no group 'dataset'; did you mean dataset_2"):
        read_header(tmp_path / "scan.h5")
    with pytest.raises(DataError, match="no group 'xyz'; known: dataset_2"):
        list(read_items(tmp_path / "scan.h5", "xyz"))


def test_missing_lines_and_a_missing_header_are_named(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_group("dataset/other")
    with pytest.raises(DataError, match="no MRD header: dataset/xml"):
        read_header(tmp_path / "scan.h5")
    with pytest.raises(DataError, match="/dataset/data is missing; the group holds other"):
        list(read_items(tmp_path / "scan.h5"))


def test_lines_of_another_layout_are_refused(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["dataset/data"] = np.zeros((4, 5), np.complex64)
    with pytest.raises(DataError, match="not laid out as ISMRMRD lays it out"):
        list(read_items(tmp_path / "scan.h5"))


@pytest.mark.parametrize(("field", "what"), [("data", "data"), ("traj", "trajectory")])
def test_a_row_that_disagrees_with_its_header_is_named(tmp_path, field, what):
    path = tmp_path / "scan.h5"
    write_acquisitions(path, XML, [lines_of(9, 2, 3, n_dims=2)])
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][6]
        row[field] = np.zeros(5, np.float32)
        file["dataset/data"][6] = row
    with pytest.raises(DataError, match=f"row 6 of /dataset/data .* has 5 {what} values"):
        list(read_items(path))


def test_compressed_lines_are_refused(tmp_path):
    lines = lines_of(3, 2, 4)
    lines.head["flags"][1] = Flag.COMPRESSION2
    write_acquisitions(tmp_path / "scan.h5", XML, [lines])
    with pytest.raises(DataError, match="compressed"):
        list(read_items(tmp_path / "scan.h5"))


@pytest.mark.parametrize("dtype", DATA_TYPES.values(), ids=str)
def test_images_of_every_type_come_back(tmp_path, dtype):
    image = image_of((2, 3, 4, 5), dtype, meta={"DataRole": "Image", "Window": ["1", "2"]})
    with ImageWriter(tmp_path / "images.h5", header_xml=XML) as writer:
        writer.write(image)
        writer.write(image_of((2, 3, 4, 5), dtype, index=2))
    first, second = read_images(tmp_path / "images.h5")
    assert first.data.dtype == dtype
    np.testing.assert_array_equal(first.data, image.data)
    assert first.meta == image.meta
    assert second.meta == {}
    assert (second.head["image_index"], second.head["matrix_size"].tolist()) == (2, [5, 4, 3])
    assert read_header(tmp_path / "images.h5") == XML


def test_images_are_laid_out_as_the_convention_says(tmp_path):
    with ImageWriter(tmp_path / "images.h5", "scan") as writer:
        for index in (1, 2, 3):
            writer.write(image_of((2, 1, 4, 5), np.uint16, series=7, index=index, meta={"A": "b"}))
    with h5py.File(tmp_path / "images.h5") as file:
        variable = file["scan/image_7"]
        assert sorted(variable) == ["attributes", "data", "header"]
        assert variable["data"].shape == (3, 2, 1, 4, 5)
        assert variable["data"].dtype == np.uint16
        assert variable["header"].dtype == IMAGE_HEADER
        assert h5py.check_string_dtype(variable["attributes"].dtype).length is None


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.complex64, np.complex128])
def test_the_package_reads_the_images(tmp_path, dtype):
    image = image_of((2, 1, 4, 5), dtype, series=3, meta={"DataRole": "Image", "Window": ["1", "2"]})
    with ImageWriter(tmp_path / "images.h5") as writer:
        writer.write(image)
    with ismrmrd.Dataset(tmp_path / "images.h5", mode="r") as dataset:
        theirs = dataset.read_image("image_3", 0)
    np.testing.assert_array_equal(theirs.data, image.data)
    assert dict(theirs.meta) == image.meta
    assert theirs.image_series_index == 3


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.complex64])
def test_images_that_the_package_wrote_are_read(tmp_path, dtype):
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    with ismrmrd.Dataset(tmp_path / "images.h5", "out") as dataset:
        theirs = ismrmrd.Image.from_array(data, image_series_index=2, image_index=5)
        theirs.meta = {"DataRole": "Image"}
        dataset.append_image("image_2", theirs)
    (image,) = read_images(tmp_path / "images.h5")
    np.testing.assert_array_equal(image.data, data)
    assert image.meta == {"DataRole": "Image"}
    assert (image.head["image_series_index"], image.head["image_index"]) == (2, 5)


def test_images_come_in_the_order_of_series_then_index_whatever_their_shapes(tmp_path):
    with ImageWriter(tmp_path / "images.h5") as writer:
        for series, index, shape in [(10, 2, (1, 1, 3, 4)), (2, 3, (1, 1, 3, 4)), (10, 1, (1, 2, 5, 4)),
                                     (2, 1, (1, 1, 3, 4)), (10, 3, (1, 1, 3, 4))]:  # fmt: skip
            writer.write(image_of(shape, series=series, index=index))
        writer.write(image_of((1, 1, 3, 4), np.complex64, series=2, index=2))
    images = list(read_images(tmp_path / "images.h5"))
    order = [(int(image.head["image_series_index"]), int(image.head["image_index"])) for image in images]
    assert order == [(2, 1), (2, 2), (2, 3), (10, 1), (10, 2), (10, 3)]
    assert [image.data.shape for image in images[3:]] == [(1, 2, 5, 4), (1, 1, 3, 4), (1, 1, 3, 4)]
    with h5py.File(tmp_path / "images.h5") as file:
        assert sorted(file["dataset"]) == ["image_10", "image_10_2", "image_2", "image_2_2"]


def test_the_group_with_images_is_found_or_asked_for(tmp_path):
    path = tmp_path / "images.h5"
    with ImageWriter(path, "one") as writer:
        writer.write(image_of((1, 1, 2, 3)))
    with h5py.File(path, "r+") as file:
        file.create_group("scan")
    assert len(list(read_images(path))) == 1
    with pytest.raises(DataError, match="no images in group 'scan'; groups with images: one"):
        list(read_images(path, "scan"))
    with h5py.File(path, "r+") as file:
        file.copy("one", "two")
    with pytest.raises(DataError, match="several groups; choose one: one, two"):
        list(read_images(path))
    assert len(list(read_images(path, "two"))) == 1


def test_a_file_is_replaced_and_only_once_all_is_written(tmp_path):
    path = tmp_path / "images.h5"
    path.write_bytes(b"old")
    with ImageWriter(path) as writer:
        writer.write(image_of((1, 1, 2, 3)))
        assert path.read_bytes() == b"old"
    assert len(list(read_images(path))) == 1
    assert [member.name for member in tmp_path.iterdir()] == ["images.h5"]


def store_and_fail(path, images):
    with ImageWriter(path) as writer:
        for image in images:
            writer.write(image)
        raise ValueError("the chain broke")


def test_what_was_written_before_an_error_stays_beside_the_old_file(tmp_path):
    path = tmp_path / "images.h5"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="the chain broke") as raised:
        store_and_fail(path, [image_of((1, 1, 2, 3))])
    assert any("images.h5.partial" in note for note in raised.value.__notes__)
    assert path.read_bytes() == b"old"
    assert len(list(read_images(tmp_path / "images.h5.partial"))) == 1


def test_an_error_before_the_first_image_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="the chain broke"):
        store_and_fail(tmp_path / "images.h5", [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"), ImageWriter(tmp_path / "no" / "images.h5"):
        pass


def test_an_image_without_pixels_is_refused(tmp_path):
    with ImageWriter(tmp_path / "images.h5") as writer, pytest.raises(DataError, match="no pixels"):
        writer.write(Image(np.zeros((1, 1, 0, 3), np.float32)))


def test_lines_whose_headers_miscount_are_not_stored(tmp_path):
    lines = lines_of(4, 2, 3)
    lines.head["number_of_samples"][2] = 9
    with pytest.raises(DataError, match="number_of_samples = 9, but the line has 3"):
        write_acquisitions(tmp_path / "scan.h5", XML, [lines])
