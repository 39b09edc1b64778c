"""The numbers of MRD messages and the bounds on their sizes."""

from __future__ import annotations

import enum

CONFIG_NAME_BYTES = 1024  # NUL-padded
MAX_TEXT_BYTES = 64 << 20  # configuration, header, text, query
MAX_META_BYTES = 4 << 20  # attributes of an image, which are parsed wherever it passes
MAX_RECORD_BYTES = 4 << 30  # image or array: a volume of 1024³ pixels in single precision
MAX_LINE_BYTES = 1 << 30  # acquisition or waveform: 2048 channels of 65535 samples, the most that a header can count
MAX_DIMS = 32  # of an array; NumPy before 2 has no more


class MessageId(enum.IntEnum):
    """The 16-bit number that opens each record of an MRD stream."""

    CONFIG_NAME = 1
    CONFIG_TEXT = 2
    HEADER = 3
    CLOSE = 4
    TEXT = 5
    QUERY = 6
    RESPONSE = 7
    ERROR = 8
    ACQUISITION = 1008
    DICOM = 1018
    DEPENDENCY_QUERY = 1019
    IMAGE = 1022
    WAVEFORM = 1026
    ARRAY = 1030


# Known to have existed, no longer sent by anyone.
DEPRECATED_IDS = frozenset({*range(1001, 1008), *range(1009, 1013), 1015, 1016, 1017, 1020, 1021})
