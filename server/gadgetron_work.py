"""The steps that do the work of Gadgetron's classes, made of the values of their properties."""

from __future__ import annotations

from collections.abc import Sequence

from .chain_xml import Step
from .gadgetron_properties import Values, is_on

COUNTERS = ("slice", "contrast", "phase", "repetition", "set", "average", "segment")  # as CollectKSpace names them
FILTERS = {"gaussian": "gaussian", "hanning": "hann", "taperedhanning": "tukey", "none": "none"}


def prewhiten(values: Values) -> Sequence[Step]:
    """Whitening, unless it is turned off."""
    return [Step("Prewhiten")] if is_on(values["perform_noise_adjust"]) else []


def collect(values: Values) -> Sequence[Step]:
    """A bucket is cut where the trigger's counter changes and holds one value of the sorting counter.

    Out of it, each combination of counters makes a buffer, in which those of N and S are kept together. Slices are kept
    apart, as they are worked on one by one whether a buffer holds one or all of them.
    """
    names = ("trigger_dimension", "sorting_dimension", "N_dimension", "S_dimension")
    trigger, sorting, *together = (values[name].lower() for name in names)
    together += ["segment"] if is_on(values["ignore_segment"]) else []
    split = [name for name in COUNTERS if name not in together or name in (trigger, sorting)]
    parameters = {"split": " ".join(split)}
    if "average" not in split:
        parameters["averages"] = "keep"
    if trigger in ("", "none"):
        parameters["trigger"] = "end"
    return [Step("CollectKSpace", parameters)]


def dimension(value: str) -> bool:
    """Whether a property names a counter, or none."""
    return value.lower() in ("", "none", *COUNTERS)


def extract(values: Values) -> Sequence[Step]:
    """The parts of images that are asked for; raises ValueError where none is."""
    mask = int(values["extract_mask"])
    flags = {"magnitude": ("magnitude", 1), "phase": ("phase", 8), "real": ("real", 2), "imaginary": ("imag", 4)}
    parts = [part for part, (name, bit) in flags.items() if mask & bit or is_on(values[f"extract_{name}"])]
    if not parts:
        raise ValueError("no part of the images is asked for")
    return [Step("ComplexParts", {"parts": " ".join(parts)})]


def series(values: Values) -> Sequence[Step]:
    """Series of Gadgetron's generic chains are numbered by encoding space + 1, as ours, and an offset."""
    offset = int(values["image_series"])
    return [Step("NumberSeries", {"first": str(offset + 1)})] if offset else []


def generic_fft(values: Values) -> Sequence[Step]:
    """The transform of fully sampled scans, and coil maps of its images."""
    maps = Step("CombineCoils", {"method": "adaptive", "width": values["coil_map_kernel_size_readout"]})
    return [Step("FourierTransform"), *series(values), maps]


def kspace_filter(values: Values) -> Sequence[Step]:
    """Filters of k-space."""

    def by_axis(name: str) -> list[str]:
        return [values[f"filter{axis}{name}"] for axis in ("RO", "E1", "E2")]

    def told(name: str, along: list[str]) -> dict[str, str]:
        return {name: " ".join(along[:1] if len(set(along)) == 1 else along)}

    kinds = [FILTERS[kind.lower()] for kind in by_axis("")]
    parameters = told("kind", kinds) | told("sigma", by_axis("_sigma")) | told("width", by_axis("_width"))
    return [Step("FilterImages", {**parameters, "snr_maps": "true"})]


def smooth_edge(values: Values) -> Sequence[Step]:
    """Partial Fourier by a filter."""
    widths = " ".join(values[f"partial_fourier_filter_{axis}_width"] for axis in ("RO", "E1", "E2"))
    return [Step("PartialFourier", {"method": "zero_filling", "width": widths})]


