"""The TensorRT builders, `tensorrt` and `tensorrt_rtx`: which one is used, and how each is set up.

Both have the same classes under different import names. TensorRT builds for the GPU that it runs on and needs one;
TensorRT-RTX builds for RTX-class GPUs by compute capability, on any machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mirnet_deploy.artifacts.metadata import Builder
from mirnet_deploy.engines.tensorrt_library import RTX_TARGETS, import_library, logger_of, target_of
from mirnet_deploy.errors import EngineError, MissingDependencyError, UsageError
from mirnet_deploy.machine import cuda_capabilities, cuda_devices

BuilderChoice = Literal["auto", "tensorrt", "tensorrt_rtx", "none"]

CURRENT = "current"
"""The target that stands for the GPU of this machine, whatever its compute capability."""
DEFAULT_TARGETS = ("sm80", "sm86", "sm89", "sm120")
"""Ampere, Ada and Blackwell (GeForce RTX 30, 40 and 50); the others are built only on request."""


@dataclass(frozen=True)
class BuilderLibrary:
    """An imported builder, and the GPUs that it builds for."""

    name: Builder
    trt: Any
    """The imported module."""
    targets: tuple[str, ...]
    """Compute capabilities such as "sm89" (TensorRT-RTX), or the name of the GPU here (TensorRT)."""
    is_current: bool = False
    """Whether TensorRT-RTX builds for the GPU here, whose compute capability need not be one of `RTX_TARGETS`."""

    @property
    def builds_for_here(self) -> bool:
        """Whether it builds for the GPU of this machine: TensorRT always does."""
        return self.is_current or self.name == "tensorrt"

    @property
    def version(self) -> str:
        """The library's version."""
        return str(self.trt.__version__)

    @property
    def logger(self) -> Any:
        """The library's only logger in this process: a `trt.ILogger` that also has `drain()`."""
        return logger_of(self.trt)

    def create_network(self, builder: Any) -> Any:
        """An empty, strongly typed network: every layer has the precision that the graph states."""
        if self.name == "tensorrt" and int(self.version.split(".", 1)[0]) < 11:
            return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        return builder.create_network()  # TensorRT 11 and TensorRT-RTX have no other kind

    def configure(self, config: Any) -> None:
        """Sets the targets of TensorRT-RTX. Switches TF32 off: FP32 layers, those of the islands too, compute in FP32.

        Raises:
            EngineError: the library refuses a target.
        """
        if hasattr(self.trt.BuilderFlag, "TF32"):  # both libraries have it; one without has no TF32 to switch off
            config.clear_flag(self.trt.BuilderFlag.TF32)
        if self.name != "tensorrt_rtx":
            return
        config.num_compute_capabilities = len(self.targets)
        for index, target in enumerate(self.targets):
            name = CURRENT if self.is_current else target
            capability = getattr(self.trt.ComputeCapability, name.upper(), None)
            if capability is None or not config.set_compute_capability(capability, index):
                raise EngineError(f"{self.name} {self.version} does not build for {target}; choose another --target")


def find_builder(choice: BuilderChoice, targets: Sequence[str]) -> BuilderLibrary | None:
    """The builder that `choice` stands for on this machine; None for "none".

    "auto" is `tensorrt` if it can be imported, there is a GPU and no target is named, otherwise `tensorrt_rtx`.
    `targets` are for TensorRT-RTX only: some of `RTX_TARGETS`, or `CURRENT` alone; if empty, it builds for
    `DEFAULT_TARGETS`.

    Raises:
        MissingDependencyError: the builder is not installed; the text says what to install.
        EngineError: `tensorrt` or `CURRENT` was chosen and there is no GPU.
        UsageError: a target is unknown, or targets are given and `choice` takes none.
    """
    unknown = sorted(set(targets) - {*RTX_TARGETS, CURRENT})
    if unknown:
        known = ", ".join((*RTX_TARGETS, CURRENT))
        raise UsageError(f"target {unknown[0]!r} is unknown; expected one of {known}")
    if CURRENT in targets and len(set(targets)) > 1:
        raise UsageError(f"--target {CURRENT} builds for the GPU of this machine alone; leave the other targets out")
    if choice == "none":
        if targets:
            raise UsageError("--target says which GPUs a plan is for; with --builder none there is no plan")
        return None
    gpu = next(iter(cuda_devices()), None)
    name = choice if choice != "auto" else _automatic(gpu, targets)
    trt = import_library(name, "a plan")
    if name == "tensorrt_rtx" and CURRENT in targets:
        return BuilderLibrary(name, trt, (_capability_here(),), is_current=True)
    if name == "tensorrt_rtx":
        return BuilderLibrary(name, trt, tuple(dict.fromkeys(targets)) or DEFAULT_TARGETS)
    if targets:
        raise UsageError("--target is for TensorRT-RTX; tensorrt builds for the GPU of this machine")
    if gpu is None:
        raise EngineError("tensorrt builds only where there is a GPU, and there is none: use --builder tensorrt_rtx")
    return BuilderLibrary(name, trt, (gpu,))


def builder_here(index: int) -> BuilderLibrary:
    """The builder for GPU number `index` of this machine: `tensorrt` where it can be imported, else `tensorrt_rtx`.

    Raises:
        MissingDependencyError: neither is installed.
    """
    capability, gpu = cuda_capabilities()[index], cuda_devices()[index]
    name = _automatic(gpu, ())
    targets = (target_of(name, capability, gpu),)
    is_current = name == "tensorrt_rtx" and capability not in RTX_TARGETS
    return BuilderLibrary(name, import_library(name, "a plan"), targets, is_current)


def _capability_here() -> str:
    """The compute capability of the first GPU here, such as "sm90"."""
    if not cuda_devices():
        raise EngineError(f"--target {CURRENT} builds for the GPU of this machine, and there is none; name a target")
    return cuda_capabilities()[0]


def _automatic(gpu: str | None, targets: Sequence[str]) -> Builder:
    if gpu is None or targets:
        return "tensorrt_rtx"
    try:
        import_library("tensorrt", "a plan")
    except MissingDependencyError:
        return "tensorrt_rtx"
    return "tensorrt"


def progress_monitor(trt: Any, on_progress: Callable[[float], None]) -> Any:
    """A `trt.IProgressMonitor` that tells `on_progress` which share of the build is done, 0 to 1, never falling."""

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
                # A phase runs within one step of its parent, and its share counts as a fraction of that step.
                parent = self.phases[phase_name][0]
                while parent is not None and parent in self.phases:
                    part = self.done[parent] + part / self.phases[parent][1]
                    parent = self.phases[parent][0]
                self.highest = max(self.highest, min(part, 1.0))
                on_progress(self.highest)
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Does nothing: the parent reports the end of the phase as a step of its own."""

    return Monitor()
