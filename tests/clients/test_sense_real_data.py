"""SENSE and SPIRiT on scanners' data: a brain with a Poisson pattern, and one with lines left out."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.gadgets import CgSense, FourierTransform, Spirit
from echotrain.mrd import (
    Acquisitions,
    Encoding,
    Flag,
    Header,
    Image,
    KSpace,
    Space,
    acquisition_headers,
    parse_header,
)

BEFORE = """<chain name="test"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/><gadget name="CollectKSpace" trigger="end"/>"""
PLAIN = f'{BEFORE}<gadget name="FourierTransform"/><gadget name="CombineCoils"/></chain>'


def relative(found, expected):
    """The difference of magnitudes, after the best factor."""
    found, expected = np.abs(found), np.abs(expected)
    found = found * np.vdot(found, expected) / np.vdot(found, found)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def poisson(data_folder):
    """Header and k-space of which 1 in 8 lines was acquired, in no order but for the middle."""
    path = data_folder / "brain-8ch-poisson" / "cartesian_ksp.npy"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    data = np.load(path)[..., None].astype(np.complex64)
    n_channels, n_z, n_y, _ = data.shape
    space = Space((1, n_y, n_z), (1.0, 180.0, 230.0))
    head = acquisition_headers(1, n_channels, 1).reshape(())
    return Header(b"", (Encoding(space, space, {}),)), KSpace(data, (data != 0).any(axis=(0, 3)), head)


def image_by(gadget, scan):
    header, kspace = scan
    gadget.start(header)
    (image,) = gadget.process(kspace)
    return image.data[0, :, :, 0]


def test_lines_in_a_poisson_pattern_give_the_same_brain_by_every_method(poisson):
    """There is no truth, but methods that err differently agree; zeros in place of lines are far from all of them."""
    header, kspace = poisson
    assert kspace.sampled.mean() == pytest.approx(1 / 8, rel=0.02)
    sense = image_by(CgSense(kernel="1 6 6", regularization=0.03), poisson)
    spirit = image_by(Spirit(kernel="1 6 6", neighbours="1 5 5", regularization=0.03), poisson)
    sparse_sense = image_by(CgSense(kernel="1 6 6", sparsity=0.003), poisson)
    sparse_spirit = image_by(Spirit(kernel="1 6 6", neighbours="1 5 5", sparsity=0.003, iterations=40), poisson)
    transform = FourierTransform()
    transform.start(header)
    (folded,) = (item for item in transform.process(kspace) if isinstance(item, Image))  # beside words on the gaps
    assert relative(np.linalg.norm(folded.data[..., 0], axis=0), sparse_sense) > 0.15
    for other in (sense, spirit, sparse_spirit):
        assert relative(other, sparse_sense) < 0.08
    inside = np.abs(sparse_sense) > 0.2 * np.abs(sparse_sense).max()
    air = np.abs(sparse_sense[:, :8])
    assert air.mean() < 0.02 * np.abs(sparse_sense)[inside].mean()


@pytest.mark.skipif(not shutil.which("bart"), reason="BART is not installed")
def test_sparse_images_of_a_poisson_pattern_are_those_of_bart(poisson, tmp_path):
    _, kspace = poisson
    sizes = " ".join(map(str, kspace.data.transpose(0, 3, 1, 2).shape[::-1]))
    (tmp_path / "lines.hdr").write_text(f"# Dimensions\n{sizes}\n")
    kspace.data.tofile(tmp_path / "lines.cfl")
    for command in ("ecalib -m1 -r 24 lines maps", "pics -S -i 60 -R W:3:0:0.005 lines maps image"):
        subprocess.run(["bart", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    theirs = np.fromfile(tmp_path / "image.cfl", np.complex64).reshape(kspace.sampled.shape)
    assert relative(image_by(CgSense(kernel="1 6 6", sparsity=0.003, iterations=60), poisson), theirs) < 0.05


@pytest.fixture(scope="module")
def brain(data_folder):
    """Header and lines of a brain that was fully sampled, and its image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        pytest.importorskip("twixtools", reason="the package twixtools is not installed")
    path = data_folder / "brain-16ch-twix" / "2024-02-06-164128.dat"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    header, batches = read_twix(path)
    batches = list(batches)
    (image,) = (item for item in reconstruct(batches, header, PLAIN) if isinstance(item, Image))
    return header, batches, image.data[0, 0]


def kept_lines(header, batches, acceleration):
    """Every nth line, and 24 about the centre, flagged for calibration."""
    center = parse_header(header).encoding().limits["kspace_encoding_step_1"].center
    for lines in batches:
        row = lines.head["idx"]["kspace_encode_step_1"].astype(int) - center
        regular, central = row % acceleration == 0, (row >= -12) & (row < 12)
        head = lines.head.copy()
        head["flags"][central] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
        yield Acquisitions(head, lines.data)[regular | central]


@pytest.mark.parametrize(("acceleration", "bound"), [(2, 0.035), (3, 0.045), (4, 0.07)])
@pytest.mark.parametrize("gadget", ['CgSense"', 'CgSense" sparsity="0.003"', 'Sense"', 'Spirit"'])
def test_a_brain_with_lines_left_out_is_the_one_with_all(brain, gadget, acceleration, bound):
    header, batches, expected = brain
    chain = f'{BEFORE}<gadget name="{gadget}/></chain>'
    kept = kept_lines(header, batches, acceleration)
    (image,) = (item for item in reconstruct(kept, header, chain) if isinstance(item, Image))
    assert image.data.shape == (1, 1, *expected.shape)
    inside = expected > 0.1 * np.percentile(expected, 99)
    assert relative(image.data[0, 0][inside], expected[inside]) < bound