def pocs(values: Values) -> Sequence[Step]:
    """Partial Fourier by projections."""
    along = values["partial_fourier_POCS_transitBand"]
    parameters = {
        "method": "pocs",
        "band": f"{along} {along} {values['partial_fourier_POCS_transitBand_E2']}",
        "iterations": values["partial_fourier_POCS_iters"],
        "threshold": values["partial_fourier_POCS_thres"],
    }
    return [Step("PartialFourier", parameters)]


def scale(values: Values) -> Sequence[Step]:
    """A factor, or the scale that an image itself gives."""
    if is_on(values["use_constant_scalingFactor"]) and float(values["scalingFactor"]) > 0:
        return [Step("MultiplyIntensity", {"factor": values["scalingFactor"]})]
    return [Step("ComplexParts"), Step("ScaleIntensity", {"percentile": "100", "target": "2048"})]


def compress(values: Values) -> Sequence[Step]:
    """Virtual channels, as many as are asked for."""
    return [Step("CompressCoils", {"channels": values["coils_out"], "threshold": "0"})]


def eigen_channels(values: Values) -> Sequence[Step]:
    """A threshold below 0 keeps all channels, in another order, which changes no image."""
    threshold = float(values["upstream_coil_compression_thres"])
    channels = int(values["upstream_coil_compression_num_modesKept"])
    if not is_on(values["upstream_coil_compression"]) or (threshold < 0 and not channels):
        return []
    return [Step("CompressCoils", {"channels": str(channels), "threshold": f"{max(threshold, 0):g}"})]


def generic_grappa(values: Values) -> Sequence[Step]:
    """GRAPPA in units of the noise."""
    parameters = {
        "kernel": " ".join(values[f"grappa_kSize_{axis}"] for axis in ("RO", "E1", "E2")),
        "regularization": values["grappa_reg_lamda"],
        "noise_weight": "0",
        "width": values["coil_map_kernel_size_readout"],
        "snr_units": "true",
        "gfactor": str(is_on(values["send_out_gfactor"])).lower(),
    }
    if is_on(values["send_out_snr_map"]):
        parameters["snr_map"] = "true"
    return [Step("Grappa", parameters), *series(values)]


def first_grappa(values: Values) -> Sequence[Step]:
    """GRAPPA of the oldest chains."""
    parameters = {
        "kernel": f"{values['block_size_samples']} {values['block_size_lines']}",
        "regularization": values["convolution_kernel_threshold"],
        "noise_weight": "0",
        "width": values["coil_map_estimation_ks"],
    }
    series = Step("NumberSeries", {"first": values["image_series"]})
    return [Step("CollectKSpace"), Step("Grappa", parameters), series]


def channels(values: Values) -> Sequence[Step]:
    """A choice among channels."""
    mask = values["coil_mask"].split()
    return [Step("KeepChannels", {"mask": " ".join(mask)} if mask else {"first": values["coils_out"]})]


def generic_spirit(values: Values) -> Sequence[Step]:
    """Zeros stand for values of Gadgetron's own choice, which ours take the place of."""
    parameters = {"neighbours": " ".join(values[f"spirit_kSize_{axis}"] for axis in ("RO", "E1", "E2"))}
    parameters |= {"maps": "adaptive", "width": values["coil_map_kernel_size_readout"]}
    if float(values["spirit_reg_lamda"]) > 0:
        parameters["fit_regularization"] = values["spirit_reg_lamda"]
    if int(values["spirit_iter_max"]) > 0:
        parameters["iterations"] = values["spirit_iter_max"]
    if float(values["spirit_iter_thres"]) > 0:
        parameters["tolerance"] = values["spirit_iter_thres"]
    return [Step("Spirit", parameters), *series(values)]


def resize(values: Values) -> Sequence[Step]:
    """Another number of pixels."""
    matrix = " ".join(values[f"new_{axis}"] for axis in ("RO", "E1", "E2"))
    scale = " ".join(f"{float(values[f'scale_factor_{axis}']) or 1:g}" for axis in ("RO", "E1", "E2"))
    return [Step("Resize", {"matrix": matrix, "scale": scale})]
