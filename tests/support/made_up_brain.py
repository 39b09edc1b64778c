"""A brain of plain ellipsoids, in the place of the template that synthetic training data are made from."""

from functools import cache

import numpy as np

from echotrain.clients.training.tissues import tissues_of


@cache
def made_up_tissues():
    """White matter in a shell of grey, with fluid in the middle, 130 x 160 x 120 mm."""
    axes = np.ogrid[-1:1:130j, -1:1:160j, -1:1:120j]
    radius = np.sqrt(sum(axis**2 for axis in axes))
    white = ((radius > 0.25) & (radius < 0.8)).astype(np.uint8) * 255
    grey = ((radius >= 0.8) & (radius < 0.95)).astype(np.uint8) * 255
    return tissues_of(grey, white, (radius < 1).astype(np.uint8))
