"""Work along the readout of each line: oversampling removed, asymmetric echoes padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Acquisitions, Flag, Header, Image
from echotrain.mrd.errors import DataError
from echotrain.mrd.flags import NOT_IMAGING

from .fourier import centred_fft, centred_ifft
from .gadget import Gadget
from .lines import copied, runs, turn_forward, without_discarded
from .tensors import as_tensor


def crop_readout(samples: Tensor, n_kept: int, *, to_image: bool) -> Tensor:
    """Keep the central `n_kept` pixels of k-space samples' image, given as image or as k-space again.

    Transforms are centred and unitary; index n // 2 is the origin before and after. Shape (..., n) to (..., n_kept).
    """
    n = samples.shape[-1]
    if n % 2 or (n_kept % 2 and not to_image):
        first = n // 2 - n_kept // 2
        image: Tensor = centred_ifft(samples, (-1,))[..., first : first + n_kept].contiguous()
        return image if to_image else centred_fft(image, (-1,))
    # For even n, a shift of n / 2 in one domain is a sign that alternates in the other: pixel j of those kept is
    # (-1)^(j - n_kept // 2) times the uncentred transform, whose first and last pixels are the centre's two halves.
    uncentred = torch.fft.ifft(samples, norm="forward")
    left = n_kept // 2
    halves = uncentred[..., n - left :], uncentred[..., : n_kept - left]
    if not to_image:
        # The signs of image and k-space cancel, but for the one that alternates along k-space.
        kspace: Tensor = torch.fft.fft(torch.cat(halves, dim=-1), norm="backward")
        kspace.view(torch.float32).mul_(_signs(n_kept, 0, n * n_kept))
        return kspace
    image = samples.new_empty(*samples.shape[:-1], n_kept)
    signs = _signs(n_kept, left, n)
    floats, cut = image.view(torch.float32), 2 * left
    torch.mul(halves[0].view(torch.float32), signs[:cut], out=floats[..., :cut])
    torch.mul(halves[1].view(torch.float32), signs[cut:], out=floats[..., cut:])
    return image


@lru_cache(maxsize=16)
def _signs(n: int, origin: int, unitary: int) -> Tensor:
    """(-1)^(j - origin) / sqrt(unitary) for j < n, each twice: for real and imaginary part. Shape (2 n,)."""
    signs: Tensor = (1.0 - 2.0 * ((torch.arange(n) - origin) % 2)) / unitary**0.5
    return signs.repeat_interleave(2)


class RemoveOversampling(Gadget[Acquisitions, Acquisitions]):
    """Crop readouts to the reconstructed field of view; samples to be discarded count as zero.

    Lines are given in image space where all gadgets up to the image take them so, in every branch of the chain, which
    spares two transforms. Noise lines pass, as do lines whose encoding has nothing to remove, and those whose centre
    lies beyond their end, as the scanner sends them where it removed the oversampling itself.
    """

    _to_image: bool | None = None  # until a way to the end of the chain is known

    def connect(self, following: Sequence[Gadget[Any, Any]], /) -> None:
        self._to_image = self._to_image is not False and gives_image_space(following)

    def start(self, header: Header, /) -> None:
        self._header = header

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions]:
        lines = turn_forward(lines)
        untouched = lines.has(Flag.IS_NOISE_MEASUREMENT) | (lines.head["center_sample"] >= lines.n_samples)
        for run in runs(np.where(untouched, -1, lines.head["encoding_space_ref"].astype(np.int32))):
            yield lines[run] if untouched[run.start] else self._cropped(lines[run])

    def _cropped(self, lines: Acquisitions) -> Acquisitions:
        """Lines of one encoding, cropped to its reconstructed field of view."""
        encoding = self._header.encoding(int(lines.head["encoding_space_ref"][0]))
        field, recon_field = encoding.encoded.field_of_view_mm[0], encoding.recon.field_of_view_mm[0]
        ratio = field / recon_field if recon_field > 0 else 1.0
        n, n_kept = lines.n_samples, max(1, int(lines.n_samples / ratio + 1e-3))
        nothing = encoding.encoded.matrix[0] == encoding.recon.matrix[0] and field == recon_field
        if nothing or n_kept >= n or lines.readout_in_image_space:
            return lines
        to_image = bool(self._to_image)
        data = crop_readout(as_tensor(without_discarded(lines).data), n_kept, to_image=to_image).numpy()
        head = copied(lines.head)
        head["number_of_samples"] = n_kept
        for name in ("center_sample", "discard_pre", "discard_post"):
            head[name] = head[name] / ratio
        trajectory = lines.trajectory
        if trajectory is not None:
            trajectory = _resampled(trajectory, n // 2 + (np.arange(n_kept) - n_kept // 2) * (n / n_kept))
        return Acquisitions(head, data, trajectory, to_image)


def gives_image_space(following: Sequence[Gadget[Any, Any]]) -> bool:
    """Whether all of the gadgets up to the first that gives images take lines transformed along the readout."""
    for gadget in following:
        if not gadget.takes_image_space_readout:
            return False
        if Image in gadget.yields:
            return True
    return False


def _resampled(trajectory: NDArray[np.float32], positions: NDArray[Any]) -> NDArray[np.float32]:
    """Trajectories (line, sample, dim) at `positions`, counted in samples, by linear interpolation."""
    below = np.clip(positions.astype(np.int64), 0, trajectory.shape[1] - 2)
    weight = (positions - below).astype(np.float32)[:, None]
    between: NDArray[np.float32] = trajectory[:, below] * (1 - weight) + trajectory[:, below + 1] * weight
    return between


class PadAsymmetricEcho(Gadget[Acquisitions, Acquisitions]):
    """Fill partial echoes with zeros to the encoded number of samples, so that the echo stands at its centre.

    Belongs before RemoveOversampling. Lines that carry no k-space of an image pass untouched, as do lines with a
    trajectory where the encoding is not Cartesian, which says itself where samples belong. Cartesian lines that are
    padded lose theirs, which says nothing of what is filled in.

    Raises:
        DataError: where a line is too long on one side of its echo to fit.
    """

    def start(self, header: Header, /) -> None:
        self._header = header

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions]:
        centre, n = lines.head["center_sample"].astype(np.int32), lines.n_samples
        partial = (2 * centre != n) & (centre < n)
        if not partial.any():
            yield lines
            return
        partial &= ~lines.has(NOT_IMAGING & ~Flag.IS_PARALLEL_CALIBRATION)
        for run in runs(np.where(partial, lines.head["encoding_space_ref"].astype(np.int32), -1)):
            yield self._padded(lines[run]) if partial[run.start] else lines[run]

    def _padded(self, lines: Acquisitions) -> Acquisitions:
        """Lines of one encoding, padded to its number of samples."""
        encoding = self._header.encoding(int(lines.head["encoding_space_ref"][0]))
        n_encoded, n = encoding.encoded.matrix[0], lines.n_samples
        if n >= n_encoded or (lines.trajectory is not None and encoding.trajectory not in ("cartesian", "epi")):
            return lines
        lines = turn_forward(lines)  # center_sample counts from the start of the line that runs forward
        before = n_encoded // 2 - lines.head["center_sample"].astype(np.int32)
        after = n_encoded - n - before
        wrong = np.flatnonzero((before < 0) | (after < 0))
        if len(wrong):
            line = lines.head[wrong[0]]
            raise DataError(
                f"line {line['scan_counter']} has {n} samples with its echo at {line['center_sample']}, which does not "
                f"fit {n_encoded} samples with the echo at {n_encoded // 2}; check center_sample and the header's "
                "encoded matrix"
            )
        head = copied(lines.head)
        head["number_of_samples"] = n_encoded
        head["trajectory_dimensions"] = 0
        head["center_sample"] = n_encoded // 2
        head["discard_pre"] += before.astype(np.uint16)
        head["discard_post"] += after.astype(np.uint16)
        data = np.zeros((len(lines), lines.n_channels, n_encoded), np.complex64)
        for start in np.unique(before).tolist():
            same = before == start
            chosen = slice(None) if same.all() else same
            data[chosen, :, start : start + n] = lines.data[chosen]
        return Acquisitions(head, data, None, lines.readout_in_image_space)
