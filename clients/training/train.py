"""Train by a plan in a folder, with words on the way, and write the weights with their model card."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import rich.progress
from rich.console import Console

from echotrain.gadgets.learned.weights import SUFFIX, ModelCard, save_weights
from echotrain.mrd.errors import StorageError

from .checkpoints import FILE, Checkpoint
from .loop import Training
from .plan import Plan


def train(plan: Plan, folder: Path, resume: Checkpoint | None = None) -> Path:
    """Train, and give the file of the weights, which is called as the folder is.

    Raises:
        EchotrainError: where data, network, device or checkpoint are not as they should be, or the loss is lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise StorageError(f"folder {folder} cannot be made: {reason}") from reason
    if resume is None and (folder / FILE).exists():
        raise StorageError(f"{folder} holds a training already; go on with it by --resume, or name another folder")
    training = Training(plan, folder, resume)
    console = Console(stderr=True)
    with rich.progress.Progress(
        rich.progress.TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("loss {task.fields[loss]:.4f}"),
        rich.progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=plan.steps, completed=training.step, loss=float("nan"))

        def watch(step: int, values: dict[str, Any]) -> None:
            bar.update(task, completed=step, **({"loss": values["loss"]} if "loss" in values else {}))
            for name, figures in values.get("validation", {}).items():
                words = f"SSIM {figures['ssim']:.4f}  PSNR {figures['psnr']:.2f} dB  NMSE {figures['nmse']:.5f}"
                console.print(f"step {step}  {name:<24}{words}", highlight=False, soft_wrap=True)
            if measured := values.get("detectability"):
                words = "axis of the missing lines found in {accuracy:.1%} of pictures ({low:.1%} to {high:.1%})"
                console.print(f"step {step}  {words.format(**measured)}", highlight=False, soft_wrap=True)

        training.run(watch)
    weights = folder / f"{folder.absolute().name}{SUFFIX}"
    try:
        save_weights(weights, training.network, card(training))
    except OSError as reason:
        raise StorageError(f"weights {weights} cannot be written: {reason}") from reason
    return weights


def card(training: Training) -> ModelCard:
    """What the weights are, and what they have seen; half as large a file changes no figure that is told."""
    description = training.plan.description()
    return ModelCard(
        architecture=description["architecture"],
        parameters=description["parameters"],
        trained_on=f"{training.source.description}; {training.step} steps",
        command=shlex.join(["echotrain", *sys.argv[1:]]),
        figures=training.report,
        ranges=training.ranges,
        contrasts=training.source.contrasts,
        bits=16,
    )
