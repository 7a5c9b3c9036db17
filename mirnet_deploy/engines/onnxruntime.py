"""ONNX Runtime on arrays in host memory: the engine of `.onnx` files on the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import STATISTICS, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.engines.base import HostEngine, closed_error, no_context_error
from mirnet_deploy.engines.onnxruntime_session import SESSIONS, onnxruntime_module, open_session
from mirnet_deploy.errors import ArtifactError, engine_error


class OnnxRuntimeEngine(HostEngine):
    """An `Engine` over one `InferenceSession`, whose `run` is safe to call from several threads.

    It can also run on a CUDA device without pycuda: then ONNX Runtime itself copies the arrays to the device and back.

    Args:
        data: the bytes of the ONNX file.
        index: of a CUDA device; None for the CPU.
        threads: how many one run may use on the CPU; None leaves it to the library.

    Raises:
        ArtifactError: the graph does not fit its interface.
        EngineError: ONNX Runtime cannot load the graph, or would not run it on the device asked for.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(
        self, data: bytes, metadata: ArtifactMetadata, index: int | None = None, threads: int | None = None
    ) -> None:
        self.metadata = metadata
        self._session: Any = open_session(data, metadata, index, threads)
        self._running = nullcontext if index is None else SESSIONS.shared
        self._closing = nullcontext if index is None else SESSIONS.alone
        self.device = "cpu" if index is None else f"cuda:{index}"
        self.backend = f"onnxruntime {onnxruntime_module().__version__} {self._session.get_providers()[0]}"
        if index is not None:
            self.backend += ", host copies (pycuda is not installed)"

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `HostEngine.run`."""
        result: NDArray[Any] = self._run(batch, {})[0]
        return result

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """See `HostEngine.run_pooled`."""
        if not self.metadata.context:
            raise no_context_error(self.metadata)
        result, statistics = self._run(batch, pools._asdict())
        return result, statistics

    def _run(self, batch: NDArray[Any], pools: dict[str, NDArray[np.float32]]) -> list[NDArray[Any]]:
        """The result, like `batch` in shape and dtype, and where `pools` are given the statistics, float32 [N,K]."""
        session = self._session
        if session is None:
            raise closed_error(self.metadata)
        source, result = TENSOR_NAMES[self.metadata.interface]
        wanted = [result, STATISTICS] if pools else [result]
        try:
            with self._running():
                results: list[NDArray[Any]] = session.run(wanted, {source: batch, **pools})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise engine_error(f"ONNX Runtime failed on a batch of shape {list(batch.shape)}", error) from error
        output = results[0]
        if output.shape != batch.shape or output.dtype != batch.dtype:
            raise ArtifactError(
                f"{self.metadata.name} gave {output.dtype} {list(output.shape)} for {batch.dtype} {list(batch.shape)}; "
                "expected the same"
            )
        return results

    def close(self) -> None:
        """See `Engine.close`."""
        with self._closing():
            self._session = None
