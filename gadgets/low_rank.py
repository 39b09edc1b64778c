"""Frames of which each small part changes in few ways over time: locally low rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def shrink_low_rank(images: Tensor, threshold: float, block: int = 8, shift: int = 0) -> Tensor:
    """Frames whose singular values, block by block, are nearer to 0 by `threshold`, or are 0.

    Shape (frame, set, x, z, y), complex. A block holds all frames and sets of at most `block` pixels along each axis.
    `threshold` is in units of the largest singular value of a block of noise whose deviation is 1. Blocks are moved by
    `shift` pixels: shifts that change with iterations leave no grid.

    References: J. Trzasko and A. Manduca, ISMRM 2011, p. 4371; T. Zhang et al., Magn Reson Med 2015, 73:655-661.
    """
    n_frames, n_sets, *shape = images.shape
    sizes = [min(block, n) for n in shape]
    axes = [axis for axis, size in enumerate(sizes, 2) if size < images.shape[axis]]
    padding = [-n % size for n, size in zip(shape, sizes, strict=True)]
    moved = torch.roll(images, [shift] * len(axes), axes) if axes else images
    moved = torch.nn.functional.pad(moved, [n for pad in reversed(padding) for n in (0, pad)])
    counts = [n // size for n, size in zip(moved.shape[2:], sizes, strict=True)]
    split = moved.reshape(n_frames, n_sets, *(n for pair in zip(counts, sizes, strict=True) for n in pair))
    order = (2, 4, 6, 1, 3, 5, 7, 0)  # (block along x, z, y, set, x, z, y, frame)
    blocks = split.permute(order)
    matrices = blocks.reshape(math.prod(counts), -1, n_frames)
    energies, vectors = torch.linalg.eigh(matrices.mH @ matrices)
    values = energies.clamp_min_(torch.finfo(energies.dtype).tiny).sqrt_()
    limit = threshold * (matrices.shape[1] ** 0.5 + n_frames**0.5)
    kept = (1 - limit / values).clamp_min_(0)
    shrunk = matrices @ ((vectors * kept[:, None]) @ vectors.mH)
    split = shrunk.reshape(blocks.shape).permute(*(order.index(axis) for axis in range(8)))
    moved = split.reshape(moved.shape)[(..., *(slice(n) for n in shape))]
    return torch.roll(moved, [-shift] * len(axes), axes) if axes else moved
