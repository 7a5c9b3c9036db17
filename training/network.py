"""MIRNet in PyTorch.

Source: Zamir et al., "Learning Enriched Features for Real Image Restoration and Enhancement", ECCV 2020
(arXiv 2003.06792). Modules are named as in the paper. A module that is used twice is held once, so that the
ties of the published network are ties of the code and a state dict holds every parameter exactly once.

Two choices differ in form, never in value, from the paper's figures: a 1x1 convolution that follows a bilinear
upsampling is applied before it (both are linear and act on different axes: a quarter of the arithmetic), and the
one PReLU slope that all DAUs share is passed down instead of being stored in each of them.

Precision: the pools, the squeeze and excite convolutions behind them and the last residual sum always run in float32
(the *FP32 islands*). A half-precision sum over 512x512 activations of mean 0.25 would pass 65504.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirnet_deploy.training.config import LEVELS, REDUCTION, MIRNetConfig
from mirnet_deploy.training.context import Pools


def _conv(channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps height and width, for odd `kernel`."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)


def _fp32_island(x: Tensor) -> AbstractContextManager[Any]:
    """Turns autocast off behind a pool; without autocast it does nothing, so that an export has no trace of it."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


class GlobalPool(nn.Module):
    """Mean over height and width, [N,C,h,w] in any float dtype -> float32 [N,C,1,1], or what `pools` gives instead.

    The only place where a MIRNet looks further than its convolutions do: a class of its own, so that tiles can be given
    the means of the whole picture (`training.context`). Its input is at 1 / 2**level of the resolution.
    """

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor, pools: Pools | None = None) -> Tensor:
        # Not mean(dtype=float32): that exports as a mean in half, then a cast, and the half sum overflows.
        x = x.float()
        return x.mean(dim=(2, 3), keepdim=True) if pools is None else pools.mean(x, self.level)


class SpatialAttention(nn.Module):
    """Scales every pixel by one gate made from the maximum and the mean over channels: [N,C,h,w] -> [N,C,h,w]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(2, 1, 5)

    def forward(self, r: Tensor) -> Tensor:
        gate = self.conv(torch.cat([r.amax(dim=1, keepdim=True), r.mean(dim=1, keepdim=True)], dim=1))
        return r * torch.sigmoid(gate)


class ChannelAttention(nn.Module):
    """Scales every channel by one gate made from the means of all (squeeze and excitation): [N,C,h,w] -> [N,C,h,w]."""

    def __init__(self, channels: int, level: int) -> None:
        super().__init__()
        self.pool = GlobalPool(level)
        self.squeeze = _conv(channels, channels // REDUCTION, 1)
        self.excite = _conv(channels // REDUCTION, channels, 1)

    def forward(self, r: Tensor, pools: Pools | None = None) -> Tensor:
        pooled = self.pool(r, pools)
        with _fp32_island(r):
            gate = torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))
        return r * gate.to(r.dtype)


class DAU(nn.Module):
    """Dual attention unit: two 3x3 convolutions, spatial and channel attention side by side, a residual.

    [N,C,h,w] -> [N,C,h,w], at 1 / 2**level of the resolution. `slope` ([1]) is the PReLU slope that every DAU of the
    network shares.
    """

    def __init__(self, channels: int, level: int = 0) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 3)
        self.conv2 = _conv(channels, channels, 3)
        self.spatial = SpatialAttention()
        self.channel = ChannelAttention(channels, level)
        self.merge = _conv(2 * channels, channels, 1)

    def forward(self, x: Tensor, slope: Tensor, pools: Pools | None = None) -> Tensor:
        r = self.conv1(x)
        r = self.conv2(F.prelu(r, slope.to(r.dtype)))
        y: Tensor = self.merge(torch.cat([self.spatial(r), self.channel(r, pools)], dim=1)) + x
        return y


class SKFF(nn.Module):
    """Selective kernel feature fusion: a sum of branches, weighted channel by channel by a softmax over the branches.

    Branches of [N,C,h,w] each -> [N,C,h,w], at 1 / 2**level of the resolution.
    """

    def __init__(self, channels: int, level: int = 0, branches: int = LEVELS) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 4)
        self.pool = GlobalPool(level)
        self.squeeze = _conv(channels, hidden, 1)
        self.act = nn.PReLU()
        self.excite = nn.ModuleList(_conv(hidden, channels, 1) for _ in range(branches))

    def forward(self, branches: list[Tensor], pools: Pools | None = None) -> Tensor:
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        pooled = self.pool(total, pools)
        with _fp32_island(total):
            z = self.act(self.squeeze(pooled))
            weights = torch.softmax(torch.stack([excite(z) for excite in self.excite]), dim=0)
        fused = branches[0] * weights[0].to(total.dtype)
        for branch, weight in zip(branches[1:], weights[1:], strict=True):
            fused = fused + branch * weight.to(total.dtype)
        return fused


class Blur(nn.Module):
    """[1 2 1]x[1 2 1]/16 on every channel, reflected at the border, every second pixel kept.

    [N,C,h,w] -> [N,C,h/2,w/2].
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.kernel.to(x.dtype), stride=2, groups=self.kernel.shape[0])


