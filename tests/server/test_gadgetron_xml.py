"""Gadgetron's configurations, both dialects: what becomes of them, what is told, and what is refused, all at once."""

import re
from pathlib import Path

import pytest

from echotrain.mrd.errors import ConfigError
from echotrain.server.chain_xml import Branch, Parallel, Step
from echotrain.server.configs import config_names
from echotrain.server.gadgetron_classes import SERVED
from echotrain.server.gadgetron_properties import NO_EFFECT
from echotrain.server.gadgetron_xml import parse_gadgetron


def gadget(classname, name="", tag="gadget", **properties):
    inner = "".join(
        f"<property><name>{key}</name><value>{value}</value></property>" for key, value in properties.items()
    )
    named = f"<name>{name}</name>" if name else ""
    return f"<{tag}>{named}<dll>somewhere</dll><classname>{classname}</classname>{inner}</{tag}>"


def legacy(*parts):
    return f'<gadgetronStreamConfiguration xmlns="http://gadgetron.sf.net/gadgetron">{"".join(parts)}</gadgetronStreamConfiguration>'


def version_2(*parts, readers="", writers=""):
    return (
        f"<configuration><version>2</version><readers>{readers}</readers><writers>{writers}</writers>"
        f"<stream>{''.join(parts)}</stream></configuration>"
    )


def reader(classname, tag="reader", slot=""):
    return f"<{tag}>{f'<slot>{slot}</slot>' if slot else ''}<dll>x</dll><classname>{classname}</classname></{tag}>"


def steps(*parts):
    return list(parse_gadgetron(legacy(*parts)).parts)


def refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_gadgetron(text)
    return str(caught.value)


@pytest.mark.parametrize("dialect", [legacy, version_2], ids=["legacy", "version 2"])
def test_gadgets_become_steps_in_order(dialect):
    text = dialect(gadget("NoiseAdjustGadget", "NoiseAdjust"), "<!-- next -->", gadget("RemoveROOversamplingGadget"))
    assert parse_gadgetron(text, "own").parts == (Step("Prewhiten"), Step("RemoveOversampling"))
    assert parse_gadgetron(text, "own").name == "own"


@pytest.mark.parametrize(
    "text",
    [
        '<property name="max_value" value="512"/>',
        "<property><name>max_value</name><value>512</value></property>",
        "<property>\n <name>\n max_value </name><value> 512\n</value>\n</property>",
    ],
)
@pytest.mark.parametrize("dialect", [legacy, version_2], ids=["legacy", "version 2"])
def test_a_property_is_attributes_or_elements_with_any_space_around(dialect, text):
    auto_scale = gadget("\n AutoScaleGadget ").replace("</gadget>", f"{text}</gadget>")
    assert parse_gadgetron(dialect(auto_scale)).parts == (Step("ScaleIntensity", {"target": "512", "scope": "image"}),)


def test_a_reference_takes_the_value_of_the_other_gadget():
    first = gadget("AutoScaleGadget", "first", max_value="77")
    second = gadget("AutoScaleGadget", "second", max_value="max_value@first")
    third = gadget("AutoScaleGadget", "third", max_value="max_value@second")
    assert [step.values["target"] for step in steps(first, second, third)] == ["77", "77", "77"]


