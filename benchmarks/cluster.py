"""What a cluster of this machine's processes costs: `enhance --ray local` beside plain `enhance` on as many threads.

Both run as commands, on few pictures and on many, in turn: the pictures that are more, by the time that is more, are
the steady rate, and the rest is the start. The results of both are compared bit for bit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.files import temporary_folder

Way = str
PLAIN, CLUSTER = "plain", "cluster"


@dataclass(frozen=True)
class Work:
    """What is measured."""

    model: str
    size: Size
    few: int
    """Pictures of the short command; at least as many as actors, so that both start all of them."""
    many: int
    rounds: int
    actors: int
    """Of one thread; the plain command has so many threads."""
    options: Sequence[str]
    """More of `enhance`, for both."""


def measure_cluster(work: Work, advance: Callable[[], object]) -> dict[str, Any]:
    """Runs all commands, `work.rounds` times in turn, and returns plain values, for JSON.

    Args:
        advance: is called after each command.

    Raises:
        MirnetDeployError: a command failed.
    """
    with temporary_folder() as folder:
        for name, count in (("few", work.few), ("many", work.many)):
            _write(folder / name, work.size, count)
        seconds: dict[Way, dict[str, list[float]]] = {way: {"few": [], "many": []} for way in (PLAIN, CLUSTER)}
        for number in range(work.rounds):
            for name in ("few", "many"):
                for way in (PLAIN, CLUSTER):
                    seconds[way][name].append(_run(work, way, folder / name, folder / f"{way}-{name}-{number}"))
                    advance()
        rates = {
            way: [_rate(work, *pair) for pair in zip(each["few"], each["many"], strict=True)]
            for way, each in seconds.items()
        }
        names = [path.name for path in sorted((folder / "many").iterdir())]
        last = [folder / f"{way}-many-{work.rounds - 1}" for way in (PLAIN, CLUSTER)]
        equal = sum(len({(out / name).read_bytes() for out in last}) == 1 for name in names)
    ratios = [one / other for one, other in zip(rates[CLUSTER], rates[PLAIN], strict=True)]
    return {
        "model": work.model,
        "size": str(work.size),
        "actors": work.actors,
        "pictures": {"few": work.few, "many": work.many},
        "options": list(work.options),
        "seconds": seconds,
        "pictures_per_second": {way: statistics.median(each) for way, each in rates.items()},
        "start_seconds": {
            way: statistics.median(few - work.few / rate for few, rate in zip(each["few"], rates[way], strict=True))
            for way, each in seconds.items()
        },
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "equal": f"{equal} of {len(names)}",
    }


def _rate(work: Work, few: float, many: float) -> float:
    """Pictures a second, beyond the start.

    Raises:
        MirnetDeployError: more pictures took no more time.
    """
    if many <= few:
        raise MirnetDeployError("many pictures took no longer than few: something else uses this machine, or take more")
    return (work.many - work.few) / (many - few)


def _write(folder: Path, size: Size, count: int) -> None:
    """Pictures that differ: one photograph, moved."""
    folder.mkdir()
    picture = sample_picture(size)
    for index in range(count):
        Image.fromarray(np.roll(picture, 7 * index, axis=1)).save(folder / f"{index:04}.png")


def _run(work: Work, way: Way, source: Path, out: Path) -> float:
    words = [sys.executable, "-m", "mirnet_deploy", "enhance", str(source), "-o", str(out), "--model", work.model]
    words += work.options
    words += ["--threads", str(work.actors)] if way == PLAIN else ["--threads", "1", "--actors", str(work.actors)]
    words += ["--ray", "local"] if way == CLUSTER else []
    start = time.perf_counter()
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        raise MirnetDeployError(f"{way} failed: {said[-1] if said else f'exit code {ended.returncode}'}")
    return seconds
