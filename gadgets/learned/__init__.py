"""Learned reconstruction: networks, their weights, and the gadgets that run them."""

from .reconstruct import LearnedReconstruction
from .run_model import RunModel
from .score_prior import ScorePrior

__all__ = ["LearnedReconstruction", "RunModel", "ScorePrior"]
