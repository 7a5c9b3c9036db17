"""What a subject of a measurement is: how it is named, how it is opened, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.settings import RuntimeSettings

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
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)

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

    @classmethod
    def of_artifact(
        cls, name: str, path: str, metadata: ArtifactMetadata, *, backend: str, device: str, tile: str
    ) -> SubjectReport:
        """That of an artifact, whose metadata say the rest."""
        return cls(
            name=name,
            path=path,
            sha256=metadata.sha256,
            kind=metadata.kind,
            interface=metadata.interface,
            precision=metadata.precision,
            precision_proof=metadata.precision_proof,
            weights=metadata.weights,
            network=dict(metadata.network),
            backend=backend,
            device=device,
            tile=tile,
        )


class Subject(Protocol):
    """An opened engine with its report; a context manager that closes it."""

    report: SubjectReport

    @property
    def name(self) -> str:
        """As in the report."""

    @property
    def graphs(self) -> str:
        """As in the report, now."""

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 [H,W,3] RGB in and out, of any size."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
