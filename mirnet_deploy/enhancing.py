"""How one picture is enhanced: fitted into memory, run in tiles that share their means, and finished."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import Interface
from mirnet_deploy.brightness import Rewritable, finish
from mirnet_deploy.consistency.shared_means import Outcome, enhance_consistently
from mirnet_deploy.consistency.thumbnail import size_for
from mirnet_deploy.devices.base import DevicePicture
from mirnet_deploy.engines.base import Engine, no_context_error
from mirnet_deploy.errors import UsageError
from mirnet_deploy.memory import Fit, Fitting, MemoryPlan
from mirnet_deploy.pipeline.limits import Limits, choose_batch, choose_tile, tile_budget, whole_budget
from mirnet_deploy.pipeline.on_device import WIDE_BYTES, Finish
from mirnet_deploy.pipeline.pipeline import Pipeline
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.pipeline.work import Advance
from mirnet_deploy.pixels import Sink, Source
from mirnet_deploy.results import Enqueued, PictureInfo
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.tiling import TileGrid

Made = TypeVar("Made")
WIDENING_COPIES = 9
"""Bytes per pixel that an 8-bit picture takes beside its 16-bit result where it is worked on in 16 bits: 6 for its
16-bit copy, 3 for the result in 8 bits."""


def _finished(
    settings: RuntimeSettings,
    interface: Interface,
    image: Source,
    out: Sink,
    run: Callable[[Source, Sink, int], Made],
) -> tuple[Made, float | None]:
    """Has the network's result of a picture made, and finishes it as `brightness` and `strength` say.

    Args:
        interface: of the artifact.
        image, out: as for `PictureEnhancer.enhance`, RGB or both BGR.
        run: writes the network's result of its first argument into its second, of the same shape and dtype; the third
            is bytes per pixel that are in use beside them. Its results before rounding to 8 bits are asked for where a
            tone curve follows, which would show the steps.

    Returns:
        What `run` returned, and the gain of the tone curve; None without one.

    Raises:
        UsageError: something is to be done after the network, and the sink cannot be read back.
    """
    if not settings.finishes:
        return run(image, out, 0), None
    if not isinstance(out, Rewritable):
        raise UsageError("brightness and strength need a sink whose rows can be read again")
    if isinstance(image, np.ndarray) and _widens(settings, interface, image.dtype):
        result: Rewritable = np.empty(image.shape, np.uint16)
        made = run(image.astype(np.uint16) * np.uint16(257), result, WIDENING_COPIES)
    else:
        result = out
        made = run(image, result, 0)
    return made, finish(settings, image, result, out)


def _widens(settings: RuntimeSettings, interface: Interface, dtype: np.dtype[Any]) -> bool:
    """Whether arrays of `dtype` have 8 bits and are worked on in 16."""
    return settings.tones and interface == "float" and dtype == np.uint8


class PictureEnhancer:
    """Enhances pictures with one engine, as the settings say. May be shared by threads. Does not own the engine.

    Raises:
        EngineError: the device has no memory for even one slot, or refuses.
        UsageError: the model cannot do what the settings ask for.
    """

    def __init__(self, engine: Engine, settings: RuntimeSettings, observer: Observer | None) -> None:
        self._engine, self._settings = engine, settings
        self._limits = Limits.of(engine.metadata)
        budget = 0
        if settings.tile == "auto" and self._limits.most is None:
            given = settings.whole_pixels
            features = engine.metadata.network["n_feat"]
            budget = given * features if given else whole_budget(engine, settings.max_memory, alone=settings.alone)
        self.batch = choose_batch(settings.batch, self._limits)
        """See `RuntimeInfo.batch`."""
        most = tile_budget(engine, budget, self.batch)
        self.tile_size = choose_tile(settings.tile, engine.metadata, self._limits, most)
        """See `RuntimeInfo.tile_size`."""
        self._pipeline = Pipeline(engine, self._limits, observer or Observer())
        fit = Fit(engine.concurrency.picture, self.batch, self.tile_size, budget)
        self._fitting = Fitting(self._pipeline, fit, settings.max_memory)

    def memory_plan(self, height: int, width: int, dtype: np.dtype[Any]) -> MemoryPlan:
        """See `MIRNetRuntime.memory_plan`."""
        if self._widens(dtype):
            return self._fitting.plan(height, width, np.dtype(np.uint16), WIDENING_COPIES)
        return self._fitting.plan(height, width, dtype)

    def enhance(
        self,
        image: Source,
        out: Sink,
        defect: NDArray[np.float64] | None,
        start: float,
        advance: Advance,
        settings: RuntimeSettings,
    ) -> tuple[PictureInfo, Outcome | None]:
        """Enhances a picture into `out`, of the same shape and dtype; they share no memory.

        Args:
            image: [H,W,3], uint8, uint16 or float32 in [0, 1], channels in the order of `channel_order`.
            defect: [K], from an earlier frame of the same scene of a video; None for a still picture.
            start: the reading of `time.perf_counter` from which `PictureInfo.seconds` counts.
            advance: see `MIRNetRuntime.enhance_into`.
            settings: the enhancer's own, with a brightness and a strength for this picture.

        Returns:
            What is known of the result, and how its tiles came to agree; None where they did not share means.

        Raises:
            EngineError, UsageError: see `MIRNetRuntime.enhance_into`.
        """
        if self._settings.channel_order == "bgr":
            if not (isinstance(image, np.ndarray) and isinstance(out, np.ndarray)):
                raise UsageError("a picture that is not an array is RGB; open a runtime with channel_order='rgb'")
            image, out = image[..., ::-1], out[..., ::-1]  # views: the pipeline reads and writes BGR in place
        made, gain = _finished(
            settings,
            self._engine.metadata.interface,
            image,
            out,
            lambda image, out, copies: self._run(image, out, defect, advance, copies),
        )
        return self._info(settings, *made, start, gain), made[1]

    def enqueue(self, source: DevicePicture, target: DevicePicture, stream: int, passes: int) -> Enqueued:
        """See `MIRNetRuntime.enhance_device`."""
        start = time.perf_counter()
        settings, widened = self._settings, self._widens(target.dtype)
        finishing = Finish(None if settings.brightness == "auto" else settings.brightness, settings.strength, widened)

        def enqueue(fit: Fit, grid: TileGrid, _: bool) -> Enqueued:
            thumbnail, times = None, 1
            if self._shares_means(grid):
                self._stages()
                thumbnail = size_for(source, grid.tile_size, self._engine.metadata, self._limits)
                times = passes if settings.consistency == "exact" else 1
            shares = {"most_slots": fit.slots_for(grid, banded=False), "batch": fit.batch}
            report = self._pipeline.enqueue(source, target, grid, thumbnail, times, finishing, stream, **shares)
            known = replace(self._info(settings, grid, None, start, None), passes=times)
            return Enqueued(self._engine, report, known, math.prod(thumbnail) if thumbnail else 0)

        return self._fitting.attempt(source, enqueue, WIDE_BYTES if widened else 0)

    def _info(
        self, settings: RuntimeSettings, grid: TileGrid, outcome: Outcome | None, start: float, gain: float | None
    ) -> PictureInfo:
        seconds = time.perf_counter() - start
        return PictureInfo.of(settings, grid, outcome, seconds, gain, self._engine.backend)

    def close(self) -> None:
        """Waits for the pictures under way and frees their memory. May be called twice."""
        self._pipeline.close()

    def _run(
        self, image: Source, out: Sink, defect: NDArray[np.float64] | None, advance: Advance, copies: int = 0
    ) -> tuple[TileGrid, Outcome | None]:
        """Writes the network's result into `out`; for `copies` see `Fitting.attempt`.

        Returns:
            The tiles, and how they came to agree; None where they did not share means.
        """

        written = 0

        def count(pixels: int) -> None:
            nonlocal written
            written += pixels
            advance(pixels)

        def work_on(fit: Fit, grid: TileGrid, banded: bool) -> tuple[TileGrid, Outcome | None]:
            if written:
                count(-written)  # by an attempt that ran out of memory
            shares = {"most_slots": fit.slots_for(grid, banded), "batch": fit.batch}
            with self._pipeline.open(image, out, count, banded=banded, **shares) as work:
                if not self._shares_means(grid):
                    work.plain(grid)
                    return grid, None
                stages, tolerance = self._stages(), self._settings.tolerance
                passes = 1 if self._settings.consistency == "fast" or defect is not None else stages + 1
                return grid, enhance_consistently(work, grid, tolerance=tolerance, passes=passes, defect=defect)

        return self._fitting.attempt(image, work_on, copies)

    def _widens(self, dtype: np.dtype[Any]) -> bool:
        return _widens(self._settings, self._engine.metadata.interface, dtype)

    def _shares_means(self, grid: TileGrid) -> bool:
        return len(grid) > 1 and self._settings.consistency != "local"

    def _stages(self) -> int:
        """Stages of pools in the network (`ArtifactMetadata.stages`).

        Raises:
            EngineError: the artifact cannot share means.
        """
        metadata = self._engine.metadata
        if not metadata.context or metadata.stages is None:
            raise no_context_error(metadata)
        return metadata.stages
