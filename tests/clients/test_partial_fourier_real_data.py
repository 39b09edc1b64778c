"""Partial Fourier on a scanner's data: a brain of which lines were left out after the fact, beside its full image.

Its fat, whose phase jumps at the skull, and its noise leave little symmetry in the outer lines: what is made of them
correlates with what was acquired by 0.1. Zeros are nearer to the full image then than what symmetry makes of it, for
peers' methods as well; projections that keep to symmetry only where the image has it are as near as zeros.
"""

import warnings

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.mrd import Acquisitions, Flag, Image

BEFORE = """<chain name="test"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/><gadget name="CollectKSpace" trigger="end"/>"""
PLAIN = '<gadget name="FourierTransform"/><gadget name="CombineCoils" method="adaptive"/>'
GRAPPA = '<gadget name="Grappa"/>'
N_KY, CENTRE = 128, 64


@pytest.fixture(scope="module")
def brain(data_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        pytest.importorskip("twixtools", reason="the package twixtools is not installed")
    path = data_folder / "brain-16ch-twix" / "2024-02-06-164128.dat"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    header, lines = read_twix(path)
    return header, list(lines)


def cut(batches, side, acceleration):
    """6/8 of the lines, of which every nth and 24 at the centre."""
    for lines in batches:
        row = lines.head["idx"]["kspace_encode_step_1"].astype(int) - CENTRE
        kept = row < 32 if side == "lower" else row >= -32
        head = lines.head.copy()
        if acceleration > 1:
            regular, central = row % acceleration == 0, (row >= -12) & (row < 12)
            head["flags"][central & ~regular] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION)
            head["flags"][central & regular] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
            kept &= regular | central
        yield Acquisitions(head, lines.data)[kept]


def magnitude(header, batches, *parts):
    (image,) = (
        item for item in reconstruct(batches, header, f"{BEFORE}{''.join(parts)}</chain>") if isinstance(item, Image)
    )
    return np.abs(image.data[0, 0]), image.meta


def partial(method):
    return f'<gadget name="PartialFourier" method="{method}"/>'


@pytest.mark.parametrize(
    ("side", "acceleration", "bound"),
    [("lower", 1, 0.056), ("upper", 1, 0.072), ("lower", 2, 0.07), ("upper", 2, 0.085)],
)
def test_three_quarters_of_a_brain_are_completed(brain, side, acceleration, bound):
    header, batches = brain
    truth, _ = magnitude(header, batches, PLAIN)
    lines, image = list(cut(batches, side, acceleration)), GRAPPA if acceleration > 1 else PLAIN
    error = {}
    for method in ("zeros", "pocs", "conjugate", "homodyne"):
        made, meta = magnitude(header, lines, image, "" if method == "zeros" else partial(method))
        error[method] = np.linalg.norm(made - truth) / np.linalg.norm(truth)
    first, centre, last = meta["sampling_limits_E1"]
    assert centre == CENTRE
    assert (first > 0, last < N_KY - 2) == (side == "upper", side == "lower")
    assert error["pocs"] < bound
    assert error["pocs"] < 0.85 * error["conjugate"]
    assert error["conjugate"] < error["homodyne"] < 1.1 * error["conjugate"]
    assert error["pocs"] < 1.015 * error["zeros"]


def test_all_lines_leave_nothing_to_complete(brain):
    header, batches = brain
    truth, _ = magnitude(header, batches, PLAIN)
    made, meta = magnitude(header, batches, PLAIN, partial("pocs"))
    np.testing.assert_array_equal(made, truth)
    assert "PartialFourier" not in meta["GADGETRON_ImageProcessingHistory"]
