"""A drawing of seams: how local tiles, and tiles that share their means, differ from the whole picture's result."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mirnet_deploy.benchmarks.tiling import TilingSettings, read_middle, reference_of, tiled
from mirnet_deploy.files import atomic_path

GAIN = 10
"""Factor by which differences are enlarged in the drawing."""


def draw_seams(model: str, path: Path, tile: int, target: Path, settings: TilingSettings) -> None:
    """Draws side by side the reference (`reference_of`), and the differences of local and of exact tiles from it.

    Differences are enlarged by `GAIN`; grey stands for none. The file is a JPEG if its suffix says so, otherwise a PNG.

    Raises:
        MirnetDeployError: as for `measure_tiling`.
        OSError: `target` cannot be written.
    """
    from PIL import Image

    image = read_middle(path, settings.middle)
    _, reference = reference_of(model, image, settings)
    panels = [reference]
    for mode in ("local", "exact"):
        error = tiled(model, image, tile, mode, settings).pixels - reference
        panels.append((0.5 + GAIN * error).clip(0, 1))
    gap = np.ones((image.shape[0], 8, 3), np.float32)
    joined = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    kind = "JPEG" if target.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    with atomic_path(target) as temporary:
        Image.fromarray(np.rint(joined * 255).astype(np.uint8)).save(temporary, format=kind, quality=90)
