"""A contact sheet: input, outputs and ground truth side by side, a row per pair, with figures below each output."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow
from mirnet_deploy.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

PANEL = 400
"""Largest width and height of a panel in pixels; smaller pictures are drawn as they are."""
MAX_ROWS = 12
"""Largest number of pairs on a sheet: a sheet is for the eye, and the figures of all pairs are in the report."""
MARGIN = 12
LINE = 24
"""Height in pixels of a line of text."""
FONT_SIZE = 16
BACKGROUND = (255, 255, 255)
INK = (20, 20, 20)


@dataclass
class Sheet:
    """Collects reduced pictures, so that many large pairs fit in memory, and draws them at the end."""

    columns: Sequence[str]
    """Labels of the input, of each engine, and of the ground truth where there is one."""
    rows: list[tuple[str, list[PillowImage | None], list[str]]] = field(default_factory=list)
    """For each pair its name, and one panel and caption per column; a panel is None where there is no picture."""
    left_out: int = 0
    """Pairs beyond `MAX_ROWS`, which are only counted."""

    def add(self, pair: MeasuredPair, skip: int = 0) -> None:
        """Adds one pair. `skip` is 1 where the first engine is the `input` baseline: its column is there already."""
        if len(self.rows) == MAX_ROWS:
            self.left_out += 1
            return
        pictures = [pair.low, *pair.outputs[skip:], pair.high][: len(self.columns)]
        captions = [_caption(pair.rows[0]) if skip else "", *map(_caption, pair.rows[skip:]), ""][: len(self.columns)]
        self.rows.append((pair.name, [_panel(picture) for picture in pictures], captions))

    def save(self, path: Path) -> None:
        """Writes the sheet as PNG, whatever the suffix of `path`.

        Raises:
            OSError: the folder cannot be written.
        """
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        write_atomically(path, buffer.getvalue())

    def draw(self) -> PillowImage:
        """The sheet: a line of labels, then for each pair its name, its panels and their figures."""
        from PIL import Image as PillowImage
        from PIL import ImageDraw, ImageFont

        font = ImageFont.load_default(FONT_SIZE)
        widths = [self._width(column, font) for column in range(len(self.columns))]
        lefts = [MARGIN + sum(widths[:column]) + MARGIN * column for column in range(len(widths))]
        heights = [max([LINE, *(panel.height for panel in panels if panel)]) for _, panels, _ in self.rows]
        total = MARGIN + LINE + sum(height + 2 * LINE + MARGIN for height in heights) + (LINE if self.left_out else 0)
        sheet = PillowImage.new("RGB", (lefts[-1] + widths[-1] + MARGIN, total), BACKGROUND)
        pen = ImageDraw.Draw(sheet)
        for left, width, label in zip(lefts, widths, self.columns, strict=True):
            pen.text((left, MARGIN), _fit(label, width, font), INK, font)
        top = MARGIN + LINE
        for (name, panels, captions), height in zip(self.rows, heights, strict=True):
            pen.text((MARGIN, top), _fit(name, sheet.width - 2 * MARGIN, font), INK, font)
            for left, panel, caption in zip(lefts, panels, captions, strict=True):
                if panel:
                    sheet.paste(panel, (left, top + LINE))
                pen.text((left, top + LINE + height + 2), caption, INK, font)
            top += height + 2 * LINE + MARGIN
        if self.left_out:
            pen.text((MARGIN, top), f"and {self.left_out} more pairs, in the report", INK, font)
        return sheet

    def _width(self, column: int, font: Any) -> int:
        """Width of a column in pixels, in which every panel and caption fits."""
        panels = [panel.width for panel in (row[1][column] for row in self.rows) if panel]
        captions = [math.ceil(font.getlength(row[2][column])) for row in self.rows]
        width: int = max([120, *panels, *captions])
        return width


def _panel(picture: Image | None) -> PillowImage | None:
    """The picture, reduced to sides of at most `PANEL`."""
    if picture is None:
        return None
    from PIL import Image as PillowImage

    panel = PillowImage.fromarray(picture)
    panel.thumbnail((PANEL, PANEL), PillowImage.Resampling.LANCZOS)
    return panel


def _caption(row: QualityRow) -> str:
    if row.failure:
        return "failed"
    if row.ssim is None:  # there is no ground truth
        figures = {"NIQE": row.niqe, "BRISQUE": row.brisque}
        return " · ".join(f"{name} {value:.2f}" for name, value in figures.items() if value is not None)
    plain = "inf" if row.psnr is None else f"{row.psnr:.2f}"
    matched = "inf" if row.gt_mean_psnr is None else f"{row.gt_mean_psnr:.2f}"
    return f"{plain} dB · {row.ssim:.3f} · GT-mean {matched} dB"


def _fit(text: str, width: int, font: Any) -> str:
    """`text` if it fits into `width` pixels; otherwise an ellipsis and the end of `text`, since paths differ there."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
