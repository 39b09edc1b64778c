"""Gadgetron's classes: their properties, and the gadgets of ours that do their work."""

from __future__ import annotations

from . import gadgetron_work as work
from .chain_xml import Step
from .gadgetron_properties import (
    Property,
    Served,
    always,
    boolean,
    integer,
    is_empty,
    is_negative,
    is_off,
    is_on,
    number,
    one_of,
    passed,
)

_DIMENSION = Property("none", work.dimension, f"it can be {', '.join(work.COUNTERS)} or none")
_ONE_COMPRESSION = "one compression serves all N and S"
_SCALE_ONCE = "the scale is fixed by the first image of a series, whose maximum becomes 2048"

_MAPS = {
    "image_series": integer("0"),
    "coil_map_algorithm": Property("Inati", lambda value: value == "Inati", "maps come of Inati's first method", True),
    "coil_map_kernel_size_readout": integer("7"),
    "coil_map_kernel_size_phase": Property("5", one_of(5), "the box is as wide as along the readout", True),
    "coil_map_num_iter": Property("10"),
    "coil_map_thres_iter": Property("1e-4"),
}
_SKIP = Property(
    "Skip_processing_after_recon",
    lambda value: value == "Skip_processing_after_recon",
    "no attribute keeps images out",
    True,
)
_NOISE = {
    "noise_dependency_prefix": Property(""),
    "noise_dependency_folder": Property(""),
    "perform_noise_adjust": boolean("true"),
    "pass_nonconformant_data": Property("true", is_on, "lines without noise of their own are passed", True),
    "noise_dwell_time_us_preset": Property("0", one_of(0), "the dwell time is that of the noise lines"),
    "scale_only_channels_by_name": Property("", is_empty, "all channels are whitened together"),
}

_PCA = {
    "uncombined_channels_by_name": Property("", is_empty, "all channels are combined"),
    "present_uncombined_channels": Property("0"),
}

