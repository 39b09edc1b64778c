"""Gadgetron's classes and stock configurations that cannot be served yet, and what they wait for."""

from __future__ import annotations


def _by_name(missing: dict[str, str]) -> dict[str, str]:
    return {name: work for work, names in missing.items() for name in names.split()}


_SENSE = "iterative SENSE"

CLASSES = _by_name(
    {
        "SPIRiT with wavelets along time": "GenericReconCartesianNonLinearSpirit2DTGadget",
        "echo-planar scans": """EPIReconXGadget EPICorrGadget EPIPackNavigatorGadget FFTXGadget OneEncodingGadget
            CutXGadget""",
        "spiral and radial scans": """SpiralToGenericGadget GriddingReconGadget CPUGriddingReconGadget
            CartesianToGenericGadget NFFT2DGadget RadialPhaseCorrectionGadget CMRTGadget CMRT3DGadget
            gpuCgSpiritGadget gpuRadialSpiritPrepGadget gpuRadialSensePrepGadget
            gpuSpiralSensePrepGadget gpuSpiralDeblurGadget""",
        _SENSE: """gpuCgSenseGadget gpuCgKtSenseGadget gpuSbSenseGadget gpuNlcgSenseGadget
            gpuLALMSenseGadget gpuOsSenseGadget gpuGenericSensePrepGadget gpuBufferSensePrepGadget
            gpuRetroGatedSensePrepGadget""",
        "GRAPPA of the oldest kind": "GrappaGadget GrappaUnmixingGadget",
        "triggering by flags": "FlagTriggerGadget",
        "triggering by slice alone": "AccumulatorGadget",
        "cine": """PhysioInterpolationGadget CmrCartesianKSpaceBinningCineGadget
            GenericReconReferenceKSpaceDelayedBufferGadget""",
        "motion correction": """T1MocoGadget cpuRegistrationAveragingGadget2D gpuRegistrationAveragingGadget2D
            gpuRegistrationScatteringGadget2D""",
        "parameter maps": "CmrParametricMappingGadget CmrParametricT1SRMappingGadget CmrParametricT2MappingGadget",
        "flow": "FlowPhaseSubtractionGadget MaxwellCorrectionGadget",
        "separation of fat and water": "FatWaterGadget ImageAccumulatorGadget",
        "spectroscopic imaging": "CSIGadget gpuCSICoilEstimationGadget",
        "neural networks": "GenericReconCartesianGrappaAIGadget CmrRealTimeLAXCineAIAnalysisGadget",
        "BART": "BartGadget",
        "DICOM": "DicomFinishGadget",
        "denoising": "DenoiseGadget",
        "noise for tests": "PseudoReplicatorGadget WhiteNoiseInjectorGadget",
        "reports on noise": "NoiseSummaryGadget NoiseCovariancePlottingGadget",
        "answers about stored noise": "DependencyQueryGadget",
        "files of what passes": """IsmrmrdDumpGadget CplxDumpGadget ImageWriterGadgetCPLX ImageWriterGadgetFLOAT
            ImageWriterGadgetUSHORT""",
        "other types of pixels": "FloatToShortGadget FloatToIntGadget FloatToUIntGadget",
        "work on lines": "PartialFourierAdjustROGadget ChannelReorderer AcquisitionPassthroughGadget RateLimitGadget",
        "work on images": """CropAndCombineGadget ImageFFTGadget CoilComputationGadget cuFFTGadget
            ImageLayerer GenericImageReconGadget GenericImageReconArrayToImageGadget
            GenericReconImageToImageArrayGadget GenericReconAccumulateImage2DTriggerGadget
            GenericReconAccumulateImage3DTriggerGadget""",
        "interventional scans": """DeviceChannelSplitterGadgetCPLX DeviceChannelSplitterGadgetFLOAT
            DeviceChannelSplitterGadgetUSHORT""",
        "distribution over machines": "IsmrmrdAcquisitionDistributeGadget CollectGadget",
        "classes that Gadgetron gave up": "GtPlusAccumulatorWorkOrderTriggerGadget GtPlusRecon2DTGadget",
    }
)
"""What is missing, by class."""

