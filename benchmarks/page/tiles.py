"""The page of `mirnet-deploy bench --tiling`: tiles against the whole, with the seams of the worst picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirnet_deploy.benchmarks.borders import Pixels
from mirnet_deploy.benchmarks.drawing import number
from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.benchmarks.page.blocks import Block, Column, Pictures, Row, Section, column, table
from mirnet_deploy.benchmarks.page.encoding import coded
from mirnet_deploy.benchmarks.page.page import method, render
from mirnet_deploy.benchmarks.page.pictures import Entry, difference, reduced
from mirnet_deploy.benchmarks.page.words import listed
from mirnet_deploy.benchmarks.seams import Seams

COLUMNS = (
    column("picture", "picture"),
    column("mode", "mode"),
    Column("tile", lambda row: f"{row['tile']}", below=lambda row: f"{row['tiles']} tiles"),
    column("PSNR dB", "psnr", 1),
    Column("in 8 bits", lambda row: "equal" if row["psnr_8_bit"] is None else number(row["psnr_8_bit"], 1)),
    column("largest error", "max_abs", 2),
    column("largest step", "step", 2),
    column("predicted dB", "predicted_psnr", 1),
    column("predicted error", "predicted_max_abs", 2),
    column("passes", "passes", 0),
    column("ratio", "ratio", 2),
)
MODES = {
    "local": "every tile takes its own means (local)",
    "fast": "they share a thumbnail's (fast)",
    "exact": "they share the whole picture's (exact)",
}
"""Mode -> what tiles do in it."""
LEAD = (
    "Against the result of the whole picture (where that is too large, of large tiles at a finer tolerance), "
    "before rounding to 8 bits. Errors and steps across the borders of tiles are in 8-bit levels. Ratio: time over "
    "that of local."
)


def tiling_page(report: Row, seams: Seams | None, worst: Row | None) -> str:
    """The page. All of its figures are those of `report` (`TilingReport.to_dict`).

    Args:
        seams: of the picture and the tile of `worst`, a row of the report; None where there are none.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    lead: list[Block] = []
    if seams is not None and worst is not None:
        shown, scale = coded([entry_of(seams, worst["picture"])])
        lead = [Pictures(shown, scale, {worst["picture"]: _figures(report["rows"], worst)})]
    rows = table("Tiles against the whole", COLUMNS, report["rows"], words=2)
    sections = [Section("tiles", "Tiles", [rows], LEAD), method(report)]
    return render(f"Tiles of {report['model']}", _summary(report, worst), report, lead, sections)


def entry_of(seams: Seams, name: str) -> Entry:
    """The whole picture's result, those in tiles, the input, and how far tiles are from the whole."""
    results = [(f"{mode} tiles", result) for mode, result in seams.results.items()]
    rows, columns = seams.borders
    return Entry(
        name,
        [
            (label, reduced(_8_bit(pixels)))
            for label, pixels in [(seams.reference_name, seams.reference), *results, ("input", seams.image)]
        ],
        [
            difference(f"{label} − {seams.reference_name}", result, seams.reference, (columns, rows))
            for label, result in results
        ],
        seams.image.shape[1],
        seams.image.shape[0],
    )


def _8_bit(pixels: Pixels) -> Image:
    return np.asarray(np.rint(255 * pixels.clip(0, 1)), np.uint8)


def _figures(rows: Sequence[Row], worst: Row) -> str:
    """How far each mode is from the whole, for the picture and the tile that are shown."""
    same = [row for row in rows if (row["picture"], row["tile"]) == (worst["picture"], worst["tile"])]
    return f"Tiles of {worst['tile']}. " + ", ".join(f"{row['mode']}: {row['psnr']:.1f} dB" for row in same)


def _summary(report: Row, worst: Row | None) -> str:
    rows = report["rows"]
    pictures = len({row["picture"] for row in rows})
    said = [f"{report['model']}, on {report['backend']}, enhanced {pictures} picture{'s' * (pictures != 1)} in tiles."]
    close = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found = [row["psnr"] for row in rows if row["mode"] == mode and row["tiles"] > 1]
        if found:
            low, high = f"{min(found):.1f}", f"{max(found):.1f}"
            close.append(f"{low if low == high else f'{low} to {high}'} dB where {MODES[mode]}")
    if close:
        said.append(f"To what it makes of the whole, the result has {listed(close)}.")
    if worst is not None and pictures > 1:
        said.append(f"The worst exact result is of {worst['picture']}, with {worst['psnr']:.1f} dB.")
    return " ".join(said)
