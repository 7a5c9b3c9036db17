"""A CUDA device through pycuda, with the primary context, which torch and ONNX Runtime use too.

pycuda has neither events on foreign streams nor a compiler that runs without a CUDA toolkit: those two are of
NVIDIA's own bindings.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Kernel, Stream
from mirnet_deploy.errors import DeviceMemoryError, EngineError, MissingDependencyError, first_line

SOURCE = Path(__file__).parent / "kernels.cu"
BLOCKS: dict[Kernel, tuple[int, int, int]] = {
    "cut": (32, 8, 1),
    "put": (32, 8, 1),
    "shrink": (16, 8, 1),
    "correct": (128, 1, 1),
    "defect": (128, 1, 1),
}
"""Threads by kernel."""


class CudaMemory:
    """See `Memory`."""

    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation, self.nbytes = allocation, nbytes
        self.address = int(allocation)

    def free(self) -> None:
        """See `Memory.free`."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class CudaStream:
    """See `Stream`."""

    def __init__(self, stream: Any, driver: CudaDriver) -> None:
        self.stream, self.handle = stream, int(stream.handle)
        self._driver = driver

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        with self._driver.errors():
            self.stream.synchronize()


class CudaDriver:
    """See `Driver`. The context is held from the start to `close`, and current only inside `active`.

    Raises:
        MissingDependencyError: pycuda or cuda-bindings is not installed.
        EngineError: there is no such device, or it refuses.
    """

    is_host = False

    def __init__(self, index: int) -> None:
        self._cuda = _imported("pycuda.driver")
        self._bindings = _imported("cuda.bindings.driver")
        self.name = f"cuda:{index}"
        self._broken: str | None = None
        self._module: Any = None
        self._compiling = threading.Lock()
        self._primary: Any = None
        with self.errors(f"{self.name} cannot be used"):
            self._cuda.init()
            self.device: Any = self._cuda.Device(index)
            self._primary = self.device.retain_primary_context()

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
        """Turns pycuda's errors into ours. After one that stays with the process, everything is an error at once."""
        if self._broken:
            raise EngineError(f"CUDA failed before ({self._broken}); start the process anew")
        try:
            yield
        except self._cuda.MemoryError as error:
            raise DeviceMemoryError(f"{self.name} has not the memory: {first_line(error)}") from error
        except self._cuda.LaunchError as error:
            self._broken = first_line(error)
            raise EngineError(f"{what}: {self._broken}; start the process anew, since such an error stays") from error
        except self._cuda.Error as error:
            raise EngineError(f"{what}: {first_line(error)}; see `mirnet-deploy doctor`") from error

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
            return CudaStream(self._cuda.Stream(), self)

    def follow(self, after: Stream | int, before: Stream | int) -> None:
        """See `Driver.follow`."""
        last, first = (each if isinstance(each, int) else each.handle for each in (after, before))
        if last == first:
            return
        event = self._checked(self._bindings.cuEventCreate(self._bindings.CUevent_flags.CU_EVENT_DISABLE_TIMING))
        self._checked(self._bindings.cuEventRecord(event, first))
        self._checked(self._bindings.cuStreamWaitEvent(last, event, 0))
        self._checked(self._bindings.cuEventDestroy(event))  # takes effect when it has happened

    def upload(self, host: NDArray[np.uint8], address: int, pitch: int, stream: Any) -> None:
        """See `Driver.upload`."""
        copy = self._copy(host, pitch)
        copy.set_src_host(host)
        copy.set_dst_device(address)
        copy.src_pitch, copy.dst_pitch = host.strides[0], pitch
        with self.errors():
            copy(stream.stream)

    def download(self, address: int, pitch: int, host: NDArray[np.uint8], stream: Any) -> None:
        """See `Driver.download`."""
        copy = self._copy(host, pitch)
        copy.set_src_device(address)
        copy.set_dst_host(host)
        copy.src_pitch, copy.dst_pitch = pitch, host.strides[0]
        with self.errors():
            copy(stream.stream)

    def launch(self, kernel: Kernel, size: tuple[int, int, int], arguments: tuple[Any, ...], stream: Any) -> None:
        """See `Driver.launch`."""
        block = BLOCKS[kernel]
        grid = tuple(-(-side // threads) for side, threads in zip(size, block, strict=True))
        function = self._kernels().get_function(kernel)
        with self.errors():
            function(*arguments, block=block, grid=grid, stream=stream.stream)

    def close(self) -> None:
        """See `Driver.close`."""
        if self._primary is not None:
            with self.active():
                self._module = None
            self._primary.detach()
            self._primary = None

    def _copy(self, host: NDArray[np.uint8], pitch: int) -> Any:
        copy = self._cuda.Memcpy2D()
        copy.height, copy.width_in_bytes = host.shape
        assert pitch >= host.shape[1]
        return copy

    def _kernels(self) -> Any:
        """The module of the kernels, compiled for this device at its first use."""
        with self._compiling:
            if self._module is None:
                major, minor = self.device.compute_capability()
                with self.errors():
                    self._module = self._cuda.module_from_buffer(compiled(f"sm_{major}{minor}"))
            return self._module

    def _checked(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if status != self._bindings.CUresult.CUDA_SUCCESS:
            raise EngineError(f"CUDA failed: {status!r}")
        return values[0] if values else None


def compiled(architecture: str) -> bytes:
    """`kernels.cu` for an architecture such as "sm_89", as machine code: PTX of a newer compiler than the driver would
    be refused. Needs no device.

    Raises:
        EngineError: NVRTC refuses it.
        MissingDependencyError: cuda-bindings or NVRTC is not installed.
    """
    nvrtc = _imported("cuda.bindings.nvrtc")

    def checked(result: tuple[Any, ...]) -> Any:
        status, *values = result
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise EngineError(f"NVRTC failed: {status!r}")
        return values[0] if values else None

    try:
        program = checked(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), SOURCE.name.encode(), 0, [], []))
    except RuntimeError as error:  # its library is loaded now
        raise MissingDependencyError(
            f'GPUs need NVRTC ({first_line(error)}): pip install "mirnet-deploy[pycuda]"'
        ) from error
    option = f"--gpu-architecture={architecture}".encode()
    if nvrtc.nvrtcCompileProgram(program, 1, [option])[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = bytes(checked(nvrtc.nvrtcGetProgramLogSize(program)))
        checked(nvrtc.nvrtcGetProgramLog(program, log))
        raise EngineError(f"NVRTC refused {SOURCE.name}: {log.decode(errors='replace').strip()}")
    code = bytes(checked(nvrtc.nvrtcGetCUBINSize(program)))
    checked(nvrtc.nvrtcGetCUBIN(program, code))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return code


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f'GPUs need pycuda and cuda-bindings ({first_line(error)}): pip install "mirnet-deploy[pycuda]"'
        ) from error
