"""The MRD header: what real headers say is understood, what they leave out is not missed, attacks are refused."""

import pytest

from echotrain.mrd import Limit, Space, parse_header
from echotrain.mrd.errors import HeaderError
from echotrain.mrd.header import DEFAULT_NOISE_BANDWIDTH

SPACE = """<matrixSize><x>{}</x><y>{}</y><z>{}</z></matrixSize>
<fieldOfView_mm><x>400</x><y>300.5</y><z>6</z></fieldOfView_mm>"""

ENCODING = f"""<encoding>
<encodedSpace>{SPACE.format(256, 140, 80)}</encodedSpace><reconSpace>{SPACE.format(128, 120, 60)}</reconSpace>
<encodingLimits>
<kspace_encoding_step_1><minimum>2</minimum><maximum>139</maximum><center>70</center></kspace_encoding_step_1>
<slice><minimum>0</minimum><maximum>4</maximum></slice>
</encodingLimits>
<trajectory>EPI</trajectory>
<parallelImaging><accelerationFactor><kspace_encoding_step_1>3</kspace_encoding_step_1>
<kspace_encoding_step_2>2</kspace_encoding_step_2></accelerationFactor>
<calibrationMode>embedded</calibrationMode></parallelImaging></encoding>"""

FULL = f"""<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<measurementInformation><measurementID>17_4</measurementID><patientPosition>HFS</patientPosition>
<protocolName>t1 sag</protocolName><seriesDescription>T1</seriesDescription>
<measurementDependency><dependencyType>Noise</dependencyType><measurementID>17_3</measurementID>
</measurementDependency></measurementInformation>
<acquisitionSystemInformation><relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>
<coilLabel><coilNumber>0</coilNumber><coilName>H1</coilName></coilLabel>
<coilLabel><coilNumber>1</coilNumber><coilName>H2</coilName></coilLabel></acquisitionSystemInformation>
{ENCODING}
<sequenceParameters><TR>7.5</TR><TE>2.1</TE><TE>4.2</TE><TI>900</TI></sequenceParameters></ismrmrdHeader>"""


def header_with(inside):
    return parse_header(f"<ismrmrdHeader>{inside}</ismrmrdHeader>")


def test_a_full_header_is_understood():
    header = parse_header(FULL)
    encoding = header.encoding()
    assert encoding.encoded == Space((256, 140, 80), (400, 300.5, 6))
    assert encoding.recon == Space((128, 120, 60), (400, 300.5, 6))
    assert encoding.limits == {"kspace_encoding_step_1": Limit(2, 139, 70), "slice": Limit(0, 4, 0)}
    assert encoding.trajectory == "epi"
    assert encoding.acceleration == (3, 2)
    assert encoding.calibration_mode == "embedded"
    assert (header.measurement_id, header.patient_position) == ("17_4", "HFS")
    assert (header.protocol_name, header.series_description) == ("t1 sag", "T1")
    assert header.dependencies == {"Noise": "17_3"}
    assert header.noise_dependency == "17_3"
    assert header.noise_bandwidth == 0.8
    assert header.coil_names == ("H1", "H2")
    assert header.repetition_times_ms == (7.5,)
    assert header.echo_times_ms == (2.1, 4.2)
    assert header.inversion_times_ms == (900,)


def test_bytes_and_text_mean_the_same():
    assert parse_header(FULL.encode()) == parse_header(FULL)


def test_an_empty_header_has_defaults_for_everything():
    header = parse_header("<ismrmrdHeader/>")
    assert header.encodings == ()
    assert header.noise_bandwidth == DEFAULT_NOISE_BANDWIDTH
    assert header.coil_names == header.echo_times_ms == ()
    assert (header.measurement_id, header.dependencies, header.noise_dependency) == ("", {}, "")


SCANNER = "<systemVendor>V</systemVendor><systemModel> M 3 </systemModel>"


