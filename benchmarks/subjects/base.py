"""What a subject of a measurement is: how it is named, how it is opened, and what it reports about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.errors import EngineError
from mirnet_deploy.settings import RuntimeSettings

HOW = {
    "fp16": "a checkpoint in PyTorch, half precision (FP32 islands), channels last",
    "compiled": "a checkpoint through torch.compile (on CUDA with its graphs), half precision, channels last",
    "channels-last": "a checkpoint in PyTorch, float32, channels last",
    "compiled-fp32": "a checkpoint through torch.compile (on CUDA with its graphs), float32, channels last",
    "local128": "a checkpoint in PyTorch whose pools see 128x128 pixels around each pixel, as in TLC",
    "local256": "a checkpoint in PyTorch whose pools see 256x256 pixels around each pixel",
    "session": "an ONNX file by ONNX Runtime's InferenceSession.run alone, the whole picture at once",
    "native": "an ONNX file without context inputs by OpenVINO's own API alone, the whole picture at once",
    "onnxruntime": "an ONNX file as it is without the word, on ONNX Runtime",
    "openvino": "an ONNX file as it is without the word, on OpenVINO",
    "bf16": "an ONNX file as it is without the word, on OpenVINO in bfloat16",
    "alone": "an artifact's engine alone, on data that the runtime's pipeline put on the device beforehand",
}
"""Word that may stand behind an @ in an engine's name -> what it stands for."""
CHECKPOINT_HOW = frozenset({"fp16", "compiled", "local128", "local256", "channels-last", "compiled-fp32"})
"""The words of `HOW` that are for checkpoints; the others are for artifacts."""


@dataclass(frozen=True)
class SubjectSpec:
    """How to open an engine, in plain values that can be sent to another process."""

    engine: str
    """A bundled model's name, an .onnx or .plan file, or a checkpoint; "@" and a word of `HOW` may follow."""
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)

    @property
    def how(self) -> str | None:
        """The word of `HOW` behind the @; None where there is none."""
        _, at, how = self.engine.rpartition("@")
        return how if at and how in HOW else None

    @property
    def model(self) -> str:
        """The engine without the @ and that word."""
        return self.engine.removesuffix(f"@{self.how}") if self.how else self.engine


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
    """From the sidecar, which holds what the export proved; for a checkpoint, the types of its parameters."""
    weights: str
    """"ema" or "plain"."""
    network: Mapping[str, int]
    backend: str
    device: str
    tile: str
    """The setting as asked for, and the size of the tiles of a picture that does not run whole."""
    graphs: str = "off"
    """Whether batches were replayed as CUDA graphs: "on", "off", or "refused: " and why."""
    transfers: str | None = None
    """Host memory that pictures are copied from and to: "page-locked" or "pageable"; None on a CPU, which copies
    nothing, and where the library does not tell."""
    waiting: str | None = None
    """How the host waits for a GPU: "driver's default" where nothing else was asked for, else None."""
    file_bytes: int | None = None
    """Size of the file."""

    @classmethod
    def of_artifact(
        cls, name: str, path: str, metadata: ArtifactMetadata, *, backend: str, device: str, tile: str
    ) -> SubjectReport:
        """The report on an artifact; its metadata hold the rest."""
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
            file_bytes=size_of(path),
        )


def size_of(path: str) -> int | None:
    """Bytes of the file; None where there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def precision_of(report: SubjectReport) -> str:
    """The precision that an ONNX file's convolutions compute in, where the library is held to that of the file.

    Raises:
        EngineError: the library has no kernels in that precision on every processor, and does not tell what it took.
    """
    if report.device == "cpu" and report.precision != "fp32":
        raise EngineError(f"in what {report.backend.split()[0]} computes a file in {report.precision} is not told")
    return report.precision


class Subject(Protocol):
    """An opened engine with its report; a context manager that closes it."""

    report: SubjectReport
    batch: int
    """Tiles in one run."""
    concurrent: bool
    """Whether threads may share it."""

    @property
    def name(self) -> str:
        """See `SubjectReport.name`."""

    @property
    def graphs(self) -> str:
        """See `SubjectReport.graphs`; a picture may change it."""

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 [H,W,3] RGB in and out, of any size."""

    def shapes_of(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """Enhances a picture, and says of every run of the network that this took the shapes of what it was given, by
        the inputs' names; outputs may be among them."""

    def computes_in(self) -> str:
        """The narrowest precision ("fp32", "bf16" or "fp16") that its convolutions compute in. After a picture.

        Raises:
            EngineError: that is not known; the text says why.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
