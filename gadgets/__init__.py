"""The contract of gadgets, and the gadgets that ship, in the order in which data meets them."""

from .combine import CombineCoils
from .count import Count
from .field_of_view import CropFieldOfView
from .fourier import FourierTransform
from .gadget import Gadget
from .images import ComplexParts
from .intensity import ScaleIntensity, ToInteger
from .parameters import parameter

__all__ = [
    "CombineCoils",
    "ComplexParts",
    "Count",
    "CropFieldOfView",
    "FourierTransform",
    "Gadget",
    "ScaleIntensity",
    "ToInteger",
    "parameter",
]
