"""Whether copies and computing overlap: every copy and run of a film, timed by events of the device on its stream.

    python -m mirnet_deploy.benchmarks.overlap --engine lite --size 1920x1080 --frames 24 --in-flight 3

prints JSON: the time in which copies and the engine were busy, and the part of the copies' time that the engine worked
beside. The driver of a runtime is watched from outside; the pipeline knows nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import click
import numpy as np

from mirnet_deploy.benchmarks.latency import Size, sample_picture
from mirnet_deploy.devices.base import Driver, Stream
from mirnet_deploy.engines.base import Runner, Tensor
from mirnet_deploy.errors import EngineError, UsageError
from mirnet_deploy.runtime import MIRNetRuntime

Kind = Literal["upload", "download", "engine"]
Span = tuple[float, float]
"""Begin and end."""
Mark = Callable[[Stream], Callable[[], float]]
"""Puts an event on a stream; when that has come so far, what is returned tells its time in ms."""


class Watch:
    """Notes when the copies and the runs of one runtime begin and end."""

    def __init__(self, runtime: MIRNetRuntime, mark: Mark) -> None:
        self._mark = mark
        self._events: list[tuple[Kind, Callable[[], float], Callable[[], float]]] = []
        driver: Any = runtime.engine.driver
        driver.upload = self._copies("upload", driver.upload)
        driver.download = self._copies("download", driver.download)
        engine: Any = runtime.engine
        make = engine.runner
        engine.runner = lambda stream: _Watched(make(stream), stream, self)
        engine.pool.limit(engine.lanes[0])  # lanes that were made unwatched are closed

    def spans(self) -> dict[Kind, list[Span]]:
        """What was noted since the last call, by kind, in ms. The streams have come past it."""
        found: dict[Kind, list[Span]] = {"upload": [], "download": [], "engine": []}
        for kind, begin, end in self._events:
            found[kind].append((begin(), end()))
        self._events = []
        return found

    def note(self, kind: Kind, stream: Stream, work: Callable[[], None]) -> None:
        """Does `work`, which enqueues on `stream`."""
        begin = self._mark(stream)
        work()
        self._events.append((kind, begin, self._mark(stream)))

    def _copies(self, kind: Kind, copy: Callable[..., None]) -> Callable[..., None]:
        def copied(*arguments: Any) -> None:
            self.note(kind, arguments[3], lambda: copy(*arguments))

        return copied


class _Watched:
    """A runner; inside a captured graph nothing can be noted, so graphs are off."""

    def __init__(self, runner: Runner, stream: Stream, watch: Watch) -> None:
        self._runner, self._stream, self._watch = runner, stream, watch

    def enqueue(self, tensors: Mapping[str, Tensor]) -> None:
        self._watch.note("engine", self._stream, lambda: self._runner.enqueue(tensors))

    def close(self) -> None:
        self._runner.close()


def union(spans: Iterable[Span]) -> list[Span]:
    """Spans of time that overlap, made one."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def common(first: Iterable[Span], second: Iterable[Span]) -> float:
    """The time in which both were busy."""
    others = union(second)
    return sum(max(0.0, min(end, last) - max(begin, start)) for begin, end in union(first) for start, last in others)


def summary(spans: Mapping[Kind, list[Span]]) -> dict[str, float]:
    """ms in which each kind was busy, and the part of the copies' time in which the engine was too."""
    busy = {kind: sum(end - begin for begin, end in union(each)) for kind, each in spans.items()}
    copies = [*spans["upload"], *spans["download"]]
    length = sum(end - begin for begin, end in union(copies))
    beside = common(copies, spans["engine"]) / length if length else 0.0
    return {**{f"{kind}_ms": value for kind, value in busy.items()}, "copies_beside_engine": beside}


def cuda_mark(driver: Driver) -> Mark:
    """Marks by events with timing, of a CUDA device.

    Raises:
        EngineError: it is none.
    """
    if driver.is_host:
        raise EngineError("copies and computing overlap on a GPU; this runtime is on the CPU, which copies nothing")
    from mirnet_deploy.devices.cuda import CudaDriver

    assert isinstance(driver, CudaDriver)
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


@click.command(context_settings={"show_default": True})
@click.option("--engine", default="lite", help="lite, or an .onnx or .plan file.")
@click.option("--device", default="auto")
@click.option("--size", default="1920x1080", metavar="WxH")
@click.option("--frames", default=24, help="Of the film, which is one photograph that moves.")
@click.option("--in-flight", default=3, help="Frames under way at once.")
@click.option("--tile", default="auto", metavar="auto|N|none")
def main(engine: str, device: str, size: str, frames: int, in_flight: int, tile: str) -> None:
    """Time copies and runs of a film."""
    if frames < 2:
        raise UsageError(f"--frames is {frames}; expected at least 2")
    image = sample_picture(Size.parse(size))
    setting: Any = int(tile) if tile.isdecimal() else tile
    with MIRNetRuntime(engine, device=device, tile=setting, graphs=False) as runtime:
        mark = cuda_mark(runtime.engine.driver)
        watch = Watch(runtime, mark)
        list(runtime.frames([image] * in_flight, in_flight))
        with runtime.engine.driver.active():
            watch.spans()
        list(runtime.frames((np.roll(image, 8 * step, axis=1) for step in range(frames)), in_flight))
        with runtime.engine.driver.active():
            found = summary(watch.spans())
        info = {"engine": engine, "backend": runtime.info.backend, "size": size, "frames": frames}
        click.echo(json.dumps({**info, "in_flight": in_flight, **found}, indent=2))


if __name__ == "__main__":
    main()
