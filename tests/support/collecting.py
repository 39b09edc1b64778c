"""Lines and gadgets for tests of how k-space is collected."""

import numpy as np

from echotrain.gadgets.collect import CollectKSpace
from echotrain.mrd import (
    Acquisitions,
    Encoding,
    Header,
    KSpace,
    Limit,
    Space,
    Text,
    acquisition_headers,
)

N_CHANNELS, N_KY, N_KZ, N_KX = 3, 6, 4, 5
STEP_1, STEP_2 = "kspace_encode_step_1", "kspace_encode_step_2"


def encoding(n_kz=1, trajectory="cartesian", **limits):
    """An encoding of which the limits announce all of ky (and kz), unless `limits` say otherwise."""
    steps = {"kspace_encoding_step_1": (0, N_KY - 1, N_KY // 2)}
    if n_kz > 1:
        steps["kspace_encoding_step_2"] = (0, n_kz - 1, n_kz // 2)
    known = {name: Limit(*limit) for name, limit in {**steps, **limits}.items() if limit}
    space = Space((N_KX, N_KY, n_kz), (100.0, 100.0, 20.0))
    return Encoding(space, space, known, trajectory)


PLANE = encoding()
AVERAGED = encoding(average=(0, 2, 0))
UNKNOWN = encoding(kspace_encoding_step_1=None)


def lines(steps, seed=0, flags=0, n_samples=N_KX, **counters):
    """Lines of noise at `steps` along ky; counters and flags for all, or for each."""
    rng = np.random.default_rng(seed)
    shape = (len(steps), N_CHANNELS, n_samples)
    data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    head = acquisition_headers(*shape)
    head["idx"][STEP_1] = steps
    head["flags"] = flags
    head["scan_counter"] = np.arange(len(steps)) + 1000 * seed
    for name, value in counters.items():
        head["idx"][name] = value
    return Acquisitions(head, data)


def joined(*batches):
    return Acquisitions(np.concatenate([b.head for b in batches]), np.concatenate([b.data for b in batches]))


def flagged(batch, index, flag):
    batch.head["flags"][index] |= np.uint64(flag)
    return batch


def started(*encodings, **parameters):
    gadget = CollectKSpace(**parameters)
    gadget.connect([])
    gadget.start(Header(b"", encodings or (PLANE,)))
    return gadget


def processed(gadget, *batches):
    return [item for batch in batches for item in gadget.process(batch) or ()]


def finished(gadget, *batches):
    return processed(gadget, *batches) + list(gadget.finish() or ())


def units(items):
    return [item for item in items if isinstance(item, KSpace)]


def texts(items):
    return [item.text for item in items if isinstance(item, Text)]


def counters_of(items, name):
    return [int(unit.head["idx"][name]) for unit in units(items)]


# Where lines go
