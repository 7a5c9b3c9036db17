"""Counts the work of a network in PyTorch, which runs one operation after the other and fuses none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mirnet_deploy.benchmarks.floor.work import Shapes, Work


def eager_work(network: nn.Module, pools: object, shapes: Shapes) -> Work:
    """The work of a network on a batch float32 [N,3,H,W], whose shape is that of "input". Nothing is computed: it runs
    on shapes alone.

    Multiplications are half of what `torch.utils.flop_counter` counts, which is those of convolutions and matrix
    products. `unfused_bytes` are those of the operations that the network calls; what a compiler makes of them is less.

    Args:
        pools: what the network is given besides; see `training.network.MIRNet`.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        batch = torch.empty(shapes["input"], device=next(network.parameters()).device)
        with FlopCounterMode(display=False) as flops, _Traffic() as traffic:
            result: Tensor = network(batch, pools)
    constants = (*network.parameters(), *network.buffers())
    return Work(
        flops.get_total_flops() // 2,
        sum(_nbytes(tensor) for tensor in constants),
        _nbytes(batch) + _nbytes(result),
        traffic.nbytes,
    )


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operations read and write, each tensor once an operation; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nbytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call: Callable[..., Any] = func
        result = call(*args, **(kwargs or {}))
        written = _tensors(result)
        if written and not func.is_view:  # what gives no tensor asks for a property
            self.nbytes += sum(map(_nbytes, (*_tensors((args, kwargs)), *written)))
        return result


def _tensors(values: Any) -> list[Tensor]:
    """The tensors in nested containers, each once."""
    return list({id(each): each for each in tree_leaves(values) if isinstance(each, Tensor)}.values())


def _nbytes(tensor: Tensor) -> int:
    """Bytes of a tensor; of one that repeats its values (an expanded one), those that are stored."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
