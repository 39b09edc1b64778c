"""Gadgets that go wrong on purpose, or show what reached them."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Literal

from echotrain.gadgets import Gadget, parameter
from echotrain.mrd import Acquisitions, Header, Image, Text


class Stumble(Gadget[Acquisitions, Acquisitions]):
    """Pass lines on, and go wrong after some of them."""

    how: Literal["raise", "segfault", "sys_exit", "os_exit", "orphan", "loop", "grip"] = parameter(
        "raise", "In which way."
    )
    after: int = parameter(0, "Lines that go well.")
    at_start: bool = parameter(False, "Whether to go wrong before any line.")

    def start(self, header: Header, /) -> None:
        self._left = self.after
        if self.at_start:
            self._stumble()

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions]:
        for line in lines:
            if not self._left:
                self._stumble()
            self._left -= 1
            yield line

    def _stumble(self) -> None:
        match self.how:
            case "raise":
                raise ValueError("the gradient is upside down")
            case "segfault":
                signal.raise_signal(signal.SIGSEGV)  # in this thread, as a bad pointer would
            case "sys_exit":
                sys.exit(3)
            case "os_exit":
                os._exit(4)
            case "orphan":
                if os.fork():
                    os._exit(4)
                time.sleep(100)
                os._exit(0)
            case "loop":
                while True:
                    time.sleep(0.01)
            case "grip":
                ctypes.PyDLL(None).sleep(1000)  # which keeps the interpreter from every other thread


class Elsewhere(Gadget[Acquisitions, Text]):
    """Tell what a process of its own makes of each batch, and leave another one running."""

    def process(self, lines: Acquisitions, /) -> Iterator[Text]:
        fork = multiprocessing.get_context("fork")
        fork.Process(target=time.sleep, args=(100,)).start()
        with fork.Pool(1) as pool:
            yield Text(str(pool.apply(abs, (-len(lines),))))


class PrintLines(Gadget[Acquisitions, Acquisitions]):
    """Print how many lines came."""

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions]:
        sys.stdout.write(f"{len(lines)} lines, \N{GREEK SMALL LETTER MU}")
        yield lines


class TellLines(Gadget[Acquisitions, Text]):
    """Tell the scan counter of each line, as soon as it is there."""

    def process(self, lines: Acquisitions, /) -> Iterator[Text]:
        for line in lines:
            yield Text(f"line {line.head['scan_counter'][0]} with {line.n_channels} x {line.n_samples}")


class Negate(Gadget[Image, Image]):
    """Turn the sign of images."""

    def process(self, image: Image, /) -> Iterator[Image]:
        yield image.with_data(-image.data)


class Enlarge(Gadget[Acquisitions, Image]):
    """Make an image of many bytes out of each line, to fill windows and disks."""

    megabytes: float = parameter(1.0, "Size of each image.", unit="MB")

    def process(self, lines: Acquisitions, /) -> Iterator[Image]:
        n_rows = round(self.megabytes * 1e6 / 4000)
        for line in lines:
            pixels = line.data.real.ravel()[:1].repeat(1000 * n_rows).reshape(1, 1, n_rows, 1000)
            yield Image(pixels)
