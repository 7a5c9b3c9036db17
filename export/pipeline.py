"""The steps of an export in their order: FP32 ONNX, FP16 ONNX, plan. Each is saved once it is proven, and only then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata, Parity, Precision
from mirnet_deploy.artifacts.sidecar import sidecar_path, write_artifact, write_sidecar
from mirnet_deploy.errors import DeviceMemoryError, EngineError, ExportError, MissingDependencyError
from mirnet_deploy.export import parity
from mirnet_deploy.export.builder import BuilderLibrary
from mirnet_deploy.export.onnx_file import export_onnx
from mirnet_deploy.export.plan import NOT_EXECUTED, Progress, plan_of
from mirnet_deploy.export.precision import find_islands
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.files import is_there, temporary_folder
from mirnet_deploy.machine import cuda_devices
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.training.checkpoint import LoadedCheckpoint


@dataclass(frozen=True)
class Exported:
    """An artifact on the disk with its sidecar beside it."""

    path: Path
    metadata: ArtifactMetadata


@dataclass(frozen=True)
class Outputs:
    """The files of an export."""

    fp32: Path
    fp16: Path | None
    plan: Path | None

    @classmethod
    def of(cls, folder: Path, name: str, fp16: bool, plan: bool) -> Outputs:
        """`NAME.onnx`, with `fp16` also `NAME.fp16.onnx`, with `plan` also `NAME.plan`, in `folder`."""
        return cls(
            folder / f"{name}.onnx", folder / f"{name}.fp16.onnx" if fp16 else None,
            folder / f"{name}.plan" if plan else None,
        )  # fmt: skip

    def refuse_existing(self) -> None:
        """Makes sure that no file of the user's is replaced unasked.

        Raises:
            ExportError: an artifact or a sidecar is there already.
        """
        artifacts = [path for path in (self.fp32, self.fp16, self.plan) if path is not None]
        there = [path for artifact in artifacts for path in (artifact, sidecar_path(artifact)) if is_there(path)]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise ExportError(f"{there[0]}{more} exists already; choose another --output-dir or --name, or --force")


def export_checkpoint(
    checkpoint: LoadedCheckpoint,
    outputs: Outputs,
    settings: ExportSettings,
    library: BuilderLibrary | None,
    crops: Sequence[NDArray[np.uint8]],
    progress: Progress,
) -> Iterator[Exported]:
    """Makes the files of `outputs`, one at a time, and yields each when it is on the disk.

    The plan is built by `library` from the FP16 graph where there is one, else from the FP32 graph; without a library
    there is no plan. `crops`, uint8 [H,W,3] RGB, are what the artifacts are proven on.

    Raises:
        EngineError: `library` does not build for one of its targets.
        ExportError: a step failed; what was yielded before stays.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    precision: Precision = "fp32"
    source = outputs.fp32
    with progress(f"{source.name}: tracing and proving", None):
        metadata = export_onnx(checkpoint, source, settings, precision, crops)
    yield Exported(source, metadata)
    if outputs.fp16 is not None:
        precision, source = "fp16", outputs.fp16
        with progress(f"{source.name}: tracing and proving", None):
            metadata = export_onnx(checkpoint, source, settings, precision, crops)
        yield Exported(source, metadata)
    if outputs.plan is not None and library is not None:
        onnx_artifact = Exported(source, metadata)
        with progress(f"{outputs.plan.name}: building with {library.name}", 1.0) as advance:
            metadata = export_plan(checkpoint, onnx_artifact, outputs.plan, settings, library, crops, advance)
        yield Exported(outputs.plan, metadata)


def export_plan(
    checkpoint: LoadedCheckpoint,
    source: Exported,
    path: Path,
    settings: ExportSettings,
    library: BuilderLibrary,
    crops: Sequence[NDArray[np.uint8]],
    advance: Callable[[float], Any],
) -> ArtifactMetadata:
    """Builds the plan of an ONNX artifact, writes it with its sidecar and returns the sidecar's content.

    For the arguments see `prove_plan`.

    Raises:
        EngineError, ExportError: as `prove_plan`; or a file cannot be written.
    """
    plan, metadata = prove_plan(checkpoint, source, settings, library, crops, advance)
    try:
        return write_artifact(path, plan, metadata)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error


def prove_plan(
    checkpoint: LoadedCheckpoint,
    source: Exported,
    settings: ExportSettings,
    library: BuilderLibrary,
    crops: Sequence[NDArray[np.uint8]],
    advance: Callable[[float], Any],
) -> tuple[bytes, ArtifactMetadata]:
    """The plan of an ONNX artifact, proven in precision and, where a GPU here runs it, in value; and its metadata.

    `advance` gets the share of the build that was done since its last call; the shares add up to 1. `crops` are uint8
    [H,W,3] RGB.

    Raises:
        EngineError: `library` does not build for one of its targets.
        ExportError: the builder refuses, or a proof fails.
    """
    data = source.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != source.metadata.sha256:
        raise ExportError(f"{source.path} was changed while it was being exported; run the export again")
    islands = find_islands(onnx.load_from_string(data), checkpoint.network)
    plan, metadata = plan_of(data, source.metadata, islands, settings, library, advance)
    measured = plan_parity(checkpoint, plan, metadata, crops, library.builds_for_here)
    return plan, replace(metadata, parity=measured)


def plan_parity(
    checkpoint: LoadedCheckpoint,
    plan: bytes,
    metadata: ArtifactMetadata,
    crops: Sequence[NDArray[np.uint8]],
    for_here: bool,
) -> Parity:
    """The plan's own figures where a GPU here runs it; otherwise "not executed", with the reason if a GPU is there.

    It runs in the runtime, as it ships. That clips the float interface's results to [0, 1], so PyTorch's are clipped
    too. Crops, uint8 [H,W,3] RGB, that are larger than the plan's tile are cut to it.

    Args:
        for_here: whether the plan was built for the GPU of this machine, which then must take it.

    Raises:
        ExportError: the plan was loaded, and fails to run or misses its bound; or the GPU that it was built for refuses
            it (seen with TensorRT-RTX on compute capability 9.0, for which it builds).
    """
    if not cuda_devices():
        return Parity(NOT_EXECUTED)
    crops = [crop[: metadata.tile, : metadata.tile] for crop in crops]
    with temporary_folder() as folder:
        staged = folder / "staged.plan"
        staged.write_bytes(plan)
        write_sidecar(staged, metadata)
        try:
            runtime = MIRNetRuntime(staged, device="cuda", consistency="local")
        except (EngineError, MissingDependencyError) as error:
            if for_here and isinstance(error, EngineError) and not isinstance(error, DeviceMemoryError):
                raise ExportError(f"the plan was built for this machine's GPU, which refuses it: {error}") from error
            return Parity(f"{NOT_EXECUTED}: {error}")
        with runtime:
            expected = parity.references(checkpoint.network, metadata.interface, crops)
            if metadata.interface == "float":
                expected = [each.clip(0, 1) for each in expected]
            try:
                run = parity.in_runtime(runtime)
                measured = parity.measure(run, runtime.info.backend, metadata.interface, crops, expected)
            except EngineError as error:
                raise ExportError(f"the plan does not run on this machine's GPU: {error}") from error
    parity.check(measured, metadata.interface, metadata.precision, "the plan")
    return measured
