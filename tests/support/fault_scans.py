"""The scans that faults strike, and what was received of one held against what an undisturbed run gave."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate

import numpy as np

from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, Close, HeaderText, Image, Text, decode, encode
from echotrain.mrd.errors import EchotrainError

SCANS = {
    "rss": {"matrix": (24, 20), "coils": 3, "slices": 2, "repetitions": 6},
    "grappa_float": {
        "matrix": (28, 26),
        "coils": 3,
        "slices": 2,
        "repetitions": 5,
        "acceleration": 2,
        "calibration": 12,
    },
}
PLACE = ("image_series_index", "repetition", "slice", "image_index")
TOLERANCE = 1e-4  # of the brightest pixel: batches of other sizes may round otherwise


@dataclass(frozen=True)
class FaultScan:
    """One scan as bytes."""

    config: str
    header: bytes
    stream: bytes
    """The input log as it must become, without the record that closes it."""
    ends: list = field(repr=False)
    """Where each record of the stream ends, the header first."""

    @property
    def n_lines(self):
        return len(self.ends) - 1


@cache
def fault_scan(config):
    header, batches = simulate(Scan(**SCANS[config]))
    records = [bytes(encode(HeaderText(header))), *(bytes(encode(line)) for batch in batches for line in batch)]
    return FaultScan(config, header, b"".join(records), list(accumulate(map(len, records))))


def decoded(data):
    """The whole items of a log as far as it can be read, where they end, and why reading ended there, or nothing."""
    items, end = [], 0
    try:
        for item, end in decode(memoryview(data)):  # noqa: B007  # given below
            items.append(item)
            if isinstance(item, Close):
                break
    except EchotrainError as error:
        return items, end, str(error)
    return items, end, ""


def place(image):
    return tuple(int(image.head[name]) for name in PLACE)


def images_of(data):
    return [item for item in decoded(data)[0] if isinstance(item, Image)]


def warnings_of(data):
    items = decoded(data)[0]
    return [item.text for item in items if isinstance(item, Text) and item.text.startswith("warning: ")]


def n_lines_of(data):
    return sum(len(item) for item in decoded(data)[0] if isinstance(item, Acquisitions))


@dataclass(frozen=True)
class Comparison:
    """Images received beside those that an undisturbed run gave."""

    received: int
    duplicates: int
    losses: int
    differing: int
    """Of the right place with other pixels, or of a place that none was wanted at."""
    in_order: bool


def compared(received, wanted):
    by_place = {place(image): image for image in wanted}
    places = [place(image) for image in received]
    once = list(dict.fromkeys(places))
    return Comparison(
        received=len(received),
        duplicates=sum(count - 1 for count in Counter(places).values()),
        losses=len(by_place.keys() - set(places)),
        differing=sum(not alike(image, by_place.get(place(image))) for image in received),
        in_order=once == [key for key in by_place if key in set(once)],
    )


def alike(image, wanted):
    if wanted is None or image.data.shape != wanted.data.shape:
        return False
    return bool(np.abs(image.data - wanted.data).max() <= TOLERANCE * np.abs(wanted.data).max())
