"""The MRD header of a Siemens measurement, from its protocol and from the counters of its lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from echotrain.mrd.header import DEFAULT_NOISE_BANDWIDTH

# MRD's names of the counters that have limits, and Siemens's.
COUNTERS = {
    "kspace_encoding_step_1": "Lin",
    "kspace_encoding_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
    "segment": "Seg",
}

_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral"}
_CALIBRATION_MODES = {1: "other", 2: "embedded", 4: "separate", 8: "separate"} | dict.fromkeys(
    (16, 32, 64),
    "interleaved",  # along averages, repetitions or phases
)
_PATIENT_POSITIONS = {position.value for position in xsd.patientPositionType}
_EPI_PARAMETERS = {
    "rampUpTime": "alRegridRampupTime",
    "rampDownTime": "alRegridRampdownTime",
    "flatTopTime": "alRegridFlattopTime",
    "acqDelayTime": "alRegridDelaySamplesTime",
}


class Protocol:
    """A parsed protocol: values by dotted path, such as `MeasYaps.sKSpace.lBaseResolution`."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`; `default` where it is missing or empty."""
        value: Any = self._tree
        for name in path.split("."):
            if isinstance(value, list) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            elif isinstance(value, Mapping) and name in value:
                value = value[name]
            else:
                return default
        return default if value in ("", [], {}) else value

    def first(self, *paths: str, default: Any = None) -> Any:
        """The first value that is there."""
        return next((value for path in paths if (value := self.get(path)) is not None), default)

    def text(self, *paths: str) -> str:
        """As `first`, as text; whole numbers without a decimal point."""
        value = self.first(*paths, default="")
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    def numbers(self, path: str) -> list[float]:
        """The numbers of an array, without its empty places."""
        values = self.get(path, [])
        return [float(value) for value in values if isinstance(value, (int, float))]


def center(counters: NDArray[np.void], name: str, extent: int) -> int:
    """Where the centre of k-space lies; free sequences leave zero, which stands for the middle of `extent`."""
    stated = int(counters[name].max())
    return stated if stated or extent == 1 else extent // 2


def matrix(protocol: Protocol, counters: NDArray[np.void]) -> tuple[int, int, int]:
    """Encoded matrix (x, y, z), filled with zeros to square pixels where fewer lines are measured, as Siemens does.

    Free sequences (Pulseq) leave the protocol's resolution as they found it, so only their lines tell.
    """
    lines, partitions = (int(counters["Counter"][name].max()) + 1 for name in ("Lin", "Par"))
    samples = int(counters["SamplesInScan"].max())
    if _is_free(protocol):
        return samples, lines, partitions
    x = round(protocol.get("MeasYaps.sKSpace.lBaseResolution", 1) * oversampling(protocol))
    y = int(protocol.first("Meas.iPEFTLength", "MeasYaps.sKSpace.lPhaseEncodingLines", default=1))
    if protocol.get("MeasYaps.sKSpace.uc2DInterpolation") == 1:
        y //= 2  # of an image interpolated to twice its size
    z = int(protocol.first("Meas.i3DFTLength", "MeasYaps.sKSpace.lPartitions", default=1))
    z = z if _is_volume(protocol) else 1
    return max(x, samples), max(y, lines), max(z, partitions)


def oversampling(protocol: Protocol) -> float:
    """How many times finer the readout is sampled than the field of view needs."""
    return float(protocol.first("Dicom.flReadoutOSFactor", "Meas.flReadoutOSFactor", default=1.0)) or 1.0


def _is_free(protocol: Protocol) -> bool:
    return "pulseq" in protocol.text("MeasYaps.tSequenceFileName").lower()


def _is_volume(protocol: Protocol) -> bool:
    return bool(protocol.get("MeasYaps.sKSpace.ucDimension", 2) == 4)


def header_xml(protocol: Protocol, counters: NDArray[np.void]) -> bytes:
    """MRD header XML; `counters` are the measurement headers of its imaging lines."""
    document = xsd.ismrmrdHeader(
        measurementInformation=_measurement(protocol),
        acquisitionSystemInformation=_system(protocol, int(counters["UsedChannels"].max())),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=int(
                protocol.first("MeasYaps.sTXSPEC.asNucleusInfo.0.lFrequency", "Dicom.lFrequency", default=0)
            )
        ),
        encoding=[_encoding(protocol, counters)],
        sequenceParameters=_sequence(protocol),
    )
    xml: str = xsd.ToXML(document, encoding="utf-8")
    return xml.encode()