@pytest.mark.parametrize(
    ("inside", "scanner"),
    [
        (SCANNER + "<institutionName>Clinic</institutionName><deviceID>45</deviceID>", "V / M 3 / Clinic / 45"),
        ("<stationName>Room\n 5</stationName><deviceSerialNumber>9</deviceSerialNumber>", "Room 5 / 9"),
        (SCANNER + "<stationName> </stationName>", ""),
        (SCANNER, ""),
    ],
)
def test_a_scanner_is_known_by_more_than_vendor_and_model(inside, scanner):
    header = header_with(f"<acquisitionSystemInformation>{inside}</acquisitionSystemInformation>")
    assert header.scanner == scanner


def test_coils_are_named_in_the_order_of_their_labels_whatever_their_numbers():
    header = parse_header(FULL.replace("<coilNumber>0</coilNumber>", "<coilNumber>22</coilNumber>"))
    assert header.coil_names == ("H1", "H2")


def test_an_encoding_needs_its_two_spaces_only():
    space = SPACE.format(7, 5, 3)
    encoding = header_with(
        f"<encoding><encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace></encoding>"
    ).encoding()
    assert (encoding.trajectory, encoding.acceleration, encoding.calibration_mode) == ("cartesian", (1, 1), "")
    assert encoding.limits == {}


def test_several_encodings_keep_their_order_and_one_too_many_is_named():
    other = ENCODING.replace("<x>256</x>", "<x>64</x>")
    header = header_with(ENCODING + other)
    assert [encoding.encoded.matrix[0] for encoding in header.encodings] == [256, 64]
    with pytest.raises(HeaderError, match="refer to encoding 2, but the header describes 2"):
        header.encoding(2)


@pytest.mark.parametrize("xml", ["", "not xml", "<ismrmrdHeader>", b"\xff\xfe\x00", "<a/><b/>"])
def test_what_is_not_xml_is_refused(xml):
    with pytest.raises(HeaderError, match="the MRD header is not XML"):
        parse_header(xml)


def test_another_document_is_refused_by_its_root():
    with pytest.raises(HeaderError, match="root is <configuration>"):
        parse_header("<configuration/>")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<x>256</x>", "<x>many</x>", "matrixSize/x is 'many', not a number"),
        ("<x>256</x>", "", "lacks encodedSpace/matrixSize/x"),
        ("<x>256</x>", "<x>0</x>", "encodedSpace/matrixSize is 0 x 140 x 80"),
        ("<x>128</x>", "<x>70000</x>", "reconSpace/matrixSize is 70000 x 120 x 60"),
        ("<x>256</x>", "<x>nan</x>", "encodedSpace/matrixSize"),
        ("<maximum>139</maximum>", "<maximum>inf</maximum>", "maximum"),
        ("<TR>7.5</TR>", "<TR>fast</TR>", "TR is 'fast', not a number"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(old, new, said):
    with pytest.raises(HeaderError, match=said):
        parse_header(FULL.replace(old, new, 1))


BILLION_LAUGHS = '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">'


@pytest.mark.parametrize(
    "dtd", [BILLION_LAUGHS, '<!ENTITY c SYSTEM "file:///etc/passwd">', "<!ELEMENT ismrmrdHeader ANY>"]
)
def test_document_types_and_entities_are_refused(dtd):
    use = "&c;" if "ENTITY c" in dtd else ""
    xml = f"<!DOCTYPE ismrmrdHeader [{dtd}]><ismrmrdHeader>{use}</ismrmrdHeader>"
    with pytest.raises(HeaderError, match="document type or entities, which are not accepted"):
        parse_header(xml)


def test_the_whole_document_is_at_hand_for_rarer_fields():
    frequency = "<H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz>"
    conditions = f"<experimentalConditions>{frequency}</experimentalConditions><acq"
    xml = FULL.replace("<acq", conditions, 1).replace("EPI", "epi")
    assert parse_header(xml).document.experimentalConditions.H1resonanceFrequency_Hz == 63500000


def test_elements_within_elements_without_end_are_refused():
    with pytest.raises(HeaderError, match="at most 100"):
        parse_header("<ismrmrdHeader>" + "<a>" * 5000 + "</a>" * 5000 + "</ismrmrdHeader>")
    assert parse_header("<ismrmrdHeader>" + "<a>" * 99 + "</a>" * 99 + "</ismrmrdHeader>").encodings == ()
