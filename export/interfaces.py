"""The two interfaces of an exported network: float tensors, or 8-bit pictures as they lie in memory.

Called with the picture alone, they are the plain network. Called with the four tensors of a `PoolContext` too, they
also return the means that the pools measured, float32 [N,K].
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mirnet_deploy.artifacts.context import MEASURED
from mirnet_deploy.artifacts.metadata import ChannelOrder, Interface
from mirnet_deploy.training.context import PoolContext
from mirnet_deploy.training.network import MIRNet


class FloatInterface(nn.Module):
    """float32 [N,3,H,W] RGB in [0, 1] -> float32 [N,3,H,W] RGB, not clamped: for parity, and for 16-bit pictures."""

    def __init__(self, network: MIRNet) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mode: Tensor | None = None,
        rows: Tensor | None = None,
        cols: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The result for the picture `x`; with all inputs of a `PoolContext` also its statistics, float32 [N,K]."""
        if context is None or mode is None or rows is None or cols is None:
            return self.picture(self.network(self.planes(x)))
        pools = PoolContext(context, mode, rows, cols)
        return self.picture(self.network(self.planes(x), pools)), pools.statistics

    def planes(self, x: Tensor) -> Tensor:
        """The network's input, float32 [N,3,H,W] in [0, 1], made from the picture `x`: here `x` itself."""
        return x

    def picture(self, y: Tensor) -> Tensor:
        """The result, made from the network's output `y`, float32 [N,3,H,W]: here `y` itself."""
        return y


class ImageInterface(FloatInterface):
    """uint8 [N,H,W,3] RGB -> uint8 [N,H,W,3] RGB: normalised, clamped and rounded (half to even) inside the graph.

    The casts are the first and the last operation on the picture, because TensorRT does not transpose uint8 tensors.
    The normalisation and the rounding are float32 in a half-precision network as well.
    """

    def planes(self, x: Tensor) -> Tensor:
        """uint8 [N,H,W,3] -> float32 [N,3,H,W] in [0, 1]."""
        return x.to(torch.float32).permute(0, 3, 1, 2) / 255.0

    def picture(self, y: Tensor) -> Tensor:
        """float32 [N,3,H,W] -> uint8 [N,H,W,3], clamped and rounded."""
        levels = torch.round(y.clamp(0.0, 1.0) * 255.0)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)


def with_interface(network: MIRNet, interface: Interface) -> nn.Module:
    """The network behind the interface asked for, in eval mode."""
    module = FloatInterface(network) if interface == "float" else ImageInterface(network)
    return module.eval()


def in_channel_order(network: MIRNet, order: ChannelOrder) -> MIRNet:
    """The network for pictures in `order`. For BGR it is a copy whose first weights have their input channels reversed,
    and whose last weights their output channels: that costs nothing in the graph."""
    if order == "rgb":
        return network
    network = copy.deepcopy(network)
    first, last = network.conv_in, network.conv_out
    first.weight.data = first.weight.data.flip(1)
    last.weight.data = last.weight.data.flip(0)
    if last.bias is not None:
        last.bias.data = last.bias.data.flip(0)
    return network


def example_inputs(interface: Interface, context: int) -> tuple[Tensor, ...]:
    """Small inputs to trace with: two pictures, and for a `context` of K > 0 values the `CONTEXT_INPUTS` too.

    The pictures are float32 [2,3,16,24] or uint8 [2,16,24,3], the others float32 [1,K], [2], [2,16] and [2,24]. All
    dynamic sides differ, so that the exporter does not take two of them for one.
    """
    batch, height, width = 2, 16, 24
    if interface == "float":
        x = torch.rand(batch, 3, height, width)
    else:
        x = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)
    if not context:
        return (x,)
    return x, torch.zeros(1, context), torch.tensor(MEASURED), torch.ones(batch, height), torch.ones(batch, width)


def context_defaults(context: int) -> dict[str, Tensor]:
    """float32 values of the `CONTEXT_INPUTS` that make the plain network at any size: rows and cols are ones, [1,1]."""
    return {
        "context": torch.zeros(1, context),
        "mode": torch.tensor(MEASURED),
        "rows": torch.ones(1, 1),
        "cols": torch.ones(1, 1),
    }


def context_shapes(context: int) -> dict[str, list[int | str]]:
    """Shapes of the `CONTEXT_INPUTS` for a context of `context` values; a side given as a name may have any length."""
    return {"context": [1, context], "mode": [2], "rows": ["batch", "height"], "cols": ["batch", "width"]}


DYNAMIC_AXES: dict[Interface, dict[int, str]] = {
    "float": {0: "batch", 2: "height", 3: "width"},
    "image": {0: "batch", 1: "height", 2: "width"},
}
"""Dynamic axis -> name of the side, by interface: the same for the picture that goes in and the one that comes out."""
