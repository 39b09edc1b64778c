"""`echotrain train`: train a network for reconstruction."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each parameter of a plan; those not given keep its defaults."""

    def option(name: str, kind: Any, words: str, metavar: str) -> None:
        parser.add_argument(name, type=kind, help=words, metavar=metavar, default=argparse.SUPPRESS)

    parser.add_argument("folder", type=Path, metavar="FOLDER", help="weights, checkpoint, log and pictures go here")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    option("--architecture", str, "sense_varnet (default), varnet, unet, modl, naive or score", "NAME")
    parser.add_argument(
        "--set", type=_parameter, action="append", dest="parameters", metavar="NAME=VALUE", default=argparse.SUPPRESS
    )
    option("--start-from", str, "weights of the same network to start from (default: by chance)", "FILE.safetensors")
    for name, words in (("data", "to learn from"), ("validation", "to judge by (default: some of the data)")):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            metavar="synthetic|PATH",
            default=argparse.SUPPRESS,
            help=f"{words}: made up, or ISMRMRD and fastMRI files and folders of them",
        )
    option("--matrix", _pair(int), "of synthetic data, N or LEAST,GREATEST size of an axis (default 128,192)", "N")
    option("--channels", _pair(int), "of synthetic data, N or FEWEST,MOST (default 4,12)", "N")
    option("--noise", _pair(float), "of synthetic data, SD or LEAST,GREATEST; images reach about 1", "SD")
    option("--mask", str, "equispaced, equispaced_fraction, random or variable_density", "NAME")
    option("--accelerations", _numbers(int), "to choose from (default 4,5,6,7,8)", "R,R...")
    option("--centre-fractions", _numbers(float), "of lines, to choose from (default 0.04,0.06,0.08,0.1)", "F,F...")
    parser.add_argument(
        "--paired", action="store_true", default=argparse.SUPPRESS, help="the first fraction is for the first R, ..."
    )
    parser.add_argument(
        "--single-coil", action="store_true", default=argparse.SUPPRESS, help="as one receiver would have seen it"
    )
    option("--loss", str, "ssim, l1 or ssim+l1 (default)", "NAME")
    parser.add_argument(
        "--whole-picture", action="store_true", default=argparse.SUPPRESS, help="the loss is not of the head alone"
    )
    option("--adversarial", float, "weight of an adversary against banding, such as 0.1 (default 0, none)", "WEIGHT")
    option("--rate", float, "learning rate (default 1e-3)", "RATE")
    option("--steps", int, "steps to take (default 3000)", "N")
    option("--minutes", float, "to train at most", "MINUTES")
    option("--batch", int, "slices a step (default 1)", "N")
    option("--validate-every", int, "steps between validations, with checkpoint and pictures (default 250)", "N")
    option("--validation-slices", int, "of synthetic data (default 16)", "N")
    option("--seed", int, "of weights, data and masks", "N")
    option("--workers", int, "processes that make examples; 0 for none", "N")
    option("--device", str, "auto, cpu, cuda, cuda:1 ... (default auto)", "NAME")


def run(options: argparse.Namespace) -> int:
    """Train, and print where the weights are."""
    from ..training import checkpoints
    from ..training.plan import Plan, resumed
    from ..training.train import train

    own = {"command", "verbose", "folder", "resume"}
    given = {name: value for name, value in vars(options).items() if name not in own}
    if "parameters" in given:
        given["parameters"] = dict(given["parameters"])
    given |= {name: tuple(given[name]) for name in ("data", "validation") if name in given}
    if options.resume:
        checkpoint = checkpoints.load(options.folder)
        plan = resumed(checkpoint.plan, given)
    else:
        checkpoint, plan = None, Plan(**given)
    print(train(plan, options.folder, checkpoint))
    return 0


def _numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between") from None

    return read


def _pair(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        numbers = _numbers(kind)(text)
        if len(numbers) > 2:
            raise argparse.ArgumentTypeError(f"{text!r} is not one number or two")
        return numbers * 2 if len(numbers) == 1 else numbers

    return read


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    words = {"true": True, "false": False}
    try:
        return name, words[value] if value in words else float(value) if "." in value else int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither NAME=NUMBER nor NAME=true or false") from None