SERVED = (
    Served(("NoiseAdjustGadget",), work.prewhiten, _NOISE),
    Served(("NoiseAdjustGadget_unoptimized",), work.prewhiten, _NOISE),
    Served(
        ("PCACoilGadget", "CoilReductionGadget"),
        work.compress,
        {
            **_PCA,
            "coils_out": integer("128"),
            "coil_mask": Property("", is_empty, "the virtual channels with most signal are kept"),
        },
    ),
    Served(("PCACoilGadget",), always(), _PCA),
    Served(
        ("CoilReductionGadget",),
        work.channels,
        {
            "coils_out": Property("128", lambda value: int(value) > 0, "it must be a whole number above 0"),
            "coil_mask": Property("", lambda value: set(value.split()) <= {"0", "1"}, "it can hold zeros and ones"),
        },
    ),
    Served(("AsymmetricEchoAdjustROGadget",), always(Step("PadAsymmetricEcho"))),
    Served(("RemoveROOversamplingGadget",), always(Step("RemoveOversampling"))),
    Served(
        ("AcquisitionAccumulateTriggerGadget", "BucketToBufferGadget"),
        work.collect,
        {
            "trigger_dimension": _DIMENSION,
            "sorting_dimension": _DIMENSION,
            "n_acquisitions_before_trigger": Property("40"),
            "n_acquisitions_before_ongoing_trigger": Property("40"),
            "N_dimension": _DIMENSION,
            "S_dimension": _DIMENSION,
            "split_slices": boolean("false"),
            "ignore_segment": boolean("false"),
        },
    ),
    Served(
        ("SimpleReconGadget",),
        always(Step("FourierTransform"), Step("NumberSeries", {"first": "0"}), Step("CombineCoils")),
    ),
    Served(("FFTGadget",), always(Step("FourierTransform"), Step("NumberSeries", {"first": "0"}))),
    Served(("CombineGadget",), always(Step("CombineCoils"))),
    Served(
        ("GenericReconCartesianReferencePrepGadget",),
        always(),
        {
            "average_all_ref_N": Property("true"),
            "average_all_ref_S": boolean("false"),
            "N_for_ref": Property("-1", is_negative, "calibration is not taken from one N alone"),
            "S_for_ref": Property("-1", is_negative, "calibration is not taken from one S alone"),
            "ref_fill_into_data_embedded": boolean("false"),
            "prepare_ref_always": boolean("true"),
        },
        "each contrast, average, ... that has calibration lines is calibrated by these, and not by their mean",
    ),
    Served(
        ("GenericReconEigenChannelGadget",),
        work.eigen_channels,
        {
            "average_all_ref_N": Property("true", is_on, _ONE_COMPRESSION, True),
            "average_all_ref_S": boolean("false"),
            "update_eigen_channel_coefficients": Property("false", is_off, "they are kept over repetitions", True),
            "upstream_coil_compression": boolean("true"),
            "upstream_coil_compression_thres": number("-1"),
            "upstream_coil_compression_num_modesKept": integer("0"),
        },
    ),
    Served(
        ("GenericReconCartesianGrappaGadget",),
        work.generic_grappa,
        {
            **_MAPS,
            "grappa_kSize_RO": integer("5"),
            "grappa_kSize_E1": integer("4"),
            "grappa_kSize_E2": integer("4"),
            "grappa_reg_lamda": number("0.0005"),
            "grappa_calib_over_determine_ratio": Property("45"),
            "downstream_coil_compression": Property("true", is_off, "all channels are reconstructed", True),
            "downstream_coil_compression_thres": Property("0.002"),
            "downstream_coil_compression_num_modesKept": Property("0"),
            "send_out_gfactor": boolean("false"),
            "send_out_snr_map": boolean("false"),
        },
    ),
    *(
        Served(
            ("SliceAccumulator", "ImageAccumulator", weights, "Unmixing"),
            work.first_grappa,
            {
                "image_series": integer("0"),
                "unmixing_scale": Property("1", one_of(1), "images are not scaled"),
                "coil_map_estimation_ks": integer("5"),
                "coil_map_estimation_power": Property("3"),
                "block_size_lines": integer("4"),
                "block_size_samples": integer("5"),
                "convolution_kernel_threshold": number("5e-4"),
            },
        )
        for weights in ("cpuWeightsCalculator", "gpuWeightsCalculator")
    ),
    Served(
        ("GenericReconCartesianSpiritGadget",),
        work.generic_spirit,
        {
            **_MAPS,
            "spirit_kSize_RO": integer("7"),
            "spirit_kSize_E1": integer("7"),
            "spirit_kSize_E2": integer("5"),
            "spirit_reg_lamda": number("0"),
            "spirit_calib_over_determine_ratio": Property("45"),
            "spirit_iter_max": integer("0"),
            "spirit_iter_thres": number("0"),
            "spirit_print_iter": boolean("false"),
        },
        "intensities are those of the fully sampled image, without Gadgetron's factor for the lines left out",
    ),
    Served(("GenericReconCartesianFFTGadget",), work.generic_fft, _MAPS),
    Served(
        ("GenericReconPartialFourierHandlingFilterGadget",),
        work.smooth_edge,
        {
            "skip_processing_meta_field": _SKIP,
            "partial_fourier_filter_RO_width": number("0.15"),
            "partial_fourier_filter_E1_width": number("0.15"),
            "partial_fourier_filter_E2_width": number("0.15"),
            "partial_fourier_filter_densityComp": Property("false", is_off, "no sample counts twice", True),
        },
    ),
    Served(
        ("GenericReconPartialFourierHandlingPOCSGadget",),
        work.pocs,
        {
            "skip_processing_meta_field": _SKIP,
            "partial_fourier_POCS_iters": integer("6"),
            "partial_fourier_POCS_thres": number("0.01"),
            "partial_fourier_POCS_transitBand": integer("24"),
            "partial_fourier_POCS_transitBand_E2": integer("16"),
        },
    ),
    Served(
        ("GenericReconKSpaceFilteringGadget",),
        work.kspace_filter,
        {"skip_processing_meta_field": _SKIP}
        | {
            f"filter{axis}{name}": rule
            for axis in ("RO", "E1", "E2")
            for name, rule in {
                "": Property(
                    "Gaussian", lambda value: value.lower() in work.FILTERS, f"it can be {', '.join(work.FILTERS)}"
                ),
                "_sigma": number("1.0"),
                "_width": number("0.15"),
            }.items()
        },
    ),
    Served(("GenericReconFieldOfViewAdjustmentGadget",), always(Step("CropFieldOfView"))),
    Served(
        ("GenericReconImageArrayScalingGadget",),
        work.scale,
        {
            "use_constant_scalingFactor": Property("true", is_on, _SCALE_ONCE, True),
            "scalingFactor": Property("4.0", lambda value: float(value) > 0, _SCALE_ONCE, True),
            "min_intensity_value": Property("64"),
            "max_intensity_value": Property("4095"),
            "auto_scaling_only_once": Property("true", is_on, _SCALE_ONCE, True),
            "use_dedicated_scalingFactor_meta_field": Property("Use_dedicated_scaling_factor"),
            "scalingFactor_dedicated": Property("100.0"),
            "scalingFactor_gfactor_map": Property("100.0", one_of(100), "maps of the g-factor are given times 100"),
            "scalingFactor_snr_map": Property("10.0", one_of(10), "maps of signal to noise are given times 10"),
            "scalingFactor_snr_std_map": Property("1000.0", one_of(1000), "their deviation is given times 1000"),
        },
    ),
    Served(
        ("GenericReconNoiseStdMapComputingGadget",),
        passed("NoiseDeviation", skip="start_N_for_std_map"),
        {"start_N_for_std_map": Property("5", lambda value: int(value) >= 0, "it must be a whole number, 0 or more")},
        "the deviation is that over repetitions, whatever N_dimension is",
    ),
    Served(
        ("ImageResizingGadget",),
        work.resize,
        {f"new_{axis}": integer("0") for axis in ("RO", "E1", "E2")}
        | {f"scale_factor_{axis}": number("1.0") for axis in ("RO", "E1", "E2")}
        | {"order_interpolator": Property("5")},
        "images are interpolated in k-space, about the same centre, and not by splines from edge to edge",
    ),
    Served(
        ("ImageInverter",),
        always(Step("InvertContrast", {"maximum": "0"})),
        note="only magnitudes are inverted, and other images pass",
    ),
    Served(("ImageArraySplitGadget",), always()),
    Served(("ImageFinishGadget",), always()),
    Served(("ImageIndexGadget",), always()),
    Served(("AugmentImageMetadataGadget",), always()),
    Served(
        ("ImageSortGadget",),
        always(),
        {"sorting_dimension": Property("slice")},
        "images come in the order in which they are made",
    ),
    Served(
        ("ExtractGadget",),
        work.extract,
        {
            "extract_mask": integer("0"),
            "extract_magnitude": boolean("true"),
            "extract_real": boolean("false"),
            "extract_imag": boolean("false"),
            "extract_phase": Property("false", is_off, "phases are from -pi to pi, where Gadgetron adds pi", True),
            "real_imag_offset": Property("0", one_of(0), "parts are given as they are"),
        },
    ),
    Served(("ComplexToFloatGadget",), always(Step("ComplexParts"))),
    Served(
        ("AutoScaleGadget",),
        passed("ScaleIntensity", target="max_value", scope="=image"),
        {
            "max_value": number("2048"),
            "histogram_bins": Property("100", one_of(100), "the percentile is exact", True),
        },
    ),
    Served(
        ("ScaleGadget",),
        passed("ScaleIntensity", target="max_value", percentile="percentile", scope="=image"),
        {"max_value": number("2048"), "percentile": number("98.5")},
    ),
    Served(
        ("FloatToUShortGadget",),
        passed("ToInteger", maximum="max_intensity"),
        {
            "max_intensity": integer("4095"),
            "min_intensity": Property("0", one_of(0), "integers begin at 0"),
            "intensity_offset": Property(
                "2048", one_of(0, 2048), "zero of phases and of real and imaginary parts lies in the middle", True
            ),
        },
    ),
)
"""All that can be served."""