class Down(nn.Module):
    """Half the resolution, twice the channels, antialiased: a path with two activations beside a linear one.

    [N,C,h,w] -> [N,2C,h/2,w/2].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 1)
        self.act1 = nn.PReLU()
        self.conv2 = _conv(channels, channels, 3)
        self.act2 = nn.PReLU()
        self.blur = Blur(channels)
        self.conv3 = _conv(channels, 2 * channels, 1)
        self.skip = _conv(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.act2(self.conv2(self.act1(self.conv1(x))))
        y: Tensor = self.conv3(self.blur(top)) + self.skip(self.blur(x))
        return y


class Up(nn.Module):
    """Twice the resolution, half the channels, by a transposed convolution beside a bilinear path.

    [N,C,h,w] -> [N,C/2,2h,2w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 1)
        self.act1 = nn.PReLU()
        self.conv2 = nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.act2 = nn.PReLU()
        self.conv3 = _conv(channels, channels // 2, 1)
        self.skip = _conv(channels, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))
        # The 1x1 convolution first: it commutes with the interpolation and sees a quarter of the pixels.
        y: Tensor = top + F.interpolate(self.skip(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return y


class MSRB(nn.Module):
    """Multi-scale residual block: two columns of DAUs at three resolutions, every level fused with every other.

    [N,C,H,W] -> [N,C,H,W]; H and W are multiples of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = [channels * 2**level for level in range(LEVELS)]
        self.dau = nn.ModuleList(DAU(c, level) for level, c in enumerate(width))
        self.skff = nn.ModuleList(SKFF(c, level) for level, c in enumerate(width))
        self.down01, self.down12 = Down(width[0]), Down(width[1])
        self.down02 = nn.Sequential(Down(width[0]), Down(width[1]))
        self.up10, self.up21 = Up(width[1]), Up(width[2])
        self.up20 = nn.Sequential(Up(width[2]), Up(width[1]))
        self.last_up1 = Up(width[1])
        self.last_up2 = nn.Sequential(Up(width[2]), Up(width[1]))
        self.conv = _conv(channels, channels, 3)

    def forward(self, x: Tensor, slope: Tensor, pools: Pools | None = None) -> Tensor:
        dau0, dau1, dau2 = self.dau
        skff0, skff1, skff2 = self.skff
        a0 = dau0(x, slope, pools)
        a0_down = self.down01(a0)
        a1 = dau1(a0_down, slope, pools)
        a1_down = self.down12(a1)
        a2 = dau2(a1_down, slope, pools)
        b0 = dau0(skff0([a0, self.up10(a1), self.up20(a2)], pools), slope, pools)
        b1 = dau1(skff1([a0_down, a1, self.up21(a2)], pools), slope, pools)
        b2 = dau2(skff2([self.down02(a0), a1_down, a2], pools), slope, pools)
        y: Tensor = self.conv(skff0([b0, self.last_up1(b1), self.last_up2(b2)], pools)) + x
        return y


class RRG(nn.Module):
    """Recursive residual group: multi-scale residual blocks, a 3x3 convolution, a residual. [N,C,H,W] -> [N,C,H,W]."""

    def __init__(self, channels: int, n_msrb: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MSRB(channels) for _ in range(n_msrb))
        self.conv = _conv(channels, channels, 3)

    def forward(self, x: Tensor, slope: Tensor, pools: Pools | None = None) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y, slope, pools)
        z: Tensor = self.conv(y) + x
        return z


class MIRNet(nn.Module):
    """The network: [N,3,H,W] RGB in [0, 1] -> [N,3,H,W] RGB float32, not clamped. H and W are multiples of 4.

    With `pools`, that object measures the means of the global pools and gives those that they use.
    """

    def __init__(self, config: MIRNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or MIRNetConfig()
        channels = self.config.n_feat
        self.conv_in = _conv(3, channels, 3)
        self.dau_slope = nn.Parameter(torch.full((1,), 0.25))
        self.groups = nn.ModuleList(RRG(channels, self.config.n_msrb) for _ in range(self.config.n_rrg))
        self.conv_out = _conv(channels, 3, 3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # torch's own initial weights let a third of the variance through a layer. In a network without
                # biases, fed with dark pictures, the first hundreds of steps then go into scale (RESULTS.md, "The
                # start").
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            elif isinstance(module, nn.ConvTranspose2d):
                _without_checkerboard(module)

    def forward(self, x: Tensor, pools: Pools | None = None) -> Tensor:
        y = self.conv_in(x.to(self.conv_in.weight.dtype))
        for group in self.groups:
            y = group(y, self.dau_slope, pools)
        residual: Tensor = self.conv_out(y)
        return residual.float() + x.float()

    def half_with_islands(self) -> MIRNet:
        """Converts, in place, everything but the FP32 islands to float16, and returns self."""
        self.half()
        for module in self.modules():
            if isinstance(module, (ChannelAttention, SKFF)):
                module.float()
        return self

    def channels_last(self) -> MIRNet:
        """Lays the weights out, in place, for channels-last activations (a third faster on CPUs), and returns self."""
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def parameter_count(self) -> int:
        """Trainable values, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


@torch.no_grad()
def _without_checkerboard(conv: nn.ConvTranspose2d) -> None:
    """Makes a stride-2 transposed 3x3 convolution start as a bilinear upsampling of random channel mixtures.

    The output pixels of a stride-2 transposed convolution fall into four phases that see different taps, so a
    random start prints a grid of period 2 on flat areas, and a short training leaves some of it (Odena et al.,
    "Deconvolution and Checkerboard Artifacts", Distill 2016). With taps [1/2, 1, 1/2] all phases have the same gain.
    """
    row = torch.tensor([0.5, 1.0, 0.5])
    # The factor keeps the variance of flat areas: of nine random taps a pixel of the output sees 9/4 on average.
    conv.weight.copy_(conv.weight[:, :, 1:2, 1:2] * torch.outer(row, row) * (9.0 / 4.0) ** 0.5)
