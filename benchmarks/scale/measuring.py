"""Measures what pictures cost here, in as many processes at once as actors would run: neighbours slow each other down.

The processes are this module, run with `python -m`: each opens the model, makes one picture, says so, waits for the
others, and then makes its pictures one by one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from mirnet_deploy.benchmarks.inputs import one_line
from mirnet_deploy.benchmarks.memory import peak_rss_mib
from mirnet_deploy.benchmarks.scale.costs import MIB, Costs, ManifestCost, PictureCost, joined, manifest_cost
from mirnet_deploy.engines.fleet import artifact_for
from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.files import file_sha256, temporary_folder
from mirnet_deploy.images.formats import Format
from mirnet_deploy.jobs.inputs import Task, find_tasks
from mirnet_deploy.jobs.making import make_picture
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.machine import describe_processor
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:
    from mirnet_deploy.pixels import Sink, Source
    from mirnet_deploy.results import PictureInfo
    from mirnet_deploy.runtime import MIRNetRuntime

READY = "ready"
SEED = 0


@dataclass(frozen=True)
class Measuring:
    """What to measure."""

    model: str
    """A model's name, an ONNX file, or a fleet's folder, whose ONNX file for the CPU is meant."""
    paths: tuple[Path, ...]
    """Of the pictures, from which those that are measured are drawn."""
    threads: int
    """Of the model, in each process."""
    processes: int
    """At once."""
    pictures: int
    """That each process measures."""

    def drawn(self, process: int) -> list[Path]:
        """The pictures of process number `process`: always the same ones, by chance, and others for each process. None
        comes again before all were drawn."""
        order = random.Random(SEED).sample(self.paths, len(self.paths))
        return [order[(process * self.pictures + each) % len(order)] for each in range(self.pictures)]


def measure(what: Measuring) -> tuple[Costs, ManifestCost]:
    """Measures in new processes, and what their manifest would take in this one.

    Raises:
        MirnetDeployError: a picture cannot be made, or a process ended.
    """
    with temporary_folder() as folder, ExitStack() as stack:
        # Whatever a machine finds out once, as which library is fastest, is no part of the cold start of the others.
        _ended(*_start(what, folder / "first", stack, what.drawn(0)[:1], warm_up=True))
        drawn = [what.drawn(number) for number in range(what.processes)]
        processes = [_start(what, folder / str(number), stack, paths) for number, paths in enumerate(drawn)]
        for process, errors in processes:
            _line(process, errors, READY)
        for process, _ in processes:
            _pipe(process.stdin).write("go\n")
            _pipe(process.stdin).flush()
        found = [json.loads(_ended(*process)) for process in processes]
    costs = [
        Costs(
            tuple(PictureCost(**each) for each in one["pictures"]),
            *("", what.threads, one["cold_start_s"], one["memory_bytes"]),
        )
        for one in found
    ]
    at_once = f"{what.processes} process{'es' * (what.processes > 1)} at once, {what.threads} thread"
    source = (
        f"{what.model} ({found[0]['backend']}) on {describe_processor()['name']}, {at_once}{'s' * (what.threads > 1)}"
    )
    files = len({path for paths in drawn for path in paths})
    return joined(costs, source, files, len(what.paths)), manifest_cost(found[0]["entry"])


def _start(
    what: Measuring, folder: Path, stack: ExitStack, paths: list[Path], *, warm_up: bool = False
) -> tuple[subprocess.Popen[str], IO[str]]:
    """A process, and what it says of errors. With `warm_up` it waits for nobody, and measures nothing."""
    request = {"model": what.model, "paths": list(map(str, paths)), "threads": what.threads, "warm_up": warm_up}
    # monotonic() is one clock for all processes of a machine. -P: see `memory.probe`.
    request |= {"folder": str(folder), "started": time.monotonic()}
    command = [sys.executable, "-P", "-m", "mirnet_deploy.benchmarks.scale.measuring"]
    pipe = subprocess.PIPE
    # A file and no pipe, which would fill while another process is listened to.
    errors = stack.enter_context(TemporaryFile("w+"))  # noqa: SIM115 (the stack closes it)
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    _pipe(process.stdin).write(json.dumps(request) + "\n" + "go\n" * warm_up)
    _pipe(process.stdin).flush()
    return process, errors


def _ended(process: subprocess.Popen[str], errors: IO[str]) -> str:
    """The last line of a process that ends."""
    out, _ = process.communicate()
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        raise MirnetDeployError(f"measuring failed: {last_line(errors)}")
    return lines[-1]


def last_line(errors: IO[str]) -> str:
    """The last line that a process wrote to the file of its errors."""
    errors.seek(0)
    return (errors.read().strip().splitlines() or ["no output"])[-1][:300]


def _line(process: subprocess.Popen[str], errors: IO[str], expected: str) -> None:
    """Waits for a line of a process, or for its end."""
    for line in _pipe(process.stdout):
        if line.strip() == expected:
            return
    _ended(process, errors)


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise MirnetDeployError("a process has no pipe")
    return stream


class _Timed:
    """A model that remembers when it was called and when it was done."""

    def __init__(self, runtime: MIRNetRuntime) -> None:
        self._runtime = runtime
        self.begin = self.end = (0.0, 0.0)

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        """See `jobs.making.Model`."""
        self.begin = _clocks()
        info = self._runtime.enhance_into(source, sink, advance)
        self.end = _clocks()
        return info

    def takes(self, dtype: Any) -> bool:
        """See `jobs.making.Model`."""
        return self._runtime.takes(dtype)


def _clocks() -> tuple[float, float]:
    """Seconds on the wall, and of processor time of all threads: encoders have several. A model's that spin for more
    work when it is done count too."""
    return time.perf_counter(), time.process_time()


def measure_here(request: dict[str, Any], wait: Callable[[], object]) -> dict[str, Any]:
    """Makes the pictures of a request one by one, the first of them twice: once before `wait` is called.

    Returns:
        Costs by picture, the cold start, and what the manifest would say of the first.

    Raises:
        MirnetDeployError: a picture cannot be made.
        OSError: a file cannot be read or written.
    """
    from mirnet_deploy.runtime import MIRNetRuntime

    # The GPU of a machine that has one is no part of what is measured here.
    runtime_settings = RuntimeSettings(threads=request["threads"], device="cpu")
    artifact = artifact_for(request["model"], "cpu")
    sha256 = file_sha256(artifact)
    # What `enhance` has by default; results of earlier rounds are replaced.
    settings = JobSettings(request["model"], sha256, runtime_settings, 95, "4:4:4", None, force=True)
    folder = Path(request["folder"])
    tasks = [_task(path, folder / str(number)) for number, path in enumerate(request["paths"])]
    with MIRNetRuntime(artifact, runtime_settings) as runtime:
        one = _Maker(settings, _Timed(runtime))
        one.make(tasks[0])
        cold_start = time.monotonic() - request["started"]
        wait()
        pictures = [] if request["warm_up"] else [asdict(one.make(task)) for task in tasks]
        return {
            "pictures": pictures,
            "cold_start_s": cold_start,
            "memory_bytes": peak_rss_mib() * MIB,
            "backend": runtime.info.backend,
            "entry": one.entry,
        }


def _task(path: str, folder: Path) -> Task:
    """What `enhance` would do with a picture, whose result goes to a folder of its own: names may be alike."""
    folder.mkdir(parents=True)
    target_format: Format | None = None
    (entry,) = find_tasks([path], output=folder, target_format=target_format, recursive=False)
    if not isinstance(entry, Task):
        raise MirnetDeployError(f"{entry.source} cannot be measured: {entry.reason}")
    return entry


class _Maker:
    """Makes pictures, as `enhance` does, and measures each."""

    def __init__(self, settings: JobSettings, model: _Timed) -> None:
        self._settings, self._model = settings, model
        self._targets = Targets(settings)
        self.entry: dict[str, Any] = {}
        """What the manifest would say of the last picture."""

    def make(self, task: Task) -> PictureCost:
        """Makes one picture."""
        wall, own = _clocks()
        made = make_picture(task, self._settings, self._targets, self._model, lambda text, share: None)
        wall_end, own_end = _clocks()
        (wall_model, own_model), (wall_after, own_after) = self._model.begin, self._model.end
        read, write = own_model - own, own_end - own_after
        waited = (wall_model - wall) + (wall_end - wall_after) - read - write
        seconds = round(wall_end - wall, 3)
        self.entry = {"input": str(task.source), "output": str(task.target), "status": "done", "seconds": seconds}
        self.entry |= {"width": made.width, "height": made.height, "made": made.info.to_dict()}
        self.entry |= {"colour": made.colour.to_dict()}
        return PictureCost(
            read_s=read,
            compute_s=wall_after - wall_model,
            write_s=write,
            wait_s=max(0.0, waited),
            bytes_in=task.source.stat().st_size,
            bytes_out=task.target.stat().st_size,
            pixels=made.width * made.height,
        )


def _main() -> int:
    request = json.loads(sys.stdin.readline())

    def wait() -> None:
        print(READY, flush=True)
        sys.stdin.readline()

    try:
        found = measure_here(request, wait)
    except Exception as error:  # reported to the parent in one line
        print(one_line(error), file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
