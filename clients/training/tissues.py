"""A brain as fractions of its tissues, read from the ICBM152 template that the package nilearn ships."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from echotrain.mrd.errors import StorageError

NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
MARGIN = 24  # voxels around the template, so that the head fits around the brain
COARSE = 2  # the distance is smooth, and costs an eighth at double the spacing
CLOSING_MM = 10.0  # sulci that the skull does not follow


@dataclass(frozen=True, slots=True, eq=False)
class Tissues:
    """Voxels of 1 mm, along axes to the right, anterior and superior of the patient."""

    grey: NDArray[np.uint8]
    """255 where the voxel is all grey matter, shape (x, y, z)."""

    white: NDArray[np.uint8]
    """Shape (x, y, z)."""

    fluid: NDArray[np.uint8]
    """Shape (x, y, z)."""

    distance_mm: NDArray[np.float32]
    """From the brain's hull, 0 inside; at every second voxel along each axis."""


@functools.lru_cache(maxsize=1)
def icbm152() -> Tissues:
    """The template's tissues.

    Raises:
        StorageError: where the packages that it comes with are not installed, or it cannot be read.

    References:
        Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54, 2011.
    """
    found = importlib.util.find_spec("nilearn")  # which is not imported: only its data are needed
    if found is None or found.origin is None or importlib.util.find_spec("nibabel") is None:
        raise StorageError(
            "synthetic training data are made from the ICBM152 template, which comes with the packages nilearn and "
            "nibabel; install them with: pip install 'echotrain[train]'"
        )
    folder = Path(found.origin).parent / "datasets" / "data"
    return tissues_of(*(_voxels(folder / NAME.format(what)) for what in ("gm", "wm", "t1")))


def tissues_of(grey: NDArray[np.uint8], white: NDArray[np.uint8], brain: NDArray[Any]) -> Tissues:
    """Tissues by maps of grey and white matter; what else is brain (above 0) is fluid. Shapes (x, y, z)."""
    solid = np.minimum(grey.astype(np.uint16) + white, 255).astype(np.uint8)
    fluid = np.where(brain > 0, 255 - solid, 0).astype(np.uint8)
    grey, white, fluid = (np.pad(array, MARGIN) for array in (grey, white, fluid))
    inside = np.pad(brain > 0, MARGIN)[::COARSE, ::COARSE, ::COARSE]
    reach = CLOSING_MM / COARSE
    around = scipy.ndimage.distance_transform_edt(~inside) <= reach
    hull = scipy.ndimage.distance_transform_edt(around) > reach
    distance = scipy.ndimage.distance_transform_edt(~(hull | inside)) * COARSE
    return Tissues(grey, white, fluid, distance.astype(np.float32))


def _voxels(path: Path) -> NDArray[np.uint8]:
    import nibabel

    load: Any = nibabel.load
    try:
        return np.asarray(load(path).dataobj).astype(np.uint8)
    except (OSError, nibabel.filebasedimages.ImageFileError) as reason:
        raise StorageError(f"the template {path} cannot be read: {reason}; install nilearn 0.14 anew") from reason
