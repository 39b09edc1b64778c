"""Headers and meta attributes of images: made from a line's header, and carried on by each gadget that works on one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, ImageType, Meta, image_header
from echotrain.mrd.image import MetaValue

HISTORY = "GADGETRON_ImageProcessingHistory"
ENCODING = "encoding"  # the meta attribute under which Gadgetron, too, keeps the number of the encoding space
SNR_MAP, STD_MAP = "SNR_MAP", "STD_MAP"  # Gadgetron's values of DataRole

LIMITS = ("sampling_limits_E2", "sampling_limits_E1", "sampling_limits_RO")
"""Meta attributes of what was acquired along kz, ky and kx: first, central and last sample, as Gadgetron has them."""

_SAME = (
    "measurement_uid",
    "position",
    "read_dir",
    "phase_dir",
    "slice_dir",
    "patient_table_position",
    "acquisition_time_stamp",
    "physiology_time_stamp",
    "user_int",
    "user_float",
)
_COUNTERS = ("average", "slice", "contrast", "phase", "repetition", "set")


def image_head(line: NDArray[np.void] | np.void, header: Header, *, n_x: int) -> NDArray[np.void]:
    """Header of the complex image that belongs to `line`, an acquisition header; `image_index` is left at 0.

    The field of view is the encoded one, along x that of `n_x` pixels of the encoded size.

    Raises:
        HeaderError: where the scan's header does not describe the line's encoding space.
    """
    reference = int(line["encoding_space_ref"])
    encoded = header.encoding(reference).encoded
    head = image_header()
    for name in _SAME:
        head[name] = line[name]
    for name in _COUNTERS:
        head[name] = line["idx"][name]
    x, y, z = encoded.field_of_view_mm
    head["field_of_view"] = (x * n_x / encoded.matrix[0], y, z)
    head["image_type"] = ImageType.COMPLEX
    head["image_series_index"] = reference + 1
    return head


def image_meta(head: NDArray[np.void], line: NDArray[np.void] | np.void, header: Header, *, by: str) -> Meta:
    """Meta attributes of the image with the header `head`, made from `line` by the gadget `by`. Times in ms."""
    meta: Meta = {
        "DataRole": "Image",
        "GADGETRON_DataRole": "Image",
        "GADGETRON_ImageNumber": int(head["image_index"]),
        HISTORY: [by],
        ENCODING: int(line["encoding_space_ref"]),
        "ImageRowDir": [float(cosine) for cosine in line["read_dir"]],
        "ImageColumnDir": [float(cosine) for cosine in line["phase_dir"]],
    }
    contrast = int(line["idx"]["contrast"])
    for name, times in (("EchoTime", header.echo_times_ms), ("InversionTime", header.inversion_times_ms)):
        if contrast < len(times):
            meta[name] = times[contrast]
    description = header.series_description or header.protocol_name
    if description:
        meta["SeriesDescription"] = meta["GADGETRON_SeqDescription"] = description
    return meta


def sampling_limits(sampled: NDArray[np.bool_], line: NDArray[np.void] | np.void, *, n_x: int) -> Meta:
    """Meta attributes that tell which part of k-space was acquired. `sampled` has the shape (kz, ky), with a line.

    Along kx it is that of `line`, whose header counts what is to be discarded in pixels of the image, `n_x` in all.
    Ends whose distances from the centre differ by no more than neighbouring lines are apart count as alike: parallel
    imaging fills in as far.
    """
    inside = np.zeros(n_x, np.bool_)
    inside[int(line["discard_pre"]) : max(1, n_x - int(line["discard_post"]))] = True
    along = np.asarray(sampled.any(axis=1)), np.asarray(sampled.any(axis=0)), inside
    return {name: _limits(acquired) for name, acquired in zip(LIMITS, along, strict=True) if acquired.any()}


def _limits(acquired: NDArray[np.bool_]) -> list[int]:
    """First, central and last of the samples of an axis that were acquired."""
    indices, centre = np.flatnonzero(acquired), len(acquired) // 2
    first, last = int(indices[0]), int(indices[-1])
    reach = centre - first, last - centre
    if abs(reach[0] - reach[1]) <= max(np.diff(indices), default=1):
        first, last = max(0, centre - max(reach)), min(len(acquired) - 1, centre + max(reach))
    return [first, centre, last]


def worked_on(
    image: Image, data: NDArray[Any], *, by: str, meta: Mapping[str, MetaValue] | None = None, **fields: Any
) -> Image:
    """`image` with other pixels, made by the gadget `by`; `meta` and `fields` of the header are set."""
    history = image.meta.get(HISTORY, [])
    names = [str(name) for name in history] if isinstance(history, list) else [str(history)]
    attributes: Meta = {**image.meta, **(meta or {}), HISTORY: [*names, by]}
    return replace(image.with_data(data, **fields), meta=attributes)


def data_role(image: Image) -> str:
    """What the pixels of `image` show; Image where it does not say."""
    role = image.meta.get("GADGETRON_DataRole", image.meta.get("DataRole", "Image"))
    return str(role[0]) if isinstance(role, list) else str(role)


def is_map(image: Image) -> bool:
    """Whether `image` is a map with units of its own, such as those of the g-factor, and none of what was scanned."""
    return not data_role(image).startswith("Image")  # Gadgetron has ImageRetro, ImageMoCo, ... as well


def image_type(image: Image) -> ImageType:
    """What the pixels of `image` stand for: complex data is complex, and magnitude is what a silent header means."""
    if np.iscomplexobj(image.data):
        return ImageType.COMPLEX
    return ImageType(int(image.head["image_type"]) or ImageType.MAGNITUDE)
