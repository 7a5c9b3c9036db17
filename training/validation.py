"""Quality on whole held-out pictures, by the protocol of `mirnet_deploy.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from mirnet_deploy import metrics
from mirnet_deploy.errors import ImageError
from mirnet_deploy.pairs import Image, Pair, read_pair, read_rgb8
from mirnet_deploy.pixels import padded
from mirnet_deploy.training.config import SIZE_MULTIPLE
from mirnet_deploy.training.degrade import degrade
from mirnet_deploy.training.network import MIRNet

LARGEST = 1536
"""Longest side in pixels. Of larger pictures only the middle counts: PyTorch takes over a gigabyte per megapixel to run
`lite`."""


@dataclass(frozen=True)
class Quality:
    """Means over the validation pictures: PSNR in dB, SSIM, and PSNR in dB after GT-mean scaling."""

    psnr: float
    ssim: float
    gt_mean_psnr: float


def enhance_whole(network: MIRNet, image: Image, device: torch.device) -> Image:
    """Enhances one picture, uint8 [H,W,3] RGB -> the same, in one piece and in float32; padded as the runtime pads."""
    height, width = image.shape[:2]
    filled = padded(image, SIZE_MULTIPLE)
    batch = torch.from_numpy(filled).permute(2, 0, 1)[None].to(device, torch.float32) / 255
    with torch.inference_mode():
        output = network(batch.contiguous(memory_format=torch.channels_last))
    levels = (output[0, :, :height, :width].clamp(0, 1) * 255).round().to(torch.uint8)
    picture: Image = levels.permute(1, 2, 0).cpu().numpy()
    return picture


def _middle(image: Image) -> Image:
    """The middle of a picture, uint8 [H,W,3], of at most `LARGEST` pixels a side."""
    top, left = (max(0, (size - LARGEST) // 2) for size in image.shape[:2])
    return image[top : top + LARGEST, left : left + LARGEST]


def spread(items: Sequence[Pair | Path], limit: int) -> list[Pair | Path]:
    """At most `limit` of the pictures, evenly spaced from the first on: the same ones each time."""
    count = min(len(items), limit)
    return [items[index * len(items) // count] for index in range(count)]


def validation_pair(item: Pair | Path) -> tuple[Image, Image]:
    """The dark picture and the target of a pair, or those that `degrade` makes of a photograph, always the same ones.

    Returns:
        Both uint8 [H,W,3] RGB, of at most `LARGEST` pixels a side.

    Raises:
        ImageError: a file cannot be read.
        DataError: the pictures of a pair differ in size.
    """
    if isinstance(item, Pair):
        low_image, high_image = read_pair(item)
        return _middle(low_image), _middle(high_image)
    high = _middle(read_rgb8(item))
    seed = [ord(letter) for letter in item.name]
    low, target = degrade(high.astype(np.float32) / np.float32(255), np.random.default_rng(seed))
    return np.rint(low * 255).astype(np.uint8), np.rint(target * 255).astype(np.uint8)


def validate(network: MIRNet, items: Sequence[Pair | Path], device: torch.device) -> Quality:
    """Mean quality of `network` (put into eval mode) over `items`.

    Raises:
        ImageError: a picture cannot be read, or is smaller than the window of SSIM.
        DataError: the pictures of a pair differ in size.
        MissingDependencyError: scikit-image is not installed.
    """
    network.eval()
    psnr, ssim, gt_mean_psnr = [], [], []
    for item in items:
        low, high = validation_pair(item)
        output = enhance_whole(network, low, device)
        psnr.append(metrics.psnr(output, high, data_range=255))
        try:
            ssim.append(metrics.ssim(output, high, data_range=255))
        except ImageError as error:
            raise ImageError(f"validation picture {item.name}: {error}") from error
        gt_mean_psnr.append(metrics.psnr(metrics.gt_mean(output, high), high, data_range=255))
    return Quality(fmean(psnr), fmean(ssim), fmean(gt_mean_psnr))