CONFIGS = _by_name(
    {
        "SPIRiT with wavelets along time": """Generic_Cartesian_NonLinear_Spirit_RealTimeCine
            Generic_Cartesian_NonLinear_Spirit_RealTimeCine_Cloud
            Generic_Cartesian_RandomSampling_NonLinear_Spirit_RealTimeCine
            Generic_Cartesian_RandomSampling_NonLinear_Spirit_RealTimeCine_Cloud""",
        "echo-planar scans": """epi epi_gtplus_grappa Generic_Cartesian_Grappa_EPI Generic_Cartesian_Grappa_EPI_AVE""",
        "spiral and radial scans": """Generic_Spiral Generic_Spiral_Flag Generic_Spiral_SNR Generic_CPU_Gridding_Recon
            spirit NFFT2D CMRT CMRT3D deblurring_recon_acctrig spiral_interactive spiral_flow_generic_gpusense_cg
            spiral_flow_generic_gpusense_sb spiral_flow_gpusense_cg spiral_flow_gpusense_cg_ecg
            spiral_flow_gpusense_cg_unoptimized spiral_flow_gpusense_sb spiral_flow_gpusense_sb_unoptimized
            fixed_radial_mode0_gpu_ktsense fixed_radial_mode0_gpusense_cg fixed_radial_mode0_gpusense_cg_unoptimized
            fixed_radial_mode0_gpusense_sb fixed_radial_mode0_gpusense_sb_unoptimized fixed_radial_mode0_realtime
            fixed_radial_mode1_gpu_ktsense fixed_radial_mode1_gpusense_cg fixed_radial_mode1_gpusense_cg_unoptimized
            fixed_radial_mode1_gpusense_sb fixed_radial_mode1_gpusense_sb_unoptimized fixed_radial_mode1_realtime
            golden_radial_mode2_gpu_ktsense golden_radial_mode2_gpusense_cg
            golden_radial_mode2_gpusense_cg_unoptimized golden_radial_mode2_gpusense_nlcg
            golden_radial_mode2_gpusense_nlcg_unoptimized golden_radial_mode2_gpusense_sb
            golden_radial_mode2_gpusense_sb_unoptimized golden_radial_mode2_os_realtime golden_radial_mode2_realtime
            golden_radial_mode3_gpusense_cg golden_radial_mode3_gpusense_sb golden_radial_mode3_os_realtime""",
        _SENSE: """generic_gpu_ktsense_singleshot generic_gpusense_cg generic_gpusense_cg_singleshot
            generic_gpusense_nlcg_singleshot generic_gpusense_sb_singleshot cpureg_cartesian_averaging
            gpureg_cartesian_averaging""",
        "cine": """CMR_2DT_RTCine_KspaceBinning CMR_2DT_RTCine_KspaceBinning_Cloud
            CMR_2DT_RTCine_KspaceBinning_MultiSeries CMR_2DT_RTCine_KspaceBinning_MultiSeries_Cloud""",
        "separation of fat and water": "Generic_Cartesian_Grappa_FatWater",
        "spectroscopic imaging": "FS-CSI",
        "motion correction": "MOLLI_T1_Moco MOLLI_T1_Moco_istore",
        "parameter maps": "CMR_2DT_T1Mapping_SASHA",
        "denoising": "Generic_Cartesian_Grappa_Cine_Denoise",
        "distribution over machines": "Generic_Cartesian_Grappa_RealTimeCine_Cloud",
        "neural networks": "Generic_Cartesian_Grappa_AI CMR_Image_Chain_RTCine_LAX_AI CMR_RTCine_LAX_AI",
        "BART": "BART_Recon BART_Recon_cloud BART_Recon_cloud_Standard",
        "DICOM": "dicom",
        "channels that are not combined": "grappa_device grappa_device_cpu",
        "images in arrays": "Generic_Cartesian_Grappa_ImageArray stream_image_array CMR_RTCine_Recon",
        "k-space of images": "Generic_Cartesian_Image_Chain_FFT",
        "reports on noise": "NoiseSummary Generic_Cartesian_Grappa_SNR_CoilQA",
        "noise for tests": "pseudoreplica",
        "answers about stored noise": "gtquery",
        "files of what passes": "ismrmrd_dump default_measurement_dependencies_ismrmrd_storage",
        "examples of programs beside the server": """external_connect_example external_equivalent_example
            external_example external_julia_acquisition_example external_matlab_acquisition_example
            external_matlab_bucket_example external_matlab_buffer_example external_matlab_tiny_example
            external_python_acquisition_example external_python_bucket_example external_python_buffer_example
            parallel_bypass_example Generic_Cartesian_Grappa_RealTimeCine_Python python_buckets
            python_image_array_recon python_passthrough python_short""",
    }
)
"""What is missing, by the name of a stock configuration."""
