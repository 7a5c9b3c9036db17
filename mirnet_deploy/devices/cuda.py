"""A CUDA device through pycuda, in its primary CUDA context, which torch and ONNX Runtime use too.

pycuda has no events on foreign streams, no graphs, and no compiler that runs without a CUDA toolkit. These come from
NVIDIA's own bindings.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.arguments import typed
from mirnet_deploy.devices.base import Event, Kernel, Stream
from mirnet_deploy.devices.cuda_objects import CudaEvent, CudaGraph, CudaMemory, CudaStream
from mirnet_deploy.devices.gpu_libraries import imported
from mirnet_deploy.devices.nvrtc import compiled
from mirnet_deploy.errors import DeviceMemoryError, EngineError, first_line

BLOCKS: dict[Kernel, tuple[int, int, int]] = {
    "cut": (32, 8, 1),
    "put": (32, 8, 1),
    "shrink": (16, 8, 1),
    "correct": (128, 1, 1),
    "defect": (128, 1, 1),
    "clear": (256, 1, 1),
    "check": (256, 1, 1),
    "count": (32, 8, 1),
    "weigh": (32, 4, 1),
    "narrow": (1, 1, 1),
    "tone": (32, 8, 1),
    "differ": (32, 8, 1),
}
"""Threads of a block of each kernel: (columns, rows, tiles)."""
RUNTIMES = "libcudart.so.13", "libcudart.so.12"
"""CUDA's runtime library, as ONNX Runtime loads it."""
NON_BLOCKING = 1
"""The flag of a stream that does not wait for stream 0, which other libraries may use."""


