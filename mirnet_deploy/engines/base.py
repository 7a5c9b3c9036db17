"""What an engine is, and how an artifact is checked before an engine library sees a byte of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ArtifactError, EngineError, UsageError
from mirnet_deploy.metadata import ArtifactMetadata, read_artifact
from mirnet_deploy.onnx_file import onnx_metadata


class Pools(NamedTuple):
    """What the global pools of a run use and measure: the `CONTEXT_INPUTS` of an artifact with a context."""

    context: NDArray[np.float32]
    """[1,K]: means for all pools."""
    mode: NDArray[np.float32]
    """[2]: the weights of measured and given means in those that are used (`MEASURED`, `GIVEN`, `CORRECTED`)."""
    rows: NDArray[np.float32]
    """[N,H]: with `cols`, a separable weight of every pixel in the measured means; not all 0."""
    cols: NDArray[np.float32]
    """[N,W]."""


MEASURED = np.array([1, 0], np.float32)
"""`mode` of the plain network: pools use the means that they measure."""
GIVEN = np.array([0, 1], np.float32)
"""`mode` in which pools use the means in the context."""
CORRECTED = np.array([1, 1], np.float32)
"""`mode` in which pools use the means that they measure plus the context, which is then a correction."""


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

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Runs one batch as `run`, with a say in what the global pools use, and tells what they measured.

        Returns:
            The result as of `run`, and float32 [N,K], K as the metadata says: the means that the pools measured, with
            those that they used in force.

        Raises:
            EngineError: as `run`; or the artifact has no context.
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


def no_context_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a pooled run where the artifact has no context."""
    return EngineError(
        f"{metadata.name} was exported with --plain and cannot share means between tiles; export it again without, or "
        "use consistency='local'"
    )


def closed_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run after close."""
    return EngineError(f"the engine of {metadata.name} is closed; open a new one")


def first_line(error: BaseException) -> str:
    """The first line that says something, for errors of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
