"""`config.pbtxt`: what an artifact's metadata says, in the words of Triton's model configuration.

The schema is `ModelConfig` of model_config.proto (https://github.com/triton-inference-server/common), written in the
text format of protocol buffers. What Triton's backends demand beyond it stands in their sources, as of 2026: the ONNX
Runtime backend takes inputs that have defaults only as optional ones, and those only without batching; the TensorRT
backend compares the sizes of outputs exactly, so that one that may vary is -1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, MEASURED, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.errors import ArtifactError, UsageError
from mirnet_deploy.images import DEFAULT_MAX_PIXELS
from mirnet_deploy.settings import FINISHING, RuntimeSettings, device_index

PICTURE_MODEL = "mirnet"
"""The name of the model that takes whole pictures."""
PICTURE_TENSORS: Mapping[str, tuple[str, str]] = {
    "image": ("enhanced", "UINT8"),
    "image_uint16": ("enhanced_uint16", "UINT16"),
    "image_float32": ("enhanced_float32", "FP32"),
}
"""Inputs of `PICTURE_MODEL` that are pictures, [H,W,3] RGB -> their outputs, and the type of both."""
FILE, ENHANCED_FILE, INFO = "file", "enhanced_file", "info"
"""An input and two outputs of `PICTURE_MODEL`, each one string: a picture file, its result, JSON on how it was made."""
MAX_PIXELS = "max_pixels"
"""The parameter of `PICTURE_MODEL` that is no field of `RuntimeSettings`."""
_INT32 = 2**31 - 1
BY_INSTANCE = ("device", "channel_order", "alone")
"""Fields of `RuntimeSettings` that are no parameters: the instance group says the device, pictures are RGB, and several
may be enhanced at once."""


@dataclass(frozen=True)
class Serving:
    """How Triton runs the models.

    Raises:
        UsageError: a number is out of range.
    """

    device: str = "auto"
    """As in `RuntimeSettings`; "auto" lets Triton choose."""
    instances: int = 1
    """Of each model, on each device."""
    max_batch: int = 4
    """The most pictures of one size that one run of an ONNX file takes; a plan has its own."""
    queue_delay: int = 1000
    """Microseconds that a picture waits for others to share a run with."""
    means: bool = False
    """Whether ONNX files can be given the means that their pools use, and report them; then without batches."""
    threads: int | None = None
    """CPU threads of one run of an ONNX file by itself; None for all cores."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger whole pictures are refused."""

    def __post_init__(self) -> None:
        # As many as the fields of the configuration hold; a parameter holds a text.
        for name, least, most in (
            ("instances", 1, _INT32),
            ("max_batch", 1, _INT32),
            ("queue_delay", 0, 2**64 - 1),
            ("max_pixels", 1, None),
        ):
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                raise UsageError(
                    f"{name} is {value}; expected at least {least}{f' and at most {most}' if value > least else ''}"
                )
        if self.device != "auto" and (device_index(self.device) or 0) > _INT32:
            raise UsageError(f"device is {self.device!r}; Triton numbers devices up to {_INT32}")
        if self.means and self.max_batch != type(self).max_batch:
            raise UsageError(f"max_batch is {self.max_batch}, and with means no ONNX file runs in batches")


@dataclass(frozen=True)
class Config:
    """The configuration of a model."""

    text: str
    """Of `config.pbtxt`."""
    warmup: Mapping[str, bytes]
    """Files in the model's folder `warmup`, which the text names."""


