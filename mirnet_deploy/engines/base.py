"""What an engine is, and how an artifact is checked before an engine library sees a byte of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.base import Driver, Stream
from mirnet_deploy.devices.host import HostDriver, HostStream, at
from mirnet_deploy.errors import ArtifactError, EngineError, UsageError
from mirnet_deploy.metadata import STATISTICS, TENSOR_NAMES, ArtifactMetadata, read_artifact
from mirnet_deploy.onnx_file import onnx_metadata

if TYPE_CHECKING:
    from mirnet_deploy.lanes import LanePool


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


BYTES_A_VALUE = 92
"""Memory that ONNX Runtime takes for each pixel of a batch times `n_feat` (tests hold it to `lite`)."""

FLOAT: np.dtype[Any] = np.dtype(np.float32)


@dataclass(frozen=True)
class Tensor:
    """A C-contiguous array in a device's memory."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = FLOAT

    @property
    def nbytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize

    def part(self, first: int, count: int) -> Tensor:
        """Some of its rows."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        return Tensor(self.address + first * row, (count, *self.shape[1:]), self.dtype)


class Runner(Protocol):
    """Runs an engine on one stream, one batch after the other."""

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """Runs a batch; the tensors are the artifact's inputs and outputs by name, on the engine's device. Those of the
        context may be absent: then it is the plain network.

        Raises:
            EngineError: the library or the device refuses, for example for want of memory.
        """

    def close(self) -> None:
        """Frees what the runner holds. May be called twice."""


class Engine(Protocol):
    """Runs batches of tiles of one shape on one device. May be shared by threads."""

    @property
    def driver(self) -> Driver:
        """Of the device."""

    lanes: tuple[int, int]
    """Runs that may be under way at once: in all, and those that one picture makes use of."""

    @property
    def pool(self) -> LanePool:
        """The lanes of all who run it."""

    @property
    def graphs(self) -> str:
        """Whether batches are replayed as CUDA graphs: "on", "off", or "refused: " and why."""

    def footprint(self, count: int, height: int, width: int) -> int:
        """Bytes of the device, at most, that one lane takes besides its tensors for batches of a shape."""

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
        uint8 [N,H,W,3] RGB for the image interface; BGR where the artifact is. H and W are multiples of the
        artifact's `size_multiple` and lie in its profile where it has one.

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

    def runner(self, stream: Stream) -> Runner:
        """Something to run batches on `stream`, which is the driver's, on memory of the device.

        Raises:
            EngineError: as `run`.
        """

    def close(self) -> None:
        """Frees the library's objects. May be called twice. No run may be under way, and no runner be open."""


class HostEngine:
    """The part of an engine on the host that follows from `run` and `run_pooled`, which threads may call at once."""

    driver: Driver = HostDriver()
    lanes = 64, 1
    graphs = "off"
    metadata: ArtifactMetadata

    @cached_property
    def pool(self) -> LanePool:
        """See `Engine.pool`."""
        from mirnet_deploy.lanes import LanePool

        return LanePool(cast(Engine, self))

    def footprint(self, count: int, height: int, width: int) -> int:
        """See `Engine.footprint`."""
        return network_footprint(self.metadata, count, height, width)

    def runner(self, stream: Stream) -> Runner:
        """See `Engine.runner`."""
        return _HostRunner(cast(Engine, self), cast(HostStream, stream))


class _HostRunner:
    def __init__(self, engine: Engine, stream: HostStream) -> None:
        self._engine, self._stream = engine, stream

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        self._stream.enqueue(lambda: self._run({name: at(t.address, t.shape, t.dtype) for name, t in tensors.items()}))

    def _run(self, arrays: dict[str, NDArray[Any]]) -> None:
        batch, result = (arrays.pop(name) for name in TENSOR_NAMES[self._engine.metadata.interface])
        if arrays:
            statistics = arrays.pop(STATISTICS)
            result[...], statistics[...] = self._engine.run_pooled(batch, Pools(**arrays))
        else:
            result[...] = self._engine.run(batch)

    def close(self) -> None:
        pass


def batch_dtype(metadata: ArtifactMetadata) -> np.dtype[Any]:
    """Of the pictures that an artifact takes and gives: float32 or uint8, by its interface."""
    return np.dtype(np.float32 if metadata.interface == "float" else np.uint8)


def network_footprint(metadata: ArtifactMetadata, count: int, height: int, width: int) -> int:
    """Bytes that ONNX Runtime takes for a batch of tiles of one shape, beside its inputs and outputs."""
    return BYTES_A_VALUE * metadata.network["n_feat"] * count * height * width


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
