"""ONNX Runtime: the engine of `.onnx` files, on the CPU and through the CUDA provider."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines.base import (
    Engine,
    HostEngine,
    Pools,
    closed_error,
    load_onnx,
    no_context_error,
    parse_device,
)
from mirnet_deploy.errors import (
    ArtifactError,
    EngineError,
    MirnetDeployWarning,
    MissingDependencyError,
    engine_error,
    first_line,
)
from mirnet_deploy.machine import cuda_device_count
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES, ArtifactMetadata

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
TENSOR_TYPES = {"float": "tensor(float)", "image": "tensor(uint8)"}
"""Type of input and output by interface, in ONNX Runtime's words."""


class OnnxRuntimeEngine(HostEngine):
    """An `Engine` over one `InferenceSession`, whose `run` is safe to call from several threads: on the CPU, or on CUDA
    device `index` with arrays that ONNX Runtime copies itself, for where the pipeline's driver is not installed.

    Raises:
        ArtifactError: the file does not fit its sidecar, or its graph does not fit its interface.
        EngineError: the device was asked for and the session does not run on it.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, index: int | None = None, threads: int | None = None) -> None:
        data, self.metadata = load_onnx(path)
        ort = imported()
        self.device = "cpu" if index is None else f"cuda:{index}"
        self._input, self._output = TENSOR_NAMES[self.metadata.interface]
        self._session: Any = open_session(ort, data, self.metadata, index, threads)
        check_graph(self._session, self.metadata, path)
        provider = self._session.get_providers()[0]
        self.backend = f"onnxruntime {ort.__version__} {provider}"
        if index is not None:
            self.backend += ", host copies (pycuda is not installed)"

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `Engine.run`."""
        result: NDArray[Any] = self._run(batch, [self._output], {})[0]
        return result

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """See `Engine.run_pooled`."""
        if not self.metadata.context:
            raise no_context_error(self.metadata)
        result, statistics = self._run(batch, [self._output, STATISTICS], pools._asdict())
        return result, statistics

    def _run(
        self, batch: NDArray[Any], outputs: list[str], pools: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[Any]]:
        session = self._session
        if session is None:
            raise closed_error(self.metadata)
        try:
            results: list[NDArray[Any]] = session.run(outputs, {self._input: batch} | pools)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise engine_error(f"ONNX Runtime failed on a batch of shape {list(batch.shape)}", error) from error
        result = results[0]
        if result.shape != batch.shape or result.dtype != batch.dtype:
            raise ArtifactError(
                f"{self.metadata.name} gave {result.dtype} {list(result.shape)} for {batch.dtype} {list(batch.shape)}; "
                "expected the same"
            )
        return results

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = None


def open_onnx(path: Path, device: str, threads: int | None) -> Engine:
    """The engine of an ONNX file on a device, as of `open_engine`. On a GPU it computes in the pipeline's memory, where
    pycuda is installed to drive it; if not, a warning says so, and its `backend`."""
    index = None if device == "auto" else parse_device(device)
    if device == "auto" and CUDA in imported().get_available_providers() and cuda_device_count():
        index = 0
    if index is None or CUDA not in imported().get_available_providers():
        return OnnxRuntimeEngine(path, index, threads)
    from mirnet_deploy.devices.cuda import CudaDriver
    from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine

    try:
        driver = CudaDriver(index)
    except MissingDependencyError as error:
        warnings.warn(f"{error}; until then pictures go through host memory", MirnetDeployWarning, stacklevel=3)
        return OnnxRuntimeEngine(path, index, threads)
    return OnnxRuntimeCudaEngine(path, index, driver)


def check_graph(session: Any, metadata: ArtifactMetadata, path: Path) -> None:
    """Checks that a session's inputs and outputs are those of its artifact's interface.

    Raises:
        ArtifactError: they are not.
    """
    source, result = TENSOR_NAMES[metadata.interface]
    kind = TENSOR_TYPES[metadata.interface]
    outputs = [(result, kind, 4)]
    if metadata.context:
        outputs.append((STATISTICS, "tensor(float)", 2))
    for side, nodes, name, expected in (
        ("inputs", session.get_inputs(), source, [(source, kind, 4)]),
        ("outputs", session.get_outputs(), result, outputs),
    ):
        actual = [(node.name, node.type, len(node.shape)) for node in nodes]
        if actual != expected:
            said = ", ".join(f"{name} {kind} of rank {rank}" for name, kind, rank in actual) or "none"
            raise ArtifactError(
                f"{path} has {side} {said}; the interface {metadata.interface!r} has {name} {kind} of rank 4"
            )


def imported() -> Any:
    """The library.

    Raises:
        MissingDependencyError: it is not installed, or broken.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f'ONNX files need ONNX Runtime ({first_line(error)}): pip install "mirnet-deploy[cpu]"'
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What uninstalling one of the two leaves behind: a package without its library.
        raise MissingDependencyError(
            "onnxruntime is broken, as when onnxruntime and onnxruntime-gpu were installed over one another: "
            "uninstall both, then install one"
        )
    return onnxruntime


def open_session(
    ort: Any,
    data: bytes,
    metadata: ArtifactMetadata,
    index: int | None,
    threads: int | None = None,
    stream: int | None = None,
) -> Any:
    """An `InferenceSession` on the CPU or on CUDA device `index`, there on a stream of the caller's if one is given.

    Raises:
        EngineError: ONNX Runtime cannot load the graph, or runs elsewhere than asked.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # The same bits for the same picture, whatever else runs in the process.
    options.use_deterministic_compute = True
    # From the second run of a shape on, a memory pattern takes one block beside what the arena holds already
    # (seen at 384 pixels: 0.54 GiB with it, 0.35 without).
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    providers: list[Any] = [CPU]
    if index is not None:
        if CUDA not in ort.get_available_providers():
            raise EngineError(
                f"device is cuda:{index}, but this onnxruntime {ort.__version__} has no CUDA provider: "
                'pip uninstall onnxruntime, then pip install "mirnet-deploy[cuda]"'
            )
        # cuDNN's search for a kernel logs every plan that does not fit as an error of the process's default logger, by
        # the hundred; what cannot run at all is an exception all the same.
        ort.set_default_logger_severity(4)
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA and cuDNN from their pip packages, which no loader path names
        # TF32 rounds to 10 bits of mantissa, which is no FP32. The default search tries every algorithm anew for
        # every new shape, which costs seconds a picture size.
        cuda: dict[str, Any] = {"device_id": index, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
        if stream is not None:
            cuda["user_compute_stream"] = str(stream)
        providers = [(CUDA, cuda), CPU]
    try:
        session = ort.InferenceSession(data, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise engine_error(f"ONNX Runtime cannot load {metadata.name}", error) from error
    if index is not None and session.get_providers()[0] != CUDA:
        # ONNX Runtime drops a provider that does not start and goes on with the rest.
        raise EngineError(
            f"device is cuda:{index}, but ONNX Runtime runs on {session.get_providers()[0]}: CUDA, cuDNN or the driver "
            "is missing or does not fit; see `mirnet-deploy doctor`, or choose the device cpu"
        )
    return session
