"""Gadgets that take their worker with them, hang, or take all memory, in the first attempt only or in all."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from echotrain.gadgets import Gadget, parameter
from echotrain.mrd import Image, Text


class Fault(Gadget[Image, Image]):
    """Pass images on, and go wrong at one of them."""

    how: Literal["abort", "kill", "raise", "spin", "sleep", "swell", "numpy", "torch", "mute"] = parameter(
        "abort", "In which way."
    )
    after: int = parameter(0, "Images that go well.")
    marker: str = parameter("", "File that is made at the first fault; where it is there already, none happens.")

    def process(self, image: Image, /) -> Iterator[Image | Text]:
        if self.after == 0 and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            if self.how == "swell":
                yield from self._swell()
            self._go_wrong()
        self.after -= 1
        yield image

    def _swell(self) -> Iterator[Text]:
        """Take more in all processes together than in any of them, and get on."""
        for _ in range(4):
            if os.fork() == 0:
                held = np.ones(32_000_000)
                time.sleep(100.0 * held[0])
                os._exit(0)
        while True:
            time.sleep(0.1)
            yield Text("swelling")

    def _go_wrong(self) -> None:
        match self.how:
            case "abort":
                os.abort()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ValueError("the gradient is upside down")
            case "spin":
                while True:
                    pass
            case "sleep":
                while True:
                    time.sleep(1.0)
            case "numpy":
                np.ones(1 << 40)
            case "torch":
                torch.ones(1 << 40)
            case "mute":
                os.closerange(3, 1000)
                time.sleep(100.0)