def _measurement(protocol: Protocol) -> xsd.measurementInformationType:
    ids = (
        ("Dicom.DeviceSerialNumber",),
        ("Meas.PatientLOID", "Config.PatientLOID"),
        ("Meas.StudyLOID", "Config.StudyLOID"),
        ("Meas.MeasUID", "Config.MeasUID"),
    )
    position = protocol.text("Meas.tPatientPosition", "Config.sPatPosition", "Dicom.tPatientPosition")
    return xsd.measurementInformationType(
        measurementID="_".join(protocol.text(*paths) for paths in ids),
        patientPosition=xsd.patientPositionType(position if position in _PATIENT_POSITIONS else "HFS"),
        protocolName=protocol.text("MeasYaps.tProtocolName", "Dicom.tProtocolName"),
        sequenceName=protocol.text("MeasYaps.tSequenceFileName"),
        frameOfReferenceUID=protocol.text("Config.FrameOfReference", "Meas.tFrameOfReference"),
    )


def _system(protocol: Protocol, n_channels: int) -> xsd.acquisitionSystemInformationType:
    strength = protocol.first("Dicom.flMagneticFieldStrength", "MeasYaps.sProtConsistencyInfo.flNominalB0", default=0.0)
    return xsd.acquisitionSystemInformationType(
        systemVendor=protocol.text("Dicom.Manufacturer"),
        systemModel=protocol.text("Dicom.ManufacturersModelName"),
        systemFieldStrength_T=float(strength),
        relativeReceiverNoiseBandwidth=DEFAULT_NOISE_BANDWIDTH,
        receiverChannels=n_channels,
        coilLabel=[
            xsd.coilLabelType(coilNumber=number, coilName=name)
            for number, name in enumerate(_coil_names(protocol, n_channels))
        ],
        institutionName=protocol.text("Dicom.InstitutionName"),
        deviceSerialNumber=protocol.text("Dicom.DeviceSerialNumber"),
    )


def _coil_names(protocol: Protocol, n_channels: int) -> list[str]:
    """Names of the elements in the order of their receivers, as the samples lie; none where they do not fit."""
    elements = protocol.first(
        "MeasYaps.sCoilSelectMeas.aRxCoilSelectData.0.asList", "MeasYaps.asCoilSelectMeas.0.asList", default=[]
    )
    found = []
    for element in filter(None, elements):
        receiver = element.get("lADCChannelConnected", element.get("lRxChannelConnected"))
        coil = element.get("sCoilElementID")
        if receiver is not None and coil:
            name = ":".join(str(coil.get(key, "")) for key in ("tCoilID", "lCoilCopy", "tElement"))
            found.append((int(receiver), name))
    return [name for _, name in sorted(found)] if len(found) == n_channels else []


def _encoding(protocol: Protocol, counters: NDArray[np.void]) -> xsd.encodingType:
    encoded = matrix(protocol, counters)
    factor = oversampling(protocol)
    base = int(protocol.get("MeasYaps.sKSpace.lBaseResolution", 1))
    fov_x, fov_y, thickness = (
        float(protocol.get(f"MeasYaps.sSliceArray.asSlice.0.{name}", 1.0))
        for name in ("dReadoutFOV", "dPhaseFOV", "dThickness")
    )
    more_y, more_z = (
        1 + float(protocol.get(f"MeasYaps.sKSpace.d{axis}OversamplingForDialog", 0.0)) for axis in ("Phase", "Slice")
    )
    n_y = encoded[1] if _is_free(protocol) else max(round(base * fov_y / fov_x), 1)
    n_z = int(protocol.get("MeasYaps.sKSpace.lImagesPerSlab", encoded[2])) if _is_volume(protocol) else 1
    recon = round(encoded[0] / factor), n_y, encoded[2] if _is_free(protocol) else n_z
    trajectory = _trajectory(protocol)
    return xsd.encodingType(
        encodedSpace=_space(encoded, (fov_x * factor, fov_y * more_y, thickness * more_z)),
        reconSpace=_space(recon, (fov_x, fov_y, thickness)),
        encodingLimits=_limits(counters, encoded),
        trajectory=xsd.trajectoryType(trajectory),
        trajectoryDescription=_epi_description(protocol, counters) if trajectory == "epi" else None,
        parallelImaging=xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(
                kspace_encoding_step_1=int(protocol.get("MeasYaps.sPat.lAccelFactPE", 1)),
                kspace_encoding_step_2=int(protocol.get("MeasYaps.sPat.lAccelFact3D", 1)),
            ),
            calibrationMode=xsd.calibrationModeType(
                _CALIBRATION_MODES.get(protocol.get("MeasYaps.sPat.ucRefScanMode", 1), "other")
            ),
        ),
        echoTrainLength=int(protocol.get("MeasYaps.sFastImaging.lTurboFactor", 1)),
    )


