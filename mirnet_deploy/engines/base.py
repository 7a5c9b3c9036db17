"""What an engine is, and how an artifact is checked before an engine library sees a byte of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from mirnet_deploy.errors import ArtifactError, EngineError, UsageError
from mirnet_deploy.metadata import ArtifactMetadata, read_artifact
from mirnet_deploy.onnx_file import onnx_metadata


class Engine(Protocol):
    """Runs batches of tiles of one shape on one device. May be shared by threads."""

    @property
    def metadata(self) -> ArtifactMetadata:
        """What the loaded artifact says about itself, checked."""

    @property
    def device(self) -> str:
        """ "cpu", or "cuda:0" and so on."""

    @property
    def backend(self) -> str:
        """Library, version and provider, for example "onnxruntime 1.32.0 CPUExecutionProvider"."""

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Runs one batch and returns a new array of the same shape and dtype.

        `batch` is C-contiguous: float32 [N,3,H,W] RGB in [0, 1] for the float interface (the result is not clamped),
        uint8 [N,H,W,3] RGB for the image interface. H and W are multiples of the artifact's `size_multiple` and lie
        in its profile where it has one.

        Raises:
            EngineError: the library or the device refuses, for example for want of memory; or the engine is closed.
        """

    def close(self) -> None:
        """Frees the library's objects. May be called twice. No run may be under way."""


def load_onnx(path: Path) -> tuple[bytes, ArtifactMetadata]:
    """The bytes of an ONNX file and its sidecar's metadata; the hash and the metadata inside the file agree with it.

    The bytes that were hashed are the bytes to hand to the engine library: the file is not read twice.

    Raises:
        ArtifactError: missing, damaged, foreign, or the sidecar is another file's.
    """
    data, metadata = read_artifact(path)
    inside = onnx_metadata(data, str(path))
    if inside != replace(metadata, sha256=None):
        names = [name for name in vars(inside) if name != "sha256" and getattr(inside, name) != getattr(metadata, name)]
        raise ArtifactError(
            f"{path} and its sidecar disagree on {', '.join(names) or 'sha256'}: one was edited; export it again"
        )
    return data, metadata


def parse_device(device: str) -> int | None:
    """ "cpu" -> None, "cuda" -> 0, "cuda:N" -> N.

    Raises:
        UsageError: the text is something else.
    """
    kind, _, index = device.partition(":")
    if device == "cpu":
        return None
    if kind == "cuda" and (device == "cuda" or (index.isascii() and index.isdigit())):
        return int(index or 0)
    raise UsageError(f"device is {device!r}; expected auto, cpu, cuda or cuda:N")


def closed_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run after close."""
    return EngineError(f"the engine of {metadata.name} is closed; open a new one")


def first_line(error: BaseException) -> str:
    """The first line that says something, for errors of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