def test_references_that_lead_nowhere_are_refused():
    nowhere = gadget("AutoScaleGadget", "scale", max_value="max_value@skale")
    assert "'max_value@skale' is no property of a gadget; did you mean max_value@scale?" in refused(legacy(nowhere))
    circle = (
        gadget("AutoScaleGadget", "a", max_value="max_value@b"),
        gadget("AutoScaleGadget", "b", max_value="max_value@a"),
    )
    assert "leads back to itself" in refused(legacy(*circle))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<configuration/>", "version (none); version 2 is read"),
        ("<configuration><version>3</version></configuration>", "version 3"),
        ("<chain/>", "<chain> begins no configuration of Gadgetron"),
        ("<gadgetronStreamConfiguration>", "is not XML"),
        (legacy("<gizmo/>"), "<gizmo> is not known in <gadgetronStreamConfiguration>"),
        (version_2("<gizmo/>"), "<gizmo> is not known in <stream>"),
        (legacy(gadget("AutoScaleGadget").replace("<dll>", "<speed/><dll>")), "<speed> is not known in <gadget>"),
        (legacy("<gadget><name>Blank</name></gadget>"), "'Blank' has no <classname>"),
        (legacy(gadget("AutoScaleGadget").replace("</gadget>", "<property/></gadget>")), "is no property"),
        (
            legacy(
                gadget("AutoScaleGadget").replace(
                    "</gadget>", "<property name='a'><value>1</value></property></gadget>"
                )
            ),
            "is no property",
        ),
    ],
)
def test_what_is_no_configuration_is_refused_with_what_is_wrong(text, words):
    assert words in refused(text)


def test_document_types_are_refused():
    assert "document type or entities" in refused(f"<!DOCTYPE x [<!ENTITY e 'y'>]>{legacy(gadget('&e;'))}")


def test_everything_that_cannot_be_done_is_told_at_once():
    words = refused(
        legacy(
            gadget("GenericReconCartesianSpiritGadget", "Recon", spirit_print_iter="true"),
            gadget("AutoScalGadget"),
            gadget("AutoScaleGadget", "Scale", max_valu="2"),
            gadget("FloatToUShortGadget", "Short", min_intensity="5"),
            gadget("AcquisitionAccumulateTriggerGadget", "Trigger"),
            "<gizmo/>",
        )
    )
    for part in (
        "GenericReconCartesianSpiritGadget 'Recon': not yet supported (SPIRiT)",
        "AutoScalGadget: no class of Gadgetron has that name; did you mean AutoScaleGadget",
        "AutoScaleGadget 'Scale': there is no property 'max_valu'; did you mean max_value?",
        "FloatToUShortGadget 'Short': min_intensity='5': integers begin at 0",
        "AcquisitionAccumulateTriggerGadget 'Trigger': only served in a row with its neighbours",
        "<gizmo>",
    ):
        assert part in words


def test_values_of_the_wrong_type_are_refused():
    words = refused(legacy(gadget("NoiseAdjustGadget", perform_noise_adjust="maybe")))
    assert "NoiseAdjustGadget: 'maybe' is neither true nor false" in words
    assert "real_imag_offset='x'" in refused(legacy(gadget("ExtractGadget", real_imag_offset="x")))
    bucket = gadget("AcquisitionAccumulateTriggerGadget", trigger_dimension="user_3")
    assert "trigger_dimension='user_3': it can be slice," in refused(legacy(bucket, gadget("BucketToBufferGadget")))


def test_what_is_done_otherwise_is_a_note_that_names_gadget_property_and_value():
    chain = parse_gadgetron(
        legacy(
            gadget("AutoScaleGadget", "Scale", histogram_bins="50"),
            gadget("ImageSortGadget"),
            gadget("GenericReconFieldOfViewAdjustmentGadget", verbose="true", debug_folder=""),
            gadget("GenericReconFieldOfViewAdjustmentGadget", perform_timing="true"),
        )
    )
    assert chain.notes == (
        "AutoScaleGadget 'Scale': histogram_bins='50': the percentile is exact",
        "ImageSortGadget: images come in the order in which they are made",
        "properties that do nothing here: debug_folder, perform_timing, verbose",
    )


def test_what_is_served_in_full_needs_no_note():
    chain = parse_gadgetron(legacy(gadget("AutoScaleGadget", histogram_bins="100"), gadget("FloatToUShortGadget")))
    assert chain.notes == ()


ALL = "slice contrast phase repetition set average segment"


