"""The processes of a run: one, or several started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mirnet_deploy.errors import TrainingError


@dataclass(frozen=True)
class Processes:
    """This process among its peers."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces every gradient by its mean over the processes, all in one message."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, value: Tensor) -> float:
        """The mean over the processes of `value`, one number on `device`."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world_size
        return float(value)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process: where one stops, all must, or the others would wait for ever."""
        if self.world_size == 1:
            return flag
        said = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return bool(said)

    def wait(self) -> None:
        """Waits until every process has got here."""
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Joins the group that `torchrun` describes in the environment, or runs alone.

    `device` is "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Of several processes on CUDA, each takes
    the GPU of its `LOCAL_RANK`, whatever N.

    Raises:
        TrainingError: `device` is unknown, or is a CUDA device that is not there.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    place = _device(device)
    if world_size > 1:
        if place.type == "cuda":
            place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    try:
        yield Processes(rank, world_size, place)
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def _device(name: str) -> torch.device:
    """The device of that name; CUDA always with an index.

    Raises:
        TrainingError: it is unknown, or is not there.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda", 0) if available else torch.device("cpu")
    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"device {name!r} is unknown; expected auto, cpu, cuda or cuda:N") from error
    if place.type not in ("cpu", "cuda"):
        raise TrainingError(f"device {name!r} is not supported; expected auto, cpu, cuda or cuda:N")
    if place.type == "cuda" and (not available or (place.index or 0) >= torch.cuda.device_count()):
        raise TrainingError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees no such CUDA device here"
        )
    return torch.device("cuda", place.index or 0) if place.type == "cuda" else place
