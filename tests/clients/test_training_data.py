"""What networks learn from: made up heads, and recordings."""

import dataclasses
import importlib.util

import h5py
import numpy as np
import pytest
from made_up_brain import made_up_tissues

from echotrain.clients.training import tissues
from echotrain.clients.training.batches import Examples, examples, show
from echotrain.clients.training.examples import Example, root_sum_of_squares, single_coil
from echotrain.clients.training.masks import Sampling
from echotrain.clients.training.recordings import Recordings, find_volumes, held_out
from echotrain.clients.training.synthetic import Synthetic
from echotrain.clients.training.tissues import icbm152
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import write_acquisitions
from echotrain.mrd.errors import DataError, EchotrainError, ParameterError, StorageError


def heads(seed=(1, 0), **values):
    values = {"matrix": (40, 48), "channels": (3, 5)} | values
    return Synthetic(made_up_tissues(), values.pop("matrix"), values.pop("channels"), seed, **values)


def fastmri_file(path, shape=(3, 4, 24, 20), recon=(14, 18), **arrays):
    """k-space (slice, coil, readout, line) of noise in the middle, as fastMRI stores it."""
    random = np.random.default_rng(4)
    kspace = random.standard_normal((*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    space = (
        "<matrixSize><x>{}</x><y>{}</y><z>1</z></matrixSize><fieldOfView_mm><x>2</x><y>2</y><z>1</z></fieldOfView_mm>"
    )
    header = (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions><H1resonanceFrequency_Hz>1'
        "</H1resonanceFrequency_Hz></experimentalConditions><encoding><encodedSpace>"
        f"{space.format(shape[2], shape[3])}</encodedSpace><reconSpace>{space.format(*recon)}</reconSpace>"
        "<encodingLimits/><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["ismrmrd_header"] = header
        for name, array in arrays.items():
            file[name] = array
    return kspace


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("kspace", "truth", "head"))


def test_an_example_depends_on_seed_and_index_alone():
    source = heads()
    first = [source.draw(index) for index in range(3)]
    assert same(heads().draw(2), first[2])
    assert not same(source.draw(0), first[1])
    assert not same(heads((2, 0)).draw(0), first[0])
    assert not same(heads((1, 1)).draw(0), first[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_examples_in_the_same_order(workers):
    data = Examples(heads(), Sampling("random", (2, 3), (0.2,)), 7, one_coil=False)
    alone, together = (list(examples(data, 3, 8, number)) for number in (0, workers))
    assert len(alone) == 5
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.kspace, other.kspace)
        assert np.array_equal(one.mask, other.mask)


def test_a_made_up_slice_is_a_scan_of_a_head_with_noise():
    for index in range(6):
        example = heads(noise=(1e-6, 1e-6)).draw(index)
        n_channels, *shape = example.kspace.shape
        assert 3 <= n_channels <= 5
        assert all(40 <= n <= 48 for n in shape)
        assert np.percentile(example.truth, 99) == pytest.approx(1, rel=1e-5)
        np.testing.assert_allclose(root_sum_of_squares(example.kspace), example.truth, atol=1e-4)
        assert 0.05 < example.head.mean() < 0.95
        assert example.truth[example.head].mean() > 5 * example.truth[~example.head].mean()


def test_noise_is_as_strong_as_the_example_says():
    quiet, loud = (heads(noise=(level, level)).draw(0) for level in (1e-6, 0.02))
    parts = (loud.kspace - quiet.kspace).view(np.float32)
    assert loud.noise == pytest.approx(0.02)
    assert parts.std() == pytest.approx(0.02, rel=0.03)


def test_pictures_differ_between_channels_and_have_phase():
    example = heads().draw(3)
    images = centred_ifft(example.kspace, (-2, -1))[:, example.head]
    spread = np.abs(np.corrcoef(np.abs(images)))
    assert spread[~np.eye(len(spread), dtype=bool)].max() < 0.999
    assert np.angle(images[0]).std() > 0.05


@pytest.mark.parametrize(
    "wrong", [{"matrix": (48, 40)}, {"matrix": (4, 40)}, {"channels": (0, 3)}, {"noise": (0.0, 0.1)}]
)
def test_heads_that_cannot_be_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        heads(**wrong)


def test_where_the_template_is_absent_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(tissues.importlib.util, "find_spec", lambda name: None if name == "nilearn" else find(name))
    icbm152.cache_clear()
    with pytest.raises(StorageError, match=r"pip install 'echotrain\[train\]'"):
        icbm152()


def test_the_template_is_a_brain():
    pytest.importorskip("nibabel")
    pytest.importorskip("nilearn")
    found = icbm152()
    litres = [float(getattr(found, name).sum(dtype=np.float64)) / 255 * 1e-6 for name in ("grey", "white", "fluid")]
    assert 0.6 < litres[0] < 1.2
    assert 0.4 < litres[1] < 0.8
    assert 0.1 < litres[2] < 0.6


def test_files_of_fastmri_are_turned_and_their_readouts_cropped(tmp_path):
    kspace = fastmri_file(tmp_path / "knee.h5")
    (volume,) = find_volumes([tmp_path])
    assert volume.n_slices == 3
    example = volume.slice(2)
    assert example.kspace.shape == (4, 20, 14)  # channel, lines, samples
    images = centred_ifft(kspace[2], (-2, -1))
    root = np.sqrt((np.abs(images) ** 2).sum(0)).T
    np.testing.assert_allclose(example.truth, root[1:19, 5:19], rtol=1e-4)


def test_lines_that_a_scan_has_not_are_not_among_those_shown(tmp_path):
    fastmri_file(tmp_path / "knee.h5")
    with h5py.File(tmp_path / "knee.h5", "a") as file:
        file["kspace"][..., :3] = 0
    shown = show(find_volumes([tmp_path])[0].slice(0), Sampling("equispaced", (1,), (0.2,)), (1,))
    assert shown.mask.tolist() == [False] * 3 + [True] * 17


def test_a_file_of_ismrmrd_gives_its_slices(tmp_path, small_scan):
    scan = small_scan(oversampling=2)
    write_acquisitions(tmp_path / "head.h5", scan.header, scan.batches)
    (volume,) = find_volumes([tmp_path / "head.h5"])
    assert volume.n_slices == 2
    example = volume.slice(1)
    assert example.kspace.shape == (3, 20, 24)
    np.testing.assert_allclose(root_sum_of_squares(example.kspace), example.truth, rtol=1e-5)
    assert example.truth.max() > 0.5  # intensities of the phantom


def test_partitions_of_a_volume_are_slices(tmp_path, small_scan):
    scan = small_scan(slices=1, partitions=5)
    write_acquisitions(tmp_path / "head.h5", scan.header, scan.batches)
    (volume,) = find_volumes([tmp_path])
    assert volume.n_slices == 5
    assert volume.slice(2).truth.max() > 2 * volume.slice(0).truth.mean() > 0


def test_recordings_come_in_another_order_in_each_round_and_none_is_left_out(tmp_path):
    fastmri_file(tmp_path / "a.h5")
    fastmri_file(tmp_path / "b.h5", shape=(2, 4, 24, 22))
    source = Recordings(find_volumes([tmp_path]), 3, "")
    rounds = [[source.draw(5 * turn + place).truth.sum() for place in range(5)] for turn in range(3)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == sorted(rounds[2])
    assert len({tuple(order) for order in rounds}) > 1
    assert [len(volume) for volume in source.volumes()] == [3, 2]


def test_a_tenth_of_the_volumes_and_at_least_one_is_held_out():
    kept, judged = held_out(list(range(25)))
    assert (len(kept), len(judged)) == (22, 3)
    assert held_out([1, 2]) == ([1], [2])
    with pytest.raises(DataError, match="--validation"):
        held_out([1])


def test_one_receiver_sees_the_sum_of_channels_nearest_to_the_truth():
    """Where the channels differ by factors alone, it is the truth itself."""
    random = np.random.default_rng(2)
    image = random.random((18, 15)).astype(np.float32)
    factors = np.array([1 + 1j, -0.5, 2j], np.complex64)
    kspace = centred_fft(factors[:, None, None] * image, (-2, -1))
    truth = root_sum_of_squares(kspace)
    found = single_coil(Example(kspace, truth, truth > 0))
    assert found.kspace.shape == (1, 18, 15)
    np.testing.assert_allclose(found.truth, truth, rtol=1e-4)


def empty_folder(path):
    path.mkdir()


def text_file(path):
    path.write_text("no scan")


def other_arrays(path):
    with h5py.File(path, "w") as file:
        file["volume"] = np.zeros(3)


def accelerated_fastmri(path):
    fastmri_file(path, mask=np.ones(20))


def flat_fastmri(path):
    fastmri_file(path, shape=(1, 4, 8, 8))
    with h5py.File(path, "a") as file:
        del file["kspace"]
        file["kspace"] = np.zeros((8, 8), np.complex64)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty_folder, "no files"),
        (text_file, "not an HDF5 file"),
        (other_arrays, "neither ISMRMRD"),
        (accelerated_fastmri, "accelerated already"),
        (flat_fastmri, "shape"),
        (lambda path: None, "no file"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path, make, words):
    make(tmp_path / "scan.h5")
    with pytest.raises(EchotrainError, match=words):
        find_volumes([tmp_path / "scan.h5"])


def test_a_scan_that_left_lines_out_is_refused(tmp_path, small_scan):
    scan = small_scan(acceleration=2, calibration=4)
    write_acquisitions(tmp_path / "head.h5", scan.header, scan.batches)
    with pytest.raises(DataError, match="of 20 lines"):
        find_volumes([tmp_path / "head.h5"])


def test_samples_that_are_not_finite_are_refused_with_their_place(tmp_path):
    fastmri_file(tmp_path / "knee.h5")
    with h5py.File(tmp_path / "knee.h5", "a") as file:
        file["kspace"][1, 0, 3, 4] = np.nan
    (volume,) = find_volumes([tmp_path])
    volume.slice(0)
    with pytest.raises(DataError, match="slice 1 has samples that are not finite"):
        volume.slice(1)


def test_figures_of_a_scan_are_noted_as_the_server_measures_them():
    example = dataclasses.replace(heads(noise=(0.01, 0.01)).draw(0))
    shown = show(example, Sampling("equispaced", (4,), (0.2,)), (1, 2))
    n_lines = example.kspace.shape[1]
    assert shown.figures["acceleration"] == (n_lines / int(shown.mask.sum()),)
    assert shown.figures["channels"] == (example.kspace.shape[0],)
    assert shown.figures["noise"] == pytest.approx((2**0.5 * 0.01 / shown.scale,))
    assert shown.n_centre >= round(0.2 * n_lines)
