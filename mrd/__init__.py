"""What travels: headers, lines, k-space, images, and the MRD byte stream."""

from .acquisitions import Acquisitions, acquisition_headers
from .decode import Decoder, Item, decode
from .encode import encode
from .errors import EchotrainError
from .flags import Flag, ImageType
from .header import Encoding, Header, Limit, Space, parse_header
from .image import Image, Meta, image_header
from .kspace import KSpace
from .text import (
    Array,
    Close,
    ConfigName,
    ConfigText,
    DependencyQuery,
    Dicom,
    ErrorText,
    HeaderText,
    Query,
    Response,
    Text,
)
from .waveforms import Waveforms

__all__ = [
    "Acquisitions",
    "Array",
    "Close",
    "ConfigName",
    "ConfigText",
    "Decoder",
    "DependencyQuery",
    "Dicom",
    "EchotrainError",
    "Encoding",
    "ErrorText",
    "Flag",
    "Header",
    "HeaderText",
    "Image",
    "ImageType",
    "Item",
    "KSpace",
    "Limit",
    "Meta",
    "Query",
    "Response",
    "Space",
    "Text",
    "Waveforms",
    "acquisition_headers",
    "decode",
    "encode",
    "image_header",
    "parse_header",
]
