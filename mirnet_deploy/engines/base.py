"""What an engine is: its metadata, and runs of batches of tiles on one device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import STATISTICS, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.devices.base import Driver, Stream, Tensor
from mirnet_deploy.devices.host import HostDriver, HostStream
from mirnet_deploy.devices.host_kernels import at
from mirnet_deploy.errors import ArtifactError, EngineError

BYTES_PER_VALUE = 88
"""Bytes that ONNX Runtime takes per pixel of a batch and per feature of the network (`n_feat`; tested on `lite`)."""


NamedTensor = tuple[str, str, int]
"""Name of an input or output, its type as the library calls it, and its rank."""
BatchShape = tuple[int, int, int]
"""Tiles in a batch, and their height and width."""


class Concurrency(NamedTuple):
    """How many runs of one engine may be under way at once, each with its own memory; further ones wait."""

    total: int
    picture: int
    """How many of them one picture uses at most."""


ON_HOST = Concurrency(64, 1)
"""A run on the CPU uses all the cores that it is given, so one picture gains nothing from a second run."""
ON_DEVICE = Concurrency(4, 2)
"""On a GPU the copies of one run overlap with the computation of another."""


class Runner(Protocol):
    """Runs an engine on one stream, one batch after another."""

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """Enqueues a run of one batch.

        `tensors` are the artifact's inputs and outputs by name, on the engine's device. `CONTEXT_INPUTS` and
        `STATISTICS` may be left out together: then the plain network runs.

        Raises:
            EngineError: the library or the device refuses, for example because it is out of memory.
        """

    def close(self) -> None:
        """Frees what the runner holds. May be called twice."""


class Engine(Protocol):
    """Runs batches of tiles of one shape on one device. May be shared by threads."""

    @property
    def metadata(self) -> ArtifactMetadata:
        """The metadata of the loaded artifact, checked."""

    @property
    def driver(self) -> Driver:
        """The driver of the device."""

    @property
    def device(self) -> str:
        """ "cpu", or "cuda:0" and so on."""

    @property
    def backend(self) -> str:
        """Library, version and provider, for example "onnxruntime 1.32.0 CPUExecutionProvider"."""

    @property
    def concurrency(self) -> Concurrency:
        """How many runners the engine may have."""

    @property
    def step(self) -> float:
        """The distance of neighbouring values just below 1 in a precision too coarse for a picture of 8 bits: 2**-8 in
        bfloat16; else 0."""

    @property
    def graphs(self) -> str:
        """Whether batches are replayed as CUDA graphs: "on", "off", or "refused: " and the reason."""

    def footprint(self, *shapes: BatchShape) -> int:
        """Bytes of the device's memory that one runner takes besides its tensors, if it has run batches of all these
        shapes. The most that a plan takes; an estimate for an ONNX file.
        """

    def runner(self, stream: Stream) -> Runner:
        """A new runner on `stream`, which must be a stream of `driver`.

        Raises:
            EngineError: the library or the device refuses, or the engine is closed.
        """

    def close(self) -> None:
        """Frees the library's objects. May be called twice. All runs must be done and all runners closed."""


class HostEngine(ABC):
    """An engine that works on arrays in host memory.

    Subclasses define `run`, `run_pooled` and `close`; threads may call the first two at the same time.
    """

    metadata: ArtifactMetadata
    device: str
    backend: str
    driver: Driver = HostDriver()
    concurrency = ON_HOST
    graphs = "off"
    step = 0.0
    bytes_per_value = BYTES_PER_VALUE
    """Bytes that a run takes per pixel of its batch and per feature of the network (`n_feat`): an estimate."""
    whole_alone = False
    """Whether pictures that come one at a time run whole in `limits.WHOLE_BYTES_ALONE`: where that was measured."""

    @abstractmethod
    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Runs one batch and returns a new array of the same shape and dtype.

        `batch` is C-contiguous: float32 [N,3,H,W] RGB in [0, 1] for the float interface (the result is not clamped),
        uint8 [N,H,W,3] RGB for the image interface. It is BGR where the artifact's `channel_order` says so. H and W
        are multiples of the artifact's `size_multiple`.

        Raises:
            EngineError: the library or the device refuses, for example because it is out of memory; or the engine is
                closed.
        """

    @abstractmethod
    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Runs one batch like `run`; `pools` says which means the global pools use.

        Returns:
            The result as from `run`, and the `STATISTICS`: float32 [N,K], the means that the pools measured.

        Raises:
            EngineError: as `run`; or the artifact has no context.
        """

    @abstractmethod
    def close(self) -> None:
        """See `Engine.close`."""

    def footprint(self, *shapes: BatchShape) -> int:
        """See `Engine.footprint`."""
        return max(network_footprint(self.metadata, shape) for shape in shapes)

    def runner(self, stream: Stream) -> Runner:
        """See `Engine.runner`."""
        return _HostRunner(self, cast(HostStream, stream))


class _HostRunner:
    """See `Runner`: runs a `HostEngine` on the memory of the tensors, without a copy of the batch."""

    def __init__(self, engine: HostEngine, stream: HostStream) -> None:
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


def network_footprint(metadata: ArtifactMetadata, shape: BatchShape) -> int:
    """Estimated bytes that ONNX Runtime takes for a batch of one shape, besides its inputs and outputs."""
    return BYTES_PER_VALUE * metadata.network["n_feat"] * math.prod(shape)


def no_context_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run with given means on an artifact without a context."""
    return EngineError(
        f"{metadata.name} was exported with --plain and cannot share means between tiles; export it again without, or "
        "use consistency='local'"
    )


def check_tensors(
    metadata: ArtifactMetadata, side: str, actual: Sequence[NamedTensor], expected: Sequence[NamedTensor]
) -> None:
    """Checks the inputs or outputs (`side`) of a loaded graph against those that its interface has.

    Raises:
        ArtifactError: names, types, ranks or their order differ.
    """
    if actual != expected:
        found, wanted = (
            ", ".join(f"{name} {kind} of rank {rank}" for name, kind, rank in each) or "none"
            for each in (actual, expected)
        )
        raise ArtifactError(f"{metadata.name} has {side} {found}; the interface {metadata.interface!r} has {wanted}")


def flaws_error(engine: Engine) -> EngineError:
    """The error for results with values that are NaN or infinite."""
    metadata = engine.metadata
    return EngineError(
        f"{metadata.name} ({metadata.precision}) gave values that are NaN or infinite on {engine.device}; "
        "export it again in FP32"
    )


def closed_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run on a closed engine."""
    return EngineError(f"the engine of {metadata.name} is closed; open a new one")
