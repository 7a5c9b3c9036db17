"""Checkpoints: ours, `.safetensors`, and the wrappers around published state dicts. Nothing stored is ever executed.

Pickled files are only ever read by `torch.load(weights_only=True)`: a pickle that wants to import or call something is
refused with the name of what it wanted. Our checkpoint is a dict of plain types and tensors, so it passes.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import torch
from torch import Tensor

from mirnet_deploy.artifacts.models import CHECKPOINT_SUFFIXES
from mirnet_deploy.errors import CheckpointError, UsageError
from mirnet_deploy.files import atomic_path, file_sha256
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.published import from_published, infer_config, key_error
from mirnet_deploy.training.stored import DESCRIBE, WEIGHTS, expanded

FORMAT = "mirnet-deploy checkpoint"
FORMAT_VERSION = 1
WRAPPERS = ("params_ema", "ema", "state_dict", "model_state_dict", "params", "model")
"""Keys under which trainers keep the weights, best first: averaged weights before plain ones."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes of names that DataParallel and torch.compile leave behind."""


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


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Loads a MIRNet from our checkpoints, `.safetensors` files or published layouts; EMA weights where there are any.

    Raises:
        CheckpointError: the file is missing, truncated or wants to run code, it does not hold a MIRNet with finite
            weights, or copies of a tied tensor disagree.
    """
    content = read_checkpoint(path)
    if content.get("format") == FORMAT:
        return _ours(path, content)
    weights: Literal["ema", "plain"] = "plain"
    state: Mapping[str, Any] = content
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            state, weights = content[wrapper], "ema" if "ema" in wrapper else "plain"
            break
    if _is_safetensors(path):
        return _loaded(path, _strip_prefixes(state), weights, "safetensors", content[DESCRIBE])
    describe = {key: value for key, value in content.items() if isinstance(value, (int, float, str))}
    return _loaded(path, _strip_prefixes(state), weights, "published", describe)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file: a dict of plain types and tensors on the CPU, with string keys.

    That of a `.safetensors` file is its description under `DESCRIBE`, and its state dict under "ema" or "state_dict".

    Raises:
        CheckpointError: the file is missing, damaged, or wants to run code; or safetensors is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; expected a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)})")
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is refused, its code was not run: {_telling_line(error)}") from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        KeyError,
        BadZipFile,
        struct.error,
        AttributeError,
        TypeError,
        IndexError,
        AssertionError,
    ) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint (damaged?): {_telling_line(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a dict of named weights")
    return content


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _read_safetensors(path: Path) -> dict[str, Any]:
    """See `read_checkpoint`; weights in 8 bits come as float32."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f'{path} needs safetensors: pip install "mirnet-deploy[export]"') from error
    try:
        with safe_open(path, framework="pt") as stream:
            stored = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
            metadata = stream.metadata() or {}
        describe = json.loads(metadata.get(DESCRIBE, "{}"))
        state = expanded(stored)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {_telling_line(error)}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    wrapper = "ema" if metadata.get(WEIGHTS) == "ema" else "state_dict"
    return {DESCRIBE: describe if isinstance(describe, dict) else {}, wrapper: state}


def _telling_line(error: BaseException) -> str:
    """The line of an error that says most, cut off at 300 characters."""
    text = str(error).strip() or type(error).__name__
    # torch explains `weights_only` at length; one of the lines says what it refused.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "Unsupported" in line or "global" in line.lower()]
    return (telling or lines)[0][:300]


def _strip_prefixes(state: Mapping[str, Any]) -> dict[str, Any]:
    """Removes those of `PREFIXES` that every name starts with, nested ones too."""
    stripped = {str(name): value for name, value in state.items()}
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if stripped and all(name.startswith(prefix) for name in stripped):
                stripped = {name[len(prefix) :]: value for name, value in stripped.items()}
                changed = True
    return stripped


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
            is sparse, NaN or infinite.
    """
    foreign = sorted(name for name, value in state.items() if not isinstance(value, Tensor))
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    config = config or infer_own_config(tensors)
    if config is not None and not foreign:
        network = MIRNet(config)
        own = _checked_own(tensors, network, str(path))
    else:
        config = infer_config(tensors)
        if config is None or foreign:
            raise key_error(str(path), [] if "conv_in.weight" in state else ["conv_in.weight"], sorted(state))
        network = MIRNet(config)
        own = from_published(tensors, config, str(path))
    for name, tensor in own.items():
        if tensor.layout is not torch.strided:
            raise CheckpointError(f"{path}: {name} is stored as {tensor.layout}; expected a dense tensor")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    network.load_state_dict(own)
    return LoadedCheckpoint(network.eval(), config, weights, layout, file_sha256(path), describe)


def infer_own_config(state: Mapping[str, Tensor]) -> MIRNetConfig | None:
    """The hyper-parameters of a state dict in our naming; None where it has other names."""
    first = state.get("conv_in.weight")
    if first is None or "dau_slope" not in state or first.dim() != 4 or first.shape[0] % 8:
        return None
    places = [name.split(".") for name in state if name.startswith("groups.") and ".blocks." in name]
    if not places or not all(parts[1].isdigit() and parts[3].isdigit() for parts in places):
        return None
    return MIRNetConfig(
        int(first.shape[0]), 1 + max(int(parts[1]) for parts in places), 1 + max(int(parts[3]) for parts in places)
    )


def _checked_own(state: Mapping[str, Tensor], network: MIRNet, source: str) -> dict[str, Tensor]:
    """`state`, in our naming, as float32.

    Raises:
        CheckpointError: its names or shapes are not those of `network`.
    """
    expected = network.state_dict()
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
        with atomic_path(path) as temporary:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, temporary)
    except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError on a full disk
        raise CheckpointError(f"{path} cannot be written: {_telling_line(error)}") from error
