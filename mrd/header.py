"""The parsed MRD header: what gadgets ask of it, tolerant of what real headers leave out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from .errors import HeaderError
from .xml import parse_xml

DEFAULT_NOISE_BANDWIDTH = 0.793  # relative receiver noise bandwidth where the header gives none


@dataclass(frozen=True, slots=True)
class Space:
    """A grid: matrix (x, y, z) and field of view (x, y, z) [mm]."""

    matrix: tuple[int, int, int]
    field_of_view_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Limit:
    """The range of a counter, both ends included, and the index of the centre of k-space."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding space of the scan."""

    encoded: Space
    recon: Space
    limits: Mapping[str, Limit]
    """By counter: kspace_encoding_step_1, kspace_encoding_step_2, average, slice, contrast, phase, repetition..."""

    trajectory: str = "cartesian"
    acceleration: tuple[int, int] = (1, 1)
    """Along ky and kz."""

    calibration_mode: str = ""
    """embedded, interleaved, separate, external, other, or empty where the header does not say."""


@dataclass(frozen=True, slots=True)
class Header:
    """The MRD header of a scan. Times in the header's own unit, milliseconds."""

    xml: bytes
    encodings: tuple[Encoding, ...] = ()
    measurement_id: str = ""
    protocol_name: str = ""
    series_description: str = ""
    patient_position: str = ""
    dependencies: Mapping[str, str] = field(default_factory=dict)
    """Measurement id by type of dependency, such as Noise."""

    noise_bandwidth: float = DEFAULT_NOISE_BANDWIDTH
    coil_names: tuple[str, ...] = ()
    """In the order of the channels; the labels' numbers are those of a scanner's receivers."""

    scanner: str = ""
    """What tells this scanner from others; empty where the header says no more than vendor and model."""

    echo_times_ms: tuple[float, ...] = ()
    repetition_times_ms: tuple[float, ...] = ()
    inversion_times_ms: tuple[float, ...] = ()

    def encoding(self, index: int = 0) -> Encoding:
        """Encoding space `index`.

        Raises:
            HeaderError: where the header has no such encoding.
        """
        if index >= len(self.encodings):
            have = len(self.encodings)
            raise HeaderError(
                f"lines refer to encoding {index}, but the header describes {have}; send a complete header"
            )
        return self.encodings[index]

    @property
    def noise_dependency(self) -> str:
        """The id of the measurement that holds this one's noise, or empty."""
        return next((found for kind, found in self.dependencies.items() if kind.lower() == "noise"), "")

    @property
    def document(self) -> Any:
        """The whole header as the `ismrmrd` package's dataclasses."""
        from ismrmrd.xsd import CreateFromDocument

        return CreateFromDocument(self.xml)


def parse_header(xml: bytes | str) -> Header:
    """Parse MRD header XML.

    Raises:
        HeaderError: where it is not XML, not an MRD header, or a value within is not a number.
    """
    raw = xml.encode() if isinstance(xml, str) else bytes(xml)
    root = parse_xml(raw, "the MRD header", HeaderError)
    if root.tag != "ismrmrdHeader":
        raise HeaderError(f"the MRD header's root is <{root.tag}>, not <ismrmrdHeader>")
    dependencies = {
        element.findtext("dependencyType", "").strip(): element.findtext("measurementID", "").strip()
        for element in root.iterfind("measurementInformation/measurementDependency")
    }
    coils = root.iterfind("acquisitionSystemInformation/coilLabel")
    place = _texts(root, "institutionName", "stationName", "deviceID", "deviceSerialNumber")
    return Header(
        xml=raw,
        encodings=tuple(_encoding(element) for element in root.iterfind("encoding")),
        measurement_id=root.findtext("measurementInformation/measurementID", "").strip(),
        protocol_name=root.findtext("measurementInformation/protocolName", "").strip(),
        series_description=root.findtext("measurementInformation/seriesDescription", "").strip(),
        patient_position=root.findtext("measurementInformation/patientPosition", "").strip(),
        dependencies=dependencies,
        noise_bandwidth=_number(
            root, "acquisitionSystemInformation/relativeReceiverNoiseBandwidth", DEFAULT_NOISE_BANDWIDTH
        ),
        coil_names=tuple(coil.findtext("coilName", "").strip() for coil in coils),
        scanner=" / ".join(_texts(root, "systemVendor", "systemModel") + place) if place else "",
        echo_times_ms=_numbers(root, "sequenceParameters/TE"),
        repetition_times_ms=_numbers(root, "sequenceParameters/TR"),
        inversion_times_ms=_numbers(root, "sequenceParameters/TI"),
    )


def _texts(root: Element, *names: str) -> list[str]:
    """What the header says of the scanner under `names`, as far as it does."""
    found = [" ".join(root.findtext(f"acquisitionSystemInformation/{name}", "").split()) for name in names]
    return [text for text in found if text]


def _to_float(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HeaderError(f"the MRD header's {where} is {text!r}, not a number")
    return value


def _number(element: Element, path: str, default: float | None = None) -> float:
    text = element.findtext(path)
    if text is None or not text.strip():
        if default is None:
            raise HeaderError(f"the MRD header lacks {path} in <{element.tag}>")
        return default
    return _to_float(text, path)


def _numbers(element: Element, path: str) -> tuple[float, ...]:
    return tuple(_to_float(found.text or "", path) for found in element.iterfind(path))


def _space(element: Element, name: str) -> Space:
    def triple(path: str) -> tuple[float, float, float]:
        return (
            _number(element, f"{name}/{path}/x"),
            _number(element, f"{name}/{path}/y"),
            _number(element, f"{name}/{path}/z"),
        )

    x, y, z = triple("matrixSize")
    if min(x, y, z) < 1 or max(x, y, z) > 65535:
        raise HeaderError(f"the MRD header's {name}/matrixSize is {x:g} x {y:g} x {z:g}; each must be 1 to 65535")
    return Space((int(x), int(y), int(z)), triple("fieldOfView_mm"))


def _encoding(element: Element) -> Encoding:
    limits = {
        limit.tag: Limit(
            int(_number(limit, "minimum")), int(_number(limit, "maximum")), int(_number(limit, "center", 0))
        )
        for limit in element.iterfind("encodingLimits/*")
    }
    factors = "parallelImaging/accelerationFactor/kspace_encoding_step_"
    return Encoding(
        encoded=_space(element, "encodedSpace"),
        recon=_space(element, "reconSpace"),
        limits=limits,
        trajectory=element.findtext("trajectory", "cartesian").strip().lower(),
        acceleration=(int(_number(element, factors + "1", 1)), int(_number(element, factors + "2", 1))),
        calibration_mode=element.findtext("parallelImaging/calibrationMode", "").strip(),
    )
