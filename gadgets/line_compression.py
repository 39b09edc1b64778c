"""Coil compression of lines as they come: learnt as soon as the lines are there that tell most, and applied to each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Encoding, Flag, Header, Limit, Text
from echotrain.mrd.errors import DataError
from echotrain.mrd.flags import NOT_IMAGING, has_flag

from .coil_compression import Compression, compressed
from .gadget import Gadget
from .lines import copied, runs, turn_forward, without_discarded
from .parameters import parameter

_CALIBRATION = Flag.IS_PARALLEL_CALIBRATION | Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING
_LAST = Flag.LAST_IN_SLICE | Flag.LAST_IN_REPETITION | Flag.LAST_IN_MEASUREMENT

Scene = tuple[int, int] | None  # encoding space and slice; None: lines that are not compressed


class CompressLines(Compression, Gadget[Acquisitions, Acquisitions]):
    """Replace the channels of lines by fewer virtual ones that hold nearly all their energy.

    Each slice has virtual channels of its own, learnt from the lines nearest to the centre of k-space, as soon as these
    are there; at latest from what is there when the slice or the repetition ends. A separate calibration is learnt from
    when it is over. Lines wait for that, in their order; later ones are given on at once. All slices get as many
    channels as the first, of which the client is told. Lines of noise pass.

    Belongs after Prewhiten, so that noise counts the same in all channels, and with method=geometric after
    RemoveOversampling, which leaves lines in image space along the readout where it can.

    References: those of CompressCoils.

    Raises:
        DataError: where the number of channels changes, or samples that are learnt from are not finite.
    """

    takes_image_space_readout = True

    lines: int = parameter(24, "Lines nearest to the centre of k-space to learn from.", low=1)

    def start(self, header: Header, /) -> None:
        self._header = header
        self._matrices: dict[Scene, NDArray[np.complex64]] = {}
        self._waiting: dict[Scene, _Waiting] = {}
        self._held: deque[tuple[Scene, Acquisitions]] = deque()
        self._n_kept = 0

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions | Text]:
        lines = without_discarded(turn_forward(lines))
        places = np.stack([lines.head["encoding_space_ref"], lines.head["idx"]["slice"]], 1).astype(np.int64)
        places[lines.has(Flag.IS_NOISE_MEASUREMENT)] = -1
        for run in runs(places):
            encoding, number = places[run.start].tolist()
            yield from self._take((encoding, number) if encoding >= 0 else None, lines[run])

    def finish(self) -> Iterator[Acquisitions | Text]:
        for scene in list(self._waiting):
            yield from self._learn(scene)
        yield from self._release()

    def _take(self, scene: Scene, lines: Acquisitions) -> Iterator[Acquisitions | Text]:
        """Hold lines of a scene until all before them and they themselves can be compressed."""
        while len(lines):
            taken, learn = len(lines), False
            if scene is not None and scene not in self._matrices:
                if scene not in self._waiting:
                    self._waiting[scene] = _Waiting(self._header.encoding(scene[0]), self.lines)
                taken, learn = self._waiting[scene].take(lines.head)
            if taken:
                waits = bool(self._held) or (scene is not None and scene not in self._matrices)
                self._held.append((scene, _own(lines[:taken]) if waits else lines[:taken]))
            if learn:
                yield from self._learn(scene)
            yield from self._release()
            lines = lines[taken:]

    def _learn(self, scene: Scene) -> Iterator[Text]:
        held = [lines for one, lines in self._held if one == scene]
        chosen = self._waiting.pop(scene).chosen(np.concatenate([lines.head for lines in held]))
        told = [line for line, used in zip((line for lines in held for line in lines), chosen, strict=True) if used]
        if len({(line.n_channels, line.n_samples, line.readout_in_image_space) for line in told}) > 1:
            raise DataError(
                f"lines of slice {scene and scene[1]} that its compression is to be learnt from differ in channels or "
                "samples; send lines of one shape, or compress whole k-space with CompressCoils"
            )
        samples = np.concatenate([line.data for line in told]).swapaxes(0, 1)  # (channel, line, readout)
        matrix = self.learnt(samples, told[0].readout_in_image_space, self._n_kept)
        self._matrices[scene] = matrix
        if not self._n_kept:
            self._n_kept = matrix.shape[-2]
            small = compressed(samples[:, None], matrix, told[0].readout_in_image_space)
            energy = float(np.linalg.norm(small) / max(np.linalg.norm(samples), np.finfo(np.float32).tiny)) ** 2
            yield Text(
                f"CompressLines: {self._n_kept} of {matrix.shape[-1]} channels hold {100 * energy:.1f} % of the energy "
                f"of {len(told)} lines"
            )

    def _release(self) -> Iterator[Acquisitions]:
        """Give on what waits for nothing any more."""
        while self._held and (self._held[0][0] is None or self._held[0][0] in self._matrices):
            scene, lines = self._held.popleft()
            yield lines if scene is None else _compressed(lines, self._matrices[scene])


class _Waiting:
    """Which lines of a scene are still to come before its compression can be learnt."""

    def __init__(self, encoding: Encoding, n_lines: int) -> None:
        self._separate = encoding.calibration_mode in ("separate", "external")
        self._central = _central(encoding, n_lines)
        self._missing = set(self._central)
        self._calibrated = False
        self._repetition: int | None = None

    def take(self, head: NDArray[np.void]) -> tuple[int, bool]:
        """How many of the lines to hold, and whether to learn from what is held then."""
        flags = head["flags"]
        calibrates, ends, counts = has_flag(flags, _CALIBRATION), has_flag(flags, _LAST), _tells(flags)
        for number, (place, repetition) in enumerate(
            zip(_places(head), head["idx"]["repetition"].tolist(), strict=True)
        ):
            if self._repetition not in (None, repetition):
                return number, True
            if not counts[number]:
                continue
            if self._separate and self._calibrated and not calibrates[number]:
                return number, True
            self._repetition = repetition
            self._calibrated |= bool(calibrates[number])
            self._missing.discard(place)
            if not self._missing or ends[number]:
                return number + 1, True
        return len(head), False

    def chosen(self, head: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of the lines held to learn from: the first of those that tell most of which there are any."""
        flags, central = head["flags"], set(self._central)
        tells = _tells(flags)
        near = np.array([place in central for place in _places(head)]) & tells
        calibration = has_flag(flags, _CALIBRATION) & tells
        for among in ([calibration] if self._separate else []) + [near, tells]:
            if among.any():
                return among
        return np.ones(len(head), np.bool_)


