"""Whether copies and computing overlap: every copy and run of a video, timed by the device's events on its stream.

The result is the time in which copies and the engine were busy, and the share of the copies' time in which the engine
worked beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.devices.base import Driver, Stream, Tensor
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.base import Runner
from mirnet_deploy.errors import EngineError, UsageError
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings

Kind = Literal["upload", "download", "engine"]
WARMING = 8
"""Frames before the measurement, for each one in flight."""
Span = tuple[float, float]
"""Begin and end, in ms."""
Mark = Callable[[Stream], Callable[[], float]]
"""Puts an event on a stream, and returns a function that gives its time in ms once the stream has passed it."""


class Watch(Observer):
    """Notes when the copies and the runs of one runtime begin and end, once it has been given a mark.

    For that CUDA graphs must be off: nothing can be noted inside a captured graph.
    """

    def __init__(self, mark: Mark | None = None) -> None:
        self.mark = mark
        self.shapes: list[dict[str, tuple[int, ...]]] | None = None
        """Given a list, it adds the shapes of the tensors of every run, by name."""
        self._events: list[tuple[Kind, Callable[[], float], Callable[[], float]]] = []

    def copy(self, kind: Literal["upload", "download"], stream: Stream, enqueue: Callable[[], None]) -> None:
        """See `Observer.copy`."""
        self._note(kind, stream, enqueue)

    def run(self, runner: Runner, stream: Stream, tensors: Mapping[str, Tensor]) -> None:
        """See `Observer.run`."""
        if self.shapes is not None:
            self.shapes.append({name: tensor.shape for name, tensor in tensors.items()})
        self._note("engine", stream, lambda: runner.enqueue(tensors))

    def spans(self) -> dict[Kind, list[Span]]:
        """What was noted since the last call, by kind. The streams must have passed all of it."""
        found: dict[Kind, list[Span]] = {"upload": [], "download": [], "engine": []}
        for kind, begin, end in self._events:
            found[kind].append((begin(), end()))
        self._events = []
        return found

    def _note(self, kind: Kind, stream: Stream, enqueue: Callable[[], None]) -> None:
        begin = self.mark(stream) if self.mark else None
        enqueue()
        if self.mark and begin:
            self._events.append((kind, begin, self.mark(stream)))


def union(spans: Iterable[Span]) -> list[Span]:
    """The spans in order of time, with those that overlap or touch joined into one.

    >>> union([(3, 4), (0, 1), (0.5, 2)])
    [(0, 2), (3, 4)]
    """
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def common(first: Iterable[Span], second: Iterable[Span]) -> float:
    """The time in which both were busy, in the unit of the spans."""
    others = union(second)
    return sum(max(0.0, min(end, last) - max(begin, start)) for begin, end in union(first) for start, last in others)


def summary(spans: Mapping[Kind, list[Span]]) -> dict[str, float]:
    """The ms in which each kind was busy, and the share of the copies' time in which the engine was busy too."""
    busy = {kind: sum(end - begin for begin, end in union(each)) for kind, each in spans.items()}
    copies = [*spans["upload"], *spans["download"]]
    length = sum(end - begin for begin, end in union(copies))
    beside = common(copies, spans["engine"]) / length if length else 0.0
    return {**{f"{kind}_ms": value for kind, value in busy.items()}, "copies_beside_engine": beside}


def cuda_mark(driver: Driver) -> Mark:
    """Marks by timed events of a CUDA device; their times count from this call.

    Raises:
        EngineError: the driver is not a CUDA device's.
    """
    if not isinstance(driver, CudaDriver):
        raise EngineError("copies and computing overlap on a GPU; this runtime is on the CPU, which copies nothing")
    checked = driver.checked

    def record(stream: Stream) -> Any:
        event = checked(lambda cuda: cuda.cuEventCreate(0))
        checked(lambda cuda: cuda.cuEventRecord(event, stream.handle))
        return event

    with driver.active():
        origin = record(driver.stream())

    def mark(stream: Stream) -> Callable[[], float]:
        event = record(stream)
        return lambda: float(checked(lambda cuda: cuda.cuEventElapsedTime(origin, event)))

    return mark


def measure_overlap(engine: str, settings: RuntimeSettings, size: Size, frames: int, in_flight: int) -> dict[str, Any]:
    """Times the copies and runs of a video, a photograph that moves by 8 pixels per frame; plain values, for JSON.

    Raises:
        MirnetDeployError: the engine cannot be opened or run, or is on the CPU.
        UsageError: fewer than 2 frames.
    """
    if frames < 2:
        raise UsageError(f"--frames is {frames}; expected at least 2")
    image, watch = sample_picture(size), Watch()
    with MIRNetRuntime(engine, settings, observer=watch) as runtime:
        watch.mark = cuda_mark(runtime.engine.driver)
        # Often enough that every slot has run: each plans its kernels in its first run, which takes seconds.
        list(runtime.frames([image] * (WARMING * in_flight), in_flight))
        with runtime.engine.driver.active():
            watch.spans()
        list(runtime.frames((np.roll(image, 8 * step, axis=1) for step in range(frames)), in_flight))
        with runtime.engine.driver.active():
            found = summary(watch.spans())
        info = {"engine": engine, "backend": runtime.info.backend, "size": str(size), "frames": frames}
        return {**info, "in_flight": in_flight, **found}