@pytest.mark.parametrize(
    ("bucket", "buffer", "expected"),
    [
        ({"trigger_dimension": "repetition"}, {"split_slices": "true"}, {"split": ALL}),
        ({"trigger_dimension": "Repetition"}, {"split_slices": "false"}, {"split": ALL}),
        ({}, {}, {"split": ALL, "trigger": "end"}),
        ({"trigger_dimension": ""}, {"N_dimension": "none", "S_dimension": ""}, {"split": ALL, "trigger": "end"}),
        (
            {"trigger_dimension": "slice"},
            {"N_dimension": "phase", "S_dimension": "set", "ignore_segment": "true"},
            {"split": "slice contrast repetition average"},
        ),
        (
            {"trigger_dimension": "repetition"},
            {"N_dimension": "contrast", "S_dimension": "average", "ignore_segment": "true"},
            {"split": "slice phase repetition set", "averages": "keep"},
        ),
        (  # a bucket holds one value of the counter that triggers, and of the one that sorts
            {"trigger_dimension": "repetition", "sorting_dimension": "set"},
            {"N_dimension": "repetition", "S_dimension": "set"},
            {"split": ALL},
        ),
    ],
)
def test_bucket_and_buffer_become_k_space_split_by_the_counters_that_they_keep_apart(bucket, buffer, expected):
    parts = (gadget("AcquisitionAccumulateTriggerGadget", **bucket), gadget("BucketToBufferGadget", **buffer))
    assert steps(*parts) == [Step("CollectKSpace", expected)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            [gadget("NoiseAdjustGadget", perform_noise_adjust="false"), gadget("FFTGadget")],
            ["FourierTransform", "NumberSeries"],
        ),
        ([gadget("SimpleReconGadget")], ["FourierTransform", "NumberSeries", "CombineCoils"]),
        ([gadget("GenericReconCartesianGrappaGadget")], ["Grappa"]),
        ([gadget("GenericReconCartesianGrappaGadget", image_series="3")], ["Grappa", "NumberSeries"]),
        (
            [gadget("ImageArraySplitGadget"), gadget("ComplexToFloatGadget"), gadget("ImageFinishGadget")],
            ["ComplexParts"],
        ),
        ([gadget("GenericReconEigenChannelGadget"), gadget("FFTGadget")], ["FourierTransform", "NumberSeries"]),
        ([gadget("PCACoilGadget"), gadget("CombineGadget")], ["CombineCoils"]),
    ],
)
def test_classes_become_one_gadget_several_or_none(parts, expected):
    assert [step.gadget for step in steps(*parts)] == expected


@pytest.mark.parametrize(
    ("part", "gadget_name", "values"),
    [
        (gadget("FloatToUShortGadget"), "ToInteger", {"maximum": "4095"}),
        (gadget("FloatToUShortGadget", max_intensity="32767", intensity_offset="0"), "ToInteger", {"maximum": "32767"}),
        (gadget("ScaleGadget"), "ScaleIntensity", {"target": "2048", "percentile": "98.5", "scope": "image"}),
        (gadget("ExtractGadget"), "ComplexParts", {"parts": "magnitude"}),
        (gadget("ExtractGadget", extract_mask="9"), "ComplexParts", {"parts": "magnitude phase"}),
        (
            gadget("ExtractGadget", extract_magnitude="false", extract_real="true", extract_imag="true"),
            "ComplexParts",
            {"parts": "real imaginary"},
        ),
        (
            gadget("GenericReconEigenChannelGadget", upstream_coil_compression_thres="0.002"),
            "CompressCoils",
            {"channels": "0", "threshold": "0.002"},
        ),
        (
            gadget("GenericReconKSpaceFilteringGadget", filterRO="Hanning", filterE1_sigma="1.5", filterE2="None"),
            "FilterImages",
            {"kind": "hann gaussian none", "sigma": "1.0 1.5 1.0", "width": "0.15"},
        ),
        (gadget("GenericReconImageArrayScalingGadget", scalingFactor="10.0"), "MultiplyIntensity", {"factor": "10.0"}),
        (
            gadget("GenericReconCartesianGrappaGadget", grappa_kSize_E1="2", send_out_gfactor="true"),
            "Grappa",
            {"kernel": "5 2 4", "regularization": "0.0005", "width": "7", "snr_units": "true", "gfactor": "true"},
        ),
    ],
)
def test_properties_become_parameters_and_gadgetrons_defaults_hold(part, gadget_name, values):
    assert steps(part) == [Step(gadget_name, values)]


