"""Whole sessions that Gadgetron served, served again: the same configuration and lines give the same images."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.mrd import Acquisitions, ConfigName, ConfigText, Decoder, HeaderText, Image, parse_header
from echotrain.server.chain import build_chain
from echotrain.server.configs import find_config
from echotrain.server.registry import Registry

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data")) / "recordings"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings: {FOLDER} does not exist")

DEFAULT, GRAPPA, SCRIPT = "default_m64_c4_r2", "grappa_m64_c4_a2_r4", "script_m64_c4_a2_r4"


@cache
def recorded(session, direction):
    return list(Decoder().feed((FOLDER / f"{session}.{direction}.bin").read_bytes()))


def sent(session):
    """What the client asked for, as it stands, with the header and lines that it sent."""
    items = recorded(session, "client_to_server")
    config = next(item for item in items if isinstance(item, (ConfigName, ConfigText)))
    header = next(item for item in items if isinstance(item, HeaderText))
    lines = [item for item in items if isinstance(item, Acquisitions)]
    return config.name if isinstance(config, ConfigName) else config.text, header.xml, lines


def theirs(session):
    return [item for item in recorded(session, "server_to_client") if isinstance(item, Image)]


@cache
def ours(session):
    config, header, lines = sent(session)
    return [item for item in reconstruct(lines, header, config) if isinstance(item, Image)]


def pixels(images):
    return np.stack([image.data for image in images]).astype(np.float64)


def difference(made, wanted):
    """Root of the mean square, as a fraction of that of `wanted`; intensities are compared as they are."""
    return np.linalg.norm(made - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("session", [DEFAULT, GRAPPA, SCRIPT])
def test_images_have_every_field_of_gadgetrons_headers(session):
    assert len(ours(session)) == len(theirs(session)) > 1
    for mine, their in zip(ours(session), theirs(session), strict=True):
        head = mine.described()
        for name in set(head.dtype.names) - {"attribute_string_len"}:  # the length of the attributes, which are others
            np.testing.assert_array_equal(head[name], their.head[name], err_msg=name)
        assert mine.data.dtype == their.data.dtype


def test_the_default_chain_gives_gadgetrons_images():
    wanted = pixels(theirs(DEFAULT))
    assert np.abs(pixels(ours(DEFAULT)) - wanted).max() < 1e-6 * wanted.max()
    assert all(not image.meta for image in theirs(DEFAULT))


@pytest.mark.parametrize("session", [GRAPPA, SCRIPT])
def test_the_grappa_chain_gives_gadgetrons_images(session):
    """What differs lies in air, where coil maps are those of the noise; the rest is rounded to integers, 0.3 of 354."""
    made, wanted = pixels(ours(session)), pixels(theirs(session))
    assert difference(made, wanted) < 0.05
    bright = wanted > 100
    assert difference(made[bright], wanted[bright]) < 0.005
    assert (made[bright] * wanted[bright]).sum() / (made[bright] ** 2).sum() == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("session", [GRAPPA, SCRIPT])
def test_attributes_that_both_give_are_alike(session):
    for mine, their in zip(ours(session), theirs(session), strict=True):
        for name in ("GADGETRON_DataRole", "GADGETRON_ImageNumber", "GADGETRON_ScaleRatio", "encoding"):
            assert float_or_text(mine.meta[name]) == float_or_text(their.meta[name])


def float_or_text(value):
    try:
        return float(value)
    except ValueError:
        return value


def test_the_chain_by_name_and_as_text_give_the_same():
    _, header, lines = sent(SCRIPT)
    by_name = [item for item in reconstruct(lines, header, "Generic_Cartesian_Grappa.xml") if isinstance(item, Image)]
    np.testing.assert_array_equal(pixels(by_name), pixels(ours(SCRIPT)))


def test_the_text_that_a_client_sent_is_honoured_and_what_is_done_otherwise_is_told():
    chain = find_config(sent(SCRIPT)[0])
    grappa = next(step for step in chain.steps if step.gadget == "Grappa")
    assert grappa.values == {
        "kernel": "5 4 4",
        "regularization": "0.0005",
        "noise_weight": "0",
        "width": "7",
        "snr_units": "true",
        "gfactor": "false",
    }
    for words in (
        "downstream_coil_compression='true'",
        "GenericReconCartesianReferencePrepGadget",
        "debug_folder, perform_timing, verbose",
    ):
        assert any(words in note for note in chain.notes)


@pytest.mark.parametrize("gadget", ["Prewhiten", "FilterImages", "MultiplyIntensity"])
def test_each_step_of_the_chain_counts(gadget):
    config, header, lines = sent(SCRIPT)
    description = find_config(config)
    shorter = replace(description, parts=tuple(part for part in description.parts if part.gadget != gadget))
    chain = build_chain(shorter, Registry())
    images = [item for item in chain.run(parse_header(header), lines) if isinstance(item, Image)]
    assert difference(pixels(images), pixels(theirs(SCRIPT))) > 0.1
