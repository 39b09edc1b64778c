"""Gadgetron's classes and properties become our gadgets and parameters, and the guide for sites names them all."""

import re
from pathlib import Path

import pytest
from gadgetron_texts import gadget, legacy, refused, steps

from echotrain.server.chain_xml import Step
from echotrain.server.configs import config_names
from echotrain.server.gadgetron_classes import SERVED
from echotrain.server.gadgetron_properties import NO_EFFECT

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
            {"kind": "hann gaussian none", "sigma": "1.0 1.5 1.0", "width": "0.15", "snr_maps": "true"},
        ),
        (
            gadget("GenericReconPartialFourierHandlingFilterGadget", partial_fourier_filter_E1_width="0.2"),
            "PartialFourier",
            {"method": "zero_filling", "width": "0.15 0.2 0.15"},
        ),
        (
            gadget("GenericReconPartialFourierHandlingPOCSGadget", partial_fourier_POCS_iters="9"),
            "PartialFourier",
            {"method": "pocs", "band": "24 24 16", "iterations": "9", "threshold": "0.01"},
        ),
        (gadget("GenericReconNoiseStdMapComputingGadget"), "NoiseDeviation", {"skip": "5"}),
        (gadget("GenericReconNoiseStdMapComputingGadget", start_N_for_std_map="0"), "NoiseDeviation", {"skip": "0"}),
        (gadget("GenericReconImageArrayScalingGadget", scalingFactor="10.0"), "MultiplyIntensity", {"factor": "10.0"}),
        (
            gadget("GenericReconCartesianGrappaGadget", grappa_kSize_E1="2", send_out_gfactor="true"),
            "Grappa",
            {
                "kernel": "5 2 4",
                "regularization": "0.0005",
                "noise_weight": "0",
                "width": "7",
                "snr_units": "true",
                "gfactor": "true",
            },
        ),
    ],
)
def test_properties_become_parameters_and_gadgetrons_defaults_hold(part, gadget_name, values):
    assert steps(part) == [Step(gadget_name, values)]


def test_maps_of_signal_to_noise_are_given_where_they_are_asked_for():
    (step,) = steps(gadget("GenericReconCartesianGrappaGadget", send_out_snr_map="true"))
    assert step.values["snr_map"] == "true"
    assert step.values["gfactor"] == "false"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (gadget("GenericReconImageArrayScalingGadget", scalingFactor_snr_map="4"), "given times 10"),
        (gadget("GenericReconImageArrayScalingGadget", scalingFactor_snr_std_map="1"), "given times 1000"),
        (gadget("GenericReconNoiseStdMapComputingGadget", start_N_for_std_map="-1"), "0 or more"),
        (gadget("GenericReconCartesianGrappaGadget", send_out_snr_map="maybe"), "true or false"),
    ],
)
def test_maps_that_cannot_be_given_as_asked_for_are_refused(part, words):
    assert words in refused(legacy(part))


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


def test_a_choice_among_channels_is_made_on_lines():
    first, masked = steps(
        gadget("CoilReductionGadget", coils_out="6"), gadget("CoilReductionGadget", coil_mask="0 1  1")
    )
    assert first == Step("KeepChannels", {"first": "6"})
    assert masked == Step("KeepChannels", {"mask": "0 1 1"})
    assert "above 0" in refused(legacy(gadget("CoilReductionGadget", coils_out="0")))
    assert "zeros and ones" in refused(legacy(gadget("CoilReductionGadget", coil_mask="0 2")))


def test_spirit_takes_what_is_given_and_chooses_for_itself_where_zeros_leave_it_to_gadgetron():
    (chosen,) = steps(gadget("GenericReconCartesianSpiritGadget"))
    assert chosen == Step("Spirit", {"neighbours": "7 7 5", "maps": "adaptive", "width": "7"})
    (given,) = steps(
        gadget(
            "GenericReconCartesianSpiritGadget",
            spirit_kSize_E1="5",
            spirit_reg_lamda="0.02",
            spirit_iter_max="12",
            spirit_iter_thres="0.001",
        )
    )
    assert given.values["neighbours"] == "7 5 5"
    assert given.values["fit_regularization"] == "0.02"
    assert given.values["iterations"] == "12"
    assert given.values["tolerance"] == "0.001"


def test_images_are_resized_and_inverted():
    resized, inverted = steps(
        gadget("ImageResizingGadget", new_RO="64", scale_factor_E1="2", scale_factor_E2="0"), gadget("ImageInverter")
    )
    assert resized == Step("Resize", {"matrix": "64 0 0", "scale": "1 2 1"})
    assert inverted == Step("InvertContrast", {"maximum": "0"})
