"""Noise and other lines for tests of prewhitening, and what came out."""

import numpy as np

from echotrain.gadgets.prewhiten import Prewhiten
from echotrain.mrd import Acquisitions, Flag, Header, Noise, Text, acquisition_headers

N_CHANNELS = 5
BANDWIDTH = 0.6


def normal(rng, *shape):
    """Complex noise whose real and imaginary parts have variance 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def correlated(rng, mixing, n_lines, n_samples):
    return (mixing @ normal(rng, n_lines, len(mixing), n_samples)).astype(np.complex64)


def some_mixing(rng, n=N_CHANNELS):
    return normal(rng, n, n) + 2 * np.eye(n)


def lines(data, flag=0, dwell=4.0, bits=None):
    head = acquisition_headers(len(data), data.shape[1], data.shape[2])
    head["flags"] = flag
    head["sample_time_us"] = dwell
    head["scan_counter"] = np.arange(len(data))
    if bits is not None:
        head["channel_mask"][:, 0] = sum(1 << bit for bit in bits)
    return Acquisitions(head, data)


def noise_lines(data, dwell=8.0, bits=None):
    return lines(data, Flag.IS_NOISE_MEASUREMENT, dwell, bits)


def started(bandwidth=BANDWIDTH, header=None, **parameters):
    gadget = Prewhiten(**parameters)
    gadget.connect([])
    gadget.start(header or Header(b"", noise_bandwidth=bandwidth))
    return gadget


def given(gadget, *batches):
    items = [item for batch in batches for item in gadget.process(batch) or ()]
    return items + list(gadget.finish() or ())


def samples(items):
    return np.concatenate([item.data for item in items if isinstance(item, Acquisitions)])


def measured(items):
    """The noise that was given on for later scans."""
    (noise,) = (item for item in items if isinstance(item, Noise))
    return noise


def texts(items):
    return [item.text for item in items if isinstance(item, Text)]
