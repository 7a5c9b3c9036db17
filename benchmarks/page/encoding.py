"""Turns the pictures of a page into data URIs that keep its budget, and differences into colours of one scale."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.benchmarks.page.pictures import SIDE, Difference, Entry, reduced

BUDGET = 8_000_000
"""Bytes that all pictures of a page take at most, as text in it: base64 is a third longer than the data."""
QUALITY = 84
SHRINK = 0.95
"""A new side is so much smaller than by the rule that bytes grow with the area."""
SMALLEST = 64
"""Side in pixels below which pictures are not made smaller: 7 of them with 5 panels then take some 200 kB."""
GAINS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Factors by which differences may be magnified."""
WITHIN = 0.99
"""Share of a page's pixels of difference that the scale of its colours holds."""
COLOURS = cv2.COLORMAP_INFERNO
"""Even in lightness, dark to bright, also for the colour-blind (van der Walt & Smith, SciPy 2015)."""


@dataclass(frozen=True)
class Coded:
    """A picture in the page: its label, its data URI, and width and height in pixels."""

    label: str
    uri: str
    width: int
    height: int
    borders: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """Of a difference: where tiles meet (`Difference`)."""
    largest: float | None = None
    """Of a difference: its largest value in 8-bit levels, where pixels are already averaged."""


@dataclass(frozen=True)
class Shown:
    """An `Entry` in the page."""

    entry: Entry
    panels: list[Coded]
    maps: list[Coded]


@dataclass(frozen=True)
class Scale:
    """The scale of all differences of a page."""

    gain: int
    stops: list[tuple[float, str]]
    """Positions in percent and colours, from no difference to `top`."""

    @property
    def top(self) -> float:
        """The difference of the brightest colour, in 8-bit levels; larger ones have it too."""
        return 255 / self.gain


def coded(entries: Sequence[Entry], budget: int = BUDGET) -> tuple[list[Shown], Scale]:
    """The pictures as WebP in data URIs that are at most `budget` bytes together: as large as it allows."""
    scale = Scale(gain_for([each for entry in entries for each in entry.differences]), colour_stops())
    side = SIDE
    while True:
        shown = [_coded(entry, side, scale) for entry in entries]
        taken = sum(len(each.uri) for one in shown for each in (*one.panels, *one.maps))
        if taken <= budget or side <= SMALLEST:
            return shown, scale
        side = max(SMALLEST, int(side * SHRINK * (budget / taken) ** 0.5))


def gain_for(differences: Sequence[Difference]) -> int:
    """The largest of `GAINS` at which the colours hold `WITHIN` of all pixels; 1 where there are none."""
    if not differences:
        return 1
    reach = float(np.quantile(np.concatenate([each.levels.ravel() for each in differences]), WITHIN))
    return max([1, *(gain for gain in GAINS if gain * reach <= 255)])


def colour_stops(count: int = 17) -> list[tuple[float, str]]:
    """The colour map at `count` equal steps, for a scale bar."""
    colours = painted(np.linspace(0, 255, count, dtype=np.float32)[None], gain=1)[0]
    return [(100 * index / (count - 1), f"#{r:02x}{g:02x}{b:02x}") for index, (r, g, b) in enumerate(colours.tolist())]


def painted(levels: NDArray[np.float32], gain: int) -> Image:
    """Differences in 8-bit levels, float32 [h,w], as colours, uint8 [h,w,3] RGB."""
    bright = np.rint((levels * gain).clip(0, 255)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(bright, COLOURS), cv2.COLOR_BGR2RGB), np.uint8)


def _coded(entry: Entry, side: int, scale: Scale) -> Shown:
    panels = [_webp(label, reduced(pixels, side)) for label, pixels in entry.panels]
    maps = [
        _webp(each.label, reduced(painted(each.levels, scale.gain), side), each.borders, float(each.levels.max()))
        for each in entry.differences
    ]
    return Shown(entry, panels, maps)


def _webp(
    label: str,
    pixels: Image,
    borders: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
    largest: float | None = None,
) -> Coded:
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=2)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Coded(label, uri, pixels.shape[1], pixels.shape[0], borders, largest)
