"""Training losses on float32 batches [N,3,H,W]: the network's output (not clamped) against a target in [0, 1].

A dark picture does not say how bright it was meant to be, and the gradient of that guess drowns the rest of a plain
loss. The aligned losses therefore spend half their weight on the output scaled to the target's mean, where brightness
cannot be wrong (the idea of "GT-mean loss", arXiv 2507.20148).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mirnet_deploy.training.config import SIZE_MULTIPLE
from mirnet_deploy.training.context import FixedMeans, OwnMeans
from mirnet_deploy.training.network import MIRNet

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes output and target; gives a scalar."""

CHARBONNIER_EPSILON = 1e-3
SSIM_WEIGHT = 0.15
THUMBNAIL = 4
"""How many times smaller than a crop, on each side, its thumbnail is: the least factor of the thumbnails in use
(`mirnet_deploy.consistency.thumbnail`)."""
ALIGNMENT_FLOOR = 1e-2
"""An output whose mean is below this (2.5 of 255 levels) is scaled as if this were its mean: an untrained output can be
black."""


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """Mean over all values of sqrt(d^2 + epsilon^2), d = output - target (Charbonnier et al., ICIP 1994; epsilon as in
    MIRNet)."""
    return torch.sqrt((output - target) ** 2 + CHARBONNIER_EPSILON**2).mean()


def align_brightness(output: Tensor, target: Tensor) -> Tensor:
    """Scales every picture of `output`, [N,3,H,W], to the mean of its target; gradients flow through the scale."""
    wanted = target.mean(dim=(1, 2, 3), keepdim=True)
    mean = output.mean(dim=(1, 2, 3), keepdim=True)
    return output * (wanted / mean.clamp(min=ALIGNMENT_FLOOR))


def _gaussian_window(like: Tensor) -> Tensor:
    """One row of a separable Gaussian window, [C,1,1,11], for each channel of `like`, [N,C,H,W]; each sums to 1."""
    positions = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    window = torch.exp(-(positions**2) / (2 * 1.5**2))
    return (window / window.sum()).expand(like.shape[1], 1, 1, 11)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, the mean over pictures, channels and the pixels whose window fits; data range 1.

    Wang et al., IEEE TIP 2004: an 11x11 Gaussian window of sigma 1.5, k1 0.01, k2 0.03. Sides must be at least 11.
    """
    window = _gaussian_window(output)

    def blur(x: Tensor) -> Tensor:
        rows = F.conv2d(x, window, groups=x.shape[1])
        return F.conv2d(rows, window.transpose(2, 3), groups=x.shape[1])

    mean_o, mean_t = blur(output), blur(target)
    var_o = blur(output * output) - mean_o**2
    var_t = blur(target * target) - mean_t**2
    covariance = blur(output * target) - mean_o * mean_t
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_o * mean_t + c1) / (mean_o**2 + mean_t**2 + c1)
    structure = (2 * covariance + c2) / (var_o + var_t + c2)
    return (luminance * structure).mean()


def charbonnier_ssim(output: Tensor, target: Tensor) -> Tensor:
    """Charbonnier plus `SSIM_WEIGHT` x (1 - SSIM)."""
    return charbonnier(output, target) + SSIM_WEIGHT * (1 - ssim(output, target))


def aligned(output: Tensor, target: Tensor) -> Tensor:
    """Half Charbonnier, half Charbonnier of the brightness-aligned output."""
    return 0.5 * charbonnier(output, target) + 0.5 * charbonnier(align_brightness(output, target), target)


def aligned_ssim(output: Tensor, target: Tensor) -> Tensor:
    """`aligned` plus `SSIM_WEIGHT` x (1 - SSIM) of the brightness-aligned output."""
    bright = align_brightness(output, target)
    pixels = 0.5 * charbonnier(output, target) + 0.5 * charbonnier(bright, target)
    return pixels + SSIM_WEIGHT * (1 - ssim(bright, target))


def thumbnail_difference(network: MIRNet, low: Tensor, output: Tensor) -> Tensor:
    """Charbonnier between `output` and what `network` makes of `low` with the means of a thumbnail of `low`.

    A picture's tiles share means whose first guess is a thumbnail's (`mirnet_deploy.consistency`). The less it matters
    whose means they are, the closer that guess, and the sooner the passes end. Gradients flow through both results:
    what changes one changes the other, and with `output` as a fixed target the difference grows.

    Args:
        low: float32 [N,3,H,W] in [0, 1], sides of at least 16.
        output: float32 [N,3,H,W], what `network` makes of `low` with its own means.
    """
    thumbnail = F.avg_pool2d(low, THUMBNAIL)
    height, width = (side // SIZE_MULTIPLE * SIZE_MULTIPLE for side in thumbnail.shape[2:])
    means = OwnMeans()
    network(thumbnail[:, :, :height, :width], means)
    return charbonnier(network(low, FixedMeans(means.statistics)), output)


LOSSES: Mapping[str, Loss] = {
    "charbonnier": charbonnier,
    "charbonnier+ssim": charbonnier_ssim,
    "aligned": aligned,
    "aligned+ssim": aligned_ssim,
}
