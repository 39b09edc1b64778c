"""What travels: headers, lines, k-space, images, and the MRD byte stream."""

from .acquisitions import Acquisitions, acquisition_headers
from .decode import Decoder, Item, decode
from .encode import encode
from .errors import EchotrainError
from .flags import Flag, ImageType
from .hdf5 import groups
from .hdf5_images import ImageWriter, read_images
from .hdf5_read import read_header, read_items
from .hdf5_write import write_acquisitions
from .header import Encoding, Header, Limit, Space, parse_header
from .image import Image, Meta, image_header
from .kspace import KSpace
from .noise import Noise
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
    "ImageWriter",
    "Item",
    "KSpace",
    "Limit",
    "Meta",
    "Noise",
    "Query",
    "Response",
    "Space",
    "Text",
    "Waveforms",
    "acquisition_headers",
    "decode",
    "encode",
    "groups",
    "image_header",
    "parse_header",
    "read_header",
    "read_images",
    "read_items",
    "write_acquisitions",
]
