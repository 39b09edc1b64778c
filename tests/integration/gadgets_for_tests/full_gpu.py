"""Learned reconstruction as on a machine whose GPU has no memory left."""

from collections.abc import Callable

import torch

from echotrain.gadgets import LearnedReconstruction
from echotrain.mrd import Header


class OnFullGpu(LearnedReconstruction):
    """Reconstruct on a GPU that has no memory free."""

    def start(self, header: Header, /) -> None:
        super().start(header)
        self._device = torch.device("cuda")

    def _anywhere(self, weights, lines, run: Callable):
        def full(device: torch.device):
            if device.type != "cpu":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run(device)

        return super()._anywhere(weights, lines, full)
