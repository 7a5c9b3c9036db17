"""Opens the engine of an artifact: which one depends on the artifact's kind and the device asked for."""

from __future__ import annotations

from pathlib import Path

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.models import is_checkpoint, resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine
from mirnet_deploy.engines.onnxruntime_session import CUDA, onnxruntime_module
from mirnet_deploy.engines.openvino import OpenVinoEngine
from mirnet_deploy.engines.tensorrt import TensorRTEngine
from mirnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError, warn
from mirnet_deploy.machine import cuda_devices
from mirnet_deploy.settings import RuntimeSettings, device_index


def open_engine(model: str | Path, settings: RuntimeSettings | None = None) -> Engine:
    """Loads an artifact of `mirnet-deploy export`. No library reads the file before it has been checked.

    Args:
        model: a bundled model's name, an `.onnx` file (ONNX Runtime or OpenVINO) or a `.plan` file (TensorRT).
        settings: of these the engine uses `device`, `backend`, `threads` and `graphs`; None for the defaults.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library or the device refuses.
        MissingDependencyError: the inference library is not installed.
        UsageError: the backend asked for does not run such a file, or not on that device.
    """
    settings = settings or RuntimeSettings()
    path = resolve_model(model)
    if path.suffix == ".plan":
        if settings.backend != "auto":
            raise UsageError(f"backend is {settings.backend!r}, and {path} is a plan, which TensorRT runs")
        return TensorRTEngine(path, settings.device, settings.graphs)
    if path.suffix == ".onnx":
        return _open_onnx(path, settings)
    raise ArtifactError(
        f"{path} is neither an .onnx nor a .plan file; turn a checkpoint into one with `mirnet-deploy export {path}`"
        if is_checkpoint(path)
        else f"{path} is neither an .onnx nor a .plan file of `mirnet-deploy export`"
    )


def _open_onnx(path: Path, settings: RuntimeSettings) -> Engine:
    data, metadata = read_onnx(path)
    try:
        return _onnx_engine(data, metadata, settings)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _onnx_engine(data: bytes, metadata: ArtifactMetadata, settings: RuntimeSettings) -> Engine:
    """On a GPU an ONNX file runs in the pipeline's memory if pycuda, which drives the GPU, is installed. Otherwise ONNX
    Runtime copies pictures through host memory; a warning and the engine's `backend` say so."""
    if settings.backend == "openvino":
        if settings.device not in ("auto", "cpu"):
            raise UsageError(f"backend is 'openvino', which runs on the CPU, and device is {settings.device!r}")
        return OpenVinoEngine(data, metadata, settings.threads)
    index = onnx_device(settings.device)
    if index is None or CUDA not in onnxruntime_module().get_available_providers():
        return OnnxRuntimeEngine(data, metadata, index, settings.threads)
    try:
        driver = CudaDriver(index)
    except MissingDependencyError as error:
        warn(f"{error}; until then pictures go through host memory")
        return OnnxRuntimeEngine(data, metadata, index, settings.threads)
    return OnnxRuntimeCudaEngine(data, metadata, index, driver, settings.graphs)


def onnx_device(device: str) -> int | None:
    """The number of the CUDA device that ONNX Runtime uses for the setting `device`; None for the CPU."""
    if device != "auto":
        return device_index(device)
    return 0 if CUDA in onnxruntime_module().get_available_providers() and cuda_devices() else None
