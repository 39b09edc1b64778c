"""Models of other makers, TorchScript or ONNX, each with a description of what it takes and gives.

Nothing that Python's pickle would run is ever loaded. Still, such a file is a program of its framework's operations, so
only the operator puts files where they are found.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echotrain.mrd.errors import ConfigError

from .device import best_device
from .folders import find_file, named_files

CHOICES = {
    "takes": ("image", "kspace"),
    "input": ("magnitude", "parts", "complex"),
    "output": ("magnitude", "parts", "complex"),
    "normalise": ("none", "maximum", "deviation"),
}
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # of onnxruntime, which has one of a cloud as well
SIZES = ("channel", "y", "x")


@dataclass(frozen=True)
class ModelDescription:
    """What a model takes and gives, as it stands in JSON beside its file."""

    takes: str = "image"
    """image, or kspace in which lines that were not acquired are 0."""

    input: str = "magnitude"
    """Real images (1, channel, y, x); parts: real parts of all channels and then imaginary ones (1, 2 * channel, y, x);
    or complex ones."""

    output: str = "magnitude"
    """What it gives, of as many pixels."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of the axes channel, y and x that may have one size only."""

    normalise: str = "none"
    """What the input is divided by and the output multiplied with: its largest magnitude, or its deviation, where the
    mean of magnitudes is taken off and added again."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready to run."""

    name: str
    description: ModelDescription
    run: Callable[[Tensor], Tensor]


def load_model(name: str) -> Model:
    """The model called `name`; the same object each time while its files are the same.

    Raises:
        ConfigError: where there is none of that name, or its files are not what they should be.
    """
    path = find_file("models", name, named_files(*_LOADERS))
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise ConfigError(f"model {name} has no description of what it takes and gives; put {beside.name} beside it")
    return _loaded(path, path.stat().st_mtime_ns, beside.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _loaded(path: Path, *_changed: int) -> Model:
    description = _description(path.with_suffix(".json"))
    return Model(path.stem, description, _LOADERS[path.suffix](path, description))


def _description(path: Path) -> ModelDescription:
    try:
        description = ModelDescription(**json.loads(path.read_text()))
        for name, choices in CHOICES.items():
            if (value := getattr(description, name)) not in choices:
                raise ConfigError(f"{path.name}: {name} is {value!r}; wanted one of {', '.join(choices)}")
        for axis, size in description.sizes.items():
            if axis not in SIZES or type(size) is not int or size < 1:
                raise ConfigError(f"{path.name}: sizes has {axis}={size!r}; wanted whole numbers for {SIZES}")
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path.name} is no description of a model: {error}") from error
    return description


def _torch_script(path: Path, _: ModelDescription) -> Callable[[Tensor], Tensor]:
    device = best_device()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the form stays, as long as torch reads it
            load: Callable[..., Any] = torch.jit.load
            script = load(io.BytesIO(path.read_bytes()), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{path.name} is damaged or no TorchScript; pickled models are not loaded, as they could run any program: "
            "write it by torch.jit.save, or as ONNX"
        ) from error
    return lambda images: script(images.to(device)).cpu()


def _onnx(path: Path, description: ModelDescription) -> Callable[[Tensor], Tensor]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it tells its makers of each model, from its import on
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"{path.name} needs onnxruntime; install echotrain[onnx]") from error
    if description.input == "complex":
        raise ConfigError(f"{path.name}: ONNX knows no complex input; describe it as parts")
    available = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        # From memory, so that it cannot name other files to be read.
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=[name for name in PROVIDERS if name in available]
        )
        (given,) = session.get_inputs()
    except Exception as error:  # onnxruntime has no common class of errors
        raise ConfigError(f"{path.name} is damaged or no ONNX model of one input: {error}") from error
    return lambda images: torch.from_numpy(session.run(None, {given.name: images.contiguous().numpy()})[0])


def _exported(path: Path, _: ModelDescription) -> Callable[[Tensor], Tensor]:
    raise ConfigError(
        f"{path.name}: archives of torch.export hold pickled parts, which could run any program, and are not loaded; "
        "write it by torch.jit.save, or as ONNX"
    )


_LOADERS: Mapping[str, Callable[[Path, ModelDescription], Callable[[Tensor], Tensor]]] = {
    ".pt": _torch_script,
    ".onnx": _onnx,
    ".pt2": _exported,
}
