"""Learned reconstruction: networks, their weights, and the gadgets that run them."""

from .reconstruct import LearnedReconstruction
from .run_model import RunModel
from .scan_specific import FitDecoder, LearnFromScan
from .score_prior import ScorePrior

__all__ = ["FitDecoder", "LearnFromScan", "LearnedReconstruction", "RunModel", "ScorePrior"]