def tile_config(metadata: ArtifactMetadata, serving: Serving) -> Config:
    """The configuration of one artifact by itself, which takes what its network takes: one tile, or a small picture.

    An artifact with a context that is a plan, or an ONNX file with `Serving.means`, has the inputs `CONTEXT_INPUTS` and
    the output `STATISTICS`, and runs batches only as a client sends them; all others have the picture alone, and Triton
    makes batches.

    Raises:
        ArtifactError: a plan is not one of TensorRT, the only library that Triton's backend loads.
        UsageError: a plan should run on the CPU, or an ONNX file without a context should be given means.
    """
    plan = metadata.kind == "plan"
    if plan and metadata.builder != "tensorrt":
        raise ArtifactError(
            "it is a plan of TensorRT-RTX, and Triton's tensorrt backend loads those of TensorRT alone: export with "
            "--builder tensorrt, or serve the ONNX file, or whole pictures only (--no-tiles)"
        )
    if serving.means and not plan and not metadata.context:
        raise UsageError("it was exported with --plain and cannot be given means; leave out --means")
    source, result = TENSOR_NAMES[metadata.interface]
    kind, dims = ("FP32", [3, -1, -1]) if metadata.interface == "float" else ("UINT8", [-1, -1, 3])
    best = metadata.profile_shapes()[1] if plan else [1, *_tile_of(metadata, dims)]
    message: dict[str, Any] = {"backend": "tensorrt" if plan else "onnxruntime"}
    if serving.threads is not None and not plan:
        message["parameters"] = [_parameter("intra_op_thread_count", serving.threads)]
    warmup: dict[str, bytes] = {}
    if metadata.context and (plan or serving.means):
        message |= {
            "max_batch_size": 0,
            "input": [_tensor(source, kind, [-1, *dims]), *_context_inputs(metadata.context, optional=not plan)],
            "output": [_tensor(result, kind, [-1, *dims]), _tensor(STATISTICS, "FP32", [-1, metadata.context])],
        }
        samples = {source: _sample(kind, best)}
        if plan:
            samples["context"] = _sample("FP32", [1, metadata.context])
            for name, values in _plain_pools(metadata, best).items():
                samples[name], warmup[name] = _sample("FP32", [*values.shape], file=name), values.tobytes()
        batch = 1
    else:
        batch = best[0] if plan else serving.max_batch
        message |= {
            "max_batch_size": batch,
            "input": [_tensor(source, kind, dims)],
            "output": [_tensor(result, kind, dims)],
        }
        samples = {source: _sample(kind, best[1:])}
    if batch > 1:
        # Preferred sizes help only where a library is tuned for one of them, as a plan is for its largest.
        preferred = {"preferred_batch_size": [batch]} if plan else {}
        message["dynamic_batching"] = {**preferred, "max_queue_delay_microseconds": serving.queue_delay}
    message["model_warmup"] = [_warmup(samples, batch if plan else 1)]
    return Config(text_of({**message, **_served(serving, gpu=plan)}), warmup)


def whole_config(metadata: ArtifactMetadata, settings: RuntimeSettings, serving: Serving) -> Config:
    """The configuration of `PICTURE_MODEL`, which runs `MIRNetRuntime` in Triton's Python backend (`triton.model`).

    Every request is one picture of its own size, so there are no batches.

    Raises:
        UsageError: a plan should run on the CPU.
    """
    taken = ["image"] if metadata.interface == "image" else list(PICTURE_TENSORS)
    pictures = {name: PICTURE_TENSORS[name] for name in taken}
    tile = metadata.tile if isinstance(settings.tile, str) else min(settings.tile, metadata.tile)
    side = min(tile, math.isqrt(serving.max_pixels))
    values = {each.name: getattr(settings, each.name) for each in fields(settings) if each.name not in BY_INSTANCE}
    values[MAX_PIXELS] = serving.max_pixels
    if settings.only_on_cpu and serving.device == "auto":
        serving = replace(serving, device="cpu")  # as the runtime has it
    message = {
        "backend": "python",
        "max_batch_size": 0,
        "input": [
            *(_tensor(name, kind, [-1, -1, 3], optional=True) for name, (_, kind) in pictures.items()),
            _tensor(FILE, "STRING", [1], optional=True),
            *(_tensor(name, "FP64", [1], optional=True) for name in FINISHING),
        ],
        "output": [
            *(_tensor(name, kind, [-1, -1, 3]) for name, kind in pictures.values()),
            *(_tensor(name, "STRING", [1]) for name in (ENHANCED_FILE, INFO)),
        ],
        "parameters": [_parameter(name, value) for name, value in values.items() if value is not None],
        "model_warmup": [_warmup({"image": _sample("UINT8", [side, side, 3])}, 1)],
    }
    return Config(text_of({**message, **_served(serving, gpu=metadata.kind == "plan")}), {})


