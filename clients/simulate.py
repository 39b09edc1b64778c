"""A simulated scan: lines with the exact k-space of a phantom seen by an array, as a scanner would send them.

A noise-free image by the centred unitary FFT (readout cropped to the reconstructed field of view, all lines sampled) is
the object's intensity times the coil's sensitivity, up to Gibbs ringing: there is no other factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Flag, acquisition_headers
from echotrain.mrd.header import DEFAULT_NOISE_BANDWIDTH

from .coils import HARMONICS, coil_coefficients, plane_coefficients
from .phantom import phantom_kspace
from .simulated_header import Scan, header_xml

__all__ = ["Scan", "simulate"]

LINES_PER_BATCH = 128  # bounds memory
CLOCK_TICK_MS = 2.5
CLOCK_START = 14_400_000  # ten in the morning [ticks]
REPETITIONS_PER_PULSE = 10


def simulate(scan: Scan) -> tuple[bytes, Iterator[Acquisitions]]:
    """The scan's MRD header as XML, and its lines in the order of acquisition, made as they are asked for."""
    return header_xml(scan), _lines(scan)


def _lines(scan: Scan) -> Iterator[Acquisitions]:
    random = np.random.default_rng(scan.seed)
    factor = scan.noise_factor()
    n_before = scan.noise_lines if scan.noise > 0 else 0
    if n_before:
        # What whitening by these lines assumes: the receiver's filter passes only a part of the noise's bandwidth.
        scale = np.sqrt(scan.dwell_us * DEFAULT_NOISE_BANDWIDTH / scan.noise_dwell_us)
        shape = (n_before, scan.coils, scan.readout_samples)
        yield Acquisitions(_noise_headers(scan, n_before), _noise(random, shape, scale * factor))
    for repetition in range(scan.repetitions):
        head = _headers(scan, repetition, n_before)
        for start in range(0, len(head), LINES_PER_BATCH):
            part = head[start : start + LINES_PER_BATCH]
            data = _signal(scan, part)
            if scan.noise > 0:
                data += _noise(random, data.shape, factor)
            yield Acquisitions(part, data)


def _noise(
    random: np.random.Generator, shape: tuple[int, ...], factor: NDArray[np.complex128]
) -> NDArray[np.complex64]:
    """Noise of covariance 2 L L^H between channels, L being `factor`. Shape (line, channel, sample)."""
    white = random.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    coloured: NDArray[np.complex64] = factor.astype(np.complex64) @ white
    return coloured


def _signal(scan: Scan, head: NDArray[np.void]) -> NDArray[np.complex64]:
    """The samples that lines see without noise. Shape (line, channel, sample)."""
    n_samples = scan.readout_samples - scan.left_out_samples
    data = np.empty((len(head), scan.coils, n_samples), np.complex64)
    index = head["idx"]
    row = index["kspace_encode_step_1"].astype(np.intp) + int(scan.rows()[0][0])
    plane = index["slice"].astype(np.intp) + index["kspace_encode_step_2"]  # one of them is always 0
    for number in np.unique(plane):
        here = plane == number
        rows, inverse = np.unique(row[here], return_inverse=True)
        data[here] = _rows(scan, rows, int(number))[inverse]
    echoes = np.array(scan.echo_times_ms)[index["contrast"]]
    decay = np.exp((scan.echo_times_ms[0] - echoes) / scan.t2_star_ms)
    pulse = 1 + scan.pulsation * np.sin(2 * np.pi * index["repetition"] / REPETITIONS_PER_PULSE)
    data *= (decay * pulse).astype(np.float32)[:, None, None]
    return data


