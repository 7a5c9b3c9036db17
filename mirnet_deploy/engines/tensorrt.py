"""TensorRT and TensorRT-RTX: the engine of `.plan` files. Not yet run on a GPU: tests use stand-ins of TensorRT
and pycuda.

The two libraries have one API; `_import_library` and `_check_target` hold what differs. A plan is executable code, so
hash, builder, version and device are checked before a byte of it is deserialized. pycuda uses the device's primary
context, as torch and ONNX Runtime do, and pushes it only for the length of a call.
"""

from __future__ import annotations

import importlib
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import MEASURED, Pools, closed_error, first_line, no_context_error, parse_device
from mirnet_deploy.engines.gpu import Gpu
from mirnet_deploy.errors import ArtifactError, EngineError, MissingDependencyError
from mirnet_deploy.machine import TENSORRT_MODULES, cuda_device_count
from mirnet_deploy.metadata import (
    CONTEXT_INPUTS,
    STATISTICS,
    TENSOR_NAMES,
    ArtifactMetadata,
    file_sha256,
    read_artifact,
)

MAX_CONTEXTS = 4
"""Concurrent runs of one engine; each has its own execution context and scratch memory, further ones wait."""

INSTALL = {"tensorrt": 'pip install "mirnet-deploy[tensorrt]"', "tensorrt_rtx": 'pip install "mirnet-deploy[rtx]"'}


class TensorRTEngine:
    """An `Engine` over one plan. Concurrent runs each take an execution context from a pool.

    Raises:
        ArtifactError: the file does not fit its sidecar, or its tensors do not fit its interface.
        EngineError: no GPU, another library version or another GPU than the plan was built for, or no memory.
        MissingDependencyError: TensorRT or pycuda is not installed.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        index = 0 if device == "auto" else parse_device(device)
        plan, self.metadata = read_artifact(path)
        self._least, _, self._most = self.metadata.profile_shapes()
        _check_device(path, index, self.metadata)
        assert index is not None
        trt = _import_library(path, self.metadata)
        self._logger: Any = _logger(trt)
        self._dtype = np.dtype(np.float32 if self.metadata.interface == "float" else np.uint8)
        self._gpu = Gpu(index)
        self.device = f"cuda:{index}"
        self.backend = f"{self.metadata.builder} {trt.__version__}"
        self._free: list[_Slot] = []
        self._made = 0
        self._state = threading.Condition()
        self._engine: Any = None
        self._runtime: Any = None
        try:
            with self._gpu.active():
                _check_target(path, self.metadata, self._gpu)
                self._load(trt, path, plan)
                self._free.append(self._new_slot())  # now, so that want of memory shows before the first picture
                self._made = 1
        except BaseException:
            self.close()
            raise

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `Engine.run`. Returns when the result is in host memory."""
        return self._run(batch, None)[0]

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """See `Engine.run_pooled`. Returns when the result is in host memory."""
        if not self.metadata.context:
            raise no_context_error(self.metadata)
        return self._run(batch, pools)

    def _run(self, batch: NDArray[Any], pools: Pools | None) -> tuple[NDArray[Any], NDArray[np.float32]]:
        bounds = zip(self._least, batch.shape, self._most, strict=False)
        if batch.ndim != 4 or batch.dtype != self._dtype or not all(low <= size <= high for low, size, high in bounds):
            raise EngineError(
                f"batch is {batch.dtype} {list(batch.shape)}; this plan takes {self._dtype} from {self._least} to "
                f"{self._most}"
            )
        slot = self._take()
        try:
            with self._gpu.active():
                return slot.run(batch, pools)
        finally:
            with self._state:
                self._free.append(slot)
                self._state.notify()

    def close(self) -> None:
        """See `Engine.close`. Waits for the runs under way."""
        with self._state:
            while len(self._free) < self._made:
                self._state.wait()
            slots, self._free, self._made = self._free, [], 0
            engine, self._engine = self._engine, None
            runtime, self._runtime = self._runtime, None
        if self._gpu.alive:
            with self._gpu.active():  # TensorRT and pycuda free device memory in the context that is current
                for slot in slots:
                    slot.free()
                slots.clear()
                del engine, runtime
            self._gpu.release()

    def _load(self, trt: Any, path: Path, plan: bytes) -> None:
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"{path} cannot be deserialized: {self._logger.last()}")
        kind = trt.DataType.FLOAT if self.metadata.interface == "float" else trt.DataType.UINT8
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        expected = dict.fromkeys(TENSOR_NAMES[self.metadata.interface], kind)
        if self.metadata.context:
            expected |= dict.fromkeys((*CONTEXT_INPUTS, STATISTICS), trt.DataType.FLOAT)
        if {name: self._engine.get_tensor_dtype(name) for name in names} != expected:
            raise ArtifactError(
                f"{path} has tensors {', '.join(names)}; the interface {self.metadata.interface!r} has "
                f"{', '.join(f'{name} of {dtype}' for name, dtype in expected.items())}"
            )

    def _new_slot(self) -> _Slot:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(f"no execution context for {self.metadata.name}: {self._logger.last()}")
        names = TENSOR_NAMES[self.metadata.interface]
        return _Slot(self._gpu.driver, context, self._logger, names, self._dtype, self._most, self.metadata)

    def _take(self) -> _Slot:
        """A slot that no other run has: a free one, else a new one, else the first that is given back."""
        with self._state:
            while not self._free:
                if self._engine is None:
                    raise closed_error(self.metadata)
                if self._made < MAX_CONTEXTS:
                    self._made += 1
                    break
                self._state.wait()
            else:
                return self._free.pop()
        try:
            with self._gpu.active():
                return self._new_slot()
        except BaseException:
            with self._state:
                self._made -= 1
                self._state.notify()
            raise


