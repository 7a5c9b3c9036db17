"""`MIRNetRuntime`: one model, one device, pictures in and pictures out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.models import lasting
from mirnet_deploy.consistency.shared_means import Outcome
from mirnet_deploy.devices.interop import device_pictures
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.engines.fleet import artifact_for
from mirnet_deploy.engines.opening import check_opened, open_engine
from mirnet_deploy.enhancing import PictureEnhancer
from mirnet_deploy.errors import EngineError, ImageError, UsageError
from mirnet_deploy.memory import MemoryPlan
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.pipeline.work import Advance
from mirnet_deploy.pixels import Buffer, Sink, Source, as_array, check_dtype, check_out, check_picture, check_shape
from mirnet_deploy.results import Enhanced, Enqueued, PictureInfo, RuntimeInfo
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.video.frames import enhance_in_order


class MIRNetRuntime:
    """Enhances pictures with one model on one device.

    Pictures are sRGB (IEC 61966-2-1), as the network learned them; `mirnet-deploy enhance` converts files by their ICC
    profiles.

    A runtime may be shared by threads: concurrent calls give the same bits as serial ones, and each takes the memory of
    one call. (ONNX files in FP32 on a GPU repeat their bits at all but a few pixels of a million.)

    A picture runs whole where that fits (`tile="auto"`), otherwise in tiles. The network takes means over everything it
    sees, so tiles must share the means of the whole picture, or they come out visibly brighter and darker than one
    another; `consistency` says how far to go (the method is in `mirnet_deploy.consistency.shared_means`).

    Args:
        model: a bundled model's name, an `.onnx` file, a `.plan` file or a fleet's folder of `mirnet-deploy export`; or
            an opened engine, whose device, backend, precision, threads and graphs were chosen when it was opened, and
            which the runtime then owns and closes, also where an error is raised here.
        settings: how to enhance; None for the defaults.
        observer: is told of every copy and every run of the engine, for measurements.
        changes: fields of `RuntimeSettings` by name, which replace those of `settings`: `tile=256`.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library or the device refuses; the device asked for is never silently replaced by another.
        MissingDependencyError: the inference library is not installed.
        TypeError: there is no such setting.
        UsageError: a setting has a value that it cannot have, or the model cannot do what it asks for.
    """

    def __init__(
        self,
        model: str | Path | Engine = "lite",
        settings: RuntimeSettings | None = None,
        *,
        observer: Observer | None = None,
        **changes: Any,
    ) -> None:
        with ExitStack() as undo:
            if not isinstance(model, str | Path):
                undo.callback(model.close)
            self._settings = settings = (settings or RuntimeSettings()).changed(changes)
            if isinstance(model, str | Path):
                self._model: str | Path | None = lasting(model) if observer is None else None
                file = artifact_for(model, settings.device)
                path, self._engine = str(file), undo.enter_context(closing(open_engine(file, settings)))
            else:
                self._model, path, self._engine = None, model.metadata.name, model
                check_opened(settings)
            self._enhancer = PictureEnhancer(self._engine, settings, observer)
            undo.pop_all()
        self._closed = False
        self._info = RuntimeInfo(
            path=path,
            metadata=self._engine.metadata,
            device=self._engine.device,
            backend=self._engine.backend,
            settings=settings,
            tile_size=self._enhancer.tile_size,
            batch=self._enhancer.batch,
        )

    @property
    def info(self) -> RuntimeInfo:
        """What this runtime runs; readable after `close` too."""
        return self._info

    @property
    def engine(self) -> Engine:
        """The engine that runs the batches of tiles."""
        return self._engine

    @property
    def graphs(self) -> str:
        """Whether batches are replayed as CUDA graphs: "on", "off" (a CPU, or not wanted), or "refused: " and why."""
        return self._engine.graphs

    def takes(self, dtype: Any) -> bool:
        """Whether the model takes pictures of this dtype: uint8, and with the interface `float` all others."""
        return np.dtype(dtype) == np.uint8 or self._engine.metadata.interface == "float"

    def memory_plan(self, height: int, width: int, dtype: Any = np.uint8) -> MemoryPlan:
        """The most memory that enhancing a picture of this size and dtype takes, as things stand now.

        Raises:
            DeviceMemoryError: no tile is small enough for `max_memory`.
            EngineError: the runtime is closed.
            UsageError: the size is below 1x1, or as `enhance`.
        """
        self._check_open()
        if height < 1 or width < 1:
            raise UsageError(f"a picture of {width}x{height}; expected at least 1x1")
        return self._enhancer.memory_plan(height, width, np.dtype(dtype))

    def enhance(self, image: Buffer, out: Buffer | None = None) -> NDArray[Any]:
        """Enhances one picture of any size from 1x1 up. Other Python threads can run meanwhile.

        Args:
            image: [H,W,3], channels in the order of `channel_order`, uint8, uint16, or float32 in [0, 1]: an array, or
                anything with the buffer protocol (`memoryview`, pybind11's `py::array`), of any strides. It is not
                changed. An engine of the interface `image` takes uint8 only.
            out: takes the result: the same shape and dtype, of any strides. It may be `image` itself or overlap it, at
                the price of a copy.

        Returns:
            `out`, or a new C-contiguous array: the same shape, dtype and range; integers are rounded half to even.
            After an error `out` may be partly written.

        Raises:
            ImageError: the picture or `out` is not as described.
            EngineError: the runtime is closed, or the engine refuses, for example for want of memory; or tiles must
                share their means and the artifact has no context.
            UsageError: the picture should run whole, and is larger than the plan takes.
        """
        return self.enhance_with_info(image, out).pixels

    def enhance_with_info(self, image: Buffer, out: Buffer | None = None) -> Enhanced:
        """Like `enhance`; also returns what is known of the result."""
        return self._enhance(image, out, None)[0]

    def enhance_into(
        self, source: Source, sink: Sink, advance: Advance = lambda _: None, finish: Mapping[str, float] | None = None
    ) -> PictureInfo:
        """Like `enhance_with_info`, for a picture that need not be in memory.

        What is not an array is read and written by rows of tiles, in every pass anew; where it fits on a GPU, once and
        as a whole.

        Args:
            source: an array as `enhance` takes it, or anything with a shape and a dtype whose windows can be read by
                slices; the values of float32 are not checked.
            sink: takes rows of the result by slices; shares no memory with `source`. With a brightness or a strength
                its rows are also read back (`sink[rows]`).
            advance: is called when a run of the engine is over, on a GPU when it is enqueued, with the number of pixels
                that it writes. In every pass they add up to the picture. Where memory ran out and a pass begins anew,
                what was counted is taken back with a number below 0.
            finish: a "brightness", a "strength" or both for this picture alone, in place of the settings'.

        Raises:
            ImageError, EngineError: as `enhance`.
            UsageError: as `enhance`; or a value of `finish` is out of range; or `channel_order` is "bgr" and the
                picture is not an array; or the sink cannot be read back.
        """
        start, settings = time.perf_counter(), self._settings.finishing(finish or {})
        self._check_open()
        check_shape(source.shape)
        check_dtype(source.dtype, self._engine.metadata.interface)
        if isinstance(sink, np.ndarray):
            check_out(sink, source)
            if isinstance(source, np.ndarray) and np.may_share_memory(source, sink):
                raise ImageError("source and sink share memory; a tile would read what its neighbour has written")
        return self._enhancer.enhance(source, sink, None, start, advance, settings)[0]

    def enhance_device(self, src: Any, dst: Any, *, stream: int, bgr: bool | None = None, passes: int = 2) -> Enqueued:
        """Enhances a picture that lies on the runtime's device into another one there; returns once that is enqueued.

        The work begins after what `stream` holds now, and what is enqueued there later follows it. The calling thread
        waits only for the first picture of a shape, and while all slots are taken. Until the stream has passed the
        work, neither picture may be freed or changed.

        Where the network's result has NaN and infinite values, NaN comes out as 0 and infinite values are clipped;
        `Enqueued.info` raises an error for them. (The interface `image` shows them only where tiles share means.)

        Args:
            src, dst: [H,W,3] or [H,W,4] of one shape, dtype and order of channels, uint8, uint16 or float32 in [0, 1]
                (the interface `image` takes uint8): objects with `__dlpack__` or `__cuda_array_interface__` (CuPy,
                torch, Numba), or `DevicePicture` (address, pitch and so on, as `cv::cuda::GpuMat` has them). Pixels
                lie side by side, rows at any distance; a fourth channel is copied. They share no memory.
            stream: the handle of a `CUstream`.
            bgr: whether the channels are BGR or BGRA; None for `channel_order`. A `DevicePicture` has its own order.
            passes: passes over the tiles under "exact"; the other settings of `consistency` make one.

        Returns:
            What tells whether the picture is finished, and how close it is; it need not be kept.

        Raises:
            ImageError: a picture is not as described, or lies elsewhere, or `dst` is read-only.
            EngineError: as `enhance`; or the engine runs on a GPU by way of host memory.
            MissingDependencyError: cuda-core, which looks at other libraries' pictures, is not installed.
            UsageError: as `enhance`; or `passes` is below 1.
        """
        self._check_open()
        if self._engine.driver.is_host and self._engine.device != "cpu":
            raise EngineError(
                f"{self._engine.backend} runs by way of host memory, and enhance_device needs the GPU's; "
                'pip install "mirnet-deploy[pycuda]"'
            )
        if passes < 1:
            raise UsageError(f"passes is {passes}; expected at least 1")
        with self._engine.driver.active():
            turned = self._settings.channel_order == "bgr" if bgr is None else bgr
            source, target = device_pictures(src, dst, self._engine.device, stream, turned)
        check_dtype(source.dtype, self._engine.metadata.interface)
        return self._enhancer.enqueue(source, target, stream, passes)

    def frames(self, frames: Iterable[Buffer], in_flight: int | None = None) -> Iterator[Enhanced]:
        """Enhances the frames of a video: in one pass each, but for the first frame of a scene.

        The defect, which must be added to a thumbnail's means to get its picture's, is carried from frame to frame.
        Only the first frame of a scene is made as a still picture: one of another size or dtype than the frame before,
        or one whose thumbnail differs too much (`SceneCuts`). Each result's info says how close it is.

        Args:
            frames: as `enhance` takes them; consumed one by one, `in_flight` before the first result. A frame must stay
                as it is until its result has come.
            in_flight: frames under way at once; on a GPU one goes up while another is computed and a third comes down.
                A frame starts from the defect of the frame that many before it. None for 3 on a GPU, or 1 where the
                engine works in host memory.

        Raises:
            ImageError, EngineError: as `enhance`, in the place of that frame's result.
            UsageError: `in_flight` is below 1.
        """
        self._check_open()
        if in_flight is None:
            in_flight = 1 if self._engine.driver.is_host else 3
        if in_flight < 1:
            raise UsageError(f"in_flight is {in_flight}; expected at least 1")

        def enhance(frame: Buffer, defect: NDArray[np.float64] | None) -> tuple[Enhanced, Any]:
            result, outcome = self._enhance(frame, None, defect)
            return result, None if outcome is None else outcome.defect

        return enhance_in_order(frames, enhance, in_flight)

    def close(self) -> None:
        """Waits for what is under way and frees the engine. May be called twice; afterwards `enhance` raises."""
        if not self._closed:
            self._closed = True
            self._enhancer.close()
            self._engine.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and what another process unpickles, opens the model anew, with the same settings.

        Raises:
            EngineError, TypeError: the runtime is closed; it has an observer, or was given an open engine.
        """
        self._check_open()
        if self._model is None:
            raise TypeError(
                "an open engine or an observer stays in its process; hand over the model's path and settings"
            )
        return type(self), (self._model, self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _enhance(
        self, image: Buffer, out: Buffer | None, defect: NDArray[np.float64] | None
    ) -> tuple[Enhanced, Outcome | None]:
        """Enhances one picture, [H,W,3]; a `defect`, [K], makes it a later frame of a scene."""
        start = time.perf_counter()
        self._check_open()
        source = as_array(image)
        check_picture(source, self._engine.metadata.interface)
        result = np.empty(source.shape, source.dtype) if out is None else as_array(out)
        if out is not None:
            check_out(result, source)
            if np.may_share_memory(source, result):
                source = source.copy()  # a tile's halo must not read what its neighbour has written
        info, outcome = self._enhancer.enhance(source, result, defect, start, lambda pixels: None, self._settings)
        return Enhanced(result, info), outcome

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"the runtime of {self._info.path} is closed; open a new one")