def _space(size: tuple[int, int, int], field_of_view_mm: tuple[float, float, float]) -> xsd.encodingSpaceType:
    (n_x, n_y, n_z), (x, y, z) = size, field_of_view_mm
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=n_x, y=n_y, z=n_z), fieldOfView_mm=xsd.fieldOfViewMm(x=x, y=y, z=z)
    )


def _limits(counters: NDArray[np.void], encoded: tuple[int, int, int]) -> xsd.encodingLimitsType:
    centers = {
        "kspace_encoding_step_1": center(counters, "CenterLin", encoded[1]),
        "kspace_encoding_step_2": center(counters, "CenterPar", encoded[2]),
    }
    limits = {}
    for name, theirs in COUNTERS.items():
        values = counters["Counter"][theirs]
        limits[name] = xsd.limitType(minimum=int(values.min()), maximum=int(values.max()), center=centers.get(name, 0))
    return xsd.encodingLimitsType(**limits)


def _trajectory(protocol: Protocol) -> str:
    kind = _TRAJECTORIES.get(protocol.get("MeasYaps.sKSpace.ucTrajectory", 1), "other")
    is_epi = kind == "cartesian" and protocol.get("MeasYaps.sFastImaging.lEPIFactor", 1) > 1
    return "epi" if is_epi else kind


def _epi_description(protocol: Protocol, counters: NDArray[np.void]) -> xsd.trajectoryDescriptionType:
    """What regridding of samples on the gradients' ramps needs. Times in microseconds."""
    long = {name: int(protocol.get(f"Meas.{theirs}.0", 0)) for name, theirs in _EPI_PARAMETERS.items()}
    long["numSamples"] = int(protocol.get("Meas.alRegridDestSamples.0", 0)) or int(counters["SamplesInScan"].max())
    spacing = protocol.get("MeasYaps.sFastImaging.lEchoSpacing")
    if spacing is not None:
        long["echoSpacing"] = int(spacing)
    return xsd.trajectoryDescriptionType(
        identifier="ConventionalEPI",
        userParameterLong=[xsd.userParameterLongType(name=name, value=value) for name, value in long.items()],
        userParameterDouble=[xsd.userParameterDoubleType(name="dwellTime", value=dwell_times_us(protocol)[0])],
    )


def dwell_times_us(protocol: Protocol) -> list[float]:
    """Time between samples of each contrast, oversampling included."""
    return [value / 1000 for value in protocol.numbers("MeasYaps.sRXSPEC.alDwellTime")] or [0.0]


def _sequence(protocol: Protocol) -> xsd.sequenceParametersType:
    n_contrasts = max(int(protocol.get("MeasYaps.lContrasts", 1)), 1)

    def milliseconds(name: str, count: int) -> list[float]:
        return [value / 1000 for value in protocol.numbers(f"MeasYaps.{name}")[:count] if math.isfinite(value)]

    return xsd.sequenceParametersType(
        TR=milliseconds("alTR", 1),
        TE=milliseconds("alTE", n_contrasts),
        TI=milliseconds("alTI", 1),
        flipAngle_deg=protocol.numbers("MeasYaps.adFlipAngleDegree")[:1],
        sequence_type=protocol.text("Meas.tSequenceString"),
    )
