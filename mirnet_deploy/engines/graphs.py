"""Batches as CUDA graphs: one call in place of the hundreds of launches that a network takes.

A batch of one shape at the same addresses runs normally at first, is then captured, and is replayed from then on.

With TensorRT it runs normally twice, and the second run and the capture are made by a runner that serves this graph
alone: when the shapes of an execution context change, its inner state changes too, and the graphs captured from it go
on using that state (NVIDIA/TensorRT issue 3798). With ONNX Runtime it is captured right after the first run, because
every change of shapes costs seconds there (`engines.onnxruntime_cuda`), and a replay changes none.
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

MOST = 16
"""Batches that a runner remembers, each with at most one graph: of tiles, the last of a picture, of thumbnails and of
patches, for a few sizes of pictures."""
_Key = tuple[tuple[str, int, tuple[int, ...]], ...]
"""Name, address and shape of every tensor of a batch."""


class Capturable(Runner, Protocol):
    """A `Runner` whose runs can be captured."""

    at_once: bool
    """Whether a batch is captured right after its first run, by the runner itself. If not, a `twin` makes its second
    run and the capture."""

    def capturable(self) -> bool:
        """Whether a batch of the shape that was enqueued last can be captured now."""

    def twin(self) -> Capturable:
        """Another runner on the same stream and scratch memory. It takes turns with this one and is closed before it.
        Not called where `at_once`.

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
class _Repeated:
    """A batch that has run before: the twin that runs it from the second time on, and its graph, if there are such."""

    runner: Capturable | None = None
    graph: Graph | None = None

    def close(self) -> None:
        try:
            if self.graph:
                self.graph.close()
        finally:
            if self.runner:
                self.runner.close()


class GraphRunner:
    """A `Runner` that passes batches on to `runner`, and replays those that come again."""

    def __init__(self, runner: Capturable, driver: Driver, stream: Stream, policy: GraphPolicy) -> None:
        self._runner, self._driver, self._stream, self._policy = runner, driver, stream, policy
        self._repeated: OrderedDict[_Key, _Repeated] = OrderedDict()

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        if not self._policy.on:
            self._runner.enqueue(tensors)
            return
        key = tuple((name, tensor.address, tensor.shape) for name, tensor in tensors.items())
        batch = self._repeated.get(key)
        if batch is None:
            self._runner.enqueue(tensors)
            batch = self._repeated[key] = _Repeated()
            if self._runner.at_once:
                self._capture(batch, self._runner, tensors)
            if len(self._repeated) > MOST:
                self._forget()
            return
        self._repeated.move_to_end(key)
        if batch.graph:
            batch.graph.launch(self._stream)
        elif self._runner.at_once:  # it could not be captured
            self._runner.enqueue(tensors)
        else:
            self._run_and_capture(batch, tensors)

    def close(self) -> None:
        """See `Runner.close`. What can be closed is, also where a graph cannot, as after an error of the device that
        stays."""
        with ExitStack() as closing:
            closing.callback(self._runner.close)
            for batch in self._repeated.values():
                closing.callback(batch.close)
            self._repeated.clear()

    def _run_and_capture(self, batch: _Repeated, tensors: Mapping[str, Tensor]) -> None:
        """Runs the batch and captures it right after. A first run after a change of shapes cannot be captured."""
        try:
            batch.runner = batch.runner or self._runner.twin()
        except DeviceMemoryError:
            raise  # smaller batches may have room
        except EngineError as error:
            self._policy.refuse(str(error))
            self._runner.enqueue(tensors)
            return
        batch.runner.enqueue(tensors)
        self._capture(batch, batch.runner, tensors)

    def _capture(self, batch: _Repeated, runner: Capturable, tensors: Mapping[str, Tensor]) -> None:
        """Captures a batch that `runner` has just run."""
        if not runner.capturable():
            return
        try:
            batch.graph = self._driver.capture(self._stream, lambda: runner.enqueue(tensors))
        except DeviceMemoryError:
            raise
        except EngineError as error:
            self._policy.refuse(str(error))

    def _forget(self) -> None:
        """Drops the batch that has not been used for the longest time."""
        batch = self._repeated.popitem(last=False)[1]
        if batch.runner or batch.graph:
            self._stream.synchronize()
            batch.close()
