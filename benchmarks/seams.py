"""What tiles do to a picture: how local tiles, and tiles that share their means, differ from the whole's result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mirnet_deploy.benchmarks.borders import Pixels, tile_borders
from mirnet_deploy.benchmarks.tiling import TilingSettings, read_middle, reference_of, tiled
from mirnet_deploy.files import atomic_path

GAIN = 10
"""Factor by which differences are enlarged in the drawing."""
DRAWN = ("local", "exact")
"""The modes of a drawing."""


@dataclass(frozen=True)
class Seams:
    """One picture and its results, all of one shape."""

    image: Pixels
    reference: Pixels
    """See `reference_of`."""
    reference_name: str
    results: dict[str, Pixels]
    """Mode -> the result in tiles."""
    borders: tuple[list[int], list[int]]
    """Rows and columns at which tiles meet."""


def find_seams(model: str, path: Path, tile: int, settings: TilingSettings) -> Seams:
    """Runs a picture whole and in tiles, in the modes of `DRAWN`.

    Raises:
        MirnetDeployError: as for `measure_tiling`.
    """
    image = read_middle(path, settings.middle)
    name, reference = reference_of(model, image, settings)
    results = {mode: tiled(model, image, tile, mode, settings).pixels for mode in DRAWN}
    with settings.open(model) as runtime:
        borders = tile_borders(image.shape[0], image.shape[1], tile, runtime.info.metadata.halo)
    return Seams(image, reference, name, results, borders)


def draw_seams(seams: Seams, target: Path) -> None:
    """Draws side by side the reference, and the differences of local and of exact tiles from it.

    Differences are enlarged by `GAIN`; grey stands for none. The file is a JPEG if its suffix says so, otherwise a PNG.

    Raises:
        OSError: `target` cannot be written.
    """
    from PIL import Image

    errors = [seams.results[mode] - seams.reference for mode in DRAWN]
    panels = [seams.reference, *((0.5 + GAIN * error).clip(0, 1) for error in errors)]
    gap = np.ones((seams.image.shape[0], 8, 3), np.float32)
    joined = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    kind = "JPEG" if target.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    with atomic_path(target) as temporary:
        Image.fromarray(np.rint(joined * 255).astype(np.uint8)).save(temporary, format=kind, quality=90)