class _Slot:
    """What one run needs for itself: an execution context, a stream, and buffers for the profile's largest shape."""

    def __init__(
        self,
        driver: Any,
        context: Any,
        logger: Any,
        names: tuple[str, str],
        dtype: np.dtype[Any],
        shape: list[int],
        metadata: ArtifactMetadata,
    ) -> None:
        self._driver = driver
        self._context = context
        self._logger = logger
        self._names = names
        self._axes = (0, 2, 3) if metadata.interface == "float" else (0, 1, 2)
        self._pooled: dict[str, Any] = {}
        self._context_size = metadata.context
        most = int(np.prod(shape))
        try:
            self._stream = driver.Stream()  # never stream 0, on which TensorRT adds a synchronization of the device
            # Pinned, or the copies would not be asynchronous.
            self._host = [driver.pagelocked_empty(most, dtype) for _ in range(2)]
            self._device = [driver.mem_alloc(most * dtype.itemsize) for _ in range(2)]
            if metadata.context:
                largest = _plain_pools(metadata.context, *(shape[axis] for axis in self._axes))
                self._pooled = {name: driver.mem_alloc(value.nbytes) for name, value in largest._asdict().items()}
                self._pooled[STATISTICS] = driver.mem_alloc(shape[0] * metadata.context * 4)
        except driver.Error as error:
            raise EngineError(f"no GPU memory for another run: {first_line(error)}") from error

    def run(self, batch: NDArray[Any], pools: Pools | None) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Upload, execute, download and wait, with the GPU's context current. `pools`: None for the plain network.

        Returns:
            The result, and the means that the pools measured, [N,K] ([N,0] of a plan without a context).
        """
        sent, received = (host[: batch.size] for host in self._host)
        sent[...] = batch.reshape(-1)
        statistics = np.empty((batch.shape[0], self._context_size), np.float32)
        inputs = self._pool_inputs(batch, pools)
        try:
            self._driver.memcpy_htod_async(self._device[0], sent, self._stream)
            good = self._context.set_input_shape(self._names[0], tuple(batch.shape))
            for name, value in inputs.items():
                self._driver.memcpy_htod_async(self._pooled[name], value, self._stream)
                good = good and self._context.set_input_shape(name, value.shape)
            addresses = dict(zip(self._names, self._device, strict=True)) | self._pooled
            for name, memory in addresses.items():
                good = good and self._context.set_tensor_address(name, int(memory))
            good = good and self._context.execute_async_v3(self._stream.handle)
            if good:
                self._driver.memcpy_dtoh_async(received, self._device[1], self._stream)
                if inputs:
                    self._driver.memcpy_dtoh_async(statistics, self._pooled[STATISTICS], self._stream)
            self._stream.synchronize()  # also after a failure: the buffers must be at rest before they are reused
        except self._driver.Error as error:
            raise EngineError(
                f"CUDA failed on a batch of shape {list(batch.shape)}: {first_line(error)}; start the process "
                "anew, since such an error stays with it"
            ) from error
        if not good:
            raise EngineError(f"TensorRT refused a batch of shape {list(batch.shape)}: {self._logger.last()}")
        return np.array(received, copy=True).reshape(batch.shape), statistics

    def _pool_inputs(self, batch: NDArray[Any], pools: Pools | None) -> dict[str, NDArray[np.float32]]:
        """The context's inputs by name; none where the plan has no context."""
        if not self._pooled:
            return {}
        pools = pools or _plain_pools(self._context_size, *(batch.shape[axis] for axis in self._axes))
        return pools._asdict()

    def free(self) -> None:
        """Frees everything, with the GPU's context current."""
        self._context = None
        for memory in (*self._device, *self._pooled.values()):
            memory.free()
        self._device, self._host, self._stream, self._pooled = [], [], None, {}


