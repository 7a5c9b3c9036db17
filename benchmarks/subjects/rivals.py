"""Artifacts without the runtime: what a user would write in its place, and the engine without the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.benchmarks.subjects.base import SubjectReport, SubjectSpec, precision_of
from mirnet_deploy.benchmarks.subjects.runtime import RuntimeSubject
from mirnet_deploy.devices.base import Stream, Tensor
from mirnet_deploy.engines.base import Runner
from mirnet_deploy.engines.onnxruntime_session import CPU, CUDA, onnxruntime_module
from mirnet_deploy.engines.opening import onnx_device
from mirnet_deploy.engines.openvino import HINTS, openvino_module
from mirnet_deploy.errors import EngineError, UsageError, engine_error
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.pixels import padded


class SessionSubject:
    """An ONNX file run by `InferenceSession.run` with the library's own options: the whole picture at once, from and to
    numpy arrays.

    Raises:
        ArtifactError, MissingDependencyError: as `MIRNetRuntime` raises them.
        EngineError: the session does not run on the device asked for.
        UsageError: the file is not an ONNX file.
    """

    graphs = "off"
    batch = 1
    concurrent = True

    def __init__(self, spec: SubjectSpec) -> None:
        path = resolve_model(spec.model)
        if path.suffix != ".onnx":
            raise UsageError(f"engine is {spec.engine!r}; only an ONNX file has a session")
        data, self._metadata = read_onnx(path)
        ort, index = onnxruntime_module(), onnx_device(spec.settings.device)
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: it would warn of every input that has a default
        if spec.settings.threads is not None:
            options.intra_op_num_threads = spec.settings.threads
        provider: Any = CPU if index is None else (CUDA, {"device_id": index})
        if index is not None and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA and cuDNN from their pip packages
        try:
            self._session = ort.InferenceSession(data, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise engine_error(f"ONNX Runtime cannot load {path}", error) from error
        runs_on = self._session.get_providers()[0]
        if runs_on != (CPU if index is None else CUDA):
            raise EngineError(f"device is cuda:{index}, but ONNX Runtime runs on {runs_on}")
        self.report = SubjectReport.of_artifact(
            spec.engine,
            str(path),
            self._metadata,
            backend=f"InferenceSession.run, {runs_on}",
            device="cpu" if index is None else f"cuda:{index}",
            tile="none",
        )

    @property
    def name(self) -> str:
        """See `Subject.name`."""
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Subject.enhance`: padded to multiples of 4 as the runtime pads, run whole, clamped, rounded."""
        source, result = TENSOR_NAMES[self._metadata.interface]
        output = self._session.run([result], {source: _batch_of(image, self._metadata)})[0]
        return _picture_of(output, image.shape, self._metadata)

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """See `Subject.shapes_of`."""
        self.enhance(image)
        return [{TENSOR_NAMES[self._metadata.interface][0]: _batch_of(image, self._metadata).shape}]

    def computes_in(self) -> str:
        """See `Subject.computes_in`."""
        if self.report.device != "cpu" and self.report.precision == "fp32":
            raise EngineError("by default ONNX Runtime rounds FP32 to TF32 where the GPU has it")
        return precision_of(self.report)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None


def _batch_of(image: NDArray[np.uint8], metadata: ArtifactMetadata) -> NDArray[Any]:
    """A picture, uint8 [H,W,3] RGB, padded and as the artifact takes it: a batch of one."""
    order = slice(None, None, -1 if metadata.channel_order == "bgr" else 1)
    batch: NDArray[Any] = np.ascontiguousarray(padded(image, metadata.size_multiple)[None, ..., order])
    if metadata.interface == "float":
        batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    return batch


