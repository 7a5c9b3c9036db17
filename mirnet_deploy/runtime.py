"""`MIRNetRuntime`: one model, one device, pictures in and pictures out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.consistency import Consistency, Outcome, enhance_consistently
from mirnet_deploy.devices.base import Frame
from mirnet_deploy.devices.interop import frame_of
from mirnet_deploy.engines import open_engine, resolve_model
from mirnet_deploy.engines.base import no_context_error
from mirnet_deploy.errors import EngineError, ImageError, UsageError
from mirnet_deploy.limits import Limits, TileSetting, check_tile_setting, choose_batch, choose_tile, whole_budget
from mirnet_deploy.pipeline import Advance, Pipeline, Work
from mirnet_deploy.pixels import Sink, Source, check_dtype, check_out, check_picture
from mirnet_deploy.results import Enhanced, PictureInfo, RuntimeInfo
from mirnet_deploy.scenes import SceneCuts
from mirnet_deploy.thumbnail import size_for
from mirnet_deploy.tiling import TileGrid, make_grid


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
        consistency: see above.
        tolerance: PSNR in dB that "exact" must reach before rounding; at 60 no pixel may be off by more than 1/255
            either, and in proportion at others, down to the 0.2/255 that a halo may leave out.

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
        consistency: Consistency = "exact",
        tolerance: float = 60.0,
    ) -> None:
        check_tile_setting(tile, batch)
        if consistency not in get_args(Consistency):
            raise UsageError(f"consistency is {consistency!r}; expected {', '.join(get_args(Consistency))}")
        if not 0 < tolerance < float("inf"):
            raise UsageError(f"tolerance is {tolerance!r}; expected a PSNR in dB, above 0")
        self._engine = open_engine(model, device, threads)
        self._closed = False
        try:
            metadata = self._engine.metadata
            self._limits = Limits.of(metadata)
            self._budget = whole_budget() if tile == "auto" and self._limits.most is None else 0
            tile_size = choose_tile(tile, metadata, self._limits, self._budget)
            batch = choose_batch(batch, self._limits)
        except BaseException:
            self._engine.close()
            raise
        self._pipeline = Pipeline(self._engine, batch, self._limits)
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
        )

    @property
    def info(self) -> RuntimeInfo:
        """What this runtime runs; readable after `close` too."""
        return self._info

    def enhance(self, image: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Enhances one picture of any size from 1x1 up.

        Args:
            image: [H,W,3] RGB, uint8, uint16, or float32 in [0, 1]; any strides; left as it is. An engine of the
                interface `image` takes uint8 only.
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

    def enhance_with_info(self, image: NDArray[Any], out: NDArray[Any] | None = None) -> Enhanced:
        """As `enhance`, with what is known of the result."""
        return self._enhance(image, out, None)[0]

    def enhance_into(self, source: Source, sink: Sink, advance: Advance = lambda pixels: None) -> PictureInfo:
        """As `enhance_with_info`, of a picture that need not be in memory: it is read and written in rows of tiles, and
        as a whole in every pass.

        Args:
            source: a picture as `enhance` takes it, or anything with its shape and dtype that gives windows of it; the
                values of float32 are not checked.
            sink: takes rows of the result; shares no memory with `source`.
            advance: is told how many pixels were written, after every run of the engine; so in every pass all of them.

        Raises:
            ImageError, EngineError: as `enhance`.
        """
        start = time.perf_counter()
        self._check_open()
        check_dtype(source.dtype, self._engine.metadata.interface)
        return self._run(source, sink, None, start, advance)[0]

    def enhance_device(self, src: Any, dst: Any, *, stream: int, bgr: bool = False, passes: int = 2) -> None:
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
            bgr: the order of the channels, also of RGBA and BGRA; a `Frame` says its own.
            passes: over the tiles, under "exact", whose error is not predicted here; the others make one.

        Raises:
            ImageError: a picture is not as described, or elsewhere.
            EngineError: as `enhance`. Values that are not numbers are not noticed; they come out as 0.
        """
        self._check_open()
        source, target = (frame_of(each, self._engine.device, bgr) for each in (src, dst))
        check_dtype(source.dtype, self._engine.metadata.interface)
        if replace(source, address=0, pitch=0) != replace(target, address=0, pitch=0):
            raise ImageError(f"dst is {target}; expected the shape, dtype and channels of src, {source}")
        if passes < 1:
            raise UsageError(f"passes is {passes}; expected at least 1")
        grid = self._grid(source)
        whole = len(grid) == 1 or self._info.consistency == "local"
        if not whole:
            self._check_context()
        thumbnail = None if whole else size_for(source, grid.tile_size, self._engine.metadata, self._limits)
        passes = passes if self._info.consistency == "exact" else 1
        self._pipeline.enqueue(source, target, grid, thumbnail, passes, stream)

    def frames(self, frames: Iterable[NDArray[Any]]) -> Iterator[Enhanced]:
        """Enhances the frames of a film, one pass each.

        What a thumbnail's means lack of its picture's is carried from frame to frame, so that only the first frame of a
        scene is made as a still picture: that is a frame of another size or dtype than the one before, or one whose
        thumbnail looks like none of the same scene (`SceneCuts`). How close a frame is says its info.

        Args:
            frames: as `enhance` takes them; consumed one by one.
        """
        cuts, defect = SceneCuts(), None
        for frame in frames:
            check_picture(frame, self._engine.metadata.interface)
            result, outcome = self._enhance(frame, None, None if cuts.before(frame) else defect)
            defect = None if outcome is None else outcome.defect
            yield result

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
        self, image: NDArray[Any], out: NDArray[Any] | None, defect: NDArray[np.float64] | None
    ) -> tuple[Enhanced, Outcome | None]:
        """One picture; `defect` makes it a later frame of a scene."""
        start = time.perf_counter()
        self._check_open()
        check_picture(image, self._engine.metadata.interface)
        if out is None:
            out = np.empty(image.shape, image.dtype)
        else:
            check_out(out, image)
            if np.may_share_memory(image, out):
                image = image.copy()  # a tile's halo must not read what its neighbour has written
        info, outcome = self._run(image, out, defect, start)
        return Enhanced(out, info), outcome

    def _run(
        self,
        image: Source,
        out: Sink,
        defect: NDArray[np.float64] | None,
        start: float,
        advance: Advance = lambda pixels: None,
    ) -> tuple[PictureInfo, Outcome | None]:
        grid = self._grid(image)
        outcome = None
        with self._pipeline.open(image, out, advance) as work:
            if len(grid) == 1 or self._info.consistency == "local":
                work.plain(grid)
            else:
                outcome = self._run_consistently(work, grid, defect)
        info = PictureInfo(len(grid), grid.tile_size, self._info.consistency, seconds=time.perf_counter() - start)
        if outcome:
            info = replace(
                info,
                passes=outcome.passes,
                sampled=outcome.sampled,
                predicted_psnr=outcome.prediction.psnr,
                predicted_max_abs=outcome.prediction.max_abs,
                within_tolerance=outcome.prediction.within(self._info.tolerance),
            )
        return info, outcome

    def _run_consistently(self, work: Work, grid: TileGrid, defect: NDArray[np.float64] | None) -> Outcome:
        stages = self._check_context()
        one_pass = self._info.consistency == "fast" or defect is not None
        return enhance_consistently(
            work,
            grid,
            tolerance=self._info.tolerance,
            passes=1 if one_pass else stages + 1,
            defect=defect,
        )

    def _check_context(self) -> int:
        """The stages of pools that an artifact has which can share means."""
        metadata = self._engine.metadata
        if not metadata.context or metadata.stages is None:
            raise no_context_error(metadata)
        return metadata.stages

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"the runtime of {self._info.path} is closed; open a new one")

    def _grid(self, image: Source | Frame) -> TileGrid:
        metadata, most, tile = self._engine.metadata, self._limits.most, self._info.tile_size
        height, width = image.shape[:2]
        rows, cols = self._pipeline.padded(image)
        if tile is None or rows * cols * metadata.network["n_feat"] <= self._budget:
            tile = rows, cols
            if most is not None and (rows > most[1] or cols > most[2]):
                raise UsageError(
                    f"a picture of {width}x{height} does not fit whole in this plan, which takes up to "
                    f"{most[2]}x{most[1]}; use tile='auto'"
                )
        return make_grid(rows, cols, tile=tile, halo=metadata.halo, multiple=metadata.size_multiple)
