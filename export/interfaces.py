"""The two faces of an exported network: float tensors, or 8-bit pictures as they lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mirnet_deploy.metadata import Interface
from mirnet_deploy.training.network import MIRNet


class FloatInterface(nn.Module):
    """float32 [N,3,H,W] RGB in [0, 1] -> float32 [N,3,H,W] RGB, not clamped: for parity, and for 16 bits."""

    def __init__(self, network: MIRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x)
        return y


class ImageInterface(nn.Module):
    """uint8 [N,H,W,3] RGB -> uint8 [N,H,W,3] RGB: normalised, clamped and rounded (half to even) inside the graph.

    The first operation on the picture is the cast and the last one too: TensorRT transposes no uint8 tensor.
    The normalisation and the rounding are float32 in a half-precision network as well.
    """

    def __init__(self, network: MIRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(x.to(torch.float32).permute(0, 3, 1, 2) / 255.0)
        levels = torch.round(y.clamp(0.0, 1.0) * 255.0)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)


def with_interface(network: MIRNet, interface: Interface) -> nn.Module:
    """The network behind the interface asked for, in eval mode."""
    module = FloatInterface(network) if interface == "float" else ImageInterface(network)
    return module.eval()


def example_input(interface: Interface) -> Tensor:
    """A small input to trace with. Every dynamic side differs, so that no two of them are taken for one."""
    if interface == "float":
        return torch.rand(2, 3, 16, 24)
    return torch.randint(0, 256, (2, 16, 24, 3), dtype=torch.uint8)


DYNAMIC_AXES: dict[Interface, dict[int, str]] = {
    "float": {0: "batch", 2: "height", 3: "width"},
    "image": {0: "batch", 1: "height", 2: "width"},
}
"""Axis -> its name, by interface: the same for the input and the output."""
