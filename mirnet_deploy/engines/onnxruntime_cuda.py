"""ONNX Runtime's CUDA provider on the pipeline's memory and streams.

Two faults of the library (seen in 1.31.1) are kept away from. Runs that leave page-locked buffers to their stream abort
the process when the session closes: sessions are opened so that our graphs leave none, and other graphs so that they
are freed on the thread that closes (`artifacts.onnx_graph`). And a session that closes writes into the caches of other
threads, which these read without a lock while they run any session: `SESSIONS` keeps the two apart.

Whenever a batch has another shape than the one before, the library plans every convolution anew, which takes seconds,
and frees what it had planned. Every shape therefore has a session of its own, and runs are captured as CUDA graphs at
once, on the pipeline's stream (`engines.graphs`), not by the library's own `enable_cuda_graph`, which waits for every
replay. The memory of a captured run is its session's arena, which never shrinks. Graphs that leave buffers behind are
not captured: a replay would read what was freed.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.context import STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.onnx_graph import BY_VALUE, deferring_nodes
from mirnet_deploy.devices.base import Driver, Stream, Tensor
from mirnet_deploy.engines.base import ON_DEVICE, BatchShape, Runner, closed_error, network_footprint
from mirnet_deploy.engines.graphs import GraphPolicy, GraphRunner
from mirnet_deploy.engines.onnxruntime_session import CUDA, NO_GRAPH, SESSIONS, onnxruntime_module, open_session
from mirnet_deploy.errors import engine_error, warn

WAITS_EVERY = 50
"""Runs of a graph that leaves buffers behind until one waits for the stream, which frees them."""


class OnnxRuntimeCudaEngine:
    """An `Engine` over one ONNX file. A session has one stream and one shape, so every runner has its own sessions.

    Args:
        data: the bytes of the ONNX file.
        index: of the CUDA device that `driver` drives. The driver is the engine's from then on.
        graphs: whether batches that come again are replayed as CUDA graphs.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """

    concurrency = ON_DEVICE
    step = 0.0

    def __init__(self, data: bytes, metadata: ArtifactMetadata, index: int, driver: Driver, graphs: bool) -> None:
        self._data, self.metadata, self._index, self.driver = data, metadata, index, driver
        self.device = f"cuda:{index}"
        self.backend = f"onnxruntime {onnxruntime_module().__version__} {CUDA}"
        self._frees_on_closing = bool(found := deferring_nodes(data))
        self._policy = GraphPolicy(graphs)
        if found:
            if graphs:
                self._policy.state = "refused: runs of this graph leave page-locked memory behind"
            warn(
                f"{metadata.name} has {len(found)} nodes such as {found[0]} (a Split, or a Concat of more than "
                f"{BY_VALUE} tensors) that leave page-locked memory behind, which every {WAITS_EVERY}th run waits to "
                "free, and is not captured as a CUDA graph; export it again to avoid that"
            )

    def footprint(self, *shapes: BatchShape) -> int:
        """See `Engine.footprint`: for every shape's session, what ONNX Runtime takes on a CPU, twice, since its arena
        grows by blocks of doubling size (1.6 times was seen on an H200), and twice the file for its weights."""
        return sum(2 * network_footprint(self.metadata, shape) + 2 * len(self._data) for shape in shapes)

    @property
    def graphs(self) -> str:
        """See `Engine.graphs`."""
        return self._policy.state

    def runner(self, stream: Stream) -> Runner:
        """See `Engine.runner`."""
        if not self._data:
            raise closed_error(self.metadata)

        def another() -> Any:
            return open_session(
                self._data, self.metadata, self._index, stream=stream.handle, frees_on_closing=self._frees_on_closing
            )

        options, waiting = onnxruntime_module().RunOptions(), None
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._frees_on_closing:
            waiting = onnxruntime_module().RunOptions()
            for each in (options, waiting):
                each.add_run_config_entry(*NO_GRAPH)
        outputs = {TENSOR_NAMES[self.metadata.interface][1], STATISTICS}
        runner = OnnxRuntimeRunner(another(), options, outputs, ("cuda", self._index), waiting, another)
        return GraphRunner(runner, self.driver, stream, self._policy)

    def close(self) -> None:
        """See `Engine.close`."""
        self._data = b""
        self.driver.close()


class OnnxRuntimeRunner:
    """See `Capturable`: one session, whose inputs and outputs are bound to memory of a device.

    Args:
        options: `RunOptions`, or None for the library's own.
        outputs: names of the artifact's outputs.
        device: "cuda" or "cpu", and the device's number.
        waiting: `RunOptions` of every `WAITS_EVERY`th run; None where it has those of the others.
        another: opens one more session like `session`, for a twin.
    """

    one_shape = True

    def __init__(
        self,
        session: Any,
        options: Any,
        outputs: set[str],
        device: tuple[str, int],
        waiting: Any = None,
        another: Callable[[], Any] | None = None,
    ) -> None:
        self._session, self._options, self._outputs, self._device = session, options, outputs, device
        self._waiting, self._runs, self._another = waiting or options, 0, another

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        binding = bind = self._session.io_binding()
        try:
            for name, tensor in tensors.items():
                bind = binding.bind_output if name in self._outputs else binding.bind_input
                bind(name, *self._device, np.dtype(tensor.dtype), tensor.shape, tensor.address)
            self._runs += 1
            options = self._options if self._runs % WAITS_EVERY else self._waiting
            with SESSIONS.shared():
                self._session.run_with_iobinding(binding, options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in tensors.items())
            # The error's frames hold the session, which would close wherever the error is dropped.
            traceback.clear_frames(error.__traceback__)
            raise engine_error(f"ONNX Runtime failed on {shapes}", error) from error
        finally:
            binding = bind = None  # so does this frame

    def capturable(self) -> bool:
        """See `Capturable`. What a run of this shape loads and allocates is there after the first."""
        return True

    def twin(self) -> OnnxRuntimeRunner:
        """See `Capturable.twin`. The first one takes over this runner's session, which has not run yet."""
        session, self._session = self._session, None
        if session is None:
            assert self._another
            session = self._another()
        return OnnxRuntimeRunner(session, self._options, self._outputs, self._device, self._waiting, self._another)

    def close(self) -> None:
        """See `Runner.close`."""
        with SESSIONS.alone():
            self._session = None
