"""Learned reconstruction: networks, their weights, and the gadgets that run them."""

from .reconstruct import LearnedReconstruction
from .run_model import RunModel

__all__ = ["LearnedReconstruction", "RunModel"]
