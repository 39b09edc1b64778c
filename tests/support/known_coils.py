"""Coil maps, images and patterns that are known, for tests of parallel imaging by maps."""

import numpy as np
from undersampling import N_KX, N_KY, PLANE, channel_images, noise, only

from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Encoding, Header, Image, KSpace, Limit, Space, acquisition_headers

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
