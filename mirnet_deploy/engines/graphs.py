"""Batches as CUDA graphs: one call in place of the hundreds of launches that a network takes.

A batch of one shape at the same addresses runs normally at first, is then captured, and is replayed from then on. What
is captured is a runner that serves batches of this shape alone, a twin of the first one, since a captured run goes on
using what its runner holds:

- With TensorRT a batch runs normally twice, and the twin makes the second run and the capture: when the shapes of an
  execution context change, its inner state changes too (NVIDIA/TensorRT issue 3798).
- With ONNX Runtime the twin makes the first run as well. Another shape costs a session seconds, and then frees the
  kernels that cuDNN had compiled for the one before: a replay of those ends the process (benchmarks/GPU.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from mirnet_deploy.devices.base import Driver, Graph, Stream, Tensor
from mirnet_deploy.engines.base import Runner
from mirnet_deploy.errors import DeviceMemoryError, EngineError, warn

MOST = 8
"""Shapes of batches that a runner remembers, each with at most one twin and one graph: of tiles, the last of a
picture, of thumbnails and of patches, for two sizes of pictures."""
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Name and shape of every tensor of a batch."""


class Capturable(Runner, Protocol):
    """A `Runner` whose runs can be captured."""

    one_shape: bool
    """Whether a runner can serve batches of one shape only. If so, every shape has a twin of its own for all runs, with
    graphs or without; if not, twins are made for graphs only."""

    def capturable(self) -> bool:
        """Whether a batch of the shape that was enqueued last can be captured now."""

    def twin(self) -> Capturable:
        """Another runner on the same stream. It takes turns with this one and is closed before it.

        Raises:
            EngineError: no further runner can be made.
        """


class GraphPolicy:
    """Whether the runners of one engine use graphs. The first refusal ends that for all of them, with a warning."""

    def __init__(self, wanted: bool) -> None:
        self.state = "on" if wanted else "off"
        """"on", "off", or "refused: " and the reason."""
        self._lock = Lock()

    @property
    def on(self) -> bool:
        """Whether graphs are used from now on."""
        return self.state == "on"

    def refuse(self, reason: str) -> None:
        """Ends the use of graphs and warns; does nothing when they are not in use."""
        with self._lock:
            if not self.on:
                return
            self.state = f"refused: {reason}"
        warn(f"CUDA graphs are off, and every kernel is launched by itself: {reason}")


@dataclass
class _Shape:
    """What there is for batches of one shape."""

    runner: Capturable | None = None
    """The twin that serves them alone; None until one is needed."""
    graph: Graph | None = None
    addresses: tuple[int, ...] = ()
    """Of the tensors that the graph reads and writes."""

    def close(self) -> None:
        try:
            self.drop_graph()
        finally:
            if self.runner:
                self.runner.close()

    def drop_graph(self) -> None:
        graph, self.graph = self.graph, None
        if graph:
            graph.close()


class GraphRunner:
    """A `Runner` that passes batches on to `runner` or to twins of it, and replays those that come again."""

    def __init__(self, runner: Capturable, driver: Driver, stream: Stream, policy: GraphPolicy) -> None:
        self._runner, self._driver, self._stream, self._policy = runner, driver, stream, policy
        self._held: OrderedDict[_Shapes, _Shape] = OrderedDict()

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        twins = self._runner.one_shape
        if not (twins or self._policy.on):
            self._runner.enqueue(tensors)
            return
        key = tuple((name, tensor.shape) for name, tensor in tensors.items())
        if key not in self._held and not twins:
            self._runner.enqueue(tensors)
            self._remember(key)
            return
        try:
            self._enqueue(key, tensors)
        except DeviceMemoryError:
            if not self._forget(all_but=key):
                raise
            self._enqueue(key, tensors)

    def close(self) -> None:
        """See `Runner.close`. What can be closed is, also where a graph cannot, as after an error of the device that
        stays."""
        with ExitStack() as closing:
            closing.callback(self._runner.close)
            for shape in self._held.values():
                closing.callback(shape.close)
            self._held.clear()

    def _remember(self, key: _Shapes) -> _Shape:
        while len(self._held) >= MOST:
            self._stream.synchronize()
            self._held.popitem(last=False)[1].close()  # the one that has not been used for the longest time
        shape = self._held[key] = _Shape()
        return shape

    def _enqueue(self, key: _Shapes, tensors: Mapping[str, Tensor]) -> None:
        """Replays a batch, or has its shape's twin run and capture it."""
        shape = self._held.get(key) or self._remember(key)
        self._held.move_to_end(key)
        addresses = tuple(tensor.address for tensor in tensors.values())
        if shape.graph and self._policy.on and shape.addresses == addresses:
            shape.graph.launch(self._stream)
            return
        if shape.runner is None:
            try:
                shape.runner = self._runner.twin()
            except DeviceMemoryError:
                raise  # smaller batches may have room
            except EngineError as error:
                if self._runner.one_shape:
                    raise
                self._policy.refuse(str(error))
                self._runner.enqueue(tensors)
                return
        shape.runner.enqueue(tensors)
        if self._policy.on and shape.runner.capturable():
            self._capture(shape, shape.runner, tensors, addresses)

    def _capture(
        self, shape: _Shape, runner: Capturable, tensors: Mapping[str, Tensor], addresses: tuple[int, ...]
    ) -> None:
        """Captures a batch that `runner` has just run."""
        if shape.graph:
            self._stream.synchronize()  # it may be under way
            shape.drop_graph()
        try:
            shape.graph = self._driver.capture(self._stream, lambda: runner.enqueue(tensors))
            shape.addresses = addresses
        except DeviceMemoryError:
            raise
        except EngineError as error:
            self._policy.refuse(str(error))

    def _forget(self, all_but: _Shapes) -> bool:
        """Drops all shapes but one, and says whether there were any: their memory may be what is lacking."""
        others = [key for key in self._held if key != all_but]
        if others:
            self._stream.synchronize()
        for key in others:
            self._held.pop(key).close()
        return bool(others)
