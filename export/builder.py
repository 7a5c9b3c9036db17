"""The TensorRT builders, `tensorrt` and `tensorrt_rtx`: which one is here, and how each is set up.

Both have the same classes under different import names. TensorRT builds for the GPU that it runs on and needs one;
TensorRT-RTX builds for RTX-class GPUs by compute capability, on any machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mirnet_deploy.artifacts.metadata import Builder
from mirnet_deploy.engines.tensorrt_library import import_library, logger_of
from mirnet_deploy.errors import EngineError, MissingDependencyError, UsageError
from mirnet_deploy.machine import cuda_devices

BuilderChoice = Literal["auto", "tensorrt", "tensorrt_rtx", "none"]

RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""What TensorRT-RTX 1.7 builds for."""
DEFAULT_TARGETS = ("sm80", "sm86", "sm89", "sm120")
"""Ampere, Ada and Blackwell (GeForce RTX 30, 40 and 50); the others are built when asked for."""


@dataclass(frozen=True)
class BuilderLibrary:
    """An imported builder, and the GPUs that it builds for."""

    name: Builder
    trt: Any
    """The module."""
    targets: tuple[str, ...]
    """Compute capabilities such as "sm89" (TensorRT-RTX), or the name of the GPU here (TensorRT)."""

    @property
    def version(self) -> str:
        """The library's version."""
        return str(self.trt.__version__)

    @property
    def logger(self) -> Any:
        """The library's one logger of this process: a `trt.ILogger` with `drain()`."""
        return logger_of(self.trt)

    def create_network(self, builder: Any) -> Any:
        """A strongly typed network: precision is what the graph says."""
        if self.name == "tensorrt" and int(self.version.split(".", 1)[0]) < 11:
            return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        return builder.create_network()  # 11 and RTX know no other kind

    def configure(self, config: Any) -> None:
        """Sets the targets, and switches TF32 off: an FP32 layer (an island too) computes in FP32.

        Raises:
            EngineError: the library refuses a target.
        """
        config.clear_flag(self.trt.BuilderFlag.TF32)
        if self.name != "tensorrt_rtx":
            return
        config.num_compute_capabilities = len(self.targets)
        for index, target in enumerate(self.targets):
            capability = getattr(self.trt.ComputeCapability, target.upper(), None)
            if capability is None or not config.set_compute_capability(capability, index):
                raise EngineError(f"{self.name} {self.version} does not build for {target}; choose another --target")


def find_builder(choice: BuilderChoice, targets: Sequence[str]) -> BuilderLibrary | None:
    """The builder that `choice` means here; None for "none".

    "auto" is `tensorrt` where it imports, there is a GPU and no target is named, else `tensorrt_rtx`. `targets` are for
    TensorRT-RTX; none means `DEFAULT_TARGETS`.

    Raises:
        MissingDependencyError: the builder is not installed; the text says what to install.
        EngineError: `tensorrt` is asked for where there is no GPU.
        UsageError: a target is unknown, or targets are given to a builder that takes none.
    """
    unknown = sorted(set(targets) - set(RTX_TARGETS))
    if unknown:
        raise UsageError(f"target {unknown[0]!r} is unknown; expected one of {', '.join(RTX_TARGETS)}")
    if choice == "none":
        if targets:
            raise UsageError("--target says which GPUs a plan is for; with --builder none there is no plan")
        return None
    gpu = next(iter(cuda_devices()), None)
    name = choice if choice != "auto" else _automatic(gpu, targets)
    trt = import_library(name, "a plan")
    if name == "tensorrt_rtx":
        return BuilderLibrary(name, trt, tuple(dict.fromkeys(targets)) or DEFAULT_TARGETS)
    if targets:
        raise UsageError("--target is for TensorRT-RTX; tensorrt builds for the GPU of this machine")
    if gpu is None:
        raise EngineError("tensorrt builds only where there is a GPU, and there is none: use --builder tensorrt_rtx")
    return BuilderLibrary(name, trt, (gpu,))


def _automatic(gpu: str | None, targets: Sequence[str]) -> Builder:
    if gpu is None or targets:
        return "tensorrt_rtx"
    try:
        import_library("tensorrt", "a plan")
    except MissingDependencyError:
        return "tensorrt_rtx"
    return "tensorrt"


def progress_monitor(trt: Any, on_progress: Callable[[float], None]) -> Any:
    """A `trt.IProgressMonitor` that calls `on_progress` with the part of the build that is done, 0 to 1, never less."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, tuple[str | None, int]] = {}
            self.done: dict[str, float] = {}
            self.highest = 0.0
            self.lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self.lock:
                self.phases[phase_name] = (parent_phase, max(num_steps, 1))
                self.done[phase_name] = 0.0

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self.lock:
                part = (step + 1) / self.phases[phase_name][1]
                self.done[phase_name] = part
                # A step of a phase is a fraction of the parent's current step.
                parent = self.phases[phase_name][0]
                while parent is not None and parent in self.phases:
                    part = self.done[parent] + part / self.phases[parent][1]
                    parent = self.phases[parent][0]
                self.highest = max(self.highest, min(part, 1.0))
                on_progress(self.highest)
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Nothing to do: the parent's step says it."""

    return Monitor()
