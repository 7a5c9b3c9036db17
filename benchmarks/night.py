"""Pictures without a ground truth: the faults that an engine puts into them, in figures and on a contact sheet.

Per picture: the share of clipped values before and after, how far clipped lamps grew, the shift of the colour balance,
and whether the output's smoothest place carries a grid. Pictures are reduced first: this looks for faults and does not
measure speed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.errors import ImageError
from mirnet_deploy.pairs import read_rgb8
from mirnet_deploy.runtime import MIRNetRuntime

Advance = Callable[[], None]

PATCH = 64
"""Side in pixels of the smooth place, a multiple of every period."""
PERIODS = (2, 4, 8)
"""Periods in pixels of the grids that strided convolutions (2, 4) and JPEG (8) leave."""
CLIPPED = 254
"""8-bit levels from this one on count as clipped."""
LAMP = 20
"""A picture has lamps if at least this many pixels are white."""
LAMP_REACH = 12
"""Pixels. White within this distance of a lamp counts as the lamp grown; farther away it is a sky or a wall."""
SHEET_COLUMNS, SHEET_PANEL = 3, 300


@dataclass(frozen=True)
class NightSettings:
    """How pictures are examined."""

    model: str
    max_side: int
    """Pictures with a longer side are reduced until it has this many pixels."""
    keep: bool
    """Whether inputs and outputs are kept for a contact sheet."""


@dataclass(frozen=True)
class Faults:
    """What an engine did to one picture."""

    name: str
    clipped_before: float
    clipped_after: float
    """Share of all values that are clipped (`CLIPPED`), in [0, 1]."""
    lamps_before: int
    lamps_after: int
    """White pixels in the picture, and white pixels of the output on and around them; both 0 without a lamp."""
    cast_before: float
    cast_after: float
    """Distance of the three channel means from grey (`colour_cast`)."""
    grid_before: dict[int, float]
    grid_after: dict[int, float]
    """Period in pixels -> amplitude in 8-bit levels (`grid_amplitude`); both of the output's smoothest place."""


