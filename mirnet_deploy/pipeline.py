"""The host pipeline: a picture in an array, through an engine tile by tile, into another array.

Pixels are converted a batch of tiles at a time, so that a picture costs its own bytes, its result's, and no full-size
float copy. The padding up to the network's size multiple is never stored either: it is an index into the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import Engine
from mirnet_deploy.errors import EngineError, ImageError
from mirnet_deploy.tiling import Tile, TileGrid, Window

SCALES: dict[np.dtype[Any], int] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""The value of white, by the dtype of a picture."""


def check_picture(image: NDArray[Any], interface: str) -> None:
    """Checks that `image` is uint8, uint16 or float32 in [0, 1], [H,W,3], and that an engine of `interface` takes it.

    Raises:
        ImageError: it is something else; the text says what, or which interface to export.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image is a {type(image).__name__}; expected a numpy array [H,W,3] of RGB")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"image has shape {list(image.shape)}; expected [H,W,3], RGB, of at least 1x1")
    if image.dtype not in SCALES:
        raise ImageError(f"image has dtype {image.dtype}; expected uint8, uint16 or float32 in [0, 1]")
    if interface == "image" and image.dtype != np.uint8:
        raise ImageError(
            f"image has dtype {image.dtype}, and this engine has the interface 'image', which takes uint8; "
            "export the model with --interface float"
        )
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # a NaN makes both NaN
            raise ImageError(f"image has float32 values from {low:g} to {high:g}; expected [0, 1] without NaN")


def check_out(out: NDArray[Any], image: NDArray[Any]) -> None:
    """Checks that `out` can take the result for `image`.

    Raises:
        ImageError: another shape or dtype, or read-only.
    """
    if not isinstance(out, np.ndarray) or out.shape != image.shape or out.dtype != image.dtype:
        said = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ImageError(f"out is {said}; expected {image.dtype} {list(image.shape)}, as the image")
    if not out.flags.writeable:
        raise ImageError("out is read-only; expected a writeable array")


def reflected(length: int, padded: int) -> NDArray[np.intp]:
    """For every index of an axis of `padded` pixels, the pixel of the `length` that are there.

    The padding, at the end, mirrors the picture without repeating its last pixel; where the picture is too short for
    that, it repeats the last pixel.
    """
    index = np.arange(padded)
    last = length - 1
    if padded - length > last:
        return np.minimum(index, last)
    return np.where(index > last, 2 * last - index, index)


def run_picture(
    engine: Engine, image: NDArray[Any], out: NDArray[Any], grid: TileGrid, batch: int = 1, least_batch: int = 1
) -> None:
    """Enhances `image` into `out`; `grid` covers the padded picture.

    Args:
        image: [H,W,3], as `check_picture` asks; any strides. Must not share memory with `out`.
        batch: tiles to run at once.
        least_batch: the fewest that the engine takes; the last batch is filled up to it with its last tile.

    Raises:
        EngineError: the engine refuses, or gives values that are not numbers.
    """
    rows = reflected(image.shape[0], grid.height)
    cols = reflected(image.shape[1], grid.width)
    for first in range(0, len(grid), batch):
        tiles = grid.tiles[first : first + batch]
        crops = [_crop(image, tile.window, rows, cols) for tile in tiles]
        crops += crops[-1:] * (least_batch - len(crops))
        results = _run(engine, crops, image.dtype)
        for tile, result in zip(tiles, results, strict=False):
            _put(out, tile, result)


def _crop(image: NDArray[Any], window: Window, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[Any]:
    crop = image[window]  # a slice stops where the picture does
    rows, cols = rows[window[0]], cols[window[1]]
    if crop.shape[:2] == (len(rows), len(cols)):
        return crop
    first = cols.min()  # whole lines are copied fast, but no more of them than the tile needs
    return image[rows, first : cols.max() + 1][:, cols - first]


def _put(out: NDArray[Any], tile: Tile, result: NDArray[Any]) -> None:
    """Writes the tile's core, less what of it is padding."""
    target = out[tile.core]
    top, left = (span.start for span in tile.core_in_tile)
    target[...] = result[top : top + target.shape[0], left : left + target.shape[1]]


def _run(engine: Engine, crops: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """[H,W,3] crops in, [N,H,W,3] of the same dtype out."""
    if engine.metadata.interface == "image":
        # Not np.stack alone, which keeps the strides of its parts: an engine takes C order.
        return engine.run(np.ascontiguousarray(np.stack(crops)))
    scale = np.float32(SCALES[dtype])
    planes = np.empty((len(crops), 3, *crops[0].shape[:2]), np.float32)
    for plane, crop in zip(planes, crops, strict=True):
        np.divide(crop.transpose(2, 0, 1), scale, out=plane, dtype=np.float32)
    result = engine.run(planes)
    if not np.isfinite(result).all():
        raise EngineError(
            f"{engine.metadata.name} ({engine.metadata.precision}) gave values that are not numbers on "
            f"{engine.device}; export it again in FP32"
        )
    clipped: NDArray[Any] = np.clip(result, 0, 1)
    if dtype != np.float32:
        clipped *= scale
        clipped = np.rint(clipped, out=clipped).astype(dtype)  # half to even
    return clipped.transpose(0, 2, 3, 1)
