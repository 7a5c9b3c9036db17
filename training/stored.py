"""Weights as they are kept in the repository: without a trainer's state, if wanted in 8 bits, or averaged.

    python -m mirnet_deploy.training.stored runs/lite/all/last.pt weights/lite.pt --force
    python -m mirnet_deploy.training.stored runs/base/all/last.pt weights/base.safetensors --int8 --force

8 bits: the weight of every large convolution is int8 with one float32 scale for each slice of its first axis, round to
nearest, largest magnitude 127. What reads it (`load_checkpoint`) has float32 weights again. Small weights, the first
and the last layer and most gates among them, stay float32: they are 16 % of `lite` and 0.3 % of `paper`. What the rest
costs in quality stands in the models' cards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch
from torch import Tensor

from mirnet_deploy.errors import CheckpointError, MirnetDeployError
from mirnet_deploy.files import write_atomically

if TYPE_CHECKING:  # it imports this module to read what this one writes
    from mirnet_deploy.training.checkpoint import LoadedCheckpoint

SCALE = ".scale"
"""Behind the name of a weight in 8 bits: the name of its scales."""
DESCRIBE = "describe"
"""The key of a file's metadata under which `LoadedCheckpoint.describe` lies, as JSON."""
WEIGHTS = "weights"
"""The key of "ema" or "plain"."""
LARGE = 4096
"""Values of a weight from which on it is kept in 8 bits."""


def quantized(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large weights of four axes in int8, each with its scales, float32 [first axis]; the rest float32."""
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        weight = tensor.detach().float().contiguous()
        if weight.ndim != 4 or weight.numel() < LARGE:
            stored[name] = weight
            continue
        scale = weight.abs().amax(dim=(1, 2, 3)) / 127
        # A slice of zeros has no scale; 1 keeps its zeros.
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        stored[name] = (weight / scale[:, None, None, None]).round().to(torch.int8)
        stored[name + SCALE] = scale
    return stored


def expanded(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `quantized`; a state dict without int8 comes back as it is.

    Raises:
        CheckpointError: an 8-bit weight and its scales do not belong together.
    """
    state = dict(stored)
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            scale = state.pop(name + SCALE, None)
            if scale is None or scale.shape != tensor.shape[:1] or not scale.is_floating_point():
                raise CheckpointError(f"{name} is stored in 8 bits; expected {name}{SCALE} of shape [{len(tensor)}]")
            state[name] = tensor.float() * scale.float().view(-1, *[1] * (tensor.ndim - 1))
    return state


def averaged(loaded: LoadedCheckpoint, others: Sequence[tuple[LoadedCheckpoint, float]]) -> dict[str, Tensor]:
    """The state dict between those of networks of one origin: of every other one its share, of the first the rest.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.

    Raises:
        CheckpointError: another configuration, or shares that are not positive or leave nothing of the first.
    """
    rest = 1 - sum(share for _, share in others)
    if rest <= 0 or any(share <= 0 for _, share in others):
        raise CheckpointError("expected shares above 0 that sum to less than 1")
    state = {name: rest * tensor for name, tensor in loaded.network.state_dict().items()}
    for other, share in others:
        if other.config != loaded.config:
            raise CheckpointError(f"{other.config} cannot be averaged with {loaded.config}")
        for name, tensor in other.network.state_dict().items():
            state[name] += share * tensor
    return state


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Large convolutions in 8 bits, a scale for each slice (.safetensors only).")
@click.option(
    "--average",
    type=(click.Path(path_type=Path), float),
    multiple=True,
    metavar="OTHER SHARE",
    help="Weights between CHECKPOINT and OTHER, of which they are SHARE; may be given again.",
)
@click.option("--force", is_flag=True, help="Replace TARGET.")
def main(checkpoint: Path, target: Path, int8: bool, average: tuple[tuple[Path, float], ...], force: bool) -> None:
    """Keep the weights of CHECKPOINT (averaged ones, where it has them) as TARGET, .safetensors or .pt."""
    from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint

    if target.suffix not in (".safetensors", ".pt") or (int8 and target.suffix == ".pt"):
        expected = ".safetensors file" if int8 else ".safetensors or .pt file"
        raise click.UsageError(f"{target} is no {expected}")
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists; add --force to replace it")
    try:
        loaded = load_checkpoint(checkpoint)
        state = averaged(loaded, [(load_checkpoint(path), share) for path, share in average])
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        describe = {**loaded.describe, "stored": "int8, a scale for each slice" if int8 else "float32"}
        if average:
            # What was measured on the way is not true of weights between two networks.
            describe.pop("validation", None)
            describe["average"] = {str(path): share for path, share in average}
        if target.suffix == ".pt":
            weights = "ema" if loaded.weights == "ema" else "network"
            save_checkpoint(target, {"config": loaded.config.to_dict(), "describe": describe, weights: state})
        else:
            _save_safetensors(target, quantized(state) if int8 else state, describe, loaded.weights)
    except (MirnetDeployError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{target}: {target.stat().st_size / 1e6:.2f} MB of {checkpoint.stat().st_size / 1e6:.2f} MB")


def _save_safetensors(target: Path, state: dict[str, Tensor], describe: dict[str, Any], weights: str) -> None:
    from safetensors.torch import save

    write_atomically(target, save(state, {DESCRIBE: json.dumps(describe), WEIGHTS: weights}))


if __name__ == "__main__":
    main()
