"""Chooses, while a bench run is under way, the pictures that its page shows; keeps reduced copies, of these alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.comparing import WORST
from mirnet_deploy.benchmarks.inputs import Image, Size, sample_picture
from mirnet_deploy.benchmarks.latency import Enhancer
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow

SIDE = 1000
"""Largest width and height in pixels of the copies that are kept."""
FIRST = 2
"""How many pictures are shown because they come first; `WORST` more are because the first engine is worst there: by
PSNR, or by NIQE where there is no ground truth."""
MAX_OUTPUTS = 3
"""Engines whose outputs are kept: the first ones."""
LEVELS = 255


@dataclass(frozen=True)
class Difference:
    """How far one picture is from another, made small."""

    label: str
    """What was subtracted from what, such as "lite − ground truth"."""
    levels: NDArray[np.float32]
    """float32 [h,w]: mean of |difference| over the channels and over the pixels that became one, in 8-bit levels."""
    borders: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """Where tiles meet, in parts of the width and of the height: from left, and from above."""


@dataclass(frozen=True)
class Entry:
    """One picture of the page."""

    name: str
    panels: list[tuple[str, Image]]
    """Labels and reduced copies: what went in, what came out, and the ground truth where there is one."""
    differences: list[Difference]
    width: int
    height: int
    """Of the picture as it was measured."""
    engine: str = ""
    """Whose output the second panel is."""
    rank: int | None = None
    """1 where the engine is worst of all pictures, up to `WORST`; None for others."""


@dataclass
class Gallery:
    """Holds at most `FIRST` + `WORST` pictures, however many are added."""

    _first: list[Entry] = field(default_factory=list)
    _worst: list[tuple[float, Entry]] = field(default_factory=list)
    _seen: int = 0

    @property
    def entries(self) -> list[Entry]:
        """The first pictures, then the worst ones, the worst first."""
        worst = self._worst if self._seen > WORST else []  # of five pictures none is one of the worst five
        ranks = {id(entry): rank for rank, (_, entry) in enumerate(worst, 1)}
        first = {id(entry) for entry in self._first}
        chosen = [*self._first, *(entry for _, entry in self._worst if id(entry) not in first)]
        return [replace(entry, rank=ranks.get(id(entry))) for entry in chosen]

    def add_measured(self, pair: MeasuredPair, before: int) -> None:
        """Looks at a measured picture, and keeps it where it is one of the first or, so far, of the worst.

        Args:
            before: how many of its outputs, the first ones, are not an engine's.
        """
        row, output = pair.rows[before], pair.outputs[before]
        if pair.low is None or output is None:
            return
        self._seen += 1
        quality = _quality(row, has_target=pair.high is not None)
        is_first = len(self._first) < FIRST
        is_worst = len(self._worst) < WORST or quality < self._worst[-1][0]
        if not is_first and not is_worst:
            return
        entry = _measured(pair.name, pair.low, _outputs(pair, before), pair.high)
        if is_first:
            self._first.append(entry)
        if is_worst:
            self._worst = sorted([*self._worst, (quality, entry)], key=lambda each: each[0])[:WORST]

    def add_timed(self, size: Size, engines: Sequence[Enhancer]) -> None:
        """Keeps the picture that was timed at `size`, the first time that it is called with engines: they enhance it
        once more, and one that fails is left out. It has no ground truth; further engines are compared with the first.
        """
        if self._first:
            return
        image, outputs = sample_picture(size), {}
        for engine in engines[:MAX_OUTPUTS]:
            with suppress(Exception):  # any library's out-of-memory: the figures are measured, and matter more
                outputs[engine.name] = engine.enhance(image)
        if not outputs:
            return
        (name, reference), *others = outputs.items()
        self._first.append(
            Entry(
                f"What was timed: a packaged photograph, cut or mirrored to {size}",
                [(label, reduced(each)) for label, each in [("input", image), *outputs.items()]],
                [difference(f"{other} − {name}", output, reference) for other, output in others],
                size.width,
                size.height,
                name,
            )
        )


def _quality(row: QualityRow, *, has_target: bool) -> float:
    """What the worst pictures are low in: PSNR in dB, or, where there is no ground truth, NIQE with its sign turned.
    Infinite where there is no figure."""
    if has_target:
        return math.inf if row.psnr is None else row.psnr
    return math.inf if row.niqe is None else -row.niqe


def _outputs(pair: MeasuredPair, before: int) -> dict[str, Image]:
    """The outputs of the first engines, without those that failed."""
    each = zip(pair.rows[before:], pair.outputs[before:], strict=True)
    return {row.engine: output for row, output in list(each)[:MAX_OUTPUTS] if output is not None}


def _measured(name: str, low: Image, outputs: Mapping[str, Image], high: Image | None) -> Entry:
    engine, output = next(iter(outputs.items()))
    panels, differences = [("input", low), *outputs.items()], []
    if high is not None:
        panels.append(("ground truth", high))
        differences.append(difference(f"{engine} − ground truth", output, high))
    return Entry(
        name, [(label, reduced(each)) for label, each in panels], differences, low.shape[1], low.shape[0], engine
    )


def difference(
    label: str,
    one: NDArray[np.uint8] | NDArray[np.float32],
    other: NDArray[np.uint8] | NDArray[np.float32],
    borders: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Difference:
    """How far two pictures [H,W,3] of one shape and type are apart: uint8, or float32 in [0, 1].

    Args:
        borders: columns and rows at which tiles meet, in pixels.
    """
    scale = 1 if one.dtype == np.uint8 else LEVELS
    levels = np.abs(one.astype(np.float32) - other.astype(np.float32)).mean(axis=2) * np.float32(scale)
    height, width = levels.shape
    small: NDArray[np.float32] = np.asarray(
        cv2.resize(levels, _fitting(width, height, SIDE), None, 0, 0, cv2.INTER_AREA)
    )
    parts = tuple(each / width for each in borders[0]), tuple(each / height for each in borders[1])
    return Difference(label, small, parts)


def reduced(picture: Image, side: int = SIDE) -> Image:
    """A copy uint8 [h,w,3] with sides of at most `side`."""
    size = _fitting(picture.shape[1], picture.shape[0], side)
    return np.asarray(cv2.resize(picture, size, None, 0, 0, cv2.INTER_AREA), np.uint8)


def _fitting(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a picture made small, never large, so that it fits into a square of `side`."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
