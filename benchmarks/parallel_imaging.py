"""Errors and times of parallel imaging beside BART, sigpy and pygrappa, on the same lines and in one run.

    python benchmarks/parallel_imaging.py [--write] [--pictures FOLDER] [--data FOLDER] [--threads N] [--only ...]

A peer that is not installed is left out. Times are the least of some runs, with as many threads for each; those of BART
have its start and its files in memory in them. Errors of magnitudes are relative to the image of all lines, without
noise where the scan is simulated, within the object, after the best factor.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from image_errors import error
from imaging_parts import parts
from imaging_programs import OURS, Row, completed, rows_of
from imaging_report import Report
from imaging_scans import N_CALIBRATION, PLANE, Lines, bottles, brain, kept, middle, poisson, simulated

from echotrain.gadgets.coils import adaptive_coil_maps, combine
from echotrain.gadgets.fourier import centred_fft, centred_ifft

MATRIX, CHANNELS, NOISE = 128, 12, 0.01
PART = 6 / 8
LEFT_OUT = 0.1  # of a Poisson pattern's samples, to be foretold
TABLES = ("parts", "head", "head-partial", "brain", "brain-partial", "poisson", "bottles")


def undersampled(report: Report, name: str, kspace: np.ndarray, whole: np.ndarray, steps: Sequence[int]) -> None:
    """Every nth line."""
    for step in steps:
        lines = kept(kspace, whole, step)
        title = f"{name}, R = {step}, {N_CALIBRATION} of {len(lines.sampled)} lines for calibration"
        report.images(title, lines, rows_of(lines))


def partial(report: Report, name: str, kspace: np.ndarray, whole: np.ndarray, steps: Sequence[int]) -> None:
    """The first three quarters of lines; of every nth, what parallel imaging makes of them is completed."""
    for step in steps:
        lines = kept(kspace, whole, step, PART)

        def wanted(image: np.ndarray, lines: Lines = lines) -> float:
            return error(image, lines)

        if step == 1:
            channels = centred_ifft(kspace, PLANE)
            single = centred_fft(combine(channels, adaptive_coil_maps(channels)), PLANE)
            single[lines.covered.stop :] = 0
            rows = list(completed(centred_ifft(single, PLANE), lines.covered, wanted))
        else:
            rows = [row for row in rows_of(lines) if row.method in ("GRAPPA", "CG-SENSE", "l1-ESPIRiT")]
            for row in [row for row in rows if row.method != "l1-ESPIRiT"]:
                rows += in_turn(row, completed(row.image, lines.covered, wanted))
        report.images(f"{name}, R = {step}, 6/8 of {len(lines.sampled)} lines", lines, rows)


def in_turn(row: Row, more: Sequence[Row]) -> list[Row]:
    """What our methods make of an image of ours, and BART's of one of a peer."""
    return [
        made._replace(
            method=f"{row.method}, {made.method}",
            program=OURS if row.program == OURS else f"{row.program}, BART".replace("BART, BART", "BART"),
            seconds=row.seconds + made.seconds,
        )
        for made in more
        if made.method in ("zero filling", "homodyne", "POCS") and (made.program == OURS) == (row.program == OURS)
    ]


def foretold(report: Report, lines: Lines) -> None:
    """Images of a pattern without a truth: how well nine tenths of the samples foretell the rest."""
    held = lines.sampled & (np.random.default_rng(3).random(lines.sampled.shape) < LEFT_OUT)
    held[tuple(map(middle, held.shape))] = False
    fewer = lines._replace(kspace=np.where(held, 0, lines.kspace), sampled=lines.sampled & ~held)
    wanted = lines.kspace[:, held]

    def measure(image: np.ndarray, maps: np.ndarray) -> float:
        made = centred_fft((maps * image).astype(np.complex64), PLANE)[:, held]
        made *= np.vdot(made, wanted) / np.vdot(made, made)
        return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))

    rows = rows_of(fewer, measure)
    title = "A brain in a Poisson pattern, R = 8, 8 channels, from nine tenths of its samples"
    cells = [(row.method, row.program, f"{measure(row.image, row.maps):.4f}") for row in rows]
    report.table(title, ("method", "program", "error of the other tenth"), cells)
    report.picture(title, fewer, rows)


def unfolded(report: Report, lines: Lines) -> None:
    """Bottles, of which there is no truth: a picture alone, of the least weights."""
    if report.pictures is not None:
        report.picture("Two bottles of 14 channels, R = 3", lines, rows_of(lines, lambda image, _: 0.0))


def main() -> None:
    """Print the tables, and write them to the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the tables of docs/benchmarks.md")
    parser.add_argument("--pictures", type=Path, help="folder for images and their differences")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ECHOTRAIN_DATA", "../shared/data")))
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--threads", type=int, default=2, help="of each program")
    options = parser.parse_args()
    if options.write and tuple(options.only) != TABLES:
        parser.error("--write replaces all tables; leave out --only")
    torch.set_num_threads(options.threads)
    report = Report(options.pictures)
    if "parts" in options.only:
        report.table(
            f"Simulated scan of {MATRIX} x {MATRIX}, {CHANNELS} channels, noise of {NOISE} of the brightest",
            ("what", "program", "measured", "seconds"),
            parts(MATRIX, CHANNELS, NOISE),
        )
    head = tuple(simulated(MATRIX, CHANNELS, noise) for noise in (NOISE, 0))
    whole = brain(options.data)
    for name, table, steps, word in (
        ("Shepp and Logan's head", undersampled, (2, 4), "head"),
        ("Shepp and Logan's head", partial, (1, 2), "head-partial"),
        ("A brain of 16 channels", undersampled, (2, 3, 4), "brain"),
        ("A brain of 16 channels", partial, (1, 2, 3), "brain-partial"),
    ):
        scan = head if word.startswith("head") else (whole, whole)
        if word in options.only and scan[0] is not None:
            table(report, name, *scan, steps)
    for word, table, scan in (("poisson", foretold, poisson), ("bottles", unfolded, bottles)):
        if word in options.only and (lines := scan(options.data)) is not None:
            table(report, lines)
    if options.write:
        report.write("parallel imaging")


if __name__ == "__main__":
    main()
