"""Errors and times of learned and conventional reconstruction, on the same lines and in one run.

    python benchmarks/learned.py [--weights NAME=PATH ...] [--write] [--pictures FOLDER] [--data FOLDER] [--only ...]

PATH is a file of weights or the folder of a training. Weights called unet, varnet and score that are installed need not
be given; other names are rows of their own. --tune prints what weights of conventional methods come to on other heads.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from imaging_programs import Row, timed
from imaging_report import Report
from imaging_scans import Lines, poisson
from learned_figures import HEADS, PSNR, Cases, Measured, goals, measured, row, weights_of, with_weight
from learned_methods import Method, conventional, learned
from learned_scans import ACCELERATIONS, colin27, left_out, real_brain, undersampled, validation

SLICES, REPETITIONS = 16, 1
MASKS = 4  # of the real brain, which is one slice
TUNED_ON = 4  # slices
GAINS = {4: 0.5, 8: 2.0}  # of VarNet over l1-wavelet [dB]
TABLES = ("colin27", "brain", "poisson")


def images(report: Report, name: str, cases: Cases, acceleration: int, methods: Sequence[Method]) -> None:
    """A table of slices whose truth is known, and another of what is asked."""
    shown = len(cases) // 2
    case = cases[shown][0]
    effective = case.sampled.size / case.sampled.sum()
    title = f"{name}, R = {acceleration}, of all lines 1 in {effective:.1f} with {case.n_centre} for calibration"
    found: dict[tuple[str, str], Measured] = {}
    rows = []
    for method in methods:
        if method.make is None:
            rows.append([method.name, method.program] + [""] * (len(HEADS) - 2))
            continue
        made = measured(method, cases, acceleration)
        found[method.name, method.program] = made
        rows.append(row(made, len(cases)))
    report.table(title, HEADS, rows)
    report.table(f"Asked of these, R = {acceleration}", ("what", "measured", "goal"), goals(found, GAINS[acceleration]))
    lines = Lines(case.kspace, case.sampled, range(len(case.sampled)), case.truth, case.head)
    drawn = [(made.images[shown], made) for made in found.values() if shown in made.images]
    report.picture(title, lines, [Row(*made.method[:2], image, made.seconds) for image, made in drawn])


def foretold(report: Report, lines: Lines, methods: Sequence[Method]) -> None:
    """Of samples without a truth: how well nine tenths of them foretell the rest."""
    case, error = left_out(lines)
    title = "A brain of 8 channels in a Poisson pattern, R = 8, from nine tenths of its samples"
    rows, drawn = [], []
    for method in methods:
        if method.make is None:
            rows.append([method.name, method.program, "", ""])
        elif not method.anywhere:
            rows.append([method.name, method.program, "does not apply", ""])
        else:
            tried = [
                timed(lambda method=method, weight=weight: method.make(case, weight), 1)
                for weight in weights_of(method, max(ACCELERATIONS))
            ]
            image, seconds = min(tried, key=lambda made: error(made[0]))
            seconds += case.seconds_of_maps if method.by_maps else 0
            rows.append([*method[:2], f"{error(image):.4f}", f"{seconds:.3f}"])
            drawn.append(Row(*method[:2], image, seconds))
    report.table(title, ("method", "program", "error of the other tenth", "seconds"), rows)
    report.picture(title, lines, drawn)


def tune(methods: Sequence[Method]) -> None:
    """PSNR of heads that are not those of the tables, by all weights of each method, for STRENGTHS."""
    heads = validation(TUNED_ON)
    for acceleration in ACCELERATIONS:
        cases = [[undersampled(head, acceleration, (0, number))] for number, head in enumerate(heads)]
        for method in methods:
            if len(method.weights) > 1 and not method.tuned_here:
                found = [with_weight(method, cases, weight).figures[:, PSNR].mean() for weight in method.weights]
                cells = [f"{weight:g}: {psnr:.2f}" for weight, psnr in zip(method.weights, found, strict=True)]
                print(f"R = {acceleration}, {method.name}, {method.program}: {', '.join(cells)}", flush=True)


def named(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, path = text.split("=", 1)
    return name, Path(path)


def main() -> None:
    """Print the tables, and write them to the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", type=named, action="append", default=[], metavar="NAME=PATH", help="as often as wanted"
    )
    parser.add_argument("--write", action="store_true", help="replace the tables of docs/benchmarks.md")
    parser.add_argument("--pictures", type=Path, help="folder for images and their differences")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ECHOTRAIN_DATA", "../shared/data")))
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="rows, by the beginnings of their names")
    parser.add_argument("--slices", type=int, default=SLICES, help="of Colin27")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of each slice, by another array and mask")
    parser.add_argument("--tune", action="store_true", help="print what each weight comes to, and no tables")
    options = parser.parse_args()
    whole = options.methods is None and tuple(options.only) == TABLES and not options.tune
    if options.write and (not whole or (options.slices, options.repetitions) != (SLICES, REPETITIONS)):
        parser.error("--write replaces all tables; leave out --only, --methods, --slices, --repetitions and --tune")
    torch.set_num_threads(1)
    methods = [*conventional(), *learned(dict(options.weights))]
    if options.methods:
        methods = [method for method in methods if method.name.startswith(tuple(options.methods))]
    if options.tune:
        tune(methods)
        return
    report = Report(options.pictures)
    slices = colin27(options.slices, options.repetitions) if "colin27" in options.only else None
    real = real_brain(options.data) if "brain" in options.only else None
    scans = {"Colin27": slices, "A brain of 16 channels": [[real]] * MASKS if real else None}
    for name, examples in scans.items():
        for acceleration in ACCELERATIONS if examples else ():
            cases = [
                [undersampled(each, acceleration, (n, m)) for m, each in enumerate(several)]
                for n, several in enumerate(examples)
            ]
            images(report, name, cases, acceleration, methods)
    if "poisson" in options.only and (lines := poisson(options.data)) is not None:
        foretold(report, lines, methods)
    if options.write:
        report.write("learned")


if __name__ == "__main__":
    main()
