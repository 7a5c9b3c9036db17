"""Opens the engine of an artifact: which one depends on the artifact's kind and the device asked for."""

from __future__ import annotations

from pathlib import Path

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.models import is_checkpoint
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.base import Engine, HostEngine
from mirnet_deploy.engines.choice import fastest, ways_here, without_race
from mirnet_deploy.engines.fleet import artifact_for
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine
from mirnet_deploy.engines.onnxruntime_session import CUDA, onnxruntime_module
from mirnet_deploy.engines.openvino import OpenVinoEngine
from mirnet_deploy.engines.race import Way
from mirnet_deploy.engines.tensorrt import TensorRTEngine
from mirnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError, warn
from mirnet_deploy.machine import ORT_WHEELS, cuda_devices, library_versions
from mirnet_deploy.settings import RuntimeSettings, device_index


def open_engine(model: str | Path, settings: RuntimeSettings | None = None) -> Engine:
    """Loads an artifact of `mirnet-deploy export`. No library reads the file before it has been checked.

    Args:
        model: a bundled model's name, an `.onnx` file (ONNX Runtime or OpenVINO), a `.plan` file (TensorRT), or a
            fleet's folder (`engines.fleet.artifact_for`).
        settings: of these the engine uses `device`, `backend`, `precision`, `threads` and `graphs`; None for the
            defaults.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library, the device or the processor refuses.
        MissingDependencyError: the inference library is not installed.
        UsageError: the backend asked for does not run such a file, or not on that device.
    """
    settings = settings or RuntimeSettings()
    path = artifact_for(model, settings.device)
    check_settings(path, settings)
    if path.suffix == ".plan":
        return TensorRTEngine(path, settings.device, settings.graphs)
    if path.suffix == ".onnx":
        return _open_onnx(path, settings)
    raise ArtifactError(
        f"{path} is neither an .onnx nor a .plan file; turn a checkpoint into one with `mirnet-deploy export {path}`"
        if is_checkpoint(path)
        else f"{path} is neither an .onnx nor a .plan file of `mirnet-deploy export`"
    )


def check_settings(path: Path, settings: RuntimeSettings) -> None:
    """Refuses what no machine could do with an artifact of that name.

    Raises:
        UsageError: `backend`, `precision` and `device` do not go together, or not with a plan.
    """
    if path.suffix == ".plan":
        for name in ("backend", "precision"):
            if (value := getattr(settings, name)) != "auto":
                raise UsageError(f"{name} is {value!r}, and {path} is a plan, which TensorRT runs as it was built")
        return
    if settings.device != "auto" and device_index(settings.device) is not None:
        _check_on_gpu(settings)
    if settings.precision == "bf16" and settings.backend == "onnxruntime":
        raise UsageError("precision is 'bf16', which ONNX Runtime does not compute in on a CPU; use openvino")


def _check_on_gpu(settings: RuntimeSettings, chosen: int = 0) -> None:
    """Refuses what an ONNX file cannot do on a GPU; the device "auto" is the one with the number `chosen`."""
    if settings.only_on_cpu or settings.precision != "auto":
        name = "backend" if settings.backend == "openvino" else "precision"
        raise UsageError(
            f"{name} is {getattr(settings, name)!r}, which is for the CPU, and device is {settings.device!r}"
            f"{f', here cuda:{chosen}: add the device cpu' if settings.device == 'auto' else ''}"
        )


def check_opened(settings: RuntimeSettings) -> None:
    """Refuses settings of an engine for one that is open already.

    Raises:
        UsageError: one of them is not the default.
    """
    for name in ("device", "backend", "precision", "threads", "graphs"):
        value = getattr(settings, name)
        if value != getattr(RuntimeSettings(), name):
            raise UsageError(f"{name} is {value!r} for an engine that is open; give it to open_engine")


def _open_onnx(path: Path, settings: RuntimeSettings) -> Engine:
    data, metadata = read_onnx(path)
    try:
        return _onnx_engine(data, metadata, settings)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _onnx_engine(data: bytes, metadata: ArtifactMetadata, settings: RuntimeSettings) -> Engine:
    """On a GPU an ONNX file runs in the pipeline's memory if pycuda, which drives the GPU, is installed. Otherwise ONNX
    Runtime copies pictures through host memory; a warning and the engine's `backend` say so."""
    index = None if settings.only_on_cpu and settings.device == "auto" else onnx_device(settings.device)
    if index is None:
        return _on_cpu(data, metadata, settings)
    _check_on_gpu(settings, index)
    if CUDA not in onnxruntime_module().get_available_providers():
        return OnnxRuntimeEngine(data, metadata, index, settings.threads)
    try:
        driver = CudaDriver(index)
    except MissingDependencyError as error:
        warn(f"{error}; until then pictures go through host memory")
        return OnnxRuntimeEngine(data, metadata, index, settings.threads)
    return OnnxRuntimeCudaEngine(data, metadata, index, driver, settings.graphs)


def _on_cpu(data: bytes, metadata: ArtifactMetadata, settings: RuntimeSettings) -> HostEngine:
    """The engine that the settings name; where they leave it open, what the environment says, or the fastest here."""
    backend, precision = settings.backend, settings.precision

    def open_way(way: Way) -> HostEngine:
        if way.backend == "openvino":
            return OpenVinoEngine(data, metadata, settings.threads, way.precision)
        return OnnxRuntimeEngine(data, metadata, None, settings.threads)

    if precision == "bf16":
        return open_way(Way("openvino", "bf16"))
    if backend != "auto":
        return open_way(Way(backend))
    if way := without_race():
        return open_way(way if precision == "auto" else Way(way.backend))
    allowed = (lambda way: way.precision == "fp32") if precision == "fp32" else (lambda way: True)
    return open_way(fastest(metadata, ways_here(), allowed, open_way, settings.threads))


def onnx_device(device: str) -> int | None:
    """The number of the CUDA device that ONNX Runtime uses for the setting `device`; None for the CPU."""
    if device != "auto":
        return device_index(device)
    if not set(library_versions()) & set(ORT_WHEELS):  # OpenVINO may be there
        return None
    return 0 if CUDA in onnxruntime_module().get_available_providers() and cuda_devices() else None