def smoothest_place(image: Image) -> tuple[int, int]:
    """Top row and left column of the square of side `PATCH` with the smallest gradient, in steps of half a side; one
    that is nearly black or nearly clipped is taken only where there is no other."""
    grey = image.mean(axis=2)
    best, place = (True, math.inf), (0, 0)
    for top in range(0, grey.shape[0] - PATCH + 1, PATCH // 2):
        for left in range(0, grey.shape[1] - PATCH + 1, PATCH // 2):
            patch = grey[top : top + PATCH, left : left + PATCH]
            rough = float(np.abs(np.diff(patch, axis=0)).mean() + np.abs(np.diff(patch, axis=1)).mean())
            rank = (not 8 < patch.mean() < 230, rough)
            if rank < best:
                best, place = rank, (top, left)
    return place


def grid_amplitude(patch: Image, period: int) -> float:
    """Amplitude in 8-bit levels of what repeats every `period` pixels along rows or columns, above the noise around it.

    `patch` has `PATCH` rows and columns. Its row means and its column means, each less a fitted parabola, are tapered
    (Hann) and Fourier transformed. Each gives the amplitude at the period's frequency, less the median amplitude of the
    frequencies around it; the larger one is returned, and at least 0. A sine of amplitude A gives A; a grid below half
    a level cannot be seen.
    """
    grey = patch.astype(np.float64).mean(axis=2)
    window = np.hanning(PATCH + 1)[:-1]
    found = 0.0
    for axis in (0, 1):
        line = grey.mean(axis=axis)
        line = line - np.polyval(np.polyfit(np.arange(PATCH), line, 2), np.arange(PATCH))
        spectrum = np.abs(np.fft.rfft(line * window)) / window.sum()
        if period > 2:
            spectrum *= 2  # the Nyquist frequency has no mirror image
        at = PATCH // period
        around = [index for index in range(at - 6, at + 7) if abs(index - at) > 1 and 2 < index < len(spectrum)]
        found = max(found, float(spectrum[at] - np.median(spectrum[around])))
    return found


def colour_cast(image: Image) -> float:
    """Largest less smallest mean of a channel, divided by the mean of all three; 0 is grey."""
    means = image.reshape(-1, 3).mean(axis=0)
    return float((means.max() - means.min()) / max(means.mean(), 1e-9))


def lamp_areas(before: Image, after: Image) -> tuple[int, int]:
    """How many pixels are white (all channels clipped) before, and how many within `LAMP_REACH` of these are after.

    (0, 0) where fewer than `LAMP` pixels are white before.
    """
    import cv2

    white = (before >= CLIPPED).all(axis=2)
    if white.sum() < LAMP:
        return 0, 0
    side = 2 * LAMP_REACH + 1
    around = np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
    near = cv2.dilate(np.asarray(white, dtype=np.uint8), around) > 0
    return int(white.sum()), int((near & (after >= CLIPPED).all(axis=2)).sum())


def examine(name: str, before: Image, after: Image) -> Faults:
    """Compares a picture with what an engine made of it: both of one shape, with sides of at least `PATCH`."""
    top, left = smoothest_place(after)
    patches = [image[top : top + PATCH, left : left + PATCH] for image in (before, after)]
    grids = [{period: grid_amplitude(patch, period) for period in PERIODS} for patch in patches]
    return Faults(
        name,
        float((before >= CLIPPED).mean()),
        float((after >= CLIPPED).mean()),
        *lamp_areas(before, after),
        colour_cast(before),
        colour_cast(after),
        *grids,
    )


def contact_sheet(pictures: Sequence[tuple[str, Image, Image]]) -> bytes:
    """JPEG bytes of all pictures, input beside output, `SHEET_COLUMNS` to a row."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    cell = (2 * SHEET_PANEL + 12, SHEET_PANEL + 22)
    rows = math.ceil(len(pictures) / SHEET_COLUMNS)
    sheet = Pillow.new("RGB", (SHEET_COLUMNS * cell[0], rows * cell[1]), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for index, (name, before, after) in enumerate(pictures):
        left, top = (index % SHEET_COLUMNS) * cell[0], (index // SHEET_COLUMNS) * cell[1]
        pen.text((left + 2, top + 2), name, (20, 20, 20), font)
        for side, image in enumerate((before, after)):
            panel = Pillow.fromarray(image)
            panel.thumbnail((SHEET_PANEL, SHEET_PANEL), Pillow.Resampling.LANCZOS)
            sheet.paste(panel, (left + side * (SHEET_PANEL + 2), top + 20))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _reduced(path: Path, max_side: int) -> Image:
    """The picture, reduced by averaging areas where a side is longer than `max_side`.

    Raises:
        ImageError: it cannot be read, or then has a side below `PATCH`.
    """
    import cv2

    pixels = read_rgb8(path)
    scale = max_side / max(pixels.shape[:2])
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if min(pixels.shape[:2]) < PATCH:
        raise ImageError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]}; expected sides of at least {PATCH}")
    return pixels


@dataclass(frozen=True)
class Examined:
    """What an engine did to the pictures of a folder."""

    faults: list[Faults]
    pictures: list[tuple[str, Image, Image]]
    """Name, input and output of each; empty unless they were to be kept."""


def examine_folder(folder: Path, paths: Sequence[Path], settings: NightSettings, advance: Advance) -> Examined:
    """Enhances and examines the pictures at `paths`, below `folder`; `advance` is called after each.

    Raises:
        MirnetDeployError: a picture cannot be read, or the model cannot be opened or run.
    """
    found = Examined([], [])
    with MIRNetRuntime(settings.model, tile="none") as runtime:
        for path in paths:
            name = str(path.relative_to(folder))
            before = _reduced(path, settings.max_side)
            after = np.asarray(runtime.enhance(before), dtype=np.uint8)
            found.faults.append(examine(name, before, after))
            if settings.keep:
                found.pictures.append((name, before, after))
            advance()
    return found


def lines(faults: Sequence[Faults]) -> list[str]:
    """Lines for people: the figures of every picture, then those of all together."""
    said = [
        "picture | clipped % before, after | lamp pixels before, after | cast before, after | "
        "grid at period 2, 4, 8 (levels) before; after"
    ]
    for item in faults:
        grids = "; ".join(
            ", ".join(f"{grid[period]:.2f}" for period in PERIODS) for grid in (item.grid_before, item.grid_after)
        )
        said.append(
            f"{item.name} | {100 * item.clipped_before:.2f}, {100 * item.clipped_after:.2f} | "
            f"{item.lamps_before}, {item.lamps_after} | "
            f"{item.cast_before:.2f}, {item.cast_after:.2f} | {grids}"
        )
    lamps = [item for item in faults if item.lamps_before]
    if lamps:
        grown = sum(item.lamps_after for item in lamps) / sum(item.lamps_before for item in lamps)
        said.append(f"lamps in {len(lamps)} pictures: {grown:.2f} times the area")
    worst = {period: max(item.grid_after[period] for item in faults) for period in PERIODS}
    said.append(
        f"{len(faults)} pictures: clipped {100 * fmean(item.clipped_before for item in faults):.2f} % -> "
        f"{100 * fmean(item.clipped_after for item in faults):.2f} %; "
        f"cast {fmean(item.cast_before for item in faults):.2f} -> {fmean(item.cast_after for item in faults):.2f}; "
        "largest grid " + ", ".join(f"{level:.2f} levels at period {period}" for period, level in worst.items())
    )
    return said
