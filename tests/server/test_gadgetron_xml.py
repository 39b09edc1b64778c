"""Gadgetron's configurations, both dialects: what becomes of them, what is told, and what is refused, all at once."""

import pytest
from gadgetron_texts import gadget, legacy, reader, refused, steps, version_2

from echotrain.server.chain_xml import Branch, Parallel, Step
from echotrain.server.gadgetron_xml import parse_gadgetron


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
            gadget("GenericReconCartesianNonLinearSpirit2DTGadget", "Recon", spirit_print_iter="true"),
            gadget("AutoScalGadget"),
            gadget("AutoScaleGadget", "Scale", max_valu="2"),
            gadget("FloatToUShortGadget", "Short", min_intensity="5"),
            gadget("AcquisitionAccumulateTriggerGadget", "Trigger"),
            "<gizmo/>",
        )
    )
    for part in (
        "GenericReconCartesianNonLinearSpirit2DTGadget 'Recon': not yet supported (SPIRiT with wavelets along time)",
        "AutoScalGadget: no class of Gadgetron has that name; did you mean AutoScaleGadget",
        "AutoScaleGadget 'Scale': there is no property 'max_valu'; did you mean max_value?",
        "FloatToUShortGadget 'Short': min_intensity='5': integers begin at 0",
        "AcquisitionAccumulateTriggerGadget 'Trigger': only served in a row with its neighbours",
        "<gizmo>",
    ):
        assert part in words


def test_values_of_the_wrong_type_are_refused():
    words = refused(legacy(gadget("NoiseAdjustGadget", perform_noise_adjust="maybe")))
    assert "NoiseAdjustGadget: perform_noise_adjust='maybe': it must be true or false" in words
    assert "extract_mask='nine': it must be a whole number" in refused(
        legacy(gadget("ExtractGadget", extract_mask="nine"))
    )
    assert "max_value='': it must be a number" in refused(legacy(gadget("AutoScaleGadget", max_value="")))
    words = refused(legacy(gadget("GenericReconKSpaceFilteringGadget", filterE1="Blackman")))
    assert "filterE1='Blackman': it can be gaussian, hanning, taperedhanning, none" in words
    words = refused(legacy(gadget("ExtractGadget", extract_magnitude="false")))
    assert "no part of the images is asked for" in words
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
        version_2(parallel("ImageLayerer", f"<stream>{gadget('ImageFFTGadget')}</stream>", branch="ImageFanout"))
    )
    assert "the branch ImageFanout and the merge ImageLayerer: not yet supported" in words
    assert "ImageFFTGadget: not yet supported" in words


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