class EnumValue(str):
    """A value of an enumeration, which stands without quotation marks."""


def text_of(message: Mapping[str, Any]) -> str:
    """The text format of a message: name -> string, `EnumValue`, number, truth value, message, or a list of one of
    these.

    >>> print(text_of({"name": "a", "dims": [-1, 3], "input": [{"kind": EnumValue("KIND_CPU"), "max": 2}]}), end="")
    name: "a"
    dims: [-1, 3]
    input {
      kind: KIND_CPU
      max: 2
    }
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, list) and not (value and isinstance(value[0], Mapping)):
            yield f"{name}: [{', '.join(map(_scalar, value))}]"
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(each))
                yield "}"
            else:
                yield f"{name}: {_scalar(each)}"


def _scalar(value: Any) -> str:
    return value if isinstance(value, EnumValue) else json.dumps(value)


def _tensor(name: str, kind: str, dims: list[int], *, optional: bool = False) -> dict[str, Any]:
    made = {"name": name, "data_type": EnumValue(f"TYPE_{kind}"), "dims": dims}
    return {**made, "optional": True} if optional else made


def _parameter(name: str, value: Any) -> dict[str, Any]:
    return {"key": name, "value": {"string_value": value if isinstance(value, str) else json.dumps(value)}}


def _context_inputs(length: int, *, optional: bool) -> list[dict[str, Any]]:
    shapes = ([1, length], [2], [-1, -1], [-1, -1])
    return [_tensor(name, "FP32", dims, optional=optional) for name, dims in zip(CONTEXT_INPUTS, shapes, strict=True)]


def _plain_pools(metadata: ArtifactMetadata, shape: list[int]) -> dict[str, NDArray[np.float32]]:
    """What a plan must be given beside pictures of this shape and a context of 0 to be the plain network."""
    number, height, width = (shape[axis] for axis in metadata.batch_axes)
    return {
        "mode": MEASURED,
        "rows": np.ones((number, height), np.float32),
        "cols": np.ones((number, width), np.float32),
    }


def _tile_of(metadata: ArtifactMetadata, dims: list[int]) -> list[int]:
    """The sizes of one full tile."""
    return [metadata.tile if size == -1 else size for size in dims]


def _sample(kind: str, dims: list[int], file: str | None = None) -> dict[str, Any]:
    """An input of a warm-up. Random bytes are a picture, but not random numbers in [0, 1]."""
    content = {"random_data": True} if kind == "UINT8" else {"zero_data": True}
    return {"data_type": EnumValue(f"TYPE_{kind}"), "dims": dims, **({"input_data_file": file} if file else content)}


def _warmup(samples: Mapping[str, Any], batch: int) -> dict[str, Any]:
    inputs = [{"key": name, "value": sample} for name, sample in samples.items()]
    return {"name": "one full tile", "batch_size": batch, "inputs": inputs}


def _served(serving: Serving, *, gpu: bool) -> dict[str, Any]:
    """Instances and versions; with `gpu` never on a CPU.

    Raises:
        UsageError: on a CPU all the same.
    """
    if gpu and serving.device == "cpu":
        raise UsageError("device is 'cpu', and a plan needs a GPU; serve the ONNX file there")
    group: dict[str, Any] = {"count": serving.instances, "kind": EnumValue("KIND_GPU" if gpu else "KIND_AUTO")}
    if serving.device == "cpu":
        group["kind"] = EnumValue("KIND_CPU")
    elif serving.device != "auto":
        group |= {"kind": EnumValue("KIND_GPU"), "gpus": [device_index(serving.device)]}
    return {"instance_group": [group], "version_policy": {"latest": {"num_versions": 1}}}