def _plain_pools(size: int, batch: int, height: int, width: int) -> Pools:
    """The plain network, of one with a context of `size` values."""
    ones = np.ones((batch, height), np.float32), np.ones((batch, width), np.float32)
    return Pools(np.zeros((1, size), np.float32), MEASURED, *ones)


def _check_device(path: Path, index: int | None, metadata: ArtifactMetadata) -> None:
    count = cuda_device_count()
    if index is not None and index < count:
        return
    here = "this machine has none" if not count else f"the device asked for is not among its {count}"
    if index is None:
        here = "the device asked for is the CPU"
    onnx = _onnx_of(path, metadata.onnx_sha256)
    instead = f"use {onnx.name}, which lies beside it" if onnx else "use the .onnx file that was exported with it"
    raise EngineError(f"{path} is a plan and needs an NVIDIA GPU, and {here}; {instead}")


def _onnx_of(plan: Path, sha256: str | None) -> Path | None:
    """The ONNX file beside `plan` to use instead: `mirnet.onnx` for `mirnet.plan`, else the one it was built from."""
    namesake = plan.with_suffix(".onnx")
    if namesake.is_file():
        return namesake
    others = sorted(plan.parent.glob("*.onnx"))
    return next((other for other in others if file_sha256(other) == sha256), None)


def _import_library(path: Path, metadata: ArtifactMetadata) -> Any:
    """The module of the plan's own builder, in the plan's own version."""
    builder = metadata.builder
    if builder is None:
        raise ArtifactError(f"the sidecar of {path} names no builder; export it again")
    trt = None
    for name in TENSORRT_MODULES[builder]:
        try:
            trt = importlib.import_module(name)
            break
        except ImportError:
            continue
    if trt is None:
        raise MissingDependencyError(f"{path} was built by {builder}, which is not installed: {INSTALL[builder]}")
    if trt.__version__ != metadata.builder_version:
        raise EngineError(
            f"{path} was built by {builder} {metadata.builder_version}, and {trt.__version__} is installed: plans do "
            "not travel between versions; export it again here, or install that version"
        )
    return trt


def _check_target(path: Path, metadata: ArtifactMetadata, gpu: Gpu) -> None:
    """TensorRT-RTX builds for compute capabilities, TensorRT for the very GPU model."""
    major, minor = gpu.device.compute_capability()
    here = f"sm{major}{minor}" if metadata.builder == "tensorrt_rtx" else gpu.device.name()
    if here not in (metadata.targets or []):
        raise EngineError(
            f"{path} was built for {', '.join(metadata.targets or []) or 'no known GPU'}, and this one is {here}; "
            "export it for this GPU"
        )


@cache
def _logger(trt: Any) -> Any:
    """The one logger of this process for `trt`: it must outlive every object of the library."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._error = "TensorRT gave no reason"

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self._error = message

        def last(self) -> str:
            """The last error, in one line."""
            return self._error.strip().splitlines()[0] if self._error.strip() else "TensorRT gave no reason"

    return Logger()