def _rows(scan: Scan, rows: NDArray[np.intp], plane: int) -> NDArray[np.complex64]:
    """Rows of the ky grid of a slice or partition. Shape (row, coil, sample).

    The waves of the sensitivities shift k-space by multiples of half a cycle per field of view, so every value that is
    needed lies on a grid of that step: the phantom is evaluated there once.
    """
    h_y, h_x = HARMONICS[1:]
    (nx, ny), n = scan.shape, scan.readout_samples
    step = 2 // scan.oversampling
    kx = step * (np.arange(scan.left_out_samples, n) - n // 2)
    grid_x = np.arange(kx[0] - h_x, kx[-1] + h_x + 1)
    shifted = 2 * (rows - ny // 2)[:, None] - np.arange(-h_y, h_y + 1)
    grid_y, place = np.unique(shifted, return_inverse=True)
    result = np.zeros((len(rows), scan.coils, len(kx)), np.complex64)
    for height, kz, coefficients in _planes(scan, plane):
        axes = list(np.meshgrid(grid_x, grid_y))
        if kz is not None:
            axes.append(np.full_like(axes[0], kz))
        values = phantom_kspace(np.stack(axes, axis=-1) / 2, scan.phantom, z=height).astype(np.complex64)
        # windows[..., i] is the value at kx - h_x + i, the one that the wave of number h_x - i shifts to kx.
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * h_x + 1, axis=1)[:, ::step, ::-1]
        seen = windows[place.reshape(shifted.shape)]  # (row, y wave, sample, x wave)
        stacked = seen.transpose(0, 1, 3, 2).reshape(len(rows), -1, len(kx))
        result += coefficients.reshape(scan.coils, -1).astype(np.complex64) @ stacked
    scale = np.sqrt(nx * ny * scan.partitions / scan.oversampling)  # of the unitary FFT against the Fourier integral
    result *= np.float32(scale)
    return result


def _planes(scan: Scan, plane: int) -> Iterator[tuple[float, int | None, NDArray[np.complex128]]]:
    """Height, kz [half cycles per field of view] and coil coefficients of each plane that adds to one."""
    if scan.partitions == 1:
        z = (2 * plane - scan.slices + 1) / scan.slices
        yield z, None, plane_coefficients(scan.coils, z)
        return
    for wave, coefficients in enumerate(coil_coefficients(scan.coils).swapaxes(0, 1)):
        if coefficients.any():
            yield 0.0, 2 * (plane - scan.partitions // 2) - (wave - HARMONICS[0]), coefficients


def _noise_headers(scan: Scan, n_lines: int) -> NDArray[np.void]:
    head = acquisition_headers(n_lines, scan.coils, scan.readout_samples)
    head["flags"] = Flag.IS_NOISE_MEASUREMENT
    head["sample_time_us"] = scan.noise_dwell_us
    head["scan_counter"] = np.arange(n_lines)
    head["acquisition_time_stamp"] = _clock(np.arange(n_lines) * scan.tr_ms)
    _place(head, scan)
    return head


def _headers(scan: Scan, repetition: int, n_before: int) -> NDArray[np.void]:
    """Headers of all lines of a repetition, in the order of acquisition. Shape (line,)."""
    rows, regular, calibration = scan.rows()
    loops = {
        "slice": scan.slices,
        "kspace_encode_step_2": scan.partitions,
        "kspace_encode_step_1": len(rows),
        "average": scan.averages,
        "contrast": scan.contrasts,
    }
    if scan.interleaved:
        loops = {name: loops[name] for name in ("kspace_encode_step_2", "kspace_encode_step_1", "average")} | {
            "slice": scan.slices,
            "contrast": scan.contrasts,
        }
    counters: dict[str, NDArray[Any]] = dict(
        zip(loops, np.indices(tuple(loops.values())).reshape(len(loops), -1), strict=True)
    )
    line = counters["kspace_encode_step_1"]
    counters["kspace_encode_step_1"] = (rows - rows[0])[line]
    n_lines = len(line)
    head = acquisition_headers(n_lines, scan.coils, scan.readout_samples - scan.left_out_samples)
    for name, values in counters.items():
        head["idx"][name] = values
    head["idx"]["repetition"] = repetition
    head["idx"]["user"][:, 5] = scan.shape[1] // 2 - rows[0]
    head["idx"]["user"][:, 6] = scan.partitions // 2
    head["center_sample"] = scan.readout_samples // 2 - scan.left_out_samples
    head["sample_time_us"] = scan.dwell_us
    head["scan_counter"] = n_before + repetition * n_lines + np.arange(n_lines)
    excitation = repetition * (n_lines // scan.contrasts) + np.arange(n_lines) // scan.contrasts
    head["acquisition_time_stamp"] = _clock(n_before * scan.tr_ms + excitation * scan.excitation_ms)
    head["flags"][(calibration & regular)[line]] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
    head["flags"][(calibration & ~regular)[line]] |= np.uint64(Flag.IS_PARALLEL_CALIBRATION)
    _flag_ends(head, last=scan.flags, last_repetition=repetition == scan.repetitions - 1)
    _place(head, scan)
    return head


def _flag_ends(head: NDArray[np.void], *, last: bool, last_repetition: bool) -> None:
    """Flag the first and last line of each image, and of the repetition and measurement."""
    image = head["idx"]["slice"].astype(np.intp) * (int(head["idx"]["contrast"].max()) + 1) + head["idx"]["contrast"]
    head["flags"][np.unique(image, return_index=True)[1]] |= np.uint64(Flag.FIRST_IN_SLICE)
    if last:
        head["flags"][len(head) - 1 - np.unique(image[::-1], return_index=True)[1]] |= np.uint64(Flag.LAST_IN_SLICE)
        head["flags"][-1] |= np.uint64(Flag.LAST_IN_REPETITION)
        if last_repetition:
            head["flags"][-1] |= np.uint64(Flag.LAST_IN_MEASUREMENT)


def _place(head: NDArray[np.void], scan: Scan) -> None:
    """An axial scan around the isocentre, slices from foot to head."""
    head["measurement_uid"] = scan.seed
    head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)
    height = (head["idx"]["slice"] - (scan.slices - 1) / 2) * scan.slice_thickness_mm
    head["position"] = np.multiply.outer(height, [0.0, 0.0, 1.0])


def _clock(time_ms: NDArray[Any]) -> NDArray[np.uint32]:
    return (CLOCK_START + time_ms / CLOCK_TICK_MS).astype(np.uint32)
