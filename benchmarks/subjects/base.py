"""What can be measured: a bundled model, an ONNX file or a plan through the runtime, a checkpoint through PyTorch; by a
word behind an @, the same files in other hands (`HOW`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import read_sidecar
from mirnet_deploy.errors import ArtifactError, EngineError, UsageError
from mirnet_deploy.machine import cuda_device_count

CHECKPOINT_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".safetensors"})
HOW = {
    "fp16": "a checkpoint in PyTorch, half precision (FP32 islands), channels last",
    "compiled": "a checkpoint through torch.compile, half precision, channels last",
    "local128": "a checkpoint in PyTorch whose pools see the 128 pixels around each pixel, as TLC",
    "local256": "a checkpoint in PyTorch whose pools see 256 pixels",
    "session": "an ONNX file by ONNX Runtime's InferenceSession.run alone, the whole picture at once",
    "alone": "an artifact's engine alone, on what the runtime's pipeline has put on the device before",
}
"""What may stand behind an @ in an engine's name."""
CHECKPOINT_HOW = frozenset({"fp16", "compiled", "local128", "local256"})


@dataclass(frozen=True)
class SubjectSpec:
    """How to open an engine, in plain values that travel to another process."""

    engine: str
    """A bundled model's name, an .onnx or .plan file, or a checkpoint; with "@" and a word of `HOW` in other hands."""
    device: str = "auto"
    tile: str | int = "auto"
    threads: int | None = None
    graphs: bool = True

    @property
    def how(self) -> str | None:
        """The word behind the @."""
        _, at, how = self.engine.rpartition("@")
        return how if at and how in HOW else None

    @property
    def model(self) -> str:
        """What stands before it."""
        return self.engine.removesuffix(f"@{self.how}")


@dataclass(frozen=True)
class SubjectReport:
    """What was measured, as shown and as stored."""

    name: str
    path: str | None
    sha256: str | None
    kind: str
    """"onnx", "plan" or "checkpoint"."""
    interface: str
    precision: str
    precision_proof: str
    """From the sidecar, which holds what the export proved; of a checkpoint, its parameters' types."""
    weights: str
    """"ema" or "plain"."""
    network: Mapping[str, int]
    backend: str
    device: str
    tile: str
    """As asked for, and the size of the tiles of a picture that does not run whole."""
    graphs: str = "off"
    """Whether batches were replayed as CUDA graphs: "on", "off", or "refused: " and why."""


class Subject(Protocol):
    """An opened engine with its report; a context manager that closes it."""

    report: SubjectReport

    @property
    def name(self) -> str: ...

    @property
    def graphs(self) -> str: ...

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[Any]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_subject(spec: SubjectSpec) -> Subject:
    """Opens what `spec.engine` names, by its suffix, and by what stands behind an @.

    Raises:
        EngineError: the device is not there; of a plan, the text names the command for its ONNX file.
        ArtifactError, CheckpointError, MissingDependencyError: the file or a library is missing or wrong.
        UsageError: what stands behind the @ is nothing that can be done with such a file.
    """
    from mirnet_deploy.benchmarks import rivals, torch_subject

    path, how = Path(spec.model), spec.how
    checkpoint = path.suffix.lower() in CHECKPOINT_SUFFIXES
    if how is None and "@" in path.name and not path.exists():
        known = "; ".join(f"@{word}: {meaning}" for word, meaning in HOW.items())
        raise UsageError(f"engine is {spec.engine!r}; behind an @ may stand {known}")
    if how is not None and checkpoint != (how in CHECKPOINT_HOW):
        raise UsageError(f"engine is {spec.engine!r}; @{how} is {HOW[how]}")
    if checkpoint:
        return torch_subject.CheckpointSubject(spec)
    if path.suffix == ".plan":
        _refuse_without_gpu(path)
    if how == "session":
        return rivals.SessionSubject(spec)
    return rivals.AloneSubject(spec) if how == "alone" else RuntimeSubject(spec)


def _refuse_without_gpu(plan: Path) -> None:
    metadata = read_sidecar(plan)
    if cuda_device_count() == 0:
        onnx = _source_of(plan, metadata.onnx_sha256)
        raise EngineError(
            f"{plan} is a TensorRT plan and this machine has no CUDA GPU; "
            f"measure its ONNX file instead: mirnet-deploy bench --engine {onnx}"
        )


def _source_of(plan: Path, sha256: str | None) -> Path:
    """The ONNX file beside the plan that it was built from, by the sidecars' hashes; otherwise the one of its name."""
    for sidecar in sorted(plan.parent.glob("*.onnx.json")):
        onnx = sidecar.with_suffix("")
        try:
            if sha256 is not None and read_sidecar(onnx).sha256 == sha256:
                return onnx
        except ArtifactError:  # a file of another kind; it is not ours to judge here
            continue
    return plan.with_suffix(".onnx")


class RuntimeSubject:
    """An artifact through `MIRNetRuntime`, as any user runs it.

    Raises:
        ArtifactError, EngineError, MissingDependencyError, UsageError: as `MIRNetRuntime` raises them.
    """

    def __init__(self, spec: SubjectSpec) -> None:
        from mirnet_deploy.runtime import MIRNetRuntime

        tile: Any = spec.tile
        self.runtime = MIRNetRuntime(
            spec.model, device=spec.device, tile=tile, threads=spec.threads, graphs=spec.graphs
        )
        info = self.runtime.info
        self.report = SubjectReport(
            name=spec.engine,
            path=info.path,
            sha256=info.metadata.sha256,
            kind=info.metadata.kind,
            interface=info.metadata.interface,
            precision=info.metadata.precision,
            precision_proof=info.metadata.precision_proof,
            weights=info.metadata.weights,
            network=dict(info.metadata.network),
            backend=info.backend,
            device=info.device,
            tile=f"{info.tile} (tiles {info.tile_size[1]}x{info.tile_size[0]})" if info.tile_size else str(info.tile),
        )

    @property
    def name(self) -> str:
        """As in the report."""
        return self.report.name

    @property
    def graphs(self) -> str:
        """As of `MIRNetRuntime.graphs`, now."""
        return self.runtime.graphs

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H,W,3] RGB in and out, of any size."""
        output: NDArray[np.uint8] = self.runtime.enhance(image)
        return output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()
