"""Coil maps, images and patterns that are known, for tests of parallel imaging by maps."""

import numpy as np
from undersampling import N_KX, N_KY, PLANE, channel_images, noise, only, relative

from echotrain.gadgets import CollectKSpace, CombineCoils, FourierTransform, RemoveOversampling
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Encoding, Header, Image, KSpace, Limit, Space, acquisition_headers, parse_header

HEADER = Header(
    b"",
    (
        Encoding(
            Space((N_KX, N_KY, 1), (100.0, 120.0, 5.0)),
            Space((N_KX, N_KY, 1), (100.0, 120.0, 5.0)),
            {"kspace_encoding_step_1": Limit(0, N_KY - 1, N_KY // 2)},
        ),
    ),
)


def known_coils(shape=PLANE[1:], n_channels=6):
    """Maps whose squares sum to 1 within an object and are 0 outside, an image, and the k-space that channels see."""
    maps = channel_images(n_channels, shape)
    norm = np.linalg.norm(maps, axis=0)
    maps = maps / np.where(norm > 0, norm, 1)
    image = noise(*shape, seed=3) * (norm > 0)
    return maps, image, centred_fft(maps * image, (-3, -2, -1))


def irregular(shape=(1, N_KY), share=0.6):
    sampled = np.random.default_rng(4).random(shape) < share
    sampled[:, shape[1] // 2 - 4 : shape[1] // 2 + 4] = True
    return sampled


def shifted(shape, step_y, step_z, shift, first=0):
    """Every nth line of every nth plane, further along ky from plane to plane. Shape (kz, ky)."""
    sampled = np.zeros(shape, bool)
    for number, plane in enumerate(range(0, shape[0], step_z)):
        sampled[plane, (first + shift * number) % step_y :: step_y] = True
    return sampled


def unit(data, sampled, calibration=None, **head):
    line = acquisition_headers(1, len(data), data.shape[-1]).reshape(())
    for name, value in head.items():
        line[name] = value
    return KSpace(only(data, sampled), sampled, line, calibration=calibration)


def started(gadget, header=HEADER):
    gadget.start(header)
    return gadget


def images_of(gadgets, header, items):
    """What a chain of gadgets gives for items."""
    for place, gadget in enumerate(gadgets):
        gadget.connect(gadgets[place + 1 :])
        gadget.start(header)
    for gadget in gadgets:
        given = [out for item in items if isinstance(item, gadget.accepts) for out in gadget.process(item) or ()]
        items = [*given, *(gadget.finish() or ())]
    return [item for item in items if isinstance(item, Image)]


def assert_as_fully_sampled(small_scan, gadget, matrix, acceleration, bound):
    """An accelerated scan by `gadget` gives the magnitude of the full one within `bound`, with the same headers."""
    parameters = {"matrix": matrix, "coils": 8, "slices": 2}
    full, scan = small_scan(**parameters), small_scan(**parameters, acceleration=acceleration)
    truth = images_of(
        [RemoveOversampling(), CollectKSpace(), FourierTransform(), CombineCoils()],
        parse_header(full.header),
        full.batches,
    )
    found = images_of([RemoveOversampling(), CollectKSpace(), gadget], parse_header(scan.header), scan.batches)
    assert len(found) == len(truth) == 2
    for one, other in zip(found, truth, strict=True):
        assert one.data.shape == other.data.shape
        inside = other.data > 0.05 * other.data.max()
        assert relative(np.abs(one.data[inside]), other.data[inside]) < bound
        for name in ("field_of_view", "position", "read_dir", "slice", "image_index", "image_series_index"):
            np.testing.assert_array_equal(one.head[name], other.head[name])
        assert one.meta["GADGETRON_ImageProcessingHistory"] == ["FourierTransform", type(gadget).__name__]
