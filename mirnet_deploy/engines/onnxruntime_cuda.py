"""ONNX Runtime's CUDA provider on the pipeline's memory and streams.

Its runs are not captured as CUDA graphs. When a run ends, ONNX Runtime frees pinned memory that a captured copy reads
again in every replay, by a host function that is captured too (`Concat` has such copies; onnxruntime pull requests
32121 and 32081). What ran on an H100 was captured, and some of those processes were aborted when a session was dropped
(benchmarks/GPU.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.devices.base import Driver, Stream, Tensor
from mirnet_deploy.engines.base import ON_DEVICE, closed_error, network_footprint
from mirnet_deploy.engines.onnxruntime_session import CUDA, onnxruntime_module, open_session
from mirnet_deploy.errors import engine_error


class OnnxRuntimeCudaEngine:
    """An `Engine` over one ONNX file. A session has one stream, so every runner has its own session.

    Args:
        data: the bytes of the ONNX file.
        index: of the CUDA device that `driver` drives. The driver is the engine's from then on.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """

    concurrency = ON_DEVICE
    graphs = "off"

    def __init__(self, data: bytes, metadata: ArtifactMetadata, index: int, driver: Driver) -> None:
        self._data, self.metadata, self._index, self.driver = data, metadata, index, driver
        self.device = f"cuda:{index}"
        self.backend = f"onnxruntime {onnxruntime_module().__version__} {CUDA}"

    def footprint(self, count: int, height: int, width: int) -> int:
        """See `Engine.footprint`: what ONNX Runtime takes on a CPU, and twice the file for its copy of the weights."""
        return network_footprint(self.metadata, count, height, width) + 2 * len(self._data)

    def runner(self, stream: Stream) -> OnnxRuntimeRunner:
        """See `Engine.runner`."""
        if not self._data:
            raise closed_error(self.metadata)
        session = open_session(self._data, self.metadata, self._index, stream=stream.handle)
        options = onnxruntime_module().RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        outputs = {TENSOR_NAMES[self.metadata.interface][1], STATISTICS}
        return OnnxRuntimeRunner(session, options, outputs, ("cuda", self._index))

    def close(self) -> None:
        """See `Engine.close`."""
        self._data = b""
        self.driver.close()


class OnnxRuntimeRunner:
    """See `Runner`: one session, whose inputs and outputs are bound to memory of a device.

    Args:
        options: `RunOptions`, or None for the library's own.
        outputs: names of the artifact's outputs.
        device: "cuda" or "cpu", and the device's number.
    """

    def __init__(self, session: Any, options: Any, outputs: set[str], device: tuple[str, int]) -> None:
        self._session, self._options, self._outputs, self._device = session, options, outputs, device

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        try:
            binding = self._session.io_binding()
            for name, tensor in tensors.items():
                bind = binding.bind_output if name in self._outputs else binding.bind_input
                bind(name, *self._device, np.dtype(tensor.dtype), tensor.shape, tensor.address)
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in tensors.items())
            raise engine_error(f"ONNX Runtime failed on {shapes}", error) from error

    def close(self) -> None:
        """See `Runner.close`."""
        self._session = None
