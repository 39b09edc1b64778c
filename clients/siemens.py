"""Siemens raw data (twix: VB, VD, VE, XA) as MRD: header, then lines in the order in which they were measured.

Directions are the columns of the slice's rotation as Siemens states them, as ISMRMRD's own converter has them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, EchotrainError, Flag, acquisition_headers, write_acquisitions
from echotrain.mrd.errors import DataError, StorageError

from .siemens_header import COUNTERS, Protocol, center, dwell_times_us, header_xml, matrix

BATCH_BYTES = 4 << 20
NOISE_READOUT_US = 7680.0  # noise is sampled with 130 Hz a pixel, whatever the protocol's bandwidth

_FLAGS = {
    "RTFEEDBACK": Flag.IS_RTFEEDBACK_DATA | Flag.IS_NAVIGATION_DATA,
    "HPFEEDBACK": Flag.IS_HPFEEDBACK_DATA,
    "LASTSCANINMEAS": Flag.LAST_IN_MEASUREMENT | Flag.LAST_IN_REPETITION,
    "REFPHASESTABSCAN": Flag.IS_PHASE_STABILIZATION_REFERENCE,
    "PHASESTABSCAN": Flag.IS_PHASE_STABILIZATION,
    "PHASCOR": Flag.IS_PHASECORR_DATA,
    "PATREFSCAN": Flag.IS_PARALLEL_CALIBRATION,
    "PATREFANDIMASCAN": Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING,
    "REFLECT": Flag.IS_REVERSE,
    "NOISEADJSCAN": Flag.IS_NOISE_MEASUREMENT,
    "FIRSTSCANINSLICE": Flag.FIRST_IN_SLICE,
    "LASTSCANINSLICE": Flag.LAST_IN_SLICE,
    "RETRO_DUMMYSCAN": Flag.IS_DUMMYSCAN_DATA,
}
_NOT_LINES = ("ACQEND", "SYNCDATA")
_HEAD_COUNTERS = {
    theirs: name.replace("encoding", "encode") if name.startswith("kspace") else name
    for name, theirs in COUNTERS.items()
}


def convert(source: Path, target: Path) -> None:
    """Write the last measurement of a twix file, after the noise of those before it, as ISMRMRD HDF5.

    Raises:
        StorageError: where a file cannot be read or written.
        DataError: where `source` is not twix, or holds no lines.
        EchotrainError: where the package that reads twix is not installed.
    """
    header, lines = read_twix(source)
    write_acquisitions(target, header, lines)


def read_twix(path: Path) -> tuple[bytes, Iterator[Acquisitions]]:
    """The MRD header and the lines of the last measurement, after the noise of those before it.

    Raises:
        StorageError: where the file cannot be read.
        DataError: where it is not twix, or holds no lines.
        EchotrainError: where the package that reads twix is not installed.
    """
    scans = [_Scan(scan) for scan in _parse(Path(path))]
    if not len(scans[-1].mdh):
        raise DataError(f"{path} holds no lines in its last measurement")
    scan = scans[-1]
    counters = scan.imaging_counters()
    n_channels = int(counters["UsedChannels"].max())
    with_noise = [other for other in scans[:-1] if other.has_noise_of(n_channels)]

    def lines() -> Iterator[Acquisitions]:
        if with_noise:
            yield from with_noise[-1].batches(noise_only=True)
        yield from scan.batches()

    return header_xml(scan.protocol, counters), lines()


def _parse(path: Path) -> list[Any]:
    try:
        import twixtools
    except ImportError as reason:
        raise EchotrainError(
            "Siemens files need the package twixtools; install it with: pip install 'echotrain[siemens]'"
        ) from reason
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its warnings
            scans: list[Any] = twixtools.read_twix(
                str(path), verbose=False, parse_pmu=False, parse_geometry=False, keep_syncdata=False
            )
    except Exception as reason:  # what it raises on other files is anything
        raise DataError(f"{path} cannot be read as Siemens raw data: {reason!r}") from reason
    if not scans or "MeasYaps" not in scans[-1]["hdr"]:
        raise DataError(f"{path} cannot be read as Siemens raw data: it has no protocol")
    if any(_is_cut_short(scan["mdb"], path.stat().st_size) for scan in scans):
        raise DataError(f"{path} ends before its last line; it was not copied whole")
    return scans


def _is_cut_short(blocks: list[Any], file_bytes: int) -> bool:
    """Whether the last block reaches beyond the file; the package then goes on with it, or with empty ones."""
    repeated = len(blocks) > 1 and blocks[-1] is blocks[-2]
    return repeated or any(block.mem_pos + int(block.dma_len) > file_bytes for block in blocks[-1:])


class _Scan:
    """One measurement: its protocol, its blocks, and their headers as one array."""

    def __init__(self, scan: Any) -> None:
        from twixtools import mdh_def

        self.protocol = Protocol(scan["hdr"])
        self.blocks = [block for block in scan["mdb"] if _is_line(block)]
        struct = type(self.blocks[0].mdh) if self.blocks else mdh_def.Scan_header
        raw = b"".join(bytes(block.mdh) for block in self.blocks)
        self.mdh: NDArray[np.void] = np.frombuffer(raw, np.dtype(struct))
        self._bits = {name: np.uint64(1 << bit) for name, bit in mdh_def.mask_dict.items()}

    def has(self, name: str) -> NDArray[np.bool_]:
        """Which lines carry Siemens's flag `name`."""
        found: NDArray[np.bool_] = (self.mdh["EvalInfoMask"] & self._bits[name]) != 0
        return found

    def has_noise_of(self, n_channels: int) -> bool:
        return bool((self.has("NOISEADJSCAN") & (self.mdh["UsedChannels"] == n_channels)).any())

    def imaging_counters(self) -> NDArray[np.void]:
        """Measurement headers of the lines that carry the image's own k-space; of all where none does."""
        apart = self.has("PATREFSCAN") & ~self.has("PATREFANDIMASCAN")
        for name in ("NOISEADJSCAN", "PHASCOR", "RTFEEDBACK", "HPFEEDBACK", "REFPHASESTABSCAN", "PHASESTABSCAN"):
            apart |= self.has(name)
        return self.mdh if apart.all() else self.mdh[~apart]

    def batches(self, *, noise_only: bool = False) -> Iterator[Acquisitions]:
        """Lines in their order, in batches of one shape."""
        head = self._heads()
        picked = np.flatnonzero(self.has("NOISEADJSCAN")) if noise_only else np.arange(len(head))
        start = 0
        while start < len(picked):
            first = self.mdh[picked[start]]
            n_channels, n_samples = int(first["UsedChannels"]), int(first["SamplesInScan"])
            end = start + max(BATCH_BYTES // (8 * n_channels * n_samples), 1)
            mdh = self.mdh[picked[start:end]]
            same = (mdh["UsedChannels"] == n_channels) & (mdh["SamplesInScan"] == n_samples)
            rows = picked[start : start + (len(mdh) if same.all() else int(same.argmin()))]
            yield Acquisitions(head[rows], self._samples(rows))
            start += len(rows)

    def _samples(self, rows: NDArray[np.intp]) -> NDArray[np.complex64]:
        try:
            return np.stack([self.blocks[row].data for row in rows])
        except (OSError, ValueError) as reason:
            raise DataError(f"the raw data file ends within line {rows[0]} or soon after: {reason}") from reason

    def _heads(self) -> NDArray[np.void]:
        mdh = self.mdh
        head = acquisition_headers(len(mdh), 0, 0)
        head["number_of_samples"] = mdh["SamplesInScan"]
        head["available_channels"] = head["active_channels"] = mdh["UsedChannels"]
        head["measurement_uid"] = mdh["MeasUID"]
        head["scan_counter"] = mdh["ScanCounter"]
        head["acquisition_time_stamp"] = mdh["TimeStamp"]
        head["physiology_time_stamp"][:, 0] = mdh["PMUTimeStamp"]
        head["discard_pre"], head["discard_post"] = mdh["CutOff"]["Pre"], mdh["CutOff"]["Post"]
        head["center_sample"] = mdh["CenterCol"]
        head["sample_time_us"] = self._sample_times_us()
        for axis, name in enumerate(("Sag", "Cor", "Tra")):
            head["position"][:, axis] = mdh["SliceData"]["SlicePos"][name]
        if "PTABPosX" in (mdh.dtype.names or ()):
            head["patient_table_position"] = np.stack([mdh[f"PTABPos{axis}"] for axis in "XYZ"], axis=1)
        rotation = _rotation(mdh["SliceData"]["Quaternion"])
        for column, name in enumerate(("phase_dir", "read_dir", "slice_dir")):
            head[name] = rotation[:, :, column]
        for theirs, name in _HEAD_COUNTERS.items():
            head["idx"][name] = mdh["Counter"][theirs]
        for number, theirs in enumerate(("Ida", "Idb", "Idc", "Idd", "Ide")):
            head["idx"]["user"][:, number] = mdh["Counter"][theirs]
        _, n_y, n_z = matrix(self.protocol, self.imaging_counters())
        head["idx"]["user"][:, 5] = mdh["CenterLin"] if mdh["CenterLin"].any() else center(mdh, "CenterLin", n_y)
        head["idx"]["user"][:, 6] = mdh["CenterPar"] if mdh["CenterPar"].any() else center(mdh, "CenterPar", n_z)
        n_ice = min(mdh["IceProgramPara"].shape[1], 7)
        head["user_int"][:, :n_ice] = mdh["IceProgramPara"][:, :n_ice]
        head["user_int"][:, 7] = mdh["TimeSinceLastRF"]
        if mdh["IceProgramPara"].shape[1] >= 16:
            head["user_float"] = mdh["IceProgramPara"][:, 8:16]
        head["flags"] = self._flags()
        return head

    def _flags(self) -> NDArray[np.uint64]:
        flags = np.zeros(len(self.mdh), np.uint64)
        for name, flag in _FLAGS.items():
            marked = self.has(name)
            if name == "PATREFSCAN":
                marked &= ~self.has("PATREFANDIMASCAN")
            flags[marked] |= np.uint64(flag)
        return flags

    def _sample_times_us(self) -> NDArray[np.float64]:
        times = np.array(dwell_times_us(self.protocol))
        contrast = np.minimum(self.mdh["Counter"]["Eco"], len(times) - 1)
        noise = np.floor(10 * NOISE_READOUT_US / self.mdh["SamplesInScan"]) / 10
        return np.where(self.has("NOISEADJSCAN"), noise, times[contrast])


def _is_line(block: Any) -> bool:
    marked = any(block.is_flag_set(name) for name in _NOT_LINES)
    return not marked and block.mdh.UsedChannels > 0 and block.mdh.SamplesInScan > 0


def _rotation(quaternion: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rotation matrices of unit quaternions (scalar first). Shape (line, 3, 3); columns phase, read, slice in LPS."""
    w, x, y, z = np.moveaxis(quaternion.astype(np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
