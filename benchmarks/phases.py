"""Where the time of a picture goes, from a file to a file: read, upload, compute, download, write.

Measured in runs of their own, after the timed ones: events and files would disturb those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mirnet_deploy.benchmarks.inputs import Image, one_line
from mirnet_deploy.benchmarks.latency import Enhancer, pause_between
from mirnet_deploy.benchmarks.overlap import Kind, Mark, Span, Watch, cuda_mark, union
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.reading import read_image
from mirnet_deploy.images.writing import encode_image

if TYPE_CHECKING:
    from mirnet_deploy.devices.base import Driver

PHASES = ("read", "upload", "compute", "download", "write", "end_to_end")
MOST_RUNS = 3
"""Of each engine at each size: enough to see where the time goes."""
QUALITY = 95
"""Of the JPEG that is read, and of the one that is written."""
Milliseconds = dict[str, float | None]
"""Phase -> ms; None where the engine has no such phase, or does not tell it apart."""


class DeviceTimes:
    """The time in which copies and the engine of one runtime were busy on a GPU.

    Args:
        watch: the observer of that runtime.
        driver: its engine's; only a GPU's has such times.
        make_mark: makes the marks of that driver.
    """

    def __init__(self, watch: Watch, driver: Driver, make_mark: Callable[[Driver], Mark] = cuda_mark) -> None:
        self._watch, self._driver, self._make_mark = watch, driver, make_mark

    def of(self, work: Callable[[], None]) -> Milliseconds:
        """Upload, compute and download of what `work` does; it must wait for it."""
        with self._driver.active():
            self._watch.mark = self._make_mark(self._driver)
        try:
            work()
            with self._driver.active():
                return busy(self._watch.spans())
        finally:
            self._watch.mark = None


def busy(spans: dict[Kind, list[Span]]) -> Milliseconds:
    """The time of each phase on a device: spans of one kind that overlap count once.

    >>> busy({"upload": [(0, 1)], "engine": [(1, 4), (3, 5)], "download": [(5, 6), (6, 8)]})
    {'upload': 1, 'compute': 4, 'download': 3}
    """
    length = {kind: sum(end - begin for begin, end in union(each)) for kind, each in spans.items()}
    return {"upload": length["upload"], "compute": length["engine"], "download": length["download"]}


def measure_phases(
    engines: Sequence[Enhancer],
    image: Image,
    runs: int,
    *,
    advance: Callable[[], None],
    is_over: Callable[[], bool],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[dict[int, Milliseconds], dict[int, str]]:
    """Takes `image` from a JPEG to a JPEG with every engine, in turn, up to `runs` times.

    An engine that has `device_times` (a `DeviceTimes`) tells upload, compute and download apart; of any other compute
    is all of `enhance`. `advance` is called once per run, also for those that are left out. `clock` is in nanoseconds.

    Returns:
        The median of each of `PHASES` in ms, and one line for each engine that failed: both by position in `engines`.
        An engine that had no time is in neither.
    """
    found: dict[int, list[Milliseconds]] = {position: [] for position in range(len(engines))}
    failures: dict[int, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="mirnet-bench-")))
        source, target = folder / "dark.jpg", folder / "enhanced.jpg"
        source.write_bytes(_encoded(Picture(image, format="jpg")))
        for _ in range(runs):
            over = is_over()
            for position, engine in enumerate(engines):
                if not over and position not in failures:
                    pause_between(engines)
                    try:
                        found[position].append(_one(engine, source, target, clock))
                    except Exception as error:  # of any library, or a full disk: the others go on
                        failures[position] = one_line(error)
                advance()
    return {at: _medians(each) for at, each in found.items() if each and at not in failures}, failures


def _one(engine: Enhancer, source: Path, target: Path, clock: Callable[[], int]) -> Milliseconds:
    """One picture from file to file."""
    times = [clock()]
    picture = read_image(source)
    pixels = picture.rgb()
    times.append(clock())
    device: DeviceTimes | None = getattr(engine, "device_times", None)
    if device is None:
        result = engine.enhance(pixels)
        inner: Milliseconds = {"upload": None, "compute": None, "download": None}
    else:
        made = []
        inner = device.of(lambda: made.append(engine.enhance(pixels)))
        (result,) = made
    times.append(clock())
    target.write_bytes(_encoded(picture.with_rgb(result)))
    times.append(clock())
    read, enhance, write = ((after - before) / 1e6 for before, after in pairwise(times))
    if inner["compute"] is None:
        inner["compute"] = enhance
    return {"read": read, **inner, "write": write, "end_to_end": read + enhance + write}


def _encoded(picture: Picture) -> bytes:
    return encode_image(picture, "jpg", quality=QUALITY, subsampling="4:2:0", allow_8_bit=True)


def _medians(runs: Sequence[Milliseconds]) -> Milliseconds:
    """The median of each phase over the runs."""
    values = {name: [value for run in runs if (value := run[name]) is not None] for name in PHASES}
    return {name: median(each) if each else None for name, each in values.items()}
