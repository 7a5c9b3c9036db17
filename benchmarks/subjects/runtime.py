"""An artifact run by the runtime, as users run it."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.overlap import Watch
from mirnet_deploy.benchmarks.phases import DeviceTimes
from mirnet_deploy.benchmarks.subjects.base import SubjectReport, SubjectSpec
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings


class RuntimeSubject:
    """An artifact run by `MIRNetRuntime`.

    Raises:
        ArtifactError, EngineError, MissingDependencyError, UsageError: as `MIRNetRuntime` raises them.
    """

    concurrent = True
    device_times: DeviceTimes | None = None
    """Tells copies and computing apart; None on a CPU."""

    def __init__(self, spec: SubjectSpec, observer: Observer | None = None) -> None:
        watch = Watch()  # notes nothing until it has a mark
        settings = spec.settings.changed({"backend": "openvino"}) if spec.how == "openvino" else spec.settings
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()
