"""Batches as CUDA graphs: one call in the place of the hundreds of launches that a network is.

A batch of some shape at some addresses runs twice as it is, is captured after the second run, and then replayed.
A capture directly follows a run of its own: what a change of shapes makes an engine do first cannot be captured.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from mirnet_deploy.devices.base import Driver, Graph, Stream
from mirnet_deploy.engines.base import Runner, Tensor
from mirnet_deploy.errors import EngineError, MirnetDeployWarning

MOST = 8
"""Graphs that a lane keeps: of tiles, the last batch of a picture, thumbnails and patches, with any lane's means."""
_Key = tuple[tuple[str, int, tuple[int, ...]], ...]


class GraphPolicy:
    """Whether the lanes of one engine use graphs. The first refusal ends it for all of them, and is said."""

    def __init__(self, wanted: bool) -> None:
        self.state = "on" if wanted else "off"
        """"on", "off", or "refused: " and why."""
        self._lock = Lock()

    @property
    def on(self) -> bool:
        """Whether graphs are used from now on."""
        return self.state == "on"

    def refuse(self, reason: str) -> None:
        """Says it once."""
        with self._lock:
            if not self.on:
                return
            self.state = f"refused: {reason}"
        warnings.warn(f"no CUDA graphs, every launch by itself: {reason}", MirnetDeployWarning, stacklevel=2)


class GraphRunner:
    """A `Runner` that replays what another one has done."""

    def __init__(self, runner: Runner, driver: Driver, stream: Stream, policy: GraphPolicy) -> None:
        self._runner, self._driver, self._stream, self._policy = runner, driver, stream, policy
        self._graphs: OrderedDict[_Key, Graph | None] = OrderedDict()

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Runner.enqueue`."""
        if not self._policy.on:
            self._runner.enqueue(tensors)
            return
        key = tuple((name, tensor.address, tensor.shape) for name, tensor in tensors.items())
        if key not in self._graphs:
            self._runner.enqueue(tensors)
            self._graphs[key] = None
            if len(self._graphs) > MOST:
                self._forget()
            return
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        if graph:
            graph.launch(self._stream)
        else:
            self._runner.enqueue(tensors)
            if self._runner.capturable():
                self._graphs[key] = self._captured(tensors)

    def capturable(self) -> bool:
        """See `Runner.capturable`."""
        return self._runner.capturable()

    def close(self) -> None:
        """See `Runner.close`."""
        for graph in self._graphs.values():
            if graph:
                graph.close()
        self._graphs.clear()
        self._runner.close()

    def _captured(self, tensors: Mapping[str, Tensor]) -> Graph | None:
        try:
            return self._driver.capture(self._stream, lambda: self._runner.enqueue(tensors))
        except EngineError as error:
            self._policy.refuse(str(error))
            return None

    def _forget(self) -> None:
        """Drops the graph that was not used for longest."""
        graph = self._graphs.popitem(last=False)[1]
        if graph:
            self._stream.synchronize()
            graph.close()
