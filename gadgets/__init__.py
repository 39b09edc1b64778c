"""The contract of gadgets, and the gadgets that ship."""

from .cg_sense import CgSense
from .coil_compression import CompressCoils
from .collect import CollectKSpace
from .combine import CombineCoils
from .compressed_sensing import CompressedSensing
from .correct_intensity import CorrectIntensity
from .count import Count, Discard
from .field_of_view import CropFieldOfView
from .filters import FilterImages
from .fourier import FourierTransform
from .gadget import Gadget
from .grappa import Grappa
from .images import ComplexParts
from .intensity import InvertContrast, ScaleIntensity, ToInteger
from .keep_channels import KeepChannels
from .learned import FitDecoder, LearnedReconstruction, LearnFromScan, RunModel, ScorePrior
from .line_compression import CompressLines
from .multiply import MultiplyIntensity
from .noise_statistics import NoiseDeviation
from .parameters import parameter
from .partial_fourier import PartialFourier
from .prewhiten import Prewhiten
from .readout import PadAsymmetricEcho, RemoveOversampling
from .resize import Resize
from .sense import Sense
from .series import NumberSeries
from .spirit import Spirit

__all__ = [
    "CgSense",
    "CollectKSpace",
    "CombineCoils",
    "ComplexParts",
    "CompressCoils",
    "CompressLines",
    "CompressedSensing",
    "CorrectIntensity",
    "Count",
    "CropFieldOfView",
    "Discard",
    "FilterImages",
    "FitDecoder",
    "FourierTransform",
    "Gadget",
    "Grappa",
    "InvertContrast",
    "KeepChannels",
    "LearnFromScan",
    "LearnedReconstruction",
    "MultiplyIntensity",
    "NoiseDeviation",
    "NumberSeries",
    "PadAsymmetricEcho",
    "PartialFourier",
    "Prewhiten",
    "RemoveOversampling",
    "Resize",
    "RunModel",
    "ScaleIntensity",
    "ScorePrior",
    "Sense",
    "Spirit",
    "ToInteger",
    "parameter",
]
