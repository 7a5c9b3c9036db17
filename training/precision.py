"""Whether bfloat16 autocast pays on this machine: measured, since instructions for it alone do not make it faster."""

from __future__ import annotations

import copy
import time

import torch

from mirnet_deploy.training.losses import charbonnier
from mirnet_deploy.training.network import MIRNet

REPEATS = 2


def step_seconds(network: MIRNet, device: torch.device, batch: int, crop: int, *, bf16: bool) -> float:
    """Seconds of one forward and backward pass on random crops, [batch,3,crop,crop]: the best of 1 + `REPEATS` runs, of
    which the first warms up."""
    crops = torch.rand(batch, 3, crop, crop, device=device).to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = network(crops)
        charbonnier(output, crops).backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def bf16_gain(network: MIRNet, device: torch.device, batch: int, crop: int) -> float:
    """How many times as fast as in float32 a training step is in bfloat16 on this device (below 1: slower).

    Works on a copy and leaves torch's global random state as it was.
    """
    probe = copy.deepcopy(network).to(device).channels_last()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        plain = step_seconds(probe, device, batch, crop, bf16=False)
        return plain / step_seconds(probe, device, batch, crop, bf16=True)
