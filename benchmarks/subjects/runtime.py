"""An artifact run by the runtime, as users run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.overlap import Watch
from mirnet_deploy.benchmarks.phases import DeviceTimes
from mirnet_deploy.benchmarks.subjects.base import SubjectReport, SubjectSpec, precision_of
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.openvino import OpenVinoEngine
from mirnet_deploy.errors import EngineError
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings

ASKED: Mapping[str, Mapping[str, str]] = {
    "onnxruntime": {"backend": "onnxruntime"},
    "openvino": {"backend": "openvino"},
    "bf16": {"precision": "bf16"},
}
"""Word behind an @ -> the settings that it stands for."""
NAMES = {"f32": "fp32", "f16": "fp16"}
"""What OpenVINO calls a precision -> what we call it, where that differs."""


class RuntimeSubject:
    """An artifact run by `MIRNetRuntime`.

    Raises:
        ArtifactError, EngineError, MissingDependencyError, UsageError: as `MIRNetRuntime` raises them.
    """

    concurrent = True
    device_times: DeviceTimes | None = None
    """Tells copies and computing apart; None on a CPU."""

    def __init__(self, spec: SubjectSpec, observer: Observer | None = None) -> None:
        self._watch = watch = Watch()  # notes nothing until it has a mark
        settings = spec.settings.changed(ASKED.get(spec.how or "", {}))
        self.runtime = MIRNetRuntime(spec.model, settings, observer=observer or watch)
        info = self.runtime.info
        tile = str(info.settings.tile)
        if info.tile_size:
            tile += f" (tiles {info.tile_size[1]}x{info.tile_size[0]})"
        self.report = SubjectReport.of_artifact(
            spec.engine, info.path, info.metadata, backend=info.backend, device=info.device, tile=tile
        )
        driver, self.batch = self.runtime.engine.driver, info.batch
        if isinstance(driver, CudaDriver):
            self.report = replace(self.report, transfers="page-locked", waiting="driver's default")
            self.device_times = None if observer else DeviceTimes(watch, driver)
        elif info.device != "cpu":  # by way of numpy's memory, which the library copies
            self.report = replace(self.report, transfers="pageable")
        if info.backend.endswith(", bf16"):
            proof = f"asked of OpenVINO; the file: {self.report.precision}, {self.report.precision_proof}"
            self.report = replace(self.report, precision="bf16", precision_proof=proof)

    def executed(self) -> tuple[str, str] | None:
        """The precision that convolutions computed in, and in words how that is known; None where the library does not
        tell, and before the first picture."""
        engine = self.runtime.engine
        counts = engine.executed() if isinstance(engine, OpenVinoEngine) else {}
        if not counts:
            return None
        listed = ", ".join(f"{number} in {precision}" for precision, number in sorted(counts.items()))
        names = "+".join(NAMES.get(precision, precision) for precision in sorted(counts))
        return names, f"{sum(counts.values())} convolutions computed: {listed} (OpenVINO's runtime model)"

    @property
    def name(self) -> str:
        """See `Subject.name`."""
        return self.report.name

    @property
    def graphs(self) -> str:
        """See `Subject.graphs`."""
        return self.runtime.graphs

    @property
    def chosen(self) -> RuntimeSettings:
        """The settings with the library and the precision that it runs in; on a CPU "auto" may mean others with
        another number of threads."""
        settings, engine = self.runtime.info.settings, self.runtime.engine
        if engine.device != "cpu" or self.runtime.info.metadata.kind != "onnx":
            return settings
        return settings.changed({"backend": engine.backend.split()[0], "precision": "bf16" if engine.step else "fp32"})

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Subject.enhance`."""
        output: NDArray[np.uint8] = self.runtime.enhance(image)
        return output

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """See `Subject.shapes_of`: every batch of tiles in every pass, thumbnails and samples."""
        found: list[dict[str, tuple[int, ...]]] = []
        self._watch.shapes = found
        try:
            self.enhance(image)
        finally:
            self._watch.shapes = None
        return found

    def computes_in(self) -> str:
        """See `Subject.computes_in`."""
        executed = self.executed()
        if executed:
            for narrowest in ("fp16", "bf16", "fp32"):
                if narrowest in executed[0].split("+"):
                    return narrowest
            raise EngineError(f"there is no peak for {executed[0]}")
        if self.report.kind == "plan" and self.report.precision == "fp32":
            raise EngineError("whether TensorRT rounds FP32 to TF32 is not told")
        return precision_of(self.report)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()