def test_channels_that_are_compressed_as_lines_there_are_compressed_as_k_space_here():
    parts = [
        gadget("PCACoilGadget"),
        gadget("CoilReductionGadget", coils_out="16"),
        gadget("RemoveROOversamplingGadget"),
        gadget("AcquisitionAccumulateTriggerGadget", trigger_dimension="repetition"),
        gadget("BucketToBufferGadget"),
        gadget("SimpleReconGadget"),
    ]
    names = [step.gadget for step in steps(*parts)]
    assert names == [
        "RemoveOversampling",
        "CollectKSpace",
        "CompressCoils",
        "FourierTransform",
        "NumberSeries",
        "CombineCoils",
    ]
    assert steps(*parts)[2].values == {"channels": "16", "threshold": "0"}


ACQUISITIONS, IMAGES = reader("AcquisitionReader"), reader("ImageWriter", "writer")


def test_lines_that_have_no_writer_are_not_sent():
    whitening = gadget("NoiseAdjustGadget")
    without = parse_gadgetron(version_2(whitening, readers=ACQUISITIONS, writers=IMAGES))
    assert without.parts == (Step("Prewhiten"), Step("Count"))
    assert without.notes == ("no writer for lines: they are counted, and not sent",)
    with_one = version_2(whitening, readers=ACQUISITIONS, writers=reader("AcquisitionWriter", "writer"))
    assert parse_gadgetron(with_one).parts == (Step("Prewhiten"),)


def test_a_chain_of_no_gadgets_is_one_that_makes_nothing():
    assert steps() == [Step("Count")]


def test_readers_and_writers_are_known_by_class_or_slot_and_others_are_told():
    known = [reader(name) for name in ("GadgetIsmrmrdWaveformMessageReader", "TextReader", "MRIImageReader")]
    known.append(reader("SomeImageWriter", "writer", slot="1022"))
    assert parse_gadgetron(legacy(*known, gadget("ComplexToFloatGadget"))).notes == ()
    mixed = legacy(reader("DicomImageWriter", "writer", slot="1018"), IMAGES, gadget("ComplexToFloatGadget"))
    assert parse_gadgetron(mixed).notes == ("DicomImageWriter: what it stands for is not sent",)
    alone = legacy(reader("IsmrmrdImageArrayReader"), gadget("ComplexToFloatGadget"))
    assert "IsmrmrdImageArrayReader: what it stands for is not read" in refused(alone)


def parallel(merge, *streams, branch="AcquisitionFanout"):
    return f"<parallel>{gadget(branch, tag='branch')}{''.join(streams)}{gadget(merge, tag='merge')}</parallel>"


def test_a_fan_out_with_a_flat_merge_is_a_parallel_part():
    streams = '<stream key="plain"/>', f'<stream key="scaled">{gadget("AutoScaleGadget")}</stream>'
    text = version_2(parallel("UnorderedMerge", *streams, branch="ImageFanout"))
    scaled = Step("ScaleIntensity", {"target": "2048", "scope": "image"})
    assert parse_gadgetron(text).parts == (Parallel((Branch("plain", ()), Branch("scaled", (scaled,)))),)


def test_other_merges_are_refused_with_what_is_wrong_inside():
    words = refused(
        version_2(parallel("ImageLayerer", f"<stream>{gadget('ImageInverter')}</stream>", branch="ImageFanout"))
    )
    assert "the branch ImageFanout and the merge ImageLayerer: not yet supported" in words
    assert "ImageInverter: not yet supported" in words


def test_gadgetrons_first_grappa_is_ours():
    streams = f"<stream>{gadget('ImageAccumulator')}</stream>", f"<stream>{gadget('cpuWeightsCalculator')}</stream>"
    chain = parse_gadgetron(version_2(gadget("SliceAccumulator"), parallel("Unmixing", *streams)))
    assert [step.gadget for step in chain.steps] == ["CollectKSpace", "Grappa", "NumberSeries"]