class CudaDriver:
    """See `Driver`. The CUDA context is current only inside `active`.

    Raises:
        MissingDependencyError: pycuda or cuda-bindings is not installed.
        EngineError: there is no such device, or it cannot be used.
    """

    is_host = False

    def __init__(self, index: int) -> None:
        self._cuda = imported("pycuda.driver")
        self._bindings = imported("cuda.bindings.driver")
        self.name = f"cuda:{index}"
        self._broken: str | None = None
        self._module: Any = None
        self._compiling = threading.Lock()
        self._primary: Any = None
        with self.errors(f"{self.name} cannot be used"):
            self.device, self._primary = retained(self._cuda, index)

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Driver.active`."""
        if self._primary is None:
            raise EngineError(f"{self.name} is closed")
        self._primary.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    @contextmanager
    def errors(self, what: str = "CUDA failed") -> Iterator[None]:
        """Turns pycuda's errors into ours. After an error that stays with the process, raises EngineError at once."""
        self.check()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise DeviceMemoryError(f"{self.name} is out of memory: {first_line(error)}") from error
        except self._cuda.Error as error:
            raise self._error(what, first_line(error)) from error

    def allocate(self, nbytes: int) -> CudaMemory:
        """See `Driver.allocate`."""
        with self.errors():
            return CudaMemory(self._cuda.mem_alloc(nbytes), nbytes)

    def free_memory(self) -> int:
        """See `Driver.free_memory`."""
        with self.errors():
            return int(self._cuda.mem_get_info()[0])

    def staging(self, nbytes: int) -> NDArray[np.uint8]:
        """See `Driver.staging`."""
        with self.errors():
            return np.asarray(self._cuda.pagelocked_empty(nbytes, np.uint8))

    def stream(self) -> CudaStream:
        """See `Driver.stream`."""
        with self.errors():
            return CudaStream(self._cuda.Stream(NON_BLOCKING), self)

    def record(self, stream: Stream) -> Event:
        """See `Driver.record`."""
        return CudaEvent(self._recorded(stream.handle), self)

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """See `Driver.follow`."""
        last, first = (each if isinstance(each, int) else each.handle for each in (after, before))
        if last == first:
            return
        event = self._recorded(first)
        self.checked(lambda cuda: cuda.cuStreamWaitEvent(last, event, 0))
        self.checked(lambda cuda: cuda.cuEventDestroy(event))  # takes effect once the event has happened

    def passed(self, event: Any) -> bool:
        """Whether a `CUevent` has happened."""
        self.check()
        with self.active():
            status = self._bindings.cuEventQuery(event)[0]
            if status == self._bindings.CUresult.CUDA_ERROR_NOT_READY:
                return False
            self.checked(lambda cuda: (status,))
            return True

    def destroy(self, event: Any) -> None:
        """Gives a `CUevent` back, unless the device has been given back before."""
        if self._primary is not None:
            with self.active():
                self._bindings.cuEventDestroy(event)

    def _recorded(self, stream: int) -> Any:
        """A new `CUevent` after what a stream holds now."""
        event = self.checked(lambda cuda: cuda.cuEventCreate(cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        self.checked(lambda cuda: cuda.cuEventRecord(event, stream))
        return event

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Any) -> None:
        """See `Driver.upload`."""
        copy = self._copy(host, pitch)
        copy.set_src_host(host)
        copy.set_dst_device(address)
        copy.src_pitch, copy.dst_pitch = host.shape[1], pitch
        with self.errors():
            copy(stream.stream)

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Any) -> None:
        """See `Driver.download`."""
        copy = self._copy(host, pitch)
        copy.set_src_device(address)
        copy.set_dst_host(host)
        copy.src_pitch, copy.dst_pitch = pitch, host.shape[1]
        with self.errors():
            copy(stream.stream)

    def copy(self, source: int, target: int, nbytes: int, stream: Any) -> None:
        """See `Driver.copy`."""
        with self.errors():
            self._cuda.memcpy_dtod_async(target, source, nbytes, stream.stream)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> CudaGraph:
        """See `Driver.capture`. Other threads may go on using the device meanwhile."""
        mode = self._bindings.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.checked(lambda cuda: cuda.cuStreamBeginCapture(stream.handle, mode))
        ended = False
        try:
            enqueue()
            ended = True
            graph = self.checked(lambda cuda: cuda.cuStreamEndCapture(stream.handle))
        except BaseException:
            if not ended:
                self._bindings.cuStreamEndCapture(stream.handle)  # fails as well, but makes the stream usable again
            forget_runtime_error()
            raise
        try:
            return CudaGraph(self.checked(lambda cuda: cuda.cuGraphInstantiate(graph, 0)), self)
        finally:
            self.checked(lambda cuda: cuda.cuGraphDestroy(graph))

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: Any, stream: Any) -> None:
        """See `Driver.launch`."""
        block = BLOCKS[kernel]
        grid = tuple(-(-side // threads) for side, threads in zip(size, block, strict=True))
        function = self._kernels().get_function(kernel)
        with self.errors():
            function(*typed(arguments), block=block, grid=grid, stream=stream.stream)

    def close(self) -> None:
        """See `Driver.close`."""
        if self._primary is not None:
            with self.active():
                self._module = None
            self._primary = None

    def _copy(self, host: NDArray[np.uint8], pitch: int) -> Any:
        """A copy of `host`, uint8 [rows, bytes per row], whose two ends and pitches are not set yet."""
        copy = self._cuda.Memcpy2D()
        copy.height, copy.width_in_bytes = host.shape
        assert pitch >= host.shape[1]
        return copy

    def _kernels(self) -> Any:
        """pycuda's module of the kernels, compiled for this device when it is first needed."""
        with self._compiling:
            if self._module is None:
                major, minor = self.device.compute_capability()
                with self.errors():
                    self._module = self._cuda.module_from_buffer(compiled(f"sm_{major}{minor}"))
            return self._module

    def checked(self, call: Callable[[Any], tuple[Any, ...]]) -> Any:
        """Calls NVIDIA's bindings, which return a status and at most one value, and returns that value or None.

        Raises:
            EngineError: the status is not success, or an earlier error stays with the process.
        """
        self.check()
        status, *values = call(self._bindings)
        if status != self._bindings.CUresult.CUDA_SUCCESS:
            if status == self._bindings.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
                raise DeviceMemoryError(f"{self.name} is out of memory: {status!r}")
            raise self._error("CUDA failed", repr(status))
        return values[0] if values else None

    def check(self) -> None:
        """Raises EngineError if an earlier error stays with the process."""
        if self._broken:
            raise EngineError(f"CUDA failed before ({self._broken}); start the process anew")

    def _error(self, what: str, reason: str) -> EngineError:
        """The error for a failed call. After some failures CUDA refuses everything until the process ends, even to
        say how much memory is free, by which such failures are recognized."""
        if self._primary is None or self._bindings.cuMemGetInfo()[0] == self._bindings.CUresult.CUDA_SUCCESS:
            return EngineError(f"{what}: {reason}; see `mirnet-deploy doctor`")
        self._broken = reason
        return EngineError(f"{what}: {reason}; start the process anew, since such an error stays")


def forget_runtime_error() -> None:
    """Drops the error that CUDA's runtime library keeps for this thread until somebody asks for it. ONNX Runtime asks
    after every kernel, and would take what a failed capture has left for a failure of its next kernel."""
    if not hasattr(os, "RTLD_NOLOAD"):  # Windows, where this was never seen
        return
    for name in RUNTIMES:
        with suppress(OSError):  # it is not loaded
            ctypes.CDLL(name, mode=os.RTLD_NOLOAD).cudaGetLastError()


@cache
def retained(cuda: Any, index: int) -> tuple[Any, Any]:
    """A device and its primary CUDA context, kept until the process ends: pycuda's `detach` of a primary context leaves
    it current in the thread that has retained it, and does nothing in any other thread."""
    cuda.init()
    device = cuda.Device(index)
    return device, device.retain_primary_context()
