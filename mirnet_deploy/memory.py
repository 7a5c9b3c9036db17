"""How much memory a picture takes: a memory plan beforehand, and a retreat where it turns out to be too much."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from mirnet_deploy.consistency.patches import Patches
from mirnet_deploy.consistency.thumbnail import Thumbnail, size_for
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.errors import DeviceMemoryError, MirnetDeployWarning, OtherTilesWarning, UsageError, warn
from mirnet_deploy.pipeline import on_device
from mirnet_deploy.pipeline.bands import Band
from mirnet_deploy.pipeline.feeder import Feeder, statistics_bytes
from mirnet_deploy.pipeline.pipeline import Pipeline
from mirnet_deploy.pipeline.tile_table import TileTable
from mirnet_deploy.pipeline.work import FLAWS_BYTES, given_bytes, padded_size
from mirnet_deploy.pixels import Source
from mirnet_deploy.tiling import TileGrid, make_grid, rows_of

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fit:
    """The part of a runtime's settings that decides how much memory a picture takes."""

    slots: int
    """Runs of the engine at once for one picture."""
    batch: int
    """Tiles in one run."""
    tile: tuple[int, int] | None
    """Height and width; None where every picture runs whole."""
    budget: int
    """Pixels times `n_feat`, at most, of a picture that runs whole though there is a tile; 0 for none."""

    def slots_for(self, grid: TileGrid, banded: bool) -> int:
        """Runs at once that have tiles of the picture to work on. In bands they take turns by rows of tiles."""
        return min(self.slots, len(rows_of(grid)) if banded else math.ceil(len(grid) / self.batch))


@dataclass(frozen=True)
class MemoryPlan:
    """The most bytes that enhancing one picture takes: of the GPU's memory; on a CPU of the host's, not counting the
    picture that is given."""

    pictures: int
    """Picture and result, as far as they lie in that memory, and their thumbnails."""
    batches: int
    """Tiles on their way into and out of the engine, their tables, and the means."""
    engine: int
    """Memory that the engine's library takes for itself: exact for a plan, an estimate for an ONNX file."""
    slots: int
    """Runs of the engine at once."""
    batch: int
    """Tiles in one run."""
    tile_size: tuple[int, int]
    """Height and width of a tile."""
    banded: bool
    """Whether the picture goes through in bands of rows, because it does not fit as a whole."""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.pictures + self.batches + self.engine

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"total": self.total}