def _tells(flags: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which lines are k-space of the image, or its calibration."""
    return ~has_flag(flags, NOT_IMAGING & ~Flag.IS_PARALLEL_CALIBRATION)


def _places(head: NDArray[np.void]) -> Sequence[tuple[int, int]]:
    index = head["idx"]
    return list(zip(index["kspace_encode_step_1"].tolist(), index["kspace_encode_step_2"].tolist(), strict=True))


def _central(encoding: Encoding, n_lines: int) -> list[tuple[int, int]]:
    """The places of ky and kz that are nearest to the centre, of those that the header announces."""
    names = ("kspace_encoding_step_1", "kspace_encoding_step_2")
    limits = [
        encoding.limits.get(name, Limit(0, n - 1, n // 2))
        for name, n in zip(names, encoding.encoded.matrix[1:], strict=True)
    ]
    ky, kz = (np.arange(limit.minimum, max(limit.minimum, limit.maximum) + 1) for limit in limits)
    distance = (ky - limits[0].center) ** 2 + (kz[:, None] - limits[1].center) ** 2
    nearest = np.argsort(distance, axis=None, kind="stable")[:n_lines]
    planes, rows = np.unravel_index(nearest, distance.shape)
    return list(zip(ky[rows].tolist(), kz[planes].tolist(), strict=True))


def _own(lines: Acquisitions) -> Acquisitions:
    """The same lines in memory of their own, so that what waits holds on to no bytes that arrived."""
    trajectory = None if lines.trajectory is None else lines.trajectory.copy()
    return Acquisitions(copied(lines.head), lines.data.copy(), trajectory, lines.readout_in_image_space)


def _compressed(lines: Acquisitions, matrix: NDArray[Any]) -> Acquisitions:
    data = compressed(lines.data[:, :, None, None], matrix, lines.readout_in_image_space)[:, :, 0, 0]
    head = copied(lines.head)
    head["active_channels"] = data.shape[1]
    head["channel_mask"] = 0  # virtual channels are none of the scanner's
    return Acquisitions(head, data, lines.trajectory, lines.readout_in_image_space)
