"""Artifacts in other hands than the runtime's: what a user writes without it, and the engine without its pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import TENSOR_NAMES
from mirnet_deploy.benchmarks.subjects import RuntimeSubject, SubjectReport, SubjectSpec
from mirnet_deploy.benchmarks.torch_subject import padded
from mirnet_deploy.engines import resolve_model
from mirnet_deploy.engines.base import Runner, Tensor, load_onnx, parse_device
from mirnet_deploy.engines.onnxruntime import imported, open_session
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import cuda_device_count


class SessionSubject:
    """An ONNX file by `InferenceSession.run`: the whole picture at once, from and to numpy.

    Raises:
        ArtifactError, EngineError, MissingDependencyError, UsageError: as `MIRNetRuntime` raises them.
    """

    graphs = "off"

    def __init__(self, spec: SubjectSpec) -> None:
        path = resolve_model(spec.model)
        if path.suffix != ".onnx":
            raise UsageError(f"engine is {spec.engine!r}; only an ONNX file has a session")
        data, self._metadata = load_onnx(path)
        auto = 0 if cuda_device_count() and "CUDAExecutionProvider" in imported().get_available_providers() else None
        index = auto if spec.device == "auto" else parse_device(spec.device)
        self._session = open_session(imported(), data, self._metadata, index, spec.threads)
        self.report = SubjectReport(
            name=spec.engine,
            path=str(path),
            sha256=self._metadata.sha256,
            kind="onnx",
            interface=self._metadata.interface,
            precision=self._metadata.precision,
            precision_proof=self._metadata.precision_proof,
            weights=self._metadata.weights,
            network=dict(self._metadata.network),
            backend=f"InferenceSession.run, {self._session.get_providers()[0]}",
            device="cpu" if index is None else f"cuda:{index}",
            tile="none",
        )

    @property
    def name(self) -> str:
        """As in the report."""
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H,W,3] RGB in and out: padded to multiples of 4 as the runtime pads, run whole, clamped, rounded."""
        height, width = image.shape[:2]
        source, result = TENSOR_NAMES[self._metadata.interface]
        order = slice(None, None, -1 if self._metadata.channel_order == "bgr" else 1)
        batch: NDArray[Any] = np.ascontiguousarray(padded(image)[None, ..., order])
        if self._metadata.interface == "float":
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        output: NDArray[Any] = self._session.run([result], {source: batch})[0][0]
        if self._metadata.interface == "float":
            output = np.rint(output.clip(0, 1) * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(output[:height, :width, order])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None


class AloneSubject(RuntimeSubject):
    """The runs of the engine that the runtime makes for a picture, on the same lanes, and nothing else: no copies, no
    tiles cut or put back, no means looked at. What the runtime takes longer is its pipeline's share.

    The first picture of a size is made by the runtime, and its runs are noted; from then on they are repeated on what
    lies on the device.
    """

    def __init__(self, spec: SubjectSpec) -> None:
        super().__init__(spec)
        self.report = replace(self.report, name=spec.engine, backend=f"{self.report.backend}, the engine alone")
        self._pool = self.runtime.engine.pool
        self._noted: dict[tuple[int, ...], tuple[list[_Run], NDArray[Any]]] = {}

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The result of the first picture of that size."""
        if image.shape not in self._noted:
            self._noted = {image.shape: self._note(image)}  # of one size: another one's buffers may have grown
        runs, result = self._noted[image.shape]
        with self._pool.take(wait=True):  # also waits for the streams
            for run in runs:
                run.runner.enqueue(run.tensors)
        return result

    def _note(self, image: NDArray[np.uint8]) -> tuple[list[_Run], NDArray[Any]]:
        for _ in range(2):  # in the second run no buffer grows any more
            runs: list[_Run] = []
            with self._pool.take() as lanes:
                for lane in lanes:
                    lane.runner = _Notes(lane.runner, runs)
            result = self.runtime.enhance(image)
            with self._pool.take() as lanes:
                for lane in lanes:
                    lane.runner = lane.runner.runner if isinstance(lane.runner, _Notes) else lane.runner
        return runs, result


class _Run:
    def __init__(self, runner: Runner, tensors: Mapping[str, Tensor]) -> None:
        self.runner, self.tensors = runner, dict(tensors)


class _Notes:
    """A runner that notes what it is asked."""

    def __init__(self, runner: Runner, runs: list[_Run]) -> None:
        self.runner, self._runs = runner, runs

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        self._runs.append(_Run(self.runner, tensors))
        self.runner.enqueue(tensors)

    def close(self) -> None:
        self.runner.close()
