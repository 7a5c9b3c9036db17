"""What an engine is: its metadata, and runs of batches of tiles on one device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import STATISTICS, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.devices.base import Driver, Stream, Tensor
from mirnet_deploy.devices.host import HostDriver, HostStream
from mirnet_deploy.devices.host_kernels import at
from mirnet_deploy.errors import EngineError

BYTES_A_VALUE = 92
"""Memory that ONNX Runtime takes for each pixel of a batch times `n_feat` (tests hold it to `lite`)."""


class Concurrency(NamedTuple):
    """Runs of one engine that may be under way at once, each with memory of its own; further ones wait."""

    total: int
    picture: int
    """Of them, those that one picture makes use of."""


ON_HOST = Concurrency(64, 1)
"""A run on the CPU takes all cores that it is given, so that one picture gains nothing from a second one."""
ON_DEVICE = Concurrency(4, 2)
"""On a GPU the copies of one run overlap with the computing of another."""


class Runner(Protocol):
    """Runs an engine on one stream, one batch after the other."""

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """Runs a batch. `tensors` are the artifact's inputs and outputs by name, on the engine's device. Those of the
        context may be left out: then it is the plain network.

        Raises:
            EngineError: the library or the device refuses, for example for want of memory.
        """

    def close(self) -> None:
        """Frees what the runner holds. May be called twice."""


class Engine(Protocol):
    """Runs batches of tiles of one shape on one device. May be shared by threads."""

    @property
    def metadata(self) -> ArtifactMetadata:
        """What the loaded artifact says of itself, checked."""

    @property
    def driver(self) -> Driver:
        """Of the device."""

    @property
    def device(self) -> str:
        """ "cpu", or "cuda:0" and so on."""

    @property
    def backend(self) -> str:
        """Library, version and provider, for example "onnxruntime 1.32.0 CPUExecutionProvider"."""

    @property
    def concurrency(self) -> Concurrency:
        """How many runners are made of it at most."""

    @property
    def graphs(self) -> str:
        """Whether batches are replayed as CUDA graphs: "on", "off", or "refused: " and why."""

    def footprint(self, count: int, height: int, width: int) -> int:
        """Bytes of the device, at most, that one runner takes besides its tensors, for batches of a shape."""

    def runner(self, stream: Stream) -> Runner:
        """Something to run batches on `stream`, which is the driver's, on memory of the device.

        Raises:
            EngineError: the library or the device refuses, or the engine is closed.
        """

    def close(self) -> None:
        """Frees the library's objects. May be called twice. No run may be under way, and no runner be open."""


class HostEngine(ABC):
    """An engine on arrays of the host: what follows from `run` and `run_pooled`, which threads may call at once."""

    metadata: ArtifactMetadata
    device: str
    backend: str
    driver: Driver = HostDriver()
    concurrency = ON_HOST
    graphs = "off"

    @abstractmethod
    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Runs one batch and returns a new array of the same shape and dtype.

        `batch` is C-contiguous: float32 [N,3,H,W] RGB in [0, 1] for the float interface (the result is not clamped),
        uint8 [N,H,W,3] RGB for the image interface; BGR where the artifact is. H and W are multiples of the
        artifact's `size_multiple`.

        Raises:
            EngineError: the library or the device refuses, for example for want of memory; or the engine is closed.
        """

    @abstractmethod
    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Runs one batch as `run`, with `pools` to say which means the global pools use.

        Returns:
            The result as of `run`, and the `STATISTICS`, float32 [N,K].

        Raises:
            EngineError: as `run`; or the artifact has no context.
        """

    @abstractmethod
    def close(self) -> None:
        """See `Engine.close`."""

    def footprint(self, count: int, height: int, width: int) -> int:
        """See `Engine.footprint`."""
        return network_footprint(self.metadata, count, height, width)

    def runner(self, stream: Stream) -> Runner:
        """See `Engine.runner`."""
        return _HostRunner(self, cast(HostStream, stream))


class _HostRunner:
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


def network_footprint(metadata: ArtifactMetadata, count: int, height: int, width: int) -> int:
    """Bytes that ONNX Runtime takes for a batch of tiles of one shape, beside its inputs and outputs."""
    return BYTES_A_VALUE * metadata.network["n_feat"] * count * height * width


def no_context_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run with given means where the artifact has no context."""
    return EngineError(
        f"{metadata.name} was exported with --plain and cannot share means between tiles; export it again without, or "
        "use consistency='local'"
    )


def closed_error(metadata: ArtifactMetadata) -> EngineError:
    """The error of a run after close."""
    return EngineError(f"the engine of {metadata.name} is closed; open a new one")
