"""Checkpoints: ours, `.safetensors`, and the wrappers around published state dicts, as networks; ours written.

`unpacking` reads the file, without executing anything in it; `finding` finds the weights there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mirnet_deploy.errors import CheckpointError, UsageError, first_line, warn
from mirnet_deploy.files import atomic_path, file_sha256
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.finding import find_weights
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.published import from_published, infer_config, infer_own_config, key_error
from mirnet_deploy.training.unpacking import unpack

FORMAT = "mirnet-deploy checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network with the weights of a checkpoint, and where they came from."""

    network: MIRNet
    """In eval mode, float32, on the CPU."""
    config: MIRNetConfig
    weights: Literal["ema", "plain"]
    """Whether they are averages over steps, or those of one step."""
    layout: Literal["mirnet-deploy", "safetensors", "published"]
    """Of the file; "published" is any but ours and `.safetensors`, even where its weights have our names."""
    sha256: str
    """Of the file, as 64 hex digits."""
    describe: dict[str, Any]
    """Plain values for people: step, recipe and validation figures, where the checkpoint has them."""
    place: str = ""
    """The keys and the prefix, joined by dots, under which the weights lay; empty where they lay at the top."""
    left: str | None = None
    """What was left out although it may have been meant, in words."""

    @property
    def taken(self) -> str:
        """Which weights these are, in words."""
        kind = "EMA (averaged)" if self.weights == "ema" else "plain"
        if self.weights == "plain" and self.left is None:
            kind += " (the checkpoint has no EMA weights)"
        return f"{kind}, from {self.place}" if self.place else kind


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Loads a MIRNet from our checkpoints, `.safetensors` files or published layouts; EMA weights where there are any.

    A warning names what was left out although it may have been meant, such as averages in a form that is not read.

    Raises:
        CheckpointError: the file is missing, truncated, something else or wants to run code, it does not hold one
            MIRNet with finite weights, or copies of a tied tensor disagree.
    """
    unpacked = unpack(path)
    content = unpacked.content
    if content.get("format") == FORMAT:
        return _ours(path, content)
    found = find_weights(content, str(path))
    weights: Literal["ema", "plain"] = "ema" if found.averaged or unpacked.averaged else "plain"
    describe = unpacked.describe
    if describe is None:
        describe = {key: value for key, value in content.items() if isinstance(value, (int, float, str))}
    layout: Literal["safetensors", "published"] = "safetensors" if unpacked.safetensors else "published"
    loaded = _loaded(path, found.state, weights, layout, describe)
    if found.left:
        warn(f"{path}: left out are {found.left}")
    return replace(loaded, place=found.place, left=found.left)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file: a dict of plain types and tensors on the CPU, with string keys.

    Raises:
        CheckpointError: as `unpack`.
    """
    return unpack(path).content


def _ours(path: Path, content: dict[str, Any]) -> LoadedCheckpoint:
    """Loads the content of a checkpoint in our format.

    Raises:
        CheckpointError: another version of the format, a part that is missing or invalid, or see `_loaded`.
    """
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {content.get('format_version')}; this mirnet-deploy reads {FORMAT_VERSION}"
        )
    weights: Literal["ema", "plain"] = "ema" if content.get("ema") is not None else "plain"
    try:
        state = content["ema"] if weights == "ema" else content["network"]
        if not isinstance(state, Mapping):
            raise TypeError(f"the weights are a {type(state).__name__}")
        config = MIRNetConfig(**content["config"])
        describe = dict(content.get("describe", {}))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise CheckpointError(f"{path} lacks a valid part of a mirnet-deploy checkpoint: {error!r}") from error
    return _loaded(path, state, weights, "mirnet-deploy", describe, config)


def _loaded(
    path: Path,
    state: Mapping[str, Any],
    weights: Literal["ema", "plain"],
    layout: Literal["mirnet-deploy", "safetensors", "published"],
    describe: dict[str, Any],
    config: MIRNetConfig | None = None,
) -> LoadedCheckpoint:
    """Loads `state`, whose names are ours or the published ones, into a network of `config` (None: inferred).

    Raises:
        CheckpointError: names, types or shapes are not those of a MIRNet, copies of a tied tensor disagree, or a weight
            has no values, complex, whole, quantized or sparse ones, NaN or infinite ones.
    """
    foreign = sorted(name for name, value in state.items() if not isinstance(value, Tensor))
    for name, tensor in state.items():
        if isinstance(tensor, Tensor):
            _check_kind(f"{path}: {name}", tensor)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    inferred = infer_own_config(tensors)
    if config is not None and inferred != config:
        raise CheckpointError(
            f"{path} lacks a valid part of a mirnet-deploy checkpoint: it says {config}, and its weights are those of "
            f"{inferred or 'something else'}"
        )
    config = inferred
    if config is not None and not foreign:
        own = _checked_own(tensors, config, str(path))
    else:
        config = infer_config(tensors)
        if config is None or foreign:
            raise key_error(str(path), [] if "conv_in.weight" in state else ["conv_in.weight"], sorted(state))
        own = from_published(tensors, config, str(path))
    for name, tensor in own.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    network = MIRNet(config)
    network.load_state_dict(own)
    return LoadedCheckpoint(network.eval(), config, weights, layout, file_sha256(path), describe)


def _check_kind(name: str, tensor: Tensor) -> None:
    """Checks that a tensor holds numbers that float32 can stand for; `name` is that of the file and the tensor.

    Raises:
        CheckpointError: it does not.
    """
    if tensor.is_meta:
        raise CheckpointError(f"{name} has a shape and no values (a meta tensor); expected a file of the weights")
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else tensor.layout
        raise CheckpointError(f"{name} is stored as {kind}; expected a dense tensor")
    if not tensor.is_floating_point():
        raise CheckpointError(f"{name} holds values of {tensor.dtype}; expected floating-point numbers")


def _checked_own(state: Mapping[str, Tensor], config: MIRNetConfig, source: str) -> dict[str, Tensor]:
    """`state`, in our naming, as float32.

    Raises:
        CheckpointError: its names or shapes are not those of a network of `config`.
    """
    with torch.device("meta"):  # no memory for a network that the file may not hold
        expected = MIRNet(config).state_dict()
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or unexpected:
        raise key_error(source, missing, unexpected)
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensor.shape)}; expected {tuple(expected[name].shape)}"
            )
    return {name: tensor.float() for name, tensor in state.items()}


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Writes plain types and tensors as one of our checkpoints, atomically and flushed to the disk.

    Raises:
        CheckpointError: the disk is full, or the folder is missing or not writable.
    """
    try:
        # Into a stream of Python's, which says what is wrong with the disk; torch's own says only where it stopped.
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, stream)
    except (OSError, RuntimeError) as error:
        # torch's writer, closed after an error of the stream's, raises one of its own.
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise CheckpointError(f"{path} cannot be written: {reason or first_line(error)}") from error
