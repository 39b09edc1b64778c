"""What a training is asked for, in plain values, so that it can be kept with what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from echotrain.gadgets.learned import networks
from echotrain.gadgets.learned.weights import read_weights
from echotrain.mrd.errors import ConfigError, ParameterError, nearest

from . import recordings
from .examples import Source
from .losses import LOSSES
from .masks import Sampling
from .synthetic import NOISE, Synthetic
from .tissues import icbm152

SYNTHETIC = "synthetic"
TRAINING, VALIDATION = 0, 1  # kinds of synthetic slices, which never meet
# The small networks that two cores train in less than an hour; of others the architecture's own values are taken.
SMALL: Mapping[str, Mapping[str, int]] = {
    "sense_varnet": {"cascades": 4, "channels": 12, "pools": 3},
    "varnet": {"cascades": 4, "channels": 9, "pools": 3, "sens_channels": 8, "sens_pools": 4},
    "unet": {"channels": 16, "pools": 4},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Parameters of a training."""

    architecture: str = "sense_varnet"
    parameters: dict[str, Any] = field(default_factory=dict)
    """Of the architecture, over those of SMALL."""

    start_from: str = ""
    """File of weights of the same architecture and parameters to start from, instead of weights by chance."""

    data: tuple[str, ...] = (SYNTHETIC,)
    """The word `synthetic`, or files and folders."""

    validation: tuple[str, ...] = ()
    """As `data`; without it some of the data are held out."""

    matrix: tuple[int, int] = (128, 192)
    """Of synthetic data, least and greatest size of an axis."""

    channels: tuple[int, int] = (4, 12)
    """Of synthetic data, fewest and most."""

    noise: tuple[float, float] = NOISE
    """Of synthetic data, least and greatest standard deviation; the 99th percentile of an image is 1."""

    mask: str = "equispaced"
    accelerations: tuple[int, ...] = Sampling().accelerations
    centre_fractions: tuple[float, ...] = Sampling().centre_fractions
    paired: bool = False
    single_coil: bool = False
    loss: str = "ssim+l1"
    whole_picture: bool = False
    """Whether the loss is over the whole picture, as in fastMRI, or over the head alone."""

    adversarial: float = 0.0
    """Weight of an adversary against banding beside the loss; 0 for none."""

    rate: float = 1e-3
    """Of Adam; a tenth of it in the last fifth."""

    steps: int = 3000
    minutes: float = 0.0
    """To train at most; 0 for no such bound."""

    batch: int = 1
    """Slices whose gradients make one step; each may have a matrix of its own."""

    validate_every: int = 250
    validation_slices: int = 16
    """Of synthetic data."""

    seed: int = 0
    workers: int = 0
    """Processes that make examples; 0 for this one."""

    device: str = "auto"

    def __post_init__(self) -> None:
        self.sampling()
        if self.loss not in LOSSES:
            raise ParameterError(f"there is no loss {self.loss!r}; {nearest(self.loss, LOSSES)}")
        for name in ("steps", "batch", "validate_every", "validation_slices"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("minutes", "seed", "workers", "adversarial"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ParameterError(f"{name}={getattr(self, name)} must be 0 or more")
        if not 0 < self.rate < float("inf"):
            raise ParameterError(f"rate={self.rate} must be above 0")

        if self.architecture == "score" and self.adversarial:
            raise ParameterError(
                f"adversarial={self.adversarial:g} is for networks that reconstruct; one of architecture score learns "
                "from true images alone"
            )

    def sampling(self) -> Sampling:
        """Masks to learn from."""
        return Sampling(self.mask, self.accelerations, self.centre_fractions, self.paired)

    def validation_sampling(self) -> list[Sampling]:
        """Masks to judge by: at the least and greatest acceleration, each with the centre in the middle of those."""
        pairs = dict(zip(self.accelerations, self.centre_fractions, strict=False)) if self.paired else {}
        middle = sorted(self.centre_fractions)[len(self.centre_fractions) // 2]
        ends = sorted({min(self.accelerations), max(self.accelerations)})
        return [Sampling(self.mask, (acceleration,), (pairs.get(acceleration, middle),)) for acceleration in ends]

    def description(self) -> dict[str, Any]:
        """The network, for `networks.build`."""
        parameters = {**SMALL.get(self.architecture, {}), **self.parameters}
        return {"architecture": self.architecture, "parameters": parameters}

    def network(self) -> networks.Network:
        """The network with the weights that it starts from.

        Raises:
            ConfigError: where `start_from` is no file of weights, or they are of another network.
        """
        torch.manual_seed(self.seed)
        network = networks.build(self.description())
        if self.start_from:
            given = read_weights(Path(self.start_from)).network.state_dict()
            try:
                network.load_state_dict(given)
            except RuntimeError as reason:
                raise ConfigError(
                    f"{self.start_from} has the weights of another network than {self.description()}; name its "
                    "architecture and parameters"
                ) from reason
        return network

    def where(self) -> torch.device:
        """The device to train on.

        Raises:
            ParameterError: where there is no such device.
        """
        name = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as reason:
            raise ParameterError(f"device {name!r} cannot be had: {str(reason).splitlines()[0]}") from reason

    def sources(self) -> tuple[Source, Source]:
        """Where examples to learn from and to judge by come from.

        Raises:
            StorageError: where data are not there.
            DataError: where they are not what can be learnt from.
        """
        if self.data == (SYNTHETIC,) or self.validation:
            return self._source(self.data, TRAINING), self._source(self.validation or self.data, VALIDATION)
        learnt, judged = recordings.held_out(recordings.find_volumes([Path(path) for path in self.data]))
        return self._recordings(learnt, self.data), self._recordings(judged, self.data)

    def _source(self, data: tuple[str, ...], kind: int) -> Source:
        if data != (SYNTHETIC,):
            return self._recordings(recordings.find_volumes([Path(path) for path in data]), data)
        slices = self.validation_slices
        seed = (self.seed, kind)
        return Synthetic(icbm152(), self.matrix, self.channels, seed, n_volumes=slices, noise=self.noise)

    def _recordings(self, volumes: list[recordings.Volume], data: tuple[str, ...]) -> Source:
        return recordings.Recordings(volumes, self.seed, f"{len(volumes)} volumes of {', '.join(data)}")

    def plain(self) -> dict[str, Any]:
        """Values that JSON and checkpoints hold."""
        return asdict(self)


def resumed(kept: Mapping[str, Any], given: Mapping[str, Any]) -> Plan:
    """The plan of a training that goes on: as it was, but for `steps` and `minutes`, of which there may be more.

    Raises:
        ParameterError: where something else is asked for than was.
    """
    plan = Plan(**{each.name: kept[each.name] for each in fields(Plan) if each.name in kept})
    for name, value in given.items():
        if name not in ("steps", "minutes", "workers") and value != getattr(plan, name):
            raise ParameterError(
                f"the training began with {name}={getattr(plan, name)!r}, and cannot go on with {value!r}; start "
                "another in a folder of its own"
            )
    return replace(plan, **given)
