"""Opens what is to be measured, as its suffix and the word behind an @ say."""

from __future__ import annotations

from pathlib import Path

from mirnet_deploy.artifacts.models import is_checkpoint, onnx_beside
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.benchmarks.subjects.base import CHECKPOINT_HOW, HOW, Subject, SubjectSpec
from mirnet_deploy.benchmarks.subjects.checkpoint import CheckpointSubject
from mirnet_deploy.benchmarks.subjects.rivals import AloneSubject, NativeSubject, SessionSubject
from mirnet_deploy.benchmarks.subjects.runtime import RuntimeSubject
from mirnet_deploy.errors import EngineError, UsageError
from mirnet_deploy.machine import cuda_devices


def open_subject(spec: SubjectSpec) -> Subject:
    """Opens what `spec.engine` names.

    Raises:
        EngineError: the device is not there; for a plan, the text has the command that measures its ONNX file instead.
        ArtifactError, CheckpointError, MissingDependencyError: the file or a library is missing or wrong.
        UsageError: the word behind the @ is unknown, or does not go with such a file.
    """
    path, how = Path(spec.model), spec.how
    checkpoint = is_checkpoint(path)
    if how is None and "@" in path.name and not path.exists():
        known = "; ".join(f"@{word}: {meaning}" for word, meaning in HOW.items())
        raise UsageError(f"engine is {spec.engine!r}; behind an @ may stand {known}")
    if how is not None and checkpoint != (how in CHECKPOINT_HOW):
        raise UsageError(f"engine is {spec.engine!r}; @{how} is {HOW[how]}")
    if checkpoint:
        return CheckpointSubject(spec)
    if path.suffix == ".plan":
        _refuse_without_gpu(path)
    if how == "session":
        return SessionSubject(spec)
    if how == "native":
        return NativeSubject(spec)
    return AloneSubject(spec) if how == "alone" else RuntimeSubject(spec)


def _refuse_without_gpu(plan: Path) -> None:
    """Raises an error that names the ONNX file to measure instead; a plan that is damaged is refused before."""
    metadata = read_sidecar(plan)
    if not cuda_devices():
        onnx = onnx_beside(plan, metadata.onnx_sha256) or plan.with_suffix(".onnx")
        raise EngineError(
            f"{plan} is a TensorRT plan and this machine has no CUDA GPU; "
            f"measure its ONNX file instead: mirnet-deploy bench --engine {onnx}"
        )
