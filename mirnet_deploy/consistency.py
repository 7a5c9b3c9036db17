"""The means that a picture's tiles share, so that together they give what the network would give for it whole.

The global pools of MIRNet take means over whole feature maps. In tiles they are given these means, a vector c, and
measure what comes of it over the picture: F(c). The whole picture's means are the one fixed point c = F(c). A pool
depends only on the pools before it, so a pass over all tiles makes at least one more stage of pools exact, and after as
many passes as there are stages F(c) = c for any first guess.

Two things make that cheap.
- A thumbnail is the coarse grid of a two-grid method (full approximation scheme: Brandt, "Multi-level adaptive
  solutions to boundary-value problems", 1977). With T for what its pools measure, a pass shows the defect
  d = F(c) - T(c), and the next guess is the fixed point of T(c') + d: one run of the network over the thumbnail, whose
  pools use what they measure plus d. That keeps exact what is exact, and takes most of the error out of the rest.
- The defect for the first pass is measured on a sample of patches instead of everywhere (`sampling`).

The error is predicted by what the last correction would change: the thumbnail is enhanced with the means that were used
and with the corrected ones, and the difference of the two stands for that of the picture and its whole result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.pipeline import Work
from mirnet_deploy.sampling import Patches, describe, regression_estimate, representatives
from mirnet_deploy.thumbnail import Guess, Thumbnail
from mirnet_deploy.tiling import TileGrid

Consistency = Literal["exact", "fast", "local"]

PATCHES = 80
"""Patches in a sample. Their number and not their share of the picture decides how well they stand for it."""
SAMPLE_COST = 0.8
"""What a sample may cost of a pass; where it would cost more, the first pass over all tiles takes its place."""
PSNR_MARGIN = 2.0
"""dB taken off a predicted PSNR."""
MAX_ABS_FACTOR = 1.8
"""By which a predicted largest difference is multiplied: a thumbnail's is smaller than the picture's."""
MAX_ABS_REST = 0.1 / 255
"""Added to it: what the borders of tiles contribute where the means are exact."""
MAX_PSNR = 150.0
"""dB: where float32 ends."""
MAX_ABS = 1 / 255
"""What no pixel may be off by, of a range of 1, where 60 dB are asked for; for other tolerances in proportion, but for
what no pass can take away: not less than twice `MAX_ABS_REST`."""


@dataclass(frozen=True)
class Prediction:
    """How far a picture is from the network's result for the whole of it, before it is rounded."""

    psnr: float
    """dB; at most `MAX_PSNR`."""
    max_abs: float
    """Largest absolute difference, of a range of 1."""

    def within(self, tolerance: float) -> bool:
        """Whether the picture is as good as whole: at least `tolerance` dB, no pixel off by more than `MAX_ABS`."""
        most = max(MAX_ABS * 10 ** ((60 - tolerance) / 20), 2 * MAX_ABS_REST)
        return self.psnr >= tolerance and self.max_abs <= most


@dataclass(frozen=True)
class Outcome:
    """How the tiles of one picture came to agree."""

    passes: int
    """Over the whole picture; the last one wrote it."""
    sampled: float
    """Share of the picture's pixels that were measured before the first pass."""
    prediction: Prediction
    defect: NDArray[np.float64]
    """[K], what the thumbnail's means lack: a start for the next frame of a film."""


def enhance_consistently(
    work: Work,
    grid: TileGrid,
    *,
    tolerance: float,
    passes: int,
    defect: NDArray[np.float64] | None = None,
) -> Outcome:
    """Enhances a picture in tiles that share their means.

    Args:
        grid: the tiles of the padded picture.
        tolerance: PSNR in dB that the prediction must reach; passes are made until it does.
        passes: the most to make. Where it is 1, that one takes the thumbnail's guess; otherwise a sample of patches
            comes before the first, if it costs less.
        defect: [K], from the last frame of a film, for the first guess in place of a sample.

    Raises:
        EngineError: the engine refuses, or its artifact has no context.
    """
    thumbnail = Thumbnail(work, grid.tile_size)
    guess, sampled = thumbnail.guess(defect), 0.0
    if defect is None and passes > 1:
        guess, sampled = _with_sample(work, grid, thumbnail, guess)
    made = 0
    while True:
        made += 1
        measured = work.given(grid, guess.context)
        better = thumbnail.guess(measured - guess.measured)
        prediction = predict(guess.enhanced, better.enhanced)
        if made == passes or prediction.within(tolerance):
            return Outcome(made, sampled, prediction, better.context - better.measured)
        guess = better


def _with_sample(work: Work, grid: TileGrid, thumbnail: Thumbnail, guess: Guess) -> tuple[Guess, float]:
    """A better guess from a sample of patches, and the sample's share of the picture; the same guess where the sample
    would cost too much of a pass."""
    patches = Patches.of(thumbnail, grid, work.pipeline.limits)
    if patches is None:
        return guess, 0.0
    cost = PATCHES * math.prod(patches.large[0].size) / (len(grid) * math.prod(grid.tile_size))
    if len(patches.large) <= PATCHES or cost > SAMPLE_COST:
        return guess, 0.0
    areas = np.array([patch.core_area for patch in patches.large], np.float64)
    picks, shares = representatives(describe(work.image, patches, thumbnail, guess), areas, PATCHES)
    large, small = ([tiles[pick] for pick in picks] for tiles in (patches.large, patches.small))
    seen = work.measure(large, guess.context)
    known = thumbnail.work.measure(small, guess.context)
    measured = regression_estimate(seen, known, shares, guess.measured)
    return thumbnail.guess(measured - guess.measured), float(areas[picks].sum() / grid.area)


def predict(used: NDArray[np.float32], better: NDArray[np.float32]) -> Prediction:
    """The error of a picture, from its thumbnail, [h,w,3], enhanced with the means used and with better ones:
    PSNR(used, better) - `PSNR_MARGIN`, and max |used - better| * `MAX_ABS_FACTOR` + `MAX_ABS_REST`. The constants are
    fitted (benchmarks/TILING.md)."""
    psnr, max_abs = difference(used, better)
    return Prediction(psnr - PSNR_MARGIN, max_abs * MAX_ABS_FACTOR + MAX_ABS_REST)


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """PSNR in dB, at most `MAX_PSNR`, and largest absolute difference of two pictures in [0, 1]."""
    error = a.astype(np.float64) - b
    mse = max(float(np.mean(error**2)), 10 ** (-MAX_PSNR / 10))
    return -10 * math.log10(mse), float(np.abs(error).max())