class Fitting:
    """The fit of one runtime, which only ever gets smaller. May be shared by threads.

    Args:
        most: bytes that one picture may take; None for all that there is.
    """

    def __init__(self, pipeline: Pipeline, fit: Fit, most: int | None) -> None:
        self._pipeline, self._fit, self._most = pipeline, fit, most
        self._state = threading.Lock()

    def attempt(
        self, image: Source | DevicePicture, work: Callable[[Fit, TileGrid, bool], Result], copies: int = 0
    ) -> Result:
        """Calls `work` with the fit, the grid of `image`, and whether to go in bands.

        Where the device is out of memory, it is called again with a smaller fit; one warning in the end says so.

        Args:
            copies: bytes per pixel that the picture takes beside its result in the dtype of `image`: on the host, where
                they count if the host is the device, or on the device, where the picture lies there.

        Raises:
            DeviceMemoryError: there is no smaller fit, or no fit stays within the bytes that a picture may take.
        """
        fit, banded, retreats = self._fit, False, 0
        if self._most is not None:
            plan, fit = self._within(image, copies)
            banded = plan.banded
        begun = fit
        while True:
            try:
                made = work(fit, self.grid(image, fit), banded or not self._fits_whole(image))
            except DeviceMemoryError as error:
                fit = self._retreat(fit, image, error)
                retreats += 1
                continue
            if retreats:
                self._warn(fit, self.grid(image, begun), self.grid(image, fit))
            return made

    def plan(self, height: int, width: int, dtype: np.dtype[Any], copies: int = 0) -> MemoryPlan:
        """The memory plan for a picture of this size and dtype; for `copies` see `attempt`.

        Raises:
            DeviceMemoryError: no fit stays within the bytes that a picture may take.
        """
        return self._within(np.broadcast_to(np.zeros((), dtype), (height, width, 3)), copies)[0]  # a view of one value

    def grid(self, image: Source | DevicePicture, fit: Fit) -> TileGrid:
        """The tiles of a picture, [H,W,C]; one where it runs whole.

        Raises:
            UsageError: it should run whole, and is larger than the plan takes.
        """
        metadata, limits = self._pipeline.engine.metadata, self._pipeline.limits
        rows, cols = padded_size(image, self._pipeline.engine, limits)
        tile, most = fit.tile, limits.most
        if tile is None or rows * cols * metadata.network["n_feat"] <= fit.budget:
            tile = rows, cols
            if most is not None and (rows > most[1] or cols > most[2]):
                raise UsageError(
                    f"a picture of {image.shape[1]}x{image.shape[0]} does not fit whole in this plan, which takes up "
                    f"to {most[2]}x{most[1]}; use tile='auto'"
                )
        return make_grid(rows, cols, tile=tile, halo=metadata.halo, multiple=metadata.size_multiple)

    def _within(self, image: Source | DevicePicture, copies: int) -> tuple[MemoryPlan, Fit]:
        """The memory plan of the largest fit that stays within the bytes that a picture may take, and that fit.

        Where a fit does so only in bands, the memory plan says that. A picture on the device cannot go in bands.
        """
        totals = []
        for fit in (self._fit, *self._smaller(self._fit)):
            for banded in (False, True) if self._can_band(image) else (False,):
                plan = self._plan(image, fit, copies, banded)
                if self._most is None or plan.total <= self._most:
                    return plan, fit
                totals.append(plan.total)
        raise DeviceMemoryError(
            f"a picture of {image.shape[1]}x{image.shape[0]} takes at least {-(-min(totals) >> 20)} MiB, and "
            f"max_memory is {(self._most or 0) >> 20} MiB; {self._remedy()}"
        )

    def _retreat(self, fit: Fit, image: Source | DevicePicture, error: DeviceMemoryError) -> Fit:
        """Closes idle slots, allows half as many, and takes the next smaller fit, unless another thread has done so.

        Where there is no smaller fit, fewer slots alone are tried, down to one.
        """
        slots = self._pipeline.slots
        with self._state:
            made = slots.made
            slots.limit(max(1, made // 2))
            if self._fit != fit and self._fit in self._smaller(fit):
                return self._fit
            smaller = next(self._smaller(fit), None)
            if smaller is None and made <= 1:
                raise DeviceMemoryError(
                    f"a picture of {image.shape[1]}x{image.shape[0]} does not fit into the memory of "
                    f"{self._pipeline.engine.device}: {error}; {self._remedy()}"
                ) from error
            self._fit = smaller or fit
            return self._fit

    def _warn(self, fit: Fit, begun: TileGrid, grid: TileGrid) -> None:
        """Says what is done from now on; `begun` and `grid` are the tiles of the first attempt and of the last."""
        result = "with the same result" if grid == begun else "and other tiles are another result"
        whole = fit.tile is None or grid.tile_size[0] > fit.tile[0] or grid.tile_size[1] > fit.tile[1]
        tile = "whole pictures" if whole or fit.tile is None else f"tiles of {fit.tile[1]}x{fit.tile[0]}"
        runs = "one run" if fit.slots == 1 else f"{fit.slots} runs"
        warn(
            f"{self._pipeline.engine.device} ran out of memory; from now on {runs} at a time, batches of {fit.batch}, "
            f"{tile}: slower, {result}",
            MirnetDeployWarning if grid == begun else OtherTilesWarning,
        )

    def _smaller(self, fit: Fit) -> Iterator[Fit]:
        """All fits below `fit`: fewer slots, then a smaller batch, then tiles instead of whole pictures, then smaller
        tiles."""
        limits = self._pipeline.limits
        while True:
            if fit.slots > 1:
                fit = replace(fit, slots=fit.slots // 2)
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
        """A square tile of half the shorter side; None where network or plan do not take it."""
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

    def _can_band(self, image: Source | DevicePicture) -> bool:
        """Whether the picture is copied to the device, so that it may go there in bands."""
        return not (isinstance(image, DevicePicture) or self._pipeline.engine.driver.is_host)

    def _fits_whole(self, image: Source | DevicePicture) -> bool:
        """Whether the picture lies where the engine works, or fits there now as a whole."""
        driver = self._pipeline.engine.driver
        if isinstance(image, DevicePicture) or driver.is_host:
            return True
        nbytes = 3 * image.shape[0] * image.shape[1] * image.dtype.itemsize
        with driver.active():
            return 2 * nbytes <= driver.free_memory() // 2  # the picture and its result

    def _plan(self, image: Source | DevicePicture, fit: Fit, copies: int, banded: bool) -> MemoryPlan:
        """Adds up the bytes that every part says it allocates."""
        engine, limits = self._pipeline.engine, self._pipeline.limits
        grid = self.grid(image, fit)
        banded = banded or not self._fits_whole(image)
        slots = fit.slots_for(grid, banded)
        if isinstance(image, DevicePicture):
            pictures = image.shape[0] * image.shape[1] * copies
        elif engine.driver.is_host:
            pictures = image.shape[0] * image.shape[1] * (3 * image.dtype.itemsize + copies)
        else:
            heights = [image.shape[0]] * 2
            if banded:
                heights = [max(tile.size[0] for tile in grid), max(tile.core_size[0] for tile in grid)] * slots
            pictures = sum(Band.nbytes(height, image.shape[1], image.dtype) for height in heights)
        context = engine.metadata.context if len(grid) > 1 else 0
        small = size_for(image, grid.tile_size, engine.metadata, limits) if context else None
        there = isinstance(image, DevicePicture)
        patches = Patches.of(small, grid, limits) if small and not there else None
        # Tiles in one table: in bands every slot has that of a row.
        together, tables = (max(map(len, rows_of(grid))), slots) if banded else (len(grid), 1)
        count = max(min(fit.batch, together), limits.least[0])
        batches = slots * Feeder.nbytes(engine.metadata, count, grid.tile_size, small)
        batches += tables * self._tables(together, grid.tile_size, context)
        if there:
            batches += on_device.nbytes(context, small, engine.metadata.batch_dtype)
            batches += self._tables(1, small, context) if small else 0
        else:
            batches += tables * FLAWS_BYTES
        if small and not there:
            pictures += Thumbnail.nbytes(small, image.shape, engine.metadata, engine.driver.is_host)
            batches += tables * self._means(grid, together, small, context, patches)
        tiles = [(max(some, limits.least[0]), *grid.tile_size) for some in {count, together % count} - {0}]
        shared = [(limits.least[0], *small)] if small else []  # which only the first slot runs, as it does patches
        if patches:
            rests = {
                max(rest, limits.least[0]) for rest in (count, patches.count % count, patches.again % count) if rest
            }
            shared += [(rest, *side) for rest in rests for side in (patches.large[0].size, patches.small[0].size)]
        footprint = engine.footprint(*tiles, *shared) + (slots - 1) * engine.footprint(*tiles)
        return MemoryPlan(pictures, batches, footprint, slots, count, grid.tile_size, banded)

    def _tables(self, tiles: int, size: tuple[int, int], context: int) -> int:
        """Bytes of a table of tiles of `size` (height, width), and of the `context` means measured on each of them."""
        count = tiles + self._pipeline.limits.least[0] - 1
        return TileTable.nbytes(count, size) + statistics_bytes(count, context)

    def _means(
        self, grid: TileGrid, together: int, small: tuple[int, int], context: int, patches: Patches | None
    ) -> int:
        """Bytes of the vectors of `context` means, and of the tables of a thumbnail of size `small` (height, width) and
        of a sample of `patches`, if there is one. They share a buffer with the table of the `together` tiles, and count
        as far as they are larger."""
        tables = self._tables(together, grid.tile_size, context)
        sample = self._tables(patches.count, patches.large[0].size, context) if patches else 0
        return given_bytes(context) + max(0, self._tables(1, small, context) - tables, sample - tables)
