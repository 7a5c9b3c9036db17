"""How the means that tiles share are found: guessed from a thumbnail, corrected by passes over the tiles.

The global pools of MIRNet take means over whole feature maps. In tiles they are given means instead, a vector c, and
measure what follows from it; the average over the picture is F(c). The whole picture's means are the one fixed point
c = F(c). A pool depends only on the pools before it, so a pass over all tiles makes at least one more stage of pools
exact, and after as many passes as there are stages F(c) = c for any first guess.

Two things make that cheap.
- A thumbnail is the coarse grid of a two-grid method (full approximation scheme: Brandt, "Multi-level adaptive
  solutions to boundary-value problems", 1977). If T(c) is what its pools measure, a pass shows the defect
  d = F(c) - T(c), and the next guess is the fixed point of T(c') + d. That takes one run of the network over the
  thumbnail, whose pools use what they measure plus d. What is exact stays exact, and the rest loses most of its error.
- The defect for the first pass is measured on a sample of patches instead of everywhere (`patches`).

The passes stop when the predicted error is small enough (`prediction`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.consistency.patches import Patches, evenly, regression_estimate
from mirnet_deploy.consistency.prediction import Prediction, predict
from mirnet_deploy.consistency.thumbnail import Guess, Thumbnail
from mirnet_deploy.pipeline.work import Work
from mirnet_deploy.tiling import TileGrid


@dataclass(frozen=True)
class Outcome:
    """How the tiles of one picture came to agree."""

    passes: int
    """Passes over the whole picture; the result is that of the last one."""
    sampled: float
    """The share of the picture's pixels that were measured in a sample, before the first pass, each as often as it was
    measured."""
    prediction: Prediction
    defect: NDArray[np.float64]
    """[K]: the picture's means minus the thumbnail's. The next frame of a video starts with it."""


def enhance_consistently(
    work: Work,
    grid: TileGrid,
    *,
    tolerance: float,
    passes: int,
    defect: NDArray[np.float64] | None,
) -> Outcome:
    """Enhances a picture in tiles that share their means.

    Args:
        grid: the tiles of the padded picture.
        tolerance: in dB; passes are made until the prediction is within it (`Prediction.within`).
        passes: the most passes to make. A single pass uses the thumbnail's guess. If there may be more, a sample of
            patches improves the guess before the first, unless it costs too much.
        defect: [K], from the last frame of a video, for the first guess in place of a sample; None for a still picture.

    Raises:
        EngineError: the engine refuses, or its artifact has no context.
    """
    thumbnail = Thumbnail(work, grid)
    guess, sampled = thumbnail.guess(defect), 0.0
    if defect is None and passes > 1:
        guess, sampled = _with_sample(work, grid, thumbnail, guess, tolerance)
    made = 0
    while True:
        made += 1
        measured = work.given(grid, guess.context)
        better = thumbnail.guess(measured - guess.measured)
        prediction = predict(guess.enhanced, better.enhanced, work.engine.step)
        if made == passes or prediction.within(tolerance):
            return Outcome(made, sampled, prediction, better.context - better.measured)
        guess = better


def _with_sample(
    work: Work, grid: TileGrid, thumbnail: Thumbnail, guess: Guess, tolerance: float
) -> tuple[Guess, float]:
    """A better guess from a sample of patches, and the share of the picture's pixels that it measured, each as often as
    it did; the same guess and 0 if a sample is not worth its cost."""
    patches = Patches.of(thumbnail.size, grid, work.limits)
    if patches is None:
        return guess, 0.0
    areas = np.array([patch.core_area for patch in patches.large], np.float64)
    picks = evenly(areas, patches.count)

    def measure(some: NDArray[np.intp], context: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """What the pools measure on the patches `some`, and in the same places of the thumbnail: [n,K] each."""
        tiles = ([each[pick] for pick in some] for each in (patches.large, patches.small))
        return tuple(one.measure(part, context) for one, part in zip((work, thumbnail.work), tiles, strict=True))

    seen, known = measure(picks, guess.context)
    measured = regression_estimate(seen, known, guess.measured)
    better, sampled = thumbnail.guess(measured - guess.measured), float(areas[picks].sum() / grid.area)
    if predict(guess.enhanced, better.enhanced, work.engine.step).within(tolerance):
        return better, sampled
    # With the better guess the pools measure something else again. Only that change is looked for now, which the
    # thumbnail foretells nearly, so few patches tell the rest.
    again = evenly(np.ones(len(picks)), patches.again)
    seen_then, known_then = measure(picks[again], better.context)
    changes = seen_then - seen[again], known_then - known[again]
    measured += regression_estimate(*changes, better.measured - guess.measured)
    return thumbnail.guess(measured - better.measured), sampled + float(areas[picks[again]].sum() / grid.area)