def _picture_of(batch: NDArray[Any], shape: tuple[int, ...], metadata: ArtifactMetadata) -> NDArray[np.uint8]:
    """The result of `_batch_of`'s batch, as uint8 RGB of the picture's `shape`, [H,W,3]."""
    order = slice(None, None, -1 if metadata.channel_order == "bgr" else 1)
    output = batch[0]
    if metadata.interface == "float":
        output = np.rint(output.clip(0, 1) * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(output[: shape[0], : shape[1], order])


class NativeSubject:
    """An ONNX file by OpenVINO's own API, the whole picture at once, from and to numpy arrays: float32, or bfloat16
    where that is asked for, the hint LATENCY, all else as the library has it. The model is compiled for the size of the
    picture, as its guide advises.

    Raises:
        ArtifactError, MissingDependencyError: as `MIRNetRuntime` raises them.
        EngineError: OpenVINO cannot load the file.
        UsageError: the file is not an ONNX file, or takes more than the picture: OpenVINO drops the defaults of inputs.
    """

    graphs = "off"
    batch = 1
    concurrent = False

    def __init__(self, spec: SubjectSpec) -> None:
        path = resolve_model(spec.model)
        if path.suffix != ".onnx":
            raise UsageError(f"engine is {spec.engine!r}; OpenVINO runs ONNX files")
        data, self._metadata = read_onnx(path)
        if self._metadata.context:
            raise UsageError(f"engine is {spec.engine!r}; expected an artifact of export --plain")
        library = openvino_module()
        self._precision = "bf16" if spec.settings.precision == "bf16" else "fp32"
        hint = HINTS[self._precision]
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        if spec.settings.threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = spec.settings.threads
        try:
            self._core: Any = library.Core()
            self._model: Any = self._core.read_model(data)
        except (RuntimeError, ValueError) as error:
            raise engine_error(f"OpenVINO cannot load {path}", error) from error
        self._compiled: Any = None
        self._shape: tuple[int, ...] = ()
        self.report = SubjectReport.of_artifact(
            spec.engine,
            str(path),
            self._metadata,
            backend=f"openvino {library.__version__.split('-')[0]} CPU, its own API, {self._precision}",
            device="cpu",
            tile="none",
        )

    @property
    def name(self) -> str:
        """See `Subject.name`."""
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Subject.enhance`: as `SessionSubject.enhance`. The first picture of a size compiles the model."""
        batch = _batch_of(image, self._metadata)
        if self._shape != batch.shape:
            self._compiled = None  # its memory goes first
            self._model.reshape(list(batch.shape))
            self._compiled, self._shape = self._core.compile_model(self._model, "CPU", self._options), batch.shape
        return _picture_of(self._compiled(batch)[0], image.shape, self._metadata)

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """See `Subject.shapes_of`."""
        self.enhance(image)
        return [{TENSOR_NAMES[self._metadata.interface][0]: self._shape}]

    def computes_in(self) -> str:
        """See `Subject.computes_in`: what it was asked for."""
        return self._precision

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._compiled = self._model = None


class AloneSubject(RuntimeSubject):
    """Only the runs of the engine that the runtime makes for a picture, on the same slots: no copies, no tiles cut or
    put back, no means looked at. The time that the runtime takes beyond this is that of its pipeline.

    The runtime enhances the first picture of a size, and its runs are noted; from then on they are repeated on the data
    that is still on the device. For one thread.
    """

    concurrent = False

    def __init__(self, spec: SubjectSpec) -> None:
        self._notes = _Notes()
        super().__init__(spec, self._notes)
        self.report = replace(self.report, backend=f"{self.report.backend}, the engine alone")
        self._result: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Repeats the runs, and returns the result of the first picture of that size, whatever `image` holds."""
        if self._result.shape != image.shape:
            for _ in range(2):  # in the second run buffers no longer grow
                self._notes.runs.clear()
                self._result = self.runtime.enhance(image)
        with self.runtime.engine.driver.active():
            self._notes.repeat()
        return self._result

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """See `Subject.shapes_of`: the runs that are repeated."""
        self.enhance(image)
        return [{name: each.shape for name, each in tensors.items()} for _, _, tensors in self._notes.runs]


class _Notes(Observer):
    """Notes the runs of the engine, and repeats them."""

    def __init__(self) -> None:
        self.runs: list[tuple[Runner, Stream, dict[str, Tensor]]] = []

    def run(self, runner: Runner, stream: Stream, tensors: Mapping[str, Tensor]) -> None:
        self.runs.append((runner, stream, dict(tensors)))
        runner.enqueue(tensors)

    def repeat(self) -> None:
        """Enqueues all runs again, and waits for them."""
        for runner, _, tensors in self.runs:
            runner.enqueue(tensors)
        for stream in {id(stream): stream for _, stream, _ in self.runs}.values():
            stream.synchronize()
