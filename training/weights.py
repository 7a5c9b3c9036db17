"""Weights to keep: those of a checkpoint without its trainer's state, on request in 8 bits or averaged with others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.files import write_atomically
from mirnet_deploy.training.checkpoint import LoadedCheckpoint, load_checkpoint, save_checkpoint
from mirnet_deploy.training.stored import DESCRIBE, WEIGHTS, quantized


def averaged(loaded: LoadedCheckpoint, others: Sequence[tuple[LoadedCheckpoint, float]]) -> dict[str, Tensor]:
    """The weighted mean of state dicts of one origin: each of `others` has its share, and `loaded` has the rest.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.

    Raises:
        CheckpointError: the configurations differ, or the shares are not positive or leave nothing for `loaded`.
    """
    rest = 1 - sum(share for _, share in others)
    if not (rest > 0 and all(share > 0 for _, share in others)):  # also for NaN
        raise CheckpointError("expected shares above 0 that sum to less than 1")
    state = {name: rest * tensor for name, tensor in loaded.network.state_dict().items()}
    for other, share in others:
        if other.config != loaded.config:
            raise CheckpointError(f"{other.config} cannot be averaged with {loaded.config}")
        for name, tensor in other.network.state_dict().items():
            state[name] += share * tensor
    return state


def keep_weights(checkpoint: Path, target: Path, *, int8: bool, average: Sequence[tuple[Path, float]]) -> str:
    """Writes the weights of `checkpoint` (EMA weights, where it has them) as `target`, atomically; says which.

    Args:
        target: a `.safetensors` or a `.pt` file.
        int8: stores large convolutions in 8 bits (`.safetensors` only).
        average: other checkpoints and their shares, as in `averaged`.

    Raises:
        CheckpointError: a checkpoint cannot be read, they do not go together, or a `.pt` file cannot be written.
        OSError: a `.safetensors` file cannot be written.
    """
    loaded = load_checkpoint(checkpoint)
    state = averaged(loaded, [(load_checkpoint(path), share) for path, share in average])
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    describe: dict[str, Any] = {**loaded.describe, "stored": "int8, a scale for each slice" if int8 else "float32"}
    if average:
        # What validation measured of one network is not true of a mean of several.
        describe.pop("validation", None)
        describe["average"] = {str(path): share for path, share in average}
    if target.suffix.lower() == ".pt":
        weights = "ema" if loaded.weights == "ema" else "network"
        save_checkpoint(target, {"config": loaded.config.to_dict(), "describe": describe, weights: state})
        return loaded.taken
    from safetensors.torch import save

    content = save(quantized(state) if int8 else state, {DESCRIBE: json.dumps(describe), WEIGHTS: loaded.weights})
    write_atomically(target, content)
    return loaded.taken
