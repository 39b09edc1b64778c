"""Two networks' weights, such as before and after training against banding: how much of it is left, and what it cost.

The slices are the same for both, and no training with another seed has seen them. Classifiers learn from the pictures
of some and are judged on the others, of which SSIM and PSNR of the head are given too. Intervals hold 95% of what other
slices would give.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from echotrain.clients.training.batches import show
from echotrain.clients.training.detectability import JUDGED_BY, LEARNT_FROM, found, pairs, summary
from echotrain.clients.training.examples import single_coil
from echotrain.clients.training.metrics import compare
from echotrain.clients.training.plan import Plan
from echotrain.gadgets.learned.weights import read_weights

CLASSIFIERS = 2  # for each network, with weights of their own by chance
Values = NDArray[np.float64]  # of each slice that is judged


def measured(weights: Path, plan: Plan) -> dict[str, Values]:
    """How often the axis of the missing lines is found, and how good the pictures are."""
    device, source, sampling = plan.where(), plan.sources()[1], plan.sampling()
    network = read_weights(weights).network.to(device)
    pictures = pairs(
        network, source, sampling, range(LEARNT_FROM + JUDGED_BY), device=device, one_coil=plan.single_coil
    )
    learnt_from, judged_by = pictures[:LEARNT_FROM], pictures[LEARNT_FROM:]
    right = np.mean([found(learnt_from, judged_by, seed) for seed in range(CLASSIFIERS)], axis=0)
    figures = []
    for index in range(LEARNT_FROM, LEARNT_FROM + JUDGED_BY):
        example = source.draw(index)
        shown = show(single_coil(example) if plan.single_coil else example, sampling, (1, index)).to(device)
        with torch.no_grad():
            image = shown.image(network.eval())
        figures.append(compare(*(part.cpu().numpy() for part in (image, shown.truth, shown.head))))
    ssim, psnr, _ = np.array(figures).T
    return {"axis found": right, "SSIM": ssim, "PSNR [dB]": psnr}


def cell(values: Values) -> str:
    """Mean and interval."""
    mean, low, high = summary(values)
    return f"{mean:.4f} ({low:.4f} to {high:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", nargs="+", default=["synthetic"], help="synthetic, or files and folders")
    for name, kind, default in (("matrix", int, 160), ("channels", int, 8), ("noise", float, 0.015)):
        parser.add_argument(f"--{name}", type=kind, default=default, help="of synthetic data")
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--centre-fraction", type=float, default=0.08)
    parser.add_argument("--single-coil", action="store_true")
    parser.add_argument("--seed", type=int, default=1000, help="of the slices")
    given: dict[str, Any] = vars(parser.parse_args())
    files = [given.pop("before"), given.pop("after")]
    twice = {name: (given.pop(name),) * 2 for name in ("matrix", "channels", "noise")}
    masks = {
        "accelerations": (given.pop("acceleration"),),
        "centre_fractions": (given.pop("centre_fraction"),),
        "data": tuple(given.pop("data")),
    }
    before, after = (measured(file, Plan(**given, **twice, **masks)) for file in files)
    print("| | before | after | difference |\n|---|---|---|---|")
    for name, values in before.items():
        print(f"| {name} | {cell(values)} | {cell(after[name])} | {cell(after[name] - values)} |")


if __name__ == "__main__":
    main()
