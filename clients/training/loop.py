"""The loop: examples in, weights out, with checkpoints, a log, pictures, and an end by steps or by time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echotrain.gadgets.learned.networks import Network, ScoreNetwork
from echotrain.mrd.errors import ParameterError, StorageError

from . import checkpoints
from .banding import Adversary, seen
from .batches import Examples, Shown, examples
from .checkpoints import Checkpoint
from .detectability import detectability
from .losses import LOSSES
from .plan import Plan
from .score_matching import score_matching
from .validation import Report, validate

LOG_EVERY = 10  # steps
LAST_PART, LAST_RATE = 0.8, 0.1  # from this part of the training on, this part of the rate
LOG = "log.jsonl"

Watch = Callable[[int, dict[str, Any]], None]  # is told of each line of the log, with its step


class Training:
    """A training in a folder, from its beginning or from its checkpoint.

    Raises:
        EchotrainError: where data, network, device or checkpoint are not as they should be.
    """

    def __init__(self, plan: Plan, folder: Path, resume: Checkpoint | None = None) -> None:
        self.plan, self.folder = plan, folder
        self._device = plan.where()
        self._network = (replace(plan, start_from="") if resume else plan).network().to(self._device)
        self._optimizer = torch.optim.Adam(self._network.parameters(), plan.rate)
        self._adversary = Adversary(plan.seed, self._device) if plan.adversarial else None
        self.source, self._judged = plan.sources()
        self.step, self._minutes = 0, 0.0
        self.ranges: dict[str, tuple[float, float]] = {}
        if resume:
            self._network.load_state_dict(resume.network)
            self._optimizer.load_state_dict(resume.optimizer)
            self.step, self._minutes, self.ranges = resume.step, resume.minutes, resume.ranges
            if self._adversary and resume.adversary:
                self._adversary.load(resume.adversary)
        self._loss = LOSSES[plan.loss]
        self._began = time.monotonic() - 60 * self._minutes
        self.report: Report = {}

    @property
    def network(self) -> Network:
        """As it is now."""
        return self._network

    def run(self, watch: Watch) -> None:
        """Train until the plan's steps are done or its minutes are over; validate at the end.

        Raises:
            ParameterError: where the loss is not finite any more.
            StorageError: where log, checkpoint or pictures cannot be written.
        """
        plan, both = self.plan, self._adversary is not None
        data = Examples(self.source, plan.sampling(), plan.seed, one_coil=plan.single_coil, either_way=both)
        first, stop = self.step * self.plan.batch, self.plan.steps * self.plan.batch
        coming = examples(data, first, stop, self.plan.workers)
        recent: list[float] = []
        self._network.train()
        while self._spent() < 1:
            recent.append(self._advance([next(coming) for _ in range(self.plan.batch)]))
            last = self._spent() >= 1
            if last or self.step % LOG_EVERY == 0:
                guessed = {"adversary": self._adversary.accuracy()} if self._adversary else {}
                self._note({"loss": sum(recent) / len(recent), "rate": self._rate(), **guessed}, watch)
                recent = []
            if last or self.step % self.plan.validate_every == 0:
                self._judge(watch)
        if not self.report:  # it was over before it began
            self._judge(watch)
        if self._adversary:
            self._detect(watch)

    def _advance(self, batch: list[Shown]) -> float:
        """One step. Gives the loss before it."""
        torch.manual_seed(self.plan.seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        self._optimizer.zero_grad()
        total = 0.0
        for each in batch:
            shown = each.to(self._device)
            for name, values in shown.figures.items():
                low, high = self.ranges.get(name, (math.inf, -math.inf))
                self.ranges[name] = (min(low, *values), max(high, *values))
            loss = self._missed(shown) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ParameterError(
                f"the loss became {total} at step {self.step}; what was learnt up to the last checkpoint is in "
                f"{self.folder}; start again with a lower --rate than {self.plan.rate:g}"
            )
        self._optimizer.step()
        if self._adversary:
            self._adversary.step()
        self.step += 1
        return total

    def _missed(self, shown: Shown) -> Tensor:
        """The loss of one example; a prior knows no sampling, and learns from the true image alone."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=mixed_precision(self._device)):
            if isinstance(self._network, ScoreNetwork):
                return score_matching(self._network, shown.truth)
            image = shown.image(self._network)
        pixels = torch.ones_like(shown.head) if self.plan.whole_picture else shown.head
        loss = self._loss(image, shown.truth, float(shown.truth.max()), pixels)
        if self._adversary:
            picture = seen(image, pixels, transposed=shown.transposed)
            loss = loss + self.plan.adversarial * self._adversary.face(picture, transposed=shown.transposed)
        return loss

    def _spent(self) -> float:
        """The part of the steps or of the time that is over, whichever is more."""
        time_spent = (time.monotonic() - self._began) / 60 / self.plan.minutes if self.plan.minutes else 0.0
        return max(self.step / self.plan.steps, time_spent)

    def _rate(self) -> float:
        return self.plan.rate * (LAST_RATE if self._spent() >= LAST_PART else 1)

    def _judge(self, watch: Watch) -> None:
        """Validate, and keep what there is."""
        pictures = self.folder / "pictures" / f"step{self.step:06d}"
        self.report = validate(
            self._network,
            self._judged,
            self.plan.validation_sampling(),
            device=self._device,
            one_coil=self.plan.single_coil,
            pictures=pictures,
        )
        self._note({"validation": self.report}, watch)
        self._save()

    def _detect(self, watch: Watch) -> None:
        """Measure what is left of banding, which is too long to do at each validation."""
        measured = detectability(
            self._network,
            self._judged,
            self.plan.sampling(),
            device=self._device,
            one_coil=self.plan.single_coil,
            whole_picture=self.plan.whole_picture,
        )
        self.report["detectability"] = measured._asdict()
        self._note({"detectability": self.report["detectability"]}, watch)

    def _save(self) -> None:
        minutes = (time.monotonic() - self._began) / 60
        network, optimizer = self._network.state_dict(), self._optimizer.state_dict()
        adversary = self._adversary.state() if self._adversary else None
        plan = self.plan.plain()
        checkpoints.save(self.folder, Checkpoint(self.step, plan, network, optimizer, self.ranges, minutes, adversary))

    def _note(self, values: dict[str, Any], watch: Watch) -> None:
        minutes = round((time.monotonic() - self._began) / 60, 3)
        try:
            with (self.folder / LOG).open("a") as log:
                log.write(json.dumps({"step": self.step, "minutes": minutes, **values}) + "\n")
        except OSError as reason:
            raise StorageError(f"{self.folder / LOG} cannot be written: {reason}") from reason
        watch(self.step, values)


def mixed_precision(device: torch.device) -> bool:
    """Whether convolutions in 16 bits gain time on the device; transforms stay in 32."""
    return device.type == "cuda"
