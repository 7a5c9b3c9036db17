"""The host pipeline: a picture in an array, through an engine tile by tile, into another array.

Pixels are converted a batch of tiles at a time, so that a picture costs its own bytes, its result's, and no full-size
float copy. The padding up to the network's size multiple is never stored either: it is an index into the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import GIVEN, Engine, Pools
from mirnet_deploy.errors import EngineError, ImageError
from mirnet_deploy.limits import Limits
from mirnet_deploy.tiling import Tile, TileGrid, Window, padded_side


class Source(Protocol):
    """A picture [H,W,3] that gives windows of itself, as an array does."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any, /) -> NDArray[Any]: ...


class Sink(Protocol):
    """Takes windows of a result, as an array does."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __setitem__(self, key: Any, value: NDArray[Any], /) -> None: ...


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
    check_dtype(image.dtype, interface)
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # a NaN makes both NaN
            raise ImageError(f"image has float32 values from {low:g} to {high:g}; expected [0, 1] without NaN")


def check_dtype(dtype: np.dtype[Any], interface: str) -> None:
    """Checks that an engine of `interface` takes pictures of `dtype`.

    Raises:
        ImageError: it does not.
    """
    if dtype not in SCALES:
        raise ImageError(f"image has dtype {dtype}; expected uint8, uint16 or float32 in [0, 1]")
    if interface == "image" and dtype != np.uint8:
        raise ImageError(
            f"image has dtype {dtype}, and this engine has the interface 'image', which takes uint8; "
            "export the model with --interface float"
        )


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


@dataclass(frozen=True)
class HostPipeline:
    """Runs pictures through `engine`, tile by tile, with and without given means for its global pools.

    Pictures are [H,W,3], as `check_picture` asks. Grids cover the padded picture. An output must not share memory with
    its picture. Every method raises EngineError where the engine refuses or gives values that are not numbers.
    """

    engine: Engine
    batch: int = 1
    """Tiles to run at once."""
    limits: Limits = field(default_factory=Limits)
    """Of the engine; the last batch is filled up to its least with its last tile."""

    def padded(self, image: Source) -> tuple[int, int]:
        """Height and width of a picture as the engine takes it whole."""
        multiple, least = self.engine.metadata.size_multiple, self.limits.least
        return padded_side(image.shape[0], multiple, least[1]), padded_side(image.shape[1], multiple, least[2])

    def run(self, image: Source, out: Sink, grid: TileGrid) -> None:
        """Enhances `image` into `out`, every tile with the means of its own pixels: one tile is the plain network."""
        for tiles, crops in self._batches(image, grid.tiles, grid.size):
            for tile, result in zip(tiles, self.engine.run(crops), strict=False):
                _put(out, tile, self._pixels(result, image.dtype))

    def run_given(self, image: Source, out: Sink, grid: TileGrid, context: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enhances `image` into `out`, every tile with the means in `context`, [K].

        Returns:
            The means that the pools measured with those in force, of the whole picture: [K].
        """
        measured = np.zeros(len(context))
        for tile, result, means in self._given(image, grid.tiles, grid.size, context):
            _put(out, tile, self._pixels(result, image.dtype))
            measured += means * tile.core_area
        return measured / grid.area

    def measure(
        self, image: Source, tiles: Sequence[Tile], size: tuple[int, int], context: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The means that the pools measure over the core of each of `tiles`, with those in `context` in force, [n,K].

        The tiles are of one size, anywhere in the picture of `size` (height and width) that padding makes of `image`.
        """
        return np.array([means for _, _, means in self._given(image, tiles, size, context)])

    def run_whole(
        self, image: Source, mode: NDArray[np.float32], context: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """A small picture at once, in a `mode` of `Pools`: the result, and the means that its pools measured, [K]."""
        size = self.padded(image)
        whole = Tile((0, 0), size, (0, 0), size)
        ((_, crops),) = self._batches(image, [whole], size)
        rows, cols = (np.ones((len(crops), side), np.float32) for side in size)
        results, means = self.engine.run_pooled(crops, Pools(_row(context), mode, rows, cols))
        pixels = self._pixels(results[0], image.dtype)
        return pixels[: image.shape[0], : image.shape[1]], means[0].astype(np.float64)

    def _given(
        self, image: Source, tiles: Sequence[Tile], size: tuple[int, int], context: NDArray[np.float64]
    ) -> Iterator[tuple[Tile, NDArray[Any], NDArray[np.float64]]]:
        """Every tile, what the engine gave for it, and the means over its core."""
        for some, crops in self._batches(image, tiles, size):
            rows, cols = _core_weights(some, len(crops))
            results, means = self.engine.run_pooled(crops, Pools(_row(context), GIVEN, rows, cols))
            yield from zip(some, results, means.astype(np.float64), strict=False)

    def _batches(
        self, image: Source, tiles: Sequence[Tile], size: tuple[int, int]
    ) -> Iterator[tuple[Sequence[Tile], NDArray[Any]]]:
        """Some tiles, and their pixels as the engine takes them, until all tiles were given."""
        rows = reflected(image.shape[0], size[0])
        cols = reflected(image.shape[1], size[1])
        for first in range(0, len(tiles), self.batch):
            some = tiles[first : first + self.batch]
            crops = [_crop(image, tile.window, rows, cols) for tile in some]
            crops += crops[-1:] * (self.limits.least[0] - len(crops))
            yield some, self._engine_batch(crops, image.dtype)

    def _engine_batch(self, crops: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
        """[H,W,3] crops to float32 [N,3,H,W] or uint8 [N,H,W,3], whichever the engine takes."""
        if self.engine.metadata.interface == "image":
            # Not np.stack alone, which keeps the strides of its parts: an engine takes C order.
            return np.ascontiguousarray(np.stack(crops))
        planes = np.empty((len(crops), 3, *crops[0].shape[:2]), np.float32)
        for plane, crop in zip(planes, crops, strict=True):
            np.divide(crop.transpose(2, 0, 1), np.float32(SCALES[dtype]), out=plane, dtype=np.float32)
        return planes

    def _pixels(self, result: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """One result of the engine to [H,W,3] of `dtype`."""
        if self.engine.metadata.interface == "image":
            return result
        if not np.isfinite(result).all():
            metadata = self.engine.metadata
            raise EngineError(
                f"{metadata.name} ({metadata.precision}) gave values that are not numbers on {self.engine.device}; "
                "export it again in FP32"
            )
        clipped: NDArray[Any] = np.clip(result, 0, 1)
        if dtype != np.float32:
            clipped *= np.float32(SCALES[dtype])
            clipped = np.rint(clipped, out=clipped).astype(dtype)  # half to even
        return clipped.transpose(1, 2, 0)


def _row(context: NDArray[np.float64]) -> NDArray[np.float32]:
    return context[None].astype(np.float32)


def _core_weights(tiles: Sequence[Tile], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`rows` and `cols` of `Pools` for `count` tiles, the last of them perhaps as filling: 1 in the core, else 0."""
    height, width = tiles[0].size
    rows, cols = np.zeros((count, height), np.float32), np.zeros((count, width), np.float32)
    for index in range(count):
        core = tiles[min(index, len(tiles) - 1)].core_in_tile
        rows[index, core[0]] = 1
        cols[index, core[1]] = 1
    return rows, cols


def _crop(image: Source, window: Window, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[Any]:
    """A window of the padded picture."""
    rows, cols = rows[window[0]], cols[window[1]]
    top, left = rows.min(), cols.min()
    crop = image[top : rows.max() + 1, left : cols.max() + 1]
    if crop.shape[:2] == (len(rows), len(cols)):
        return crop
    return np.asarray(crop[rows - top][:, cols - left])


def _put(out: Sink, tile: Tile, result: NDArray[Any]) -> None:
    """Writes the tile's core, less what of it is padding."""
    (top, left), (bottom, right) = tile.core_origin, out.shape[:2]
    core = result[tile.core_in_tile][: bottom - top, : right - left]
    out[top : top + core.shape[0], left : left + core.shape[1]] = core
