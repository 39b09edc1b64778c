"""Answers to clients that ask which noise is kept, before they send a scan that depends on it."""

from __future__ import annotations

from echotrain.mrd import DependencyQuery
from echotrain.mrd.errors import ConfigError, StorageError
from echotrain.mrd.meta import meta_xml
from echotrain.mrd.xml import parse_xml

from .noise_store import NoiseStore

GADGETRON_PREFIX = "GadgetronNoiseCovarianceMatrix_"
LONGEST_QUESTION = 1 << 16  # characters of a configuration that asks; longer ones are not looked at


def answer_config(store: NoiseStore, config: str) -> DependencyQuery | None:
    """The answer to a client that sends only a configuration, or None where that asks nothing.

    Gadgetron's clients ask with a chain of NoiseSummaryGadget, whose property `noise_file` names a measurement, or of
    DependencyQueryGadget, as in its configuration gtquery.xml.
    """
    if config.removesuffix(".xml") == "gtquery":
        return noise_names(store)
    if not config.startswith("<") or len(config) > LONGEST_QUESTION:
        return None
    try:
        gadgets = parse_xml(config, "the configuration", ConfigError).findall("gadget")
    except ConfigError:
        return None
    for gadget in gadgets:
        properties = {item.findtext("name", "").strip(): item.findtext("value", "") for item in gadget.iter("property")}
        match gadget.findtext("classname", "").strip():
            case "NoiseSummaryGadget":
                return noise_summary(store, properties.get("noise_file", "").strip())
            case "DependencyQueryGadget":
                return noise_names(store)
    return None


def noise_names(store: NoiseStore) -> DependencyQuery:
    """The names of all noise that is kept, as Gadgetron answers the configuration gtquery.xml."""
    names = [GADGETRON_PREFIX + found for found in store.measurement_ids()]
    return DependencyQuery(meta_xml({"NoiseDependencies": names or "Dummy"}).decode())


def noise_summary(store: NoiseStore, name: str) -> DependencyQuery:
    """What is known of a measurement's noise, as Gadgetron's NoiseSummaryGadget says; `name` with or without prefix."""
    try:
        noise = store.find(name.removeprefix(GADGETRON_PREFIX))
    except StorageError:  # Gadgetron's clients know no third answer, and send the noise again
        noise = None
    if noise is None:
        return DependencyQuery(meta_xml({"status": "failed"}).decode())
    summary = {
        "noise_dwell_time_us": noise.dwell_us,
        "min_sigma": float(noise.deviations.min()),
        "max_sigma": float(noise.deviations.max()),
        "mean_sigma": float(noise.deviations.mean()),
        "channels": noise.n_channels,
        "status": "success",
    }
    return DependencyQuery(meta_xml({key: str(value) for key, value in summary.items()}).decode())
