"""`echotrain simulate`: make a scan of a phantom."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each parameter of a simulated scan; those not given keep its defaults."""

    def option(name: str, kind: Any, words: str, metavar: str) -> None:
        parser.add_argument(name, type=kind, help=words, metavar=metavar, default=argparse.SUPPRESS)

    parser.add_argument("output", type=Path, metavar="OUT.h5")
    option("--trajectory", str, "cartesian (epi, radial and spiral are not yet supported)", "NAME")
    option("--matrix", _pair_of_int, "reconstructed pixels, N or X,Y", "N")
    option("--field-of-view-mm", _pair_of_float, "reconstructed field of view [mm], one number or X,Y", "MM")
    option("--slice-thickness-mm", float, "thickness and distance of slices or partitions [mm]", "MM")
    option("--coils", int, "receive channels", "N")
    option("--slices", int, "slices", "N")
    parser.add_argument("--interleaved", action="store_true", default=argparse.SUPPRESS, help="slices take turns")
    option("--partitions", int, "lines along kz of a volume", "N")
    option("--contrasts", int, "echoes after each excitation", "N")
    option("--averages", int, "how often each line is taken", "N")
    option("--repetitions", int, "how often the whole is repeated", "N")
    option("--pulsation", float, "relative swing of intensity over repetitions", "F")
    option("--acceleration", int, "every how many lines along ky are taken", "R")
    option("--calibration", int, "lines at the centre without gaps", "N")
    option("--partial-fourier", float, "fraction of ky that is covered", "F")
    option("--partial-echo", float, "fraction of each readout that is sampled", "F")
    option("--oversampling", int, "readout oversampling, 1 or 2", "N")
    option("--noise", float, "standard deviation of real and imaginary part; intensity is 1 at the most", "SD")
    option("--correlation", float, "correlation of noise between neighbouring channels", "F")
    option("--noise-lines", int, "lines of noise alone, ahead of all", "N")
    option("--dwell-us", float, "time per sample [us]", "US")
    option("--tr-ms", float, "repetition time [ms]", "MS")
    parser.add_argument(
        "--no-flags", action="store_false", dest="flags", default=argparse.SUPPRESS, help="leave out the LAST flags"
    )
    option("--seed", int, "of the noise", "N")


def run(options: argparse.Namespace) -> int:
    """Simulate and write the file."""
    from echotrain.mrd.hdf5_write import write_acquisitions

    from ..simulate import Scan, simulate

    own = {"command", "verbose", "output"}
    header, lines = simulate(Scan(**{name: value for name, value in vars(options).items() if name not in own}))
    write_acquisitions(options.output, header, lines)
    print(options.output)
    return 0


def _pair(text: str, kind: Any) -> Any:
    numbers = [kind(part) for part in text.split(",")]
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not one number or two, X,Y")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _pair_of_int(text: str) -> Any:
    return _pair(text, int)


def _pair_of_float(text: str) -> Any:
    return _pair(text, float)
