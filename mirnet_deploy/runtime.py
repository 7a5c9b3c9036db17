"""`MIRNetRuntime`: one model, one device, pictures in and pictures out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.consistency import Consistency, Outcome, enhance_consistently
from mirnet_deploy.devices.interop import frames_of
from mirnet_deploy.engines import open_engine, resolve_model
from mirnet_deploy.engines.base import Engine, no_context_error
from mirnet_deploy.errors import EngineError, ImageError, UsageError
from mirnet_deploy.film import enhance_film
from mirnet_deploy.finishing import Brightness, Finish, Rewritable
from mirnet_deploy.fitting import Fit, Fitting, MemoryPlan
from mirnet_deploy.limits import Limits, TileSetting, choose_batch, choose_tile, whole_budget
from mirnet_deploy.metadata import ChannelOrder
from mirnet_deploy.pipeline import Advance, Pipeline
from mirnet_deploy.pixels import Buffer, Sink, Source, as_array, check_dtype, check_out, check_picture, check_shape
from mirnet_deploy.results import Enhanced, PictureInfo, RuntimeInfo
from mirnet_deploy.settings import check_settings
from mirnet_deploy.thumbnail import size_for
from mirnet_deploy.tiling import TileGrid

WIDENING_COPIES = 9
"""Bytes a pixel that an 8-bit picture takes which is worked on in 16: its copy, and a result that is not yet in 8."""


class MIRNetRuntime:
    """Enhances pictures with one model on one device.

    One runtime may be shared by threads: concurrent calls give the bits of serial ones, each at the memory of one call.

    A picture runs whole where that fits (`tile="auto"`), otherwise in tiles. The network takes means over everything it
    sees, so tiles must share the means of the whole picture, or they come out visibly brighter and darker than one
    another. `consistency` says how far to go (the method is in `mirnet_deploy.consistency`):
    - "exact": until the result is predicted to be within `tolerance` of the network's for the whole picture;
    - "fast": with means guessed from a thumbnail, in one pass;
    - "local": every tile by itself, as other tools do; for comparison.

    Args:
        model: a bundled model's name, an `.onnx` file or a `.plan` file of `mirnet-deploy export`.
        device: "auto" (the first GPU if the engine can use one, else the CPU), "cpu", "cuda" or "cuda:N".
        tile: "auto" (an ONNX model: whole up to `limits.WHOLE_BUDGET` or what half of the free memory holds, else the
            square tile of best speed, `limits.TILE_BUDGET`, or what memory holds; a plan: its largest shape), "none"
            (always whole), or a side in pixels: a multiple of 4 and more than twice the model's halo.
        threads: threads that one run may use on the CPU; None leaves it to the library (all cores).
        batch: tiles of one picture to run at once; memory grows with it.
        channel_order: of the colours of every picture, "rgb" or "bgr" as OpenCV has them; no pass more over it.
        max_memory: bytes that one picture may take, of the GPU's memory or else of the host's; tiles get smaller and
            pictures go through in bands until `memory_plan` keeps it. None for what there is.
        graphs: replay batches on a GPU as CUDA graphs; where it refuses, a warning says so, and `graphs` tells.
        consistency: see above.
        tolerance: PSNR in dB that "exact" must reach before rounding; at 60 no pixel may be off by more than 1/255
            either, and in proportion at others, down to the 0.2/255 that a halo may leave out.
        brightness: mean of every result over pixels and channels, in [0, 1], reached by a tone curve that lets
            highlights roll off (`mirnet_deploy.finishing`); "auto" for what the network gives.
        strength: share of the result that is blended with the picture as it was, in [0, 1], after that.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library or the device refuses; a device that was asked for is never silently another one.
        MissingDependencyError: the inference library is not installed.
        UsageError: a setting is not a value it can have.
    """

    def __init__(
        self,
        model: str | Path = "lite",
        *,
        device: str = "auto",
        tile: TileSetting = "auto",
        threads: int | None = None,
        batch: int = 1,
        channel_order: ChannelOrder = "rgb",
        max_memory: int | None = None,
        graphs: bool = True,
        consistency: Consistency = "exact",
        tolerance: float = 60.0,
        brightness: Brightness = "auto",
        strength: float = 1.0,
    ) -> None:
        check_settings(tile, batch, channel_order, max_memory, consistency, tolerance)
        self._finish = Finish(brightness, strength)
        self._engine = open_engine(model, device, threads, graphs)
        self._closed = False
        try:
            metadata = self._engine.metadata
            self._limits = Limits.of(metadata)
            budget = whole_budget() if tile == "auto" and self._limits.most is None else 0
            tile_size = choose_tile(tile, metadata, self._limits, budget)
            batch = choose_batch(batch, self._limits)
        except BaseException:
            self._engine.close()
            raise
        self._pipeline = Pipeline(self._engine, batch, self._limits)
        self._fitting = Fitting(self._pipeline, Fit(self._engine.lanes[1], batch, tile_size, budget), max_memory)
        self._flip = channel_order == "bgr"
        self._info = RuntimeInfo(
            path=str(resolve_model(model)),
            metadata=metadata,
            device=self._engine.device,
            backend=self._engine.backend,
            tile=tile,
            tile_size=tile_size,
            batch=batch,
            consistency=consistency,
            tolerance=tolerance,
            channel_order=channel_order,
            brightness=brightness,
            strength=strength,
        )

    @property
    def info(self) -> RuntimeInfo:
        """What this runtime runs; readable after `close` too."""
        return self._info

    @property
    def engine(self) -> Engine:
        """What runs the batches."""
        return self._engine

    @property
    def graphs(self) -> str:
        """Whether batches are replayed as CUDA graphs: "on", "off" (a CPU, or not wanted), or "refused: " and why."""
        return self._engine.graphs

    def memory_plan(self, height: int, width: int, dtype: Any = np.uint8) -> MemoryPlan:
        """The memory that enhancing a picture of a size takes at most, with the settings of now.

        Raises:
            DeviceMemoryError: no tile is small enough for `max_memory`.
            EngineError: the runtime is closed.
        """
        self._check_open()
        if height < 1 or width < 1:
            raise UsageError(f"a picture of {width}x{height}; expected at least 1x1")
        if self._widens(np.dtype(dtype)):
            return self._fitting.plan(height, width, np.dtype(np.uint16), WIDENING_COPIES)
        return self._fitting.plan(height, width, np.dtype(dtype))

    def enhance(self, image: Buffer, out: Buffer | None = None) -> NDArray[Any]:
        """Enhances one picture of any size from 1x1 up. Other threads of Python go on meanwhile.

        Args:
            image: [H,W,3] in the order of `channel_order`, uint8, uint16, or float32 in [0, 1]: an array or what else
                has the buffer protocol (`memoryview`, pybind11's `py::array`); any strides; left as it is. An engine of
                the interface `image` takes uint8 only.
            out: an array for the result, of the same shape and dtype; any strides. It may be `image` itself or overlap
                it, at the price of a copy.

        Returns:
            `out`, or a new C-contiguous array: the same shape, dtype and range; integers are rounded half to even.
            Where an error is raised in the middle, `out` may be partly written.

        Raises:
            ImageError: the picture or `out` is not as described.
            EngineError: the runtime is closed, or the engine refuses, for example for want of memory; or tiles must
                share their means and the artifact has no context.
        """
        return self.enhance_with_info(image, out).pixels

    def enhance_with_info(self, image: Buffer, out: Buffer | None = None) -> Enhanced:
        """As `enhance`, with what is known of the result."""
        return self._enhance(image, out, None)[0]

    def enhance_into(self, source: Source, sink: Sink, advance: Advance = lambda pixels: None) -> PictureInfo:
        """As `enhance_with_info`, of a picture that need not be in memory: it is read and written in rows of tiles, and
        as a whole in every pass.

        Args:
            source: a picture as `enhance` takes it, or anything with its shape and dtype that gives windows of it; the
                values of float32 are not checked.
            sink: takes rows of the result; shares no memory with `source`. With a brightness or a strength it gives
                them back too (`sink[rows]`).
            advance: is told how many pixels were written, after every run of the engine; so in every pass all of them.

        Raises:
            ImageError, EngineError: as `enhance`.
        """
        start = time.perf_counter()
        self._check_open()
        check_shape(source.shape)
        check_dtype(source.dtype, self._engine.metadata.interface)
        if isinstance(sink, np.ndarray):
            check_out(sink, source)
            if isinstance(source, np.ndarray) and np.may_share_memory(source, sink):
                raise ImageError("source and sink share memory; a tile would read what its neighbour has written")
        return self._run(source, sink, None, start, advance)[0]

    def enhance_device(self, src: Any, dst: Any, *, stream: int, bgr: bool | None = None, passes: int = 2) -> None:
        """Enhances a picture that lies on the runtime's device into another, and returns when that is enqueued.

        It begins after what `stream` holds now, and what is enqueued there later follows it: the caller's thread never
        waits, but for the first picture of a shape and where all lanes are taken. Until the stream has come past it,
        neither picture may be freed or changed.

        Args:
            src, dst: [H,W,3] or [H,W,4] of one shape, dtype and order of channels, uint8, uint16 or float32 in [0, 1]
                (the interface `image` takes uint8): objects with `__cuda_array_interface__` (CuPy, torch, Numba),
                DLPack capsules or what gives them, or `Frame` (pointer, pitch and so on, as `cv::cuda::GpuMat` has
                them). Pixels lie side by side, rows at any distance; a fourth channel is carried over. They share no
                memory.
            stream: the handle of a `CUstream`.
            bgr: the order of the channels, also of RGBA and BGRA; None for `channel_order`; a `Frame` says its own.
            passes: over the tiles, under "exact", whose error is not predicted here; the others make one.

        Raises:
            ImageError: a picture is not as described, or elsewhere.
            EngineError: as `enhance`. Values that are not numbers are not noticed; they come out as 0.
            UsageError: the runtime has a brightness or a strength.
        """
        self._check_open()
        if not self._finish.is_none:
            raise UsageError("enhance_device gives the network's result; brightness and strength need enhance")
        if self._engine.driver.is_host and self._engine.device != "cpu":
            raise EngineError(
                f"{self._engine.backend} runs by way of host memory, and enhance_device needs the GPU's; "
                'pip install "mirnet-deploy[pycuda]"'
            )
        source, target = frames_of(src, dst, self._engine.device, self._flip if bgr is None else bgr)
        check_dtype(source.dtype, self._engine.metadata.interface)
        if passes < 1:
            raise UsageError(f"passes is {passes}; expected at least 1")

        def enqueue(fit: Fit, grid: TileGrid, _: bool) -> None:
            thumbnail = None
            if self._shares_means(grid):
                self._check_context()
                thumbnail = size_for(source, grid.tile_size, self._engine.metadata, self._limits)
            times = passes if self._info.consistency == "exact" else 1
            shares = {"lanes": fit.lanes, "batch": fit.batch}
            self._pipeline.enqueue(source, target, grid, thumbnail, times, stream, **shares)

        self._fitting.attempt(source, enqueue)

    def frames(self, frames: Iterable[Buffer], in_flight: int | None = None) -> Iterator[Enhanced]:
        """Enhances the frames of a film, one pass each.

        What a thumbnail's means lack of its picture's is carried from frame to frame, so that only the first frame of a
        scene is made as a still picture: that is a frame of another size or dtype than the one before, or one whose
        thumbnail looks like none of the same scene (`SceneCuts`). How close a frame is says its info.

        Args:
            frames: as `enhance` takes them; consumed one by one, `in_flight` before the first result. A frame is the
                runtime's until its result has come.
            in_flight: frames under way at once; on a GPU one goes up while another is computed and a third comes down.
                A frame carries on from the one so many before it. None for 3 on a GPU, 1 on a CPU.

        Raises:
            ImageError, EngineError: as `enhance`, in the place of that frame's result.
        """
        self._check_open()
        if in_flight is None:
            in_flight = 1 if self._engine.driver.is_host else 3
        if in_flight < 1:
            raise UsageError(f"in_flight is {in_flight}; expected at least 1")

        def enhance(frame: Buffer, defect: NDArray[np.float64] | None) -> tuple[Enhanced, Any]:
            result, outcome = self._enhance(frame, None, defect)
            return result, None if outcome is None else outcome.defect

        return enhance_film(frames, enhance, in_flight)

    def close(self) -> None:
        """Frees the engine. May be called twice; `enhance` is an error afterwards."""
        if not self._closed:
            self._closed = True
            self._pipeline.close()
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enhance(
        self, image: Buffer, out: Buffer | None, defect: NDArray[np.float64] | None
    ) -> tuple[Enhanced, Outcome | None]:
        """One picture; `defect` makes it a later frame of a scene."""
        start = time.perf_counter()
        self._check_open()
        source = as_array(image)
        check_picture(source, self._engine.metadata.interface)
        result = np.empty(source.shape, source.dtype) if out is None else as_array(out)
        if out is not None:
            check_out(result, source)
            if np.may_share_memory(source, result):
                source = source.copy()  # a tile's halo must not read what its neighbour has written
        info, outcome = self._run(source, result, defect, start)
        return Enhanced(result, info), outcome

    def _run(
        self,
        image: Source,
        out: Sink,
        defect: NDArray[np.float64] | None,
        start: float,
        advance: Advance = lambda pixels: None,
    ) -> tuple[PictureInfo, Outcome | None]:
        if self._flip:
            if not (isinstance(image, np.ndarray) and isinstance(out, np.ndarray)):
                raise UsageError("a picture that is no array is RGB; open a runtime with channel_order='rgb'")
            image, out = image[..., ::-1], out[..., ::-1]  # the pipeline reads and writes it as it lies
        source, result = image, out
        if not (self._finish.is_none or isinstance(out, Rewritable)):
            raise UsageError("brightness and strength need a sink whose rows can be read again")
        widens = isinstance(image, np.ndarray) and self._widens(image.dtype)
        if widens:
            # A tone curve after the rounding to 8 bits would show as steps in skies.
            image, out = image[:].astype(np.uint16) * np.uint16(257), np.empty(image.shape, np.uint16)

        def enhance(fit: Fit, grid: TileGrid, banded: bool) -> tuple[TileGrid, Outcome | None]:
            shares = {"lanes": fit.lanes, "batch": fit.batch}
            with self._pipeline.open(image, out, advance, banded=banded, **shares) as work:
                if not self._shares_means(grid):
                    work.plain(grid)
                    return grid, None
                stages, tolerance = self._check_context(), self._info.tolerance
                passes = 1 if self._info.consistency == "fast" or defect is not None else stages + 1
                return grid, enhance_consistently(work, grid, tolerance=tolerance, passes=passes, defect=defect)

        grid, outcome = self._fitting.attempt(image, enhance, WIDENING_COPIES if widens else 0)
        gain = None
        if not self._finish.is_none:
            assert isinstance(out, Rewritable)  # as was checked before the passes
            assert isinstance(result, Rewritable)
            gain = self._finish.apply(source, out, result)
        return PictureInfo.of(self._info, grid, outcome, time.perf_counter() - start, gain), outcome

    def _widens(self, dtype: np.dtype[Any]) -> bool:
        """Whether an array is worked on in 16 bits, though it has 8."""
        return self._finish.tones and self._engine.metadata.interface == "float" and dtype == np.uint8

    def _shares_means(self, grid: TileGrid) -> bool:
        return len(grid) > 1 and self._info.consistency != "local"

    def _check_context(self) -> int:
        """The stages of pools that an artifact has which can share means."""
        metadata = self._engine.metadata
        if not metadata.context or metadata.stages is None:
            raise no_context_error(metadata)
        return metadata.stages

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"the runtime of {self._info.path} is closed; open a new one")
