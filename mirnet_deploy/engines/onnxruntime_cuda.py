"""ONNX Runtime's CUDA provider on memory and streams of the pipeline.

Its runs are not captured as CUDA graphs. When a run ends, ONNX Runtime frees pinned memory that a captured copy reads
again in every replay, by a host function that is captured too (`Concat` has such copies; onnxruntime pull requests
32121 and 32081). What ran on an H100 was captured, and some of those processes were aborted when a session was dropped
(benchmarks/GPU.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.devices.base import Driver, Stream
from mirnet_deploy.engines.base import Tensor, closed_error, load_onnx, network_footprint
from mirnet_deploy.engines.device import DeviceEngine, pool_of
from mirnet_deploy.engines.onnxruntime import CUDA, check_graph, imported, open_session
from mirnet_deploy.errors import engine_error
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES


class OnnxRuntimeCudaEngine(DeviceEngine):
    """An `Engine` over one graph. A session has one stream, so every lane has a session.

    Raises:
        ArtifactError: the file does not fit its sidecar, or its graph does not fit its interface.
        EngineError: the session does not run on the device.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, index: int, driver: Driver) -> None:
        self._path, self._index = path, index
        self._data, self.metadata = load_onnx(path)
        self._ort = imported()
        self.driver = driver
        self.device = f"cuda:{index}"
        self.backend = f"onnxruntime {self._ort.__version__} {CUDA}"
        try:
            self.pool = pool_of(self)
        except BaseException:
            driver.close()
            raise

    def footprint(self, count: int, height: int, width: int) -> int:
        """See `Engine.footprint`. What ONNX Runtime takes on a CPU, and its copy of the weights."""
        return network_footprint(self.metadata, count, height, width) + 2 * len(self._data)

    @property
    def graphs(self) -> str:
        """See `Engine.graphs`."""
        return "off"

    def runner(self, stream: Stream) -> OnnxRuntimeRunner:
        """See `Engine.runner`."""
        if not self._data:
            raise closed_error(self.metadata)
        session = open_session(self._ort, self._data, self.metadata, self._index, stream=stream.handle)
        check_graph(session, self.metadata, self._path)
        options = self._ort.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        outputs = {TENSOR_NAMES[self.metadata.interface][1], STATISTICS}
        return OnnxRuntimeRunner(session, options, outputs, ("cuda", self._index))

    def close(self) -> None:
        """See `Engine.close`. Waits for the runs under way."""
        self.pool.close()
        self._data = b""
        self.driver.close()


class OnnxRuntimeRunner:
    """See `Runner`: one session, bound to memory of a device."""

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
