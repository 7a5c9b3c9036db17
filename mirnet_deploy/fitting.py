"""How much of the memory a picture may take: a plan of it beforehand, and a retreat where it turns out too much."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from mirnet_deploy.devices.base import Frame
from mirnet_deploy.engines.base import batch_dtype
from mirnet_deploy.errors import DeviceMemoryError, MirnetDeployWarning, UsageError
from mirnet_deploy.pipeline import Pipeline, fits
from mirnet_deploy.pixels import SHRINK_BYTES, Source
from mirnet_deploy.thumbnail import size_for
from mirnet_deploy.tiling import TileGrid, make_grid

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fit:
    """What of a runtime's settings decides over memory."""

    lanes: int
    """Runs of the engine at once, for one picture."""
    batch: int
    """Tiles in one of them."""
    tile: tuple[int, int] | None
    """Height and width; None where every picture runs whole."""
    budget: int
    """Pixels times `n_feat` of a picture that runs whole though there is a tile."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that enhancing one picture takes at most: of the GPU's memory, on a CPU of the host's, and there beside the
    picture that is given."""

    pictures: int
    """Picture and result, as far as they lie there, and their thumbnails."""
    batches: int
    """Tiles on their way into and out of the engine, their places and means."""
    engine: int
    """Memory that the engine's library takes for itself; of a plan exact, of an ONNX file an estimate."""
    lanes: int
    """Runs of the engine at once."""
    batch: int
    tile_size: tuple[int, int]
    """Height and width."""
    banded: bool
    """Whether the picture goes through in bands of rows, since it does not fit as a whole."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.pictures + self.batches + self.engine

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"total": self.total}


class Fitting:
    """The fit of one runtime, which only ever gets smaller. May be shared by threads.

    Args:
        most: bytes that one picture may take; None for all that there is.
    """

    def __init__(self, pipeline: Pipeline, fit: Fit, most: int | None = None) -> None:
        self._pipeline, self._fit, self._most = pipeline, fit, most
        self._state = threading.Lock()

    def attempt(self, image: Source | Frame, work: Callable[[Fit, TileGrid, bool], Result], copies: int = 0) -> Result:
        """Calls `work` with the fit, the grid of `image`, and whether to go in bands; where the device has not the
        memory, again with a smaller fit, and says so in one warning.

        Args:
            copies: bytes a pixel that the picture takes on the host, beside itself and its result.

        Raises:
            DeviceMemoryError: there is no smaller fit; or none of them keeps the most that a picture may take.
        """
        fit, banded, retreats = self._fit, False, 0
        if self._most is not None:
            plan, fit = self._within(image, copies)
            banded = plan.banded
        begun = fit
        while True:
            try:
                made = work(fit, self.grid(image, fit), banded)
            except DeviceMemoryError as error:
                fit = self._retreat(fit, image, error)
                retreats += 1
                continue
            if retreats:
                result = "with the same result" if fit.tile == begun.tile else "and other tiles are another result"
                tile = "whole pictures" if fit.tile is None else f"tiles of {fit.tile[1]}x{fit.tile[0]}"
                warnings.warn(
                    f"{self._pipeline.engine.device} ran out of memory; from now on at most {fit.lanes} at once, "
                    f"{fit.batch} a batch, {tile}: slower, {result}",
                    MirnetDeployWarning,
                    stacklevel=4,
                )
            return made

    def plan(self, height: int, width: int, dtype: np.dtype[Any], copies: int = 0) -> MemoryPlan:
        """What a picture of a size will take; `copies` as of `attempt`."""
        image = np.broadcast_to(np.zeros((), dtype), (height, width, 3))  # which takes no memory
        return self._within(image, copies)[0]

    def grid(self, image: Source | Frame, fit: Fit) -> TileGrid:
        """The tiles of a picture.

        Raises:
            UsageError: it should run whole, and is larger than the plan takes.
        """
        metadata, most = self._pipeline.engine.metadata, self._pipeline.limits.most
        rows, cols = self._pipeline.padded(image)
        tile = fit.tile
        if tile is None or rows * cols * metadata.network["n_feat"] <= fit.budget:
            tile = rows, cols
            if most is not None and (rows > most[1] or cols > most[2]):
                raise UsageError(
                    f"a picture of {image.shape[1]}x{image.shape[0]} does not fit whole in this plan, which takes up "
                    f"to {most[2]}x{most[1]}; use tile='auto'"
                )
        return make_grid(rows, cols, tile=tile, halo=metadata.halo, multiple=metadata.size_multiple)

    def _within(self, image: Source | Frame, copies: int = 0) -> tuple[MemoryPlan, Fit]:
        """The first fit that keeps the most that a picture may take."""
        least = None
        for fit in self._fits(self._fit):
            plan = self._plan(image, fit, copies)
            if self._most is None or plan.total <= self._most:
                return plan, fit
            banded = self._plan(image, fit, copies, banded=True)
            if banded.total <= self._most and not isinstance(image, Frame):
                return banded, fit
            least = min(banded.total, plan.total, least or plan.total)
        height, width = image.shape[:2]
        raise DeviceMemoryError(
            f"a picture of {width}x{height} takes at least {(least or 0) >> 20} MiB, and max_memory is "
            f"{(self._most or 0) >> 20} MiB; {self._remedy()}"
        )

    def _retreat(self, fit: Fit, image: Source | Frame, error: DeviceMemoryError) -> Fit:
        """Frees what is idle, and takes the next smaller fit, if no other thread has done so already."""
        with self._state:
            made = self._pipeline.pool.made
            self._pipeline.pool.limit(max(1, made // 2))
            if self._fit != fit and self._fit in self._fits(fit):
                return self._fit
            smaller = next(self._fits(fit, skip=1), None)
            if smaller is None and made <= 1:
                height, width = image.shape[:2]
                raise DeviceMemoryError(
                    f"a picture of {width}x{height} does not fit into the memory of {self._pipeline.engine.device}: "
                    f"{error}; {self._remedy()}"
                ) from error
            self._fit = smaller or fit
            return self._fit

    def _fits(self, fit: Fit, skip: int = 0) -> Iterator[Fit]:
        """`fit` and all smaller ones, from number `skip` on: fewer runs, a smaller batch, tiles, smaller tiles."""
        if not skip:
            yield fit
        limits = self._pipeline.limits
        while True:
            if fit.lanes > 1:
                fit = replace(fit, lanes=fit.lanes // 2)
            elif fit.batch > limits.least[0]:
                fit = replace(fit, batch=max(fit.batch // 2, limits.least[0]))
            elif fit.budget and fit.tile:
                fit = replace(fit, budget=0)
            elif tile := self._half(fit.tile):
                fit = replace(fit, tile=tile)
            else:
                return
            yield fit

    def _half(self, tile: tuple[int, int] | None) -> tuple[int, int] | None:
        """A tile of half the side, where network and plan take it."""
        metadata = self._pipeline.engine.metadata
        if tile is None:
            return None
        side = min(tile) // 2 // metadata.size_multiple * metadata.size_multiple
        if side <= 2 * metadata.halo or side < max(self._pipeline.limits.least[1:]):
            return None
        return side, side

    def _remedy(self) -> str:
        metadata = self._pipeline.engine.metadata
        if self._fit.tile is None:
            return "use tile='auto' (--tile auto)"
        if metadata.kind == "plan":
            return "export the plan with a smaller --tile or --batch, or close what else uses the GPU"
        return "export a model of fewer features (n_feat), or close what else takes memory"

    def _plan(self, image: Source | Frame, fit: Fit, copies: int, banded: bool = False) -> MemoryPlan:
        engine, limits = self._pipeline.engine, self._pipeline.limits
        metadata, driver = engine.metadata, engine.driver
        grid = self.grid(image, fit)
        height, width = image.shape[:2]
        tile, count = grid.tile_size, max(min(fit.batch, len(grid)), limits.least[0])
        pixel = 3 * image.dtype.itemsize
        lanes = min(fit.lanes, math.ceil(len(grid) / fit.batch))
        if isinstance(image, Frame):
            pictures = 0
        elif driver.is_host:
            pictures = height * width * (pixel + copies)
        else:
            with driver.active():
                banded = banded or not fits(image.shape, image.dtype, driver.free_memory())
            pictures = 2 * height * width * pixel
            if banded:
                rows = [next(tiles) for _, tiles in groupby(grid, key=lambda each: each.origin[0])]
                lanes = min(fit.lanes, len(rows))
                heights = max(each.size[0] for each in rows), max(each.core_size[0] for each in rows)
                pictures = lanes * sum(heights) * width * pixel
        size = metadata.context if len(grid) > 1 else 0
        value = batch_dtype(metadata).itemsize
        # In and out, weights of rows and columns, means; of a batch, and of all tiles with their places.
        batches = lanes * count * (6 * value * math.prod(tile) + 4 * (sum(tile) + size))
        batches += (len(grid) + limits.least[0]) * (4 * (sum(tile) + size) + 32)
        if size:
            small = size_for(image, grid.tile_size, metadata, limits)
            # On the host also float copies of it and of its result, and a band of the picture that is averaged.
            extra = 5 * 12 * math.prod(small) + min(SHRINK_BYTES, 24 * height * width) if driver.is_host else 0
            pictures += 6 * value * math.prod(small) + extra
        scratch = lanes * engine.footprint(count, *tile)
        return MemoryPlan(pictures, batches, scratch, lanes, count, tile, banded and not driver.is_host)