@pytest.mark.parametrize(
    "part",
    [
        "<distributed><readers/><writers/>{0}<stream>{1}</stream></distributed>",
        "<puredistributed><readers/><writers/><purestream>{1}</purestream></puredistributed>",
        '<parallelprocess workers="4"><purestream>{1}</purestream></parallelprocess>',
    ],
)
def test_what_is_spread_over_machines_there_runs_here(part):
    distributor = gadget("AcquisitionDistributor", tag="distributor", parallel_dimension="repetition")
    chain = parse_gadgetron(
        version_2(part.format(distributor, gadget("ComplexToFloatGadget")), gadget("AutoScaleGadget"))
    )
    assert [step.gadget for step in chain.steps] == ["ComplexParts", "ScaleIntensity"]
    (note,) = chain.notes
    assert "runs here" in note


def external(action, inner=""):
    return version_2(f"<external>{action}{inner}</external>")


def test_an_external_python_program_is_a_step_with_what_it_is_given():
    execute = '<execute name="site.filters" target="smooth" type="python"/>'
    assert parse_gadgetron(external(execute)).parts == (
        Step("ExternalPython", {"module": "site.filters", "target": "smooth"}),
    )
    ends = (
        f"<readers>{reader('ImageReader')}</readers>"
        f"<writers>{reader('AcquisitionWriter', 'writer')}{reader('WaveformWriter', 'writer')}</writers>"
        '<configuration><width unit="px">3</width></configuration>'
    )
    (step,) = parse_gadgetron(external(execute, ends)).parts
    assert step.values == {
        "module": "site.filters",
        "target": "smooth",
        "takes": "Acquisitions Waveforms",
        "gives": "Image",
        "configuration": '<configuration><width unit="px">3</width></configuration>',
    }


def test_an_old_python_gadget_is_the_program_that_gadgetron_makes_of_it():
    (step,) = steps(gadget("PythonGadget", python_module="smooth", python_class="Smooth", width="3"))
    assert (step.gadget, step.values["module"], step.values["target"]) == ("ExternalPython", "smooth", "Smooth")
    assert '<property name="width" value="3" />' in step.values["configuration"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (external('<connect port="18000"/>'), "<external> connect: not yet supported"),
        (external('<execute name="a" type="matlab"/>'), "<external> matlab: not yet supported"),
        (external('<execute name="a" type="Julia"/>'), "<external> julia: not yet supported"),
        (
            external(
                '<execute name="a" target="b" type="python"/>', f"<writers>{reader('BufferWriter', 'writer')}</writers>"
            ),
            "BufferWriter: not yet supported",
        ),
        (
            version_2(
                gadget("AcquisitionAccumulateTriggerGadget"),
                gadget("BucketToBufferGadget"),
                '<external><execute name="a" target="b" type="python"/></external>',
            ),
            "buffers are not yet given to other programs",
        ),
    ],
)
def test_external_programs_of_other_kinds_are_not_yet_supported(text, words):
    assert words in refused(text)


def test_the_guide_for_sites_names_every_class_and_property_that_is_served():
    guide = (Path(__file__).parents[2] / "docs" / "gadgetron.md").read_text()
    named = set(re.findall(r"`(\w+)`", guide))
    for served in SERVED:
        properties = {re.sub("(filter..)_(sigma|width)", r"\1", name) for name in served.properties}
        assert named >= {*served.classes, *properties}
    assert named >= NO_EFFECT


def test_the_guide_for_sites_names_every_stock_chain():
    guide = (Path(__file__).parents[2] / "docs" / "gadgetron.md").read_text()
    named = set(re.findall(r"`(\w+)`", guide.replace("`..._", "`Generic_Cartesian_")))
    assert named >= {
        name for name in config_names() if re.match("default|distributed|grappa|Generic|stream_|isalive", name)
    }
