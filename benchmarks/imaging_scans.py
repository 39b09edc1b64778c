"""Scans for parallel imaging: lines that are kept of whole ones, and what image they are to give."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from echotrain.clients.recon import reconstruct
from echotrain.clients.siemens import read_twix
from echotrain.clients.simulate import Scan, simulate
from echotrain.gadgets import CollectKSpace, Prewhiten, RemoveOversampling
from echotrain.gadgets.coils import root_sum_of_squares
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import Acquisitions, Image, KSpace, parse_header, read_header, read_items

N_CALIBRATION = 24
PLANE = (-2, -1)
WHOLE = """<chain name="whole"><gadget name="Prewhiten"/><gadget name="PadAsymmetricEcho"/>
<gadget name="RemoveOversampling"/><gadget name="CollectKSpace" trigger="end"/>
<gadget name="FourierTransform"/></chain>"""


class Lines(NamedTuple):
    """Acquired lines and what they are to give."""

    kspace: np.ndarray
    """Shape (channel, ky, kx), zeros between lines."""

    sampled: np.ndarray
    """Shape (ky,), or (ky, kx) where both are phase encoded."""

    covered: range
    """The lines up to the last that was sampled; all where none is left out on one side."""

    truth: np.ndarray
    inside: np.ndarray

    @property
    def calibration(self) -> np.ndarray:
        """The middle of k-space along both axes."""
        return self.block[..., middle(self.kspace.shape[2])]

    @property
    def block(self) -> np.ndarray:
        """The lines in the middle, which are without gaps."""
        return self.kspace[:, middle(self.kspace.shape[1])]


def middle(n: int) -> slice:
    return slice(n // 2 - N_CALIBRATION // 2, n // 2 + N_CALIBRATION // 2)


def object_of(truth: np.ndarray) -> np.ndarray:
    return truth > 0.1 * np.percentile(truth, 99.5)


def kept(kspace: np.ndarray, whole: np.ndarray, step: int, part: float = 1) -> Lines:
    """Every `step`th line of the first `part` and those of calibration; `whole` has as little noise as there is."""
    n_y = kspace.shape[1]
    row = np.arange(n_y)
    sampled = ((row - n_y // 2) % step == 0) & (row < round(part * n_y))
    sampled[middle(n_y)] = True
    covered = range(int(np.flatnonzero(sampled)[-1]) + 1) if part < 1 else range(n_y)
    truth = root_sum_of_squares(centred_ifft(whole, PLANE))
    return Lines(np.where(sampled[:, None], kspace, 0), sampled, covered, truth, object_of(truth))


def simulated(matrix: int, channels: int, noise: float) -> np.ndarray:
    """k-space of one slice. Shape (channel, ky, kx)."""
    kspace = np.zeros((channels, matrix, matrix), np.complex64)
    _, batches = simulate(Scan(matrix=matrix, coils=channels, oversampling=1, noise=noise, noise_lines=0))
    for lines in batches:
        kspace[:, lines.head["idx"]["kspace_encode_step_1"]] = lines.data.swapaxes(0, 1)
    return kspace


def brain(folder: Path) -> np.ndarray | None:
    """k-space of a brain, all lines; None where it is not there."""
    path = folder / "brain-16ch-twix" / "2024-02-06-164128.dat"
    if not path.is_file():
        return None
    header, batches = read_twix(path)
    (image,) = (item for item in reconstruct(batches, header, WHOLE) if isinstance(item, Image))
    return centred_fft(image.data[:, 0], PLANE)


def poisson(folder: Path) -> Lines | None:
    """A brain in a pattern of Poisson discs along both axes, of which there is no whole image."""
    path = folder / "brain-8ch-poisson" / "cartesian_ksp.npy"
    if not path.is_file():
        return None
    kspace = np.load(path).astype(np.complex64)
    truth = np.zeros(kspace.shape[1:], np.float32)
    return Lines(kspace, (kspace != 0).any(0), range(kspace.shape[1]), truth, truth > 0)


def bottles(folder: Path) -> Lines | None:
    """Two bottles at R = 3, whitened by the scan's own noise, of which there is no whole image."""
    path = folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    if not path.is_file():
        return None
    header, items = read_header(path), [item for item in read_items(path) if isinstance(item, Acquisitions)]
    for gadget in (Prewhiten(), RemoveOversampling(), CollectKSpace(trigger="end")):
        gadget.start(parse_header(header))
        made = [given for item in items for given in gadget.process(item) or ()] + list(gadget.finish() or ())
        items = [item for item in made if isinstance(item, Acquisitions | KSpace)]
    (unit,) = items
    data, sampled = unit.data[:, 0], unit.sampled[0]
    if unit.calibration is not None:
        data = np.where(unit.calibration.sampled[0][:, None], unit.calibration.data[:, 0], data)
        sampled = sampled | unit.calibration.sampled[0]
    truth = np.zeros(data.shape[1:], np.float32)
    return Lines(data, sampled, range(len(sampled)), truth, truth > 0)
