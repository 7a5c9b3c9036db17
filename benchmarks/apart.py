"""How far two results of the same picture are from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.metrics import psnr


@dataclass(frozen=True)
class Apart:
    """How far two results are from each other."""

    psnr: float | None
    """dB; None where they are equal."""
    max_levels: int
    """Largest difference at any pixel and channel, of 255."""

    @classmethod
    def of(cls, result: Image, reference: Image) -> Apart:
        """Of two pictures, uint8 [H,W,3]."""
        # int16: a difference of bytes would wrap around.
        levels = int(np.abs(result.astype(np.int16) - reference).max())
        return cls(psnr(result, reference, data_range=255) if levels else None, levels)

    def or_worse(self, other: Apart) -> Apart:
        """The lower PSNR and the larger difference of both."""
        decibels = [each.psnr for each in (self, other) if each.psnr is not None]
        return Apart(min(decibels, default=None), max(self.max_levels, other.max_levels))
