"""Siemens raw data become ISMRMRD files: small ones made here, and recordings from scanners where they are at hand."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from echotrain.clients.convert import convert
from echotrain.clients.siemens import read_twix
from echotrain.mrd import Acquisitions, EchotrainError, Flag, parse_header, read_header, read_items, write_acquisitions
from echotrain.mrd.errors import DataError, StorageError
from echotrain.mrd.flags import NOT_IMAGING

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    twixtools = pytest.importorskip("twixtools", reason="the package twixtools is not installed")

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data"))

# A slice turned by 90 degrees about the z axis, then tilted by 0.4 rad about the x axis.
QUATERNION = (0.5**0.5 * np.cos(0.2), 0.5**0.5 * np.sin(0.2), -(0.5**0.5) * np.sin(0.2), 0.5**0.5 * np.cos(0.2))

YAPS = {
    "tProtocolName": '"gre_größe"',
    "tSequenceFileName": '"%SiemensSeq%\\gre"',
    "lContrasts": 2,
    "alTR[0]": 7500,
    "alTE[0]": 2100,
    "alTE[1]": 4200,
    "alTE[2]": 9900,
    "adFlipAngleDegree[0]": 12.0,
    "sRXSPEC.alDwellTime[0]": 3100,
    "sRXSPEC.alDwellTime[1]": 4500,
    "sTXSPEC.asNucleusInfo[0].lFrequency": 123206013,
    "sKSpace.lBaseResolution": 6,
    "sKSpace.lPhaseEncodingLines": 10,
    "sKSpace.lPartitions": 16,
    "sKSpace.dPhaseOversamplingForDialog": 0.25,
    "sKSpace.ucDimension": 2,
    "sKSpace.ucTrajectory": 1,
    "sPat.lAccelFactPE": 2,
    "sPat.lAccelFact3D": 1,
    "sPat.ucRefScanMode": 4,
    "sSliceArray.asSlice[0].dReadoutFOV": 240.0,
    "sSliceArray.asSlice[0].dPhaseFOV": 320.0,
    "sSliceArray.asSlice[0].dThickness": 5.0,
}
COILS = (("H3", 2), ("H1", 1), ("H7", 3))  # in another order than that of the receivers
XPROTOCOL = """<ParamString."Manufacturer"> { "SIEMENS" }
<ParamDouble."flReadoutOSFactor"> { 2.0 }
<ParamDouble."flMagneticFieldStrength"> { 2.89362 }
<ParamLong."DeviceSerialNumber"> { 45385 }
<ParamString."tPatientPosition"> { "FFS" }
<ParamLong."MeasUID"> { 358 }
"""


def header_bytes(**changes):
    values = YAPS | changes
    for number, (name, receiver) in enumerate(COILS):
        element = f"sCoilSelectMeas.aRxCoilSelectData[0].asList[{number}]"
        values[f"{element}.sCoilElementID.tCoilID"] = '"Head"'
        values[f"{element}.sCoilElementID.lCoilCopy"] = 1
        values[f"{element}.sCoilElementID.tElement"] = f'"{name}"'
        values[f"{element}.lADCChannelConnected"] = receiver
    lines = "".join(f"{name} = {value}\n" for name, value in values.items() if value is not None)
    parts = {
        "MeasYaps": f"### ASCCONV BEGIN ###\n{lines}\n### ASCCONV END ###",
        "Dicom": XPROTOCOL,
        "Meas": XPROTOCOL,
        "Config": "",
        "Phoenix": "",
    }
    raw = b"".join(
        name.encode() + b"\0" + np.uint32(len(text.encode("latin1"))).tobytes() + text.encode("latin1")
        for name, text in parts.items()
    )
    raw = raw.ljust(len(raw) + 48, b"\0")
    return np.frombuffer(np.array([len(raw) + 8, len(parts)], "<u4").tobytes() + raw, "S1")


def block(data, *flags, **counters):
    made = twixtools.mdb.Mdb_local(data)
    for name in flags:
        made.add_flag(name)
    for name, value in {"CenterCol": data.shape[1] // 2, "CenterLin": 4, **counters}.items():
        target = made.mdh if hasattr(made.mdh, name) else made.mdh.Counter
        setattr(target, name, value)
    for name, value in zip(("Sag", "Cor", "Tra"), (1.5, -20.0, 30.0), strict=True):
        setattr(made.mdh.SliceData.SlicePos, name, value)
    made.mdh.SliceData.Quaternion[:] = QUATERNION
    made.mdh.TimeStamp = 1000 + counters.get("Lin", 0)
    return made


def noise_like(rng, n_channels, n_samples):
    return (rng.standard_normal((n_channels, n_samples)) + 1j * rng.standard_normal((n_channels, n_samples))).astype(
        np.complex64
    )


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def write(path, *scans):
    twixtools.write_twix([{"hdr_str": header, "mdb": blocks} for header, blocks in scans], str(path))
    return path


@pytest.fixture
def imaging(rng):
    """Lines with a navigator for phase correction, reference lines, two contrasts and a reversed readout."""
    return [
        block(noise_like(rng, 3, 12), "PHASCOR", "REFLECT", Lin=4, Seg=1),
        block(noise_like(rng, 3, 12), "PATREFSCAN", Lin=2),
        block(noise_like(rng, 3, 12), "PATREFSCAN", "PATREFANDIMASCAN", Lin=3),
        block(noise_like(rng, 3, 12), "FIRSTSCANINSLICE", Lin=1, Ave=2, Set=3, Rep=4, Phs=5, Sli=1),
        block(noise_like(rng, 3, 12), "REFLECT", "LASTSCANINSLICE", "LASTSCANINMEAS", Lin=7, Eco=1, Seg=1, Ida=6),
    ]


def converted(path, *scans):
    write(path / "scan.dat", *scans)
    convert(path / "scan.dat", path / "scan.h5")
    lines = list(read_items(path / "scan.h5"))
    return parse_header(read_header(path / "scan.h5")), lines


def test_samples_counters_and_flags_arrive(tmp_path, imaging):
    data = np.stack([made.data for made in imaging])
    _, (lines,) = converted(tmp_path, (header_bytes(), imaging))
    np.testing.assert_array_equal(lines.data, data)
    idx = lines.head["idx"]
    assert idx["kspace_encode_step_1"].tolist() == [4, 2, 3, 1, 7]
    assert [idx[name][3] for name in ("average", "set", "repetition", "phase", "slice")] == [2, 3, 4, 5, 1]
    assert idx["contrast"].tolist() == [0, 0, 0, 0, 1]
    assert idx["segment"].tolist() == [1, 0, 0, 0, 1]
    assert idx["user"][4].tolist() == [6, 0, 0, 0, 0, 4, 0, 0]
    assert lines.head["flags"].tolist() == [
        Flag.IS_PHASECORR_DATA | Flag.IS_REVERSE,
        Flag.IS_PARALLEL_CALIBRATION,
        Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING,
        Flag.FIRST_IN_SLICE,
        Flag.IS_REVERSE | Flag.LAST_IN_SLICE | Flag.LAST_IN_REPETITION | Flag.LAST_IN_MEASUREMENT,
    ]
    assert lines.head["center_sample"].tolist() == [6] * 5
    assert lines.head["acquisition_time_stamp"].tolist() == [1004, 1002, 1003, 1001, 1007]
    np.testing.assert_allclose(lines.head["sample_time_us"], [3.1, 3.1, 3.1, 3.1, 4.5])


def test_position_and_directions_are_those_of_the_slice(tmp_path, imaging):
    _, (lines,) = converted(tmp_path, (header_bytes(), imaging))
    np.testing.assert_allclose(lines.head["position"][0], [1.5, -20, 30])
    tilted = [0, np.cos(0.4), np.sin(0.4)]
    np.testing.assert_allclose(lines.head["phase_dir"][2], tilted, atol=1e-6)
    np.testing.assert_allclose(lines.head["read_dir"][2], [-1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(lines.head["slice_dir"][2], [0, -np.sin(0.4), np.cos(0.4)], atol=1e-6)


def test_the_header_tells_of_the_scan(tmp_path, imaging):
    header, _ = converted(tmp_path, (header_bytes(), imaging))
    encoding = header.encoding()
    assert encoding.encoded.matrix == (12, 10, 1)
    assert encoding.encoded.field_of_view_mm == (480, 400, 5)
    assert encoding.recon.matrix == (6, 8, 1)
    assert encoding.recon.field_of_view_mm == (240, 320, 5)
    step = encoding.limits["kspace_encoding_step_1"]
    assert (step.minimum, step.maximum, step.center) == (1, 7, 4)
    assert (encoding.limits["slice"].maximum, encoding.limits["repetition"].maximum) == (1, 4)
    assert encoding.acceleration == (2, 1)
    assert encoding.calibration_mode == "separate"
    assert encoding.trajectory == "cartesian"
    assert header.measurement_id == "45385___358"
    assert header.protocol_name == "gre_größe"
    assert header.patient_position == "FFS"
    assert header.coil_names == ("Head:1:H1", "Head:1:H3", "Head:1:H7")
    assert (header.repetition_times_ms, header.echo_times_ms) == ((7.5,), (2.1, 4.2))
    document = header.document
    assert document.experimentalConditions.H1resonanceFrequency_Hz == 123206013
    assert document.acquisitionSystemInformation.systemFieldStrength_T == pytest.approx(2.89362)


def test_partitions_count_in_volumes_only(tmp_path, imaging):
    header, _ = converted(tmp_path, (header_bytes(**{"sKSpace.ucDimension": 4, "sKSpace.lImagesPerSlab": 14}), imaging))
    encoding = header.encoding()
    assert (encoding.encoded.matrix, encoding.recon.matrix) == ((12, 10, 16), (6, 8, 14))
    assert encoding.limits["kspace_encoding_step_2"].center == 8


@pytest.mark.parametrize(("interpolation", "n_y"), [(None, 28), (1, 14)])
def test_rows_are_filled_with_zeros_to_the_length_of_siemens_transform(
    tmp_path, imaging, monkeypatch, interpolation, n_y
):
    lengths = '<ParamLong."iPEFTLength"> { 28 }\n<ParamLong."i3DFTLength"> { 18 }\n'
    monkeypatch.setattr(sys.modules[__name__], "XPROTOCOL", XPROTOCOL + lengths)
    changes = {"sKSpace.ucDimension": 4, "sKSpace.uc2DInterpolation": interpolation}
    header, _ = converted(tmp_path, (header_bytes(**changes), imaging))
    assert header.encoding().encoded.matrix == (12, n_y, 18)


@pytest.mark.parametrize("mode", [16, 32, 64])
def test_calibration_taken_in_turns_is_interleaved(tmp_path, imaging, mode):
    header, _ = converted(tmp_path, (header_bytes(**{"sPat.ucRefScanMode": mode}), imaging))
    assert header.encoding().calibration_mode == "interleaved"


def test_parameters_of_the_ice_program_and_feedback_stand_where_the_reference_converter_puts_them(tmp_path, rng):
    made = block(noise_like(rng, 3, 12), "RTFEEDBACK")
    made.mdh.IceProgramPara[:] = list(range(100, 124))
    made.mdh.TimeSinceLastRF = 7
    _, (lines,) = converted(tmp_path, (header_bytes(), [made]))
    assert lines.head["user_int"][0].tolist() == [*range(100, 107), 7]
    assert lines.head["user_float"][0].tolist() == list(range(108, 116))
    assert lines.head["flags"][0] == Flag.IS_RTFEEDBACK_DATA | Flag.IS_NAVIGATION_DATA


def test_a_free_sequence_is_described_by_its_lines_alone(tmp_path, rng):
    blocks = [block(noise_like(rng, 3, 9), Lin=line, CenterLin=0) for line in range(5)]
    header, (lines,) = converted(tmp_path, (header_bytes(tSequenceFileName='"%CustomerSeq%\\pulseq"'), blocks))
    encoding = header.encoding()
    assert encoding.encoded.matrix == (9, 5, 1)
    assert encoding.limits["kspace_encoding_step_1"].center == 2
    assert lines.head["idx"]["user"][:, 5].tolist() == [2] * 5


def test_an_epi_sequence_tells_how_its_readout_is_ramped(tmp_path, imaging, monkeypatch):
    ramp = "".join(f'<ParamLong."{name}"> {{ {value} 0 }}\n' for name, value in
                   {"alRegridRampupTime": 160, "alRegridRampdownTime": 170, "alRegridFlattopTime": 240,
                    "alRegridDelaySamplesTime": 32, "alRegridDestSamples": 12}.items())  # fmt: skip
    monkeypatch.setattr(sys.modules[__name__], "XPROTOCOL", XPROTOCOL + ramp)
    header, _ = converted(tmp_path, (header_bytes(**{"sFastImaging.lEPIFactor": 10}), imaging))
    encoding = header.document.encoding[0]
    assert encoding.trajectory.value == "epi"
    values = {one.name: one.value for one in encoding.trajectoryDescription.userParameterLong}
    assert values == {
        "rampUpTime": 160,
        "rampDownTime": 170,
        "flatTopTime": 240,
        "acqDelayTime": 32,
        "numSamples": 12,
    }
    assert encoding.trajectoryDescription.userParameterDouble[0].value == pytest.approx(3.1)


def test_noise_of_an_earlier_measurement_comes_first(tmp_path, rng, imaging):
    noise = [block(noise_like(rng, 3, 20), "NOISEADJSCAN", Rep=k) for k in range(2)]
    noise_data = np.stack([made.data for made in noise])
    other = [block(noise_like(rng, 3, 8))]
    _, lines = converted(tmp_path, (header_bytes(), [*noise, *other]), (header_bytes(), imaging))
    first, second = lines
    np.testing.assert_array_equal(first.data, noise_data)
    assert first.head["flags"].tolist() == [Flag.IS_NOISE_MEASUREMENT] * 2
    np.testing.assert_allclose(first.head["sample_time_us"], 384.0)
    assert len(second) == len(imaging)


def test_noise_of_other_channels_is_left_out(tmp_path, rng, imaging):
    noise = [block(noise_like(rng, 2, 20), "NOISEADJSCAN")]
    _, (lines,) = converted(tmp_path, (header_bytes(), noise), (header_bytes(), imaging))
    assert not lines.has(Flag.IS_NOISE_MEASUREMENT).any()


def test_noise_within_the_measurement_keeps_its_place_and_its_shape(tmp_path, rng, imaging):
    noise = block(noise_like(rng, 3, 20), "NOISEADJSCAN")
    header, lines = converted(tmp_path, (header_bytes(), [imaging[0], noise, *imaging[1:]]))
    assert [batch.data.shape for batch in lines] == [(1, 3, 12), (1, 3, 20), (4, 3, 12)]
    assert header.encoding().encoded.matrix[0] == 12


def test_it_is_silent(tmp_path, imaging, capfd):
    write(tmp_path / "scan.dat", (header_bytes(), imaging))
    capfd.readouterr()
    convert(tmp_path / "scan.dat", tmp_path / "scan.h5")
    assert capfd.readouterr() == ("", "")


def test_a_measurement_without_lines_is_an_error(tmp_path):
    end = twixtools.mdb.Mdb_local()
    end.add_flag("ACQEND")
    write(tmp_path / "scan.dat", (header_bytes(), [end]))
    with pytest.raises(DataError, match="holds no lines"):
        convert(tmp_path / "scan.dat", tmp_path / "scan.h5")
    assert not (tmp_path / "scan.h5").exists()


@pytest.mark.parametrize("n_missing", [300, 700, 1200])
def test_a_file_that_was_not_copied_whole_is_an_error(tmp_path, imaging, n_missing):
    raw = write(tmp_path / "scan.dat", (header_bytes(), imaging)).read_bytes()
    end = raw.rindex(imaging[-1].data.tobytes()[-8:])
    (tmp_path / "scan.dat").write_bytes(raw[: end - n_missing])
    with pytest.raises(DataError, match="ends before its last line"):
        convert(tmp_path / "scan.dat", tmp_path / "scan.h5")


def test_another_file_of_that_name_is_an_error(tmp_path):
    (tmp_path / "scan.dat").write_bytes(b"no raw data, a letter to a friend" * 9)
    with pytest.raises(DataError, match="cannot be read as Siemens raw data"):
        convert(tmp_path / "scan.dat", tmp_path / "scan.h5")


def test_unknown_formats_are_answered_with_the_known_ones(tmp_path):
    (tmp_path / "scan.raw").write_bytes(b"?")
    with pytest.raises(DataError, match=r"scan\.raw is of no known format; what can be converted: \*\.dat: Siemens"):
        convert(tmp_path / "scan.raw", tmp_path / "scan.h5")
    with pytest.raises(StorageError, match="there is no file"):
        convert(tmp_path / "nowhere.dat", tmp_path / "scan.h5")


def test_an_ismrmrd_file_needs_no_conversion(tmp_path):
    write_acquisitions(tmp_path / "scan.h5", b"<ismrmrdHeader/>", [])
    with pytest.raises(DataError, match="ISMRMRD files need no conversion"):
        convert(tmp_path / "scan.h5", tmp_path / "other.h5")


def test_the_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "scan.dat").write_bytes(bytes(100))
    monkeypatch.setitem(sys.modules, "twixtools", None)
    with pytest.raises(EchotrainError, match=r"pip install 'echotrain\[siemens\]'"):
        convert(tmp_path / "scan.dat", tmp_path / "scan.h5")


def image_of(header, batches):
    """Root of the sum of squares of a Cartesian scan, oversampling removed. Shape (y, x)."""
    encoding = header.encoding()
    n_x, n_y, _ = encoding.encoded.matrix
    shift = n_y // 2 - encoding.limits["kspace_encoding_step_1"].center
    kspace = None
    for batch in batches:
        lines: Acquisitions = batch[~batch.has(NOT_IMAGING)]
        if kspace is None:
            kspace = np.zeros((batch.n_channels, n_y, n_x), np.complex64)
        reverse = lines.has(Flag.IS_REVERSE)[:, None, None]
        samples = np.where(reverse, lines.data[:, :, ::-1], lines.data)
        kspace[:, lines.head["idx"]["kspace_encode_step_1"].astype(int) + shift] = samples.swapaxes(0, 1)
    axes = (-2, -1)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho"), axes)
    n_out = encoding.recon.matrix[0]
    start = (n_x - n_out) // 2
    return np.sqrt((np.abs(image[:, :, start : start + n_out]) ** 2).sum(0))


SCANS = {  # matrix, channels, lines
    "brain-16ch-twix/2024-02-06-164128.dat": ((128, 128, 1), 16, 128),
    "twix-gre-epi/gre.dat": ((320, 160, 1), 2, 160),
    "twix-gre-epi/epi.dat": ((160, 80, 1), 2, 83),
    "epi-4ch-twix/05_EPI.dat": ((152, 128, 1), 4, 128),
}


@pytest.mark.parametrize("name", SCANS)
def test_scanners_files_are_read(name):
    if not (DATA / name).is_file():
        pytest.skip(f"{DATA / name} is not there")
    size, n_channels, n_lines = SCANS[name]
    xml, lines = read_twix(DATA / name)
    batches = list(lines)
    assert parse_header(xml).encoding().encoded.matrix == size
    assert {batch.n_channels for batch in batches} == {n_channels}
    assert sum(map(len, batches)) == n_lines


@pytest.mark.parametrize("name", list(SCANS)[:2])
def test_scanners_files_give_an_object_before_a_dark_background(name):
    if not (DATA / name).is_file():
        pytest.skip(f"{DATA / name} is not there")
    xml, lines = read_twix(DATA / name)
    image = image_of(parse_header(xml), lines)
    quarter = image.shape[0] // 4
    inside = image[quarter:-quarter, quarter:-quarter]
    assert np.median(inside) > 3.5 * np.median(image[: quarter // 4])


def test_a_brain_measured_axially_has_the_back_of_the_head_where_the_rows_lead():
    name = "brain-16ch-twix/2024-02-06-164128.dat"
    if not (DATA / name).is_file():
        pytest.skip(f"{DATA / name} is not there")
    xml, lines = read_twix(DATA / name)
    (*_, last) = batches = list(lines)
    np.testing.assert_allclose(last.head["phase_dir"][-1], [0, 1, 0], atol=1e-6)  # posterior
    image = image_of(parse_header(xml), batches)
    front, back = image[20:36, 50:80], image[86:102, 50:80]
    assert np.median(back) > 1.3 * np.median(front)  # the coil lies under the back of the head
