"""TensorRT and TensorRT-RTX: the engine of `.plan` files. Not yet run on a GPU: tests use stand-ins for TensorRT and
pycuda.

The two libraries have the same API; `_import_library` and `_check_target` hold the differences. A plan is executable
code, so hash, builder, version and device are checked before a byte of it is deserialized.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, MEASURED, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.models import onnx_beside
from mirnet_deploy.artifacts.sidecar import read_artifact
from mirnet_deploy.devices.base import Memory, Stream, Tensor
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.base import ON_DEVICE, BatchShape, closed_error
from mirnet_deploy.engines.graphs import GraphPolicy, GraphRunner
from mirnet_deploy.engines.tensorrt_library import import_library, logger_of, target_of
from mirnet_deploy.errors import ArtifactError, EngineError, engine_error
from mirnet_deploy.machine import cuda_devices
from mirnet_deploy.settings import device_index


class TensorRTEngine:
    """An `Engine` over one plan. Every runner has one execution context, and one more for each of its graphs; they all
    share the runner's scratch memory.

    Raises:
        ArtifactError: the file does not fit its sidecar, or its tensors do not fit its interface.
        EngineError: there is no GPU, the library's version or the GPU is not the one that the plan was built for, or
            the GPU is out of memory.
        MissingDependencyError: TensorRT, pycuda or cuda-bindings is not installed.
    """

    concurrency = ON_DEVICE
    step = 0.0

    def __init__(self, path: Path, device: str, graphs: bool) -> None:
        index = 0 if device == "auto" else device_index(device)
        plan, self.metadata = read_artifact(path)
        _check_device(path, index, self.metadata)
        assert index is not None
        self._trt = trt = _import_library(path, self.metadata)
        self._logger: Any = logger_of(trt)
        self.driver: CudaDriver = CudaDriver(index)
        self._policy = GraphPolicy(graphs)
        self.device = f"cuda:{index}"
        self.backend = f"{self.metadata.builder} {trt.__version__}"
        self._engine: Any = None
        self._runtime: Any = None
        try:
            with self.driver.active():
                _check_target(path, self.metadata, self.driver)
                self._load(trt, path, plan)
        except BaseException:
            self._release()
            raise

    def footprint(self, *shapes: BatchShape) -> int:
        """See `Engine.footprint`. It is the same for all shapes: an execution context takes at once the memory of the
        largest shape of its profile."""
        constants = sum(_plain_sizes(self.metadata)) * 4 if self.metadata.context else 0
        return self.scratch_bytes + constants

    @property
    def scratch_bytes(self) -> int:
        """Bytes of memory in which an execution context computes."""
        if self._engine is None:
            raise closed_error(self.metadata)
        return max(1, int(self._engine.device_memory_size_v2))

    @property
    def graphs(self) -> str:
        """See `Engine.graphs`."""
        return self._policy.state

    def runner(self, stream: Stream) -> GraphRunner:
        """See `Engine.runner`."""
        if self._engine is None:
            raise closed_error(self.metadata)
        return GraphRunner(TensorRTRunner(self, self._logger, stream), self.driver, stream, self._policy)

    def execution_context(self, scratch: Memory) -> Any:
        """A new execution context that computes in `scratch`. Several may share that memory, as long as no two of them
        run at the same time."""
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise engine_error(f"no execution context for {self.metadata.name}", self._logger.reason())
        context.set_device_memory(scratch.address, scratch.nbytes)
        return context

    def close(self) -> None:
        """See `Engine.close`."""
        self._release()

    def _release(self) -> None:
        if self._engine is not None or self._runtime is not None:
            with self.driver.active():  # TensorRT frees device memory in the current CUDA context
                self._engine = self._runtime = None
        self.driver.close()

    def _load(self, trt: Any, path: Path, plan: bytes) -> None:
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise engine_error(f"{path} cannot be deserialized", self._logger.reason())
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


class TensorRTRunner:
    """See `Capturable`: one execution context on one stream.

    Args:
        elder: the runner whose scratch memory and constants this one, a twin, uses; None for a runner with its own.
    """

    one_shape = False

    def __init__(
        self, engine: TensorRTEngine, logger: Any, stream: Stream, elder: TensorRTRunner | None = None
    ) -> None:
        self._engine, self._logger, self._stream, self._elder = engine, logger, stream, elder
        self._metadata, self._driver = engine.metadata, engine.driver
        self._least, _, self._most = engine.metadata.profile_shapes()
        self._constants: Memory | None = None
        self._scratch: Memory = elder._scratch if elder else engine.driver.allocate(engine.scratch_bytes)
        try:
            self._execution_context = engine.execution_context(self._scratch)
        except BaseException:
            self.close()
            raise

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        batch = tensors[TENSOR_NAMES[self._metadata.interface][0]]
        bounds = zip(self._least, batch.shape, self._most, strict=False)
        kind = self._metadata.batch_dtype
        if len(batch.shape) != 4 or batch.dtype != kind or not all(low <= n <= high for low, n, high in bounds):
            raise EngineError(
                f"batch is {batch.dtype} {list(batch.shape)}; this plan takes {kind} from {self._least} to {self._most}"
            )
        if self._metadata.context and STATISTICS not in tensors:
            tensors = {**tensors, **self._plain_pools(batch.shape)}
        good = True
        for name, tensor in tensors.items():
            if name not in (STATISTICS, TENSOR_NAMES[self._metadata.interface][1]):
                good = good and self._execution_context.set_input_shape(name, tensor.shape)
            good = good and self._execution_context.set_tensor_address(name, tensor.address)
        if not (good and self._execution_context.execute_async_v3(self._stream.handle)):
            raise engine_error(f"TensorRT refused a batch of shape {list(batch.shape)}", self._logger.reason())

    def _plain_pools(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """The tensors that make a plan the plain network, for a batch of `shape`: a context of zeros, the mode
        `MEASURED`, rows and columns of ones, and memory for statistics that nobody reads."""
        if self._elder:
            return self._elder._plain_pools(shape)
        batch, height, width = (shape[axis] for axis in self._metadata.batch_axes)
        size, _, lines, statistics = _plain_sizes(self._metadata)
        if self._constants is None:
            values = np.concatenate([np.zeros(size), MEASURED, np.ones(lines)]).astype(np.float32)
            self._constants = self._driver.allocate(values.nbytes + statistics * 4)
            self._driver.upload(values[None].view(np.uint8), self._constants.address, values.nbytes, self._stream)
            self._stream.synchronize()  # `values` is not page-locked, and must live until the copy is done
        address = self._constants.address
        ones = address + (size + 2) * 4
        return {
            "context": Tensor(address, (1, size)),
            "mode": Tensor(address + size * 4, (2,)),
            "rows": Tensor(ones, (batch, height)),
            "cols": Tensor(ones, (batch, width)),
            STATISTICS: Tensor(ones + lines * 4, (batch, size)),
        }

    def capturable(self) -> bool:
        """See `Capturable`. TensorRT-RTX runs kernels for any shape until it has compiled those for this shape."""
        ask = getattr(self._execution_context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._stream.handle))

    def twin(self) -> TensorRTRunner:
        """See `Capturable.twin`."""
        return TensorRTRunner(self._engine, self._logger, self._stream, elder=self._elder or self)

    def close(self) -> None:
        """See `Runner.close`."""
        self._execution_context = None
        if self._constants:
            self._constants.free()
        if self._elder is None:
            self._scratch.free()


def _check_device(path: Path, index: int | None, metadata: ArtifactMetadata) -> None:
    count = len(cuda_devices())
    if index is not None and index < count:
        return
    here = "this machine has none" if not count else f"the device asked for is not among its {count}"
    if index is None:
        here = "the device asked for is the CPU"
    onnx = onnx_beside(path, metadata.onnx_sha256)
    instead = f"use {onnx.name}, which lies beside it" if onnx else "use the .onnx file that was exported with it"
    raise EngineError(f"{path} is a plan and needs an NVIDIA GPU, and {here}; {instead}")


def _plain_sizes(metadata: ArtifactMetadata) -> tuple[int, int, int, int]:
    """Values in the constants that make a plan the plain network: in the context, the mode, the rows (or columns) of
    ones and the statistics of its largest batch."""
    most = metadata.profile_shapes()[2]
    # No side is longer than `max(most)`: one length serves the whole profile.
    return metadata.context, len(MEASURED), most[0] * max(most), most[0] * metadata.context


def _import_library(path: Path, metadata: ArtifactMetadata) -> Any:
    """The module of the library that built the plan, in the version that built it."""
    builder = metadata.builder
    if builder is None:
        raise ArtifactError(f"the sidecar of {path} names no builder; export it again")
    trt = import_library(builder, str(path))
    if trt.__version__ != metadata.builder_version:
        raise EngineError(
            f"{path} was built by {builder} {metadata.builder_version}, and {trt.__version__} is installed: plans do "
            "not travel between versions; export it again here, or install that version"
        )
    return trt


def _check_target(path: Path, metadata: ArtifactMetadata, driver: CudaDriver) -> None:
    """Checks the GPU."""
    assert metadata.builder is not None  # `_import_library` has seen to it
    major, minor = driver.device.compute_capability()
    here = target_of(metadata.builder, f"sm{major}{minor}", driver.device.name())
    if here not in (metadata.targets or []):
        raise EngineError(
            f"{path} was built for {', '.join(metadata.targets or []) or 'no known GPU'}, and this one is {here}; "
            "export it for this GPU"
        )
