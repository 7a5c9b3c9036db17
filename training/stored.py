"""Weights as a `.safetensors` file of ours holds them: in float32, or large ones in 8 bits.

8 bits: the weight of every large convolution is int8 with one float32 scale for each slice of its first axis, rounded
to nearest, largest magnitude 127. `load_checkpoint` gives float32 weights again. Small weights, the first and the
last layer and most gates among them, stay float32: they are 16 % of `lite` and 0.3 % of `paper`. The models' cards say
what the 8 bits cost in quality.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mirnet_deploy.errors import CheckpointError

SCALE = ".scale"
"""Suffix that turns the name of a weight in 8 bits into that of its scales."""
DESCRIBE = "describe"
"""Key in the file's metadata under which `LoadedCheckpoint.describe` is stored, as JSON."""
WEIGHTS = "weights"
"""Key in the file's metadata under which `LoadedCheckpoint.weights` is stored: "ema" or "plain"."""
LARGE = 4096
"""The fewest values that a weight must have to be kept in 8 bits."""


def quantized(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large weights of four axes as int8, each with its scales, float32 [first axis]; the rest as float32."""
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
    """Undoes `quantized`, up to its rounding; a state dict without int8 comes back as it is.

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
