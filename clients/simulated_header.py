"""What a simulated scan is: its parameters, which lines it takes, and the MRD header that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from echotrain.mrd.errors import ConfigError, ParameterError
from echotrain.mrd.header import DEFAULT_NOISE_BANDWIDTH

from .phantom import SHEPP_LOGAN, Ellipsoid

TRAJECTORIES = ("cartesian", "epi", "radial", "spiral")
CORRELATION_PHASE = 0.5  # between the noise of neighbouring channels [rad]
FIELD_STRENGTH_T = 3.0
GYROMAGNETIC_RATIO_HZ_PER_T = 42.577478e6
FLIP_ANGLE_DEG = 15.0
COUNTER_MAX = 65535  # of a header's 16 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Parameters of a simulated scan.

    Raises:
        ParameterError: where a value is out of range; all such at once.
        ConfigError: where the trajectory is not supported.
    """

    trajectory: str = "cartesian"
    """Only cartesian so far."""

    matrix: int | tuple[int, int] = 128
    """Reconstructed pixels, (x, y) or both alike."""

    field_of_view_mm: float | tuple[float, float] = 256.0
    """Reconstructed field of view, (x, y) or both alike [mm]."""

    slice_thickness_mm: float = 5.0
    """Thickness of a slice or partition, and distance of slices [mm]. The object always fills the whole stack."""

    slices: int = 1
    """Slices, each a thin cut through the object."""

    partitions: int = 1
    """Lines along kz of a volume (3D); 1 is 2D."""

    interleaved: bool = False
    """Whether slices take turns line by line and share one repetition time, instead of following one another."""

    contrasts: int = 1
    """Echoes after each excitation, spread evenly over its time."""

    t2_star_ms: float = 20.0
    """Decay of the signal from the first echo on [ms]."""

    averages: int = 1
    """How often each line is taken before the next."""

    repetitions: int = 1
    """How often the whole is repeated."""

    pulsation: float = 0.0
    """Relative amplitude by which intensity swings, as a sine over 10 repetitions."""

    acceleration: int = 1
    """Every how many lines along ky are taken; the centre line always is."""

    calibration: int = 24
    """Lines at the centre that are taken without gaps, where acceleration is above 1."""

    partial_fourier: float = 1.0
    """Fraction of ky that is covered, above 0.5; lines at the start are left out."""

    partial_echo: float = 1.0
    """Fraction of each readout that is sampled, above 0.5; its start is left out."""

    oversampling: int = 2
    """Oversampling along the readout, 1 or 2."""

    coils: int = 8
    """Receive channels. One alone is uniform; more stand around the object."""

    noise: float = 0.0
    """Standard deviation of real and of imaginary part of each sample; an image by unitary FFT has the same.
    The object's intensity there is 1 at the most."""

    correlation: float | NDArray[Any] = 0.0
    """Correlation of noise between neighbouring channels, falling as its power with distance; or the whole Hermitian
    matrix with ones on its diagonal, shape (coil, coil)."""

    noise_lines: int = 16
    """Lines of noise alone, ahead of all; none where `noise` is 0."""

    dwell_us: float = 5.0
    """Time per sample, oversampling included [us]."""

    noise_dwell_us: float = 10.0
    """The same of noise lines; their variance is proportional to their bandwidth [us]."""

    tr_ms: float = 5.0
    """Repetition time: from one line of a slice to its next [ms]."""

    flags: bool = True
    """Whether the last lines are flagged as such (LAST_IN_SLICE, LAST_IN_REPETITION, LAST_IN_MEASUREMENT)."""

    seed: int = 1
    """Of the noise."""

    phantom: Sequence[Ellipsoid] = SHEPP_LOGAN
    """The object."""

    def __post_init__(self) -> None:
        if self.trajectory not in TRAJECTORIES:
            raise ParameterError(f"trajectory={self.trajectory!r}: must be one of {', '.join(TRAJECTORIES)}")
        if self.trajectory != "cartesian":
            raise ConfigError(f"trajectory={self.trajectory!r} is not yet supported; simulate a cartesian scan")
        counts = ("slices", "partitions", "contrasts", "averages", "repetitions", "coils", "acceleration")
        lengths = ("slice_thickness_mm", "t2_star_ms", "dwell_us", "noise_dwell_us", "tr_ms")
        wanted = {
            "matrix": (
                min(self.shape) >= 2 and max(self.shape) <= COUNTER_MAX // 2,
                f"must be 2 to {COUNTER_MAX // 2} along each axis",
            ),
            "field_of_view_mm": (min(self.field_of_view) > 0, "must be above 0"),
            "oversampling": (self.oversampling in (1, 2), "must be 1 or 2"),
            "seed": (0 <= self.seed < 1 << 32, "must be 0 to 4294967295"),
            "calibration": (self.calibration >= 0, "must not be negative"),
            "noise": (self.noise >= 0, "must not be negative"),
            "noise_lines": (self.noise_lines >= 0, "must not be negative"),
            "partial_fourier": (0.5 < self.partial_fourier <= 1, "must be above 0.5 and at most 1"),
            "partial_echo": (0.5 < self.partial_echo <= 1, "must be above 0.5 and at most 1"),
            **{name: (1 <= getattr(self, name) <= COUNTER_MAX, f"must be 1 to {COUNTER_MAX}") for name in counts},
            **{name: (getattr(self, name) > 0, "must be above 0") for name in lengths},
        }
        problems = [f"{name}={getattr(self, name)!r}: {words}" for name, (holds, words) in wanted.items() if not holds]
        if self.slices > 1 and self.partitions > 1:
            problems.append(f"slices={self.slices} with partitions={self.partitions}: one of them must be 1")
        if problems:
            raise ParameterError("; ".join(problems))
        self.noise_factor()

    @property
    def shape(self) -> tuple[int, int]:
        """Reconstructed pixels (x, y)."""
        return (self.matrix, self.matrix) if isinstance(self.matrix, int) else self.matrix

    @property
    def field_of_view(self) -> tuple[float, float]:
        """Reconstructed field of view (x, y) [mm]."""
        both = self.field_of_view_mm
        return both if isinstance(both, tuple) else (both, both)

    @property
    def readout_samples(self) -> int:
        """Samples of a whole readout."""
        return self.oversampling * self.shape[0]

    @property
    def left_out_samples(self) -> int:
        """Samples that a partial echo lacks at its start."""
        return self.readout_samples - round(self.partial_echo * self.readout_samples)

    @property
    def echo_times_ms(self) -> list[float]:
        """Time of each contrast's echo [ms]."""
        return [(echo + 1) / (self.contrasts + 1) * self.excitation_ms for echo in range(self.contrasts)]

    @property
    def excitation_ms(self) -> float:
        """Time between excitations of any slice [ms]."""
        return self.tr_ms / self.slices if self.interleaved else self.tr_ms

    def rows(self) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
        """Rows of the ky grid that are taken, which of them belong to the pattern, which to the calibration block."""
        n = self.shape[1]
        row = np.arange(n)
        regular = (row - n // 2) % self.acceleration == 0
        calibration = np.zeros(n, bool)
        if self.acceleration > 1:
            start = max(0, n // 2 - self.calibration // 2)
            calibration[start : start + self.calibration] = True
        taken = (regular | calibration) & (row >= n - max(round(self.partial_fourier * n), n - n // 2))
        return row[taken], regular[taken], calibration[taken]

    def noise_factor(self) -> NDArray[np.complex128]:
        """L, for noise L w from white w with unit deviation per real and imaginary part. Shape (coil, coil).

        E[n_i conj(n_j)] is 2 (L L^H)_ij = 2 noise^2 correlation_ij.

        Raises:
            ParameterError: where the correlation is not one between `coils` channels.
        """
        matrix = np.asarray(self.correlation)
        if matrix.ndim == 0:
            if not 0 <= matrix < 1:
                raise ParameterError(f"correlation={self.correlation}: must be at least 0 and below 1")
            apart = np.subtract.outer(np.arange(self.coils), np.arange(self.coils))
            matrix = matrix ** np.abs(apart) * np.exp(1j * CORRELATION_PHASE * apart)
        wrong = (
            f"correlation: must be a Hermitian, positive definite {self.coils} x {self.coils} matrix with unit diagonal"
        )
        if matrix.shape != (self.coils, self.coils) or not np.allclose(np.diag(matrix), 1):
            raise ParameterError(wrong)
        if not np.allclose(matrix, matrix.conj().T):
            raise ParameterError(wrong)
        try:
            root: Any = np.linalg.cholesky(matrix.astype(np.complex128))
        except np.linalg.LinAlgError:
            raise ParameterError(wrong) from None
        factor: NDArray[np.complex128] = np.multiply(root, self.noise)
        return factor


def header_xml(scan: Scan) -> bytes:
    """The MRD header of a scan."""
    nx, ny = scan.shape
    width, height = scan.field_of_view
    depth = scan.slice_thickness_mm * scan.partitions
    rows, _, _ = scan.rows()

    def space(oversampling: int) -> xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=oversampling * nx, y=ny, z=scan.partitions),
            fieldOfView_mm=xsd.fieldOfViewMm(x=oversampling * width, y=height, z=depth),
        )

    def limit(count: int, center: int = 0) -> xsd.limitType:
        return xsd.limitType(minimum=0, maximum=count - 1, center=center)

    accelerated = scan.acceleration > 1 and scan.calibration > 0
    document = xsd.ismrmrdHeader(
        measurementInformation=xsd.measurementInformationType(
            measurementID=f"echotrain_0_0_{scan.seed}",
            patientPosition=xsd.patientPositionType.HFS,
            protocolName=f"simulated_{scan.trajectory}",
        ),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor="Echotrain",
            systemModel="simulated",
            systemFieldStrength_T=FIELD_STRENGTH_T,
            relativeReceiverNoiseBandwidth=DEFAULT_NOISE_BANDWIDTH,
            receiverChannels=scan.coils,
            coilLabel=[xsd.coilLabelType(coilNumber=i, coilName=f"Simulated:1:C{i + 1}") for i in range(scan.coils)],
        ),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(FIELD_STRENGTH_T * GYROMAGNETIC_RATIO_HZ_PER_T)
        ),
        encoding=[
            xsd.encodingType(
                encodedSpace=space(scan.oversampling),
                reconSpace=space(1),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_1=limit(int(rows[-1] - rows[0]) + 1, ny // 2 - int(rows[0])),
                    kspace_encoding_step_2=limit(scan.partitions, scan.partitions // 2),
                    average=limit(scan.averages),
                    slice=limit(scan.slices),
                    contrast=limit(scan.contrasts),
                    phase=limit(1),
                    repetition=limit(scan.repetitions),
                    set=limit(1),
                    segment=limit(1),
                ),
                trajectory=xsd.trajectoryType(scan.trajectory),
                parallelImaging=xsd.parallelImagingType(
                    accelerationFactor=xsd.accelerationFactorType(
                        kspace_encoding_step_1=scan.acceleration, kspace_encoding_step_2=1
                    ),
                    calibrationMode=xsd.calibrationModeType("embedded" if accelerated else "other"),
                ),
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(
            TR=[scan.tr_ms], TE=scan.echo_times_ms, flipAngle_deg=[FLIP_ANGLE_DEG], sequence_type="Flash"
        ),
    )
    text: str = xsd.ToXML(document, encoding="utf-8")
    return text.encode()
