"""The two faces of an exported network: float tensors, or 8-bit pictures as they lie in memory.

Called with the picture alone they are the plain network. Called with the four tensors of a `PoolContext` too, they
return the means that the pools measured beside the result, float32 [N,K].
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
    """float32 [N,3,H,W] RGB in [0, 1] -> float32 [N,3,H,W] RGB, not clamped: for parity, and for 16 bits."""

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
        if context is None or mode is None or rows is None or cols is None:
            return self.picture(self.network(self.planes(x)))
        pools = PoolContext(context, mode, rows, cols)
        return self.picture(self.network(self.planes(x), pools)), pools.statistics

    def planes(self, x: Tensor) -> Tensor:
        """What goes into the network, float32 [N,3,H,W] in [0, 1]: here `x` itself."""
        return x

    def picture(self, y: Tensor) -> Tensor:
        """What comes out, of the network's output: here `y` itself."""
        return y


class ImageInterface(FloatInterface):
    """uint8 [N,H,W,3] RGB -> uint8 [N,H,W,3] RGB: normalised, clamped and rounded (half to even) inside the graph.

    The first operation on the picture is the cast and the last one too: TensorRT transposes no uint8 tensor.
    The normalisation and the rounding are float32 in a half-precision network as well.
    """

    def planes(self, x: Tensor) -> Tensor:
        """float32 [N,3,H,W] in [0, 1]."""
        return x.to(torch.float32).permute(0, 3, 1, 2) / 255.0

    def picture(self, y: Tensor) -> Tensor:
        """Clamped, rounded, uint8 [N,H,W,3]."""
        levels = torch.round(y.clamp(0.0, 1.0) * 255.0)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)


def with_interface(network: MIRNet, interface: Interface) -> nn.Module:
    """The network behind the interface asked for, in eval mode."""
    module = FloatInterface(network) if interface == "float" else ImageInterface(network)
    return module.eval()


def in_channel_order(network: MIRNet, order: ChannelOrder) -> MIRNet:
    """The network for pictures in that order: for BGR a copy, the first weights' inputs and the last ones' outputs
    turned round, at no cost in the graph."""
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
    """Small inputs to trace with, for a context of so many values the `CONTEXT_INPUTS` too.

    Every dynamic side differs, so that no two of them are taken for one.
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
    """Values of the `CONTEXT_INPUTS` that make the plain network at any size: [1,1] stands for all rows and columns."""
    return {
        "context": torch.zeros(1, context),
        "mode": torch.tensor(MEASURED),
        "rows": torch.ones(1, 1),
        "cols": torch.ones(1, 1),
    }


def context_shapes(context: int) -> dict[str, list[int | str]]:
    """Shapes of the `CONTEXT_INPUTS` for a context of so many values; a side that is a name may have any length."""
    return {"context": [1, context], "mode": [2], "rows": ["batch", "height"], "cols": ["batch", "width"]}


DYNAMIC_AXES: dict[Interface, dict[int, str]] = {
    "float": {0: "batch", 2: "height", 3: "width"},
    "image": {0: "batch", 1: "height", 2: "width"},
}
"""Axis -> its name, by interface: the same for the input and the output."""
