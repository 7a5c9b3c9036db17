"""Many pictures through one model: what is done already is skipped, and what fails does not stop the rest.

While pictures are enhanced, the next is read or the last one written. A file that carries a record of mirnet-deploy is
never an input.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mirnet_deploy.errors import MirnetDeployError, not_loaded, telling
from mirnet_deploy.images.colour.conversion import Colour
from mirnet_deploy.jobs.inputs import NoTask, Task
from mirnet_deploy.jobs.making import Made, Model, make_picture
from mirnet_deploy.jobs.progress import Progress
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.pixels import MOST_GAIN
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:  # the runtime loads with the first picture
    from mirnet_deploy.pixels import Sink, Source
    from mirnet_deploy.results import PictureInfo

_log = logging.getLogger(__name__)

DONE_BEFORE = "done before with this model and these settings"
"""The note of a result that was skipped because it is there already."""

OWN = "an output of mirnet-deploy"
"""The note of an input that was skipped because it is a result."""


@dataclass(frozen=True)
class Result:
    """What became of one input."""

    input: Path
    status: Literal["done", "skipped", "failed"]
    output: Path | None = None
    error: str | None = None
    note: str | None = None
    """Why it was skipped, or what the user should know about a picture that was done."""
    seconds: float | None = None
    """To read, enhance and write it, without the time that it waited for others."""
    width: int | None = None
    height: int | None = None
    made: PictureInfo | None = None
    """How it was enhanced, and how close it is to the network's result for the whole picture."""
    colour: Colour | None = None
    """How its colours were taken; None where nothing was done."""

    def to_dict(self, model: str) -> dict[str, Any]:
        """Plain values, for JSON; `model` is the model's name."""
        return {
            "input": str(self.input),
            "output": None if self.output is None else str(self.output),
            "status": self.status,
            "error": self.error,
            "note": self.note,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "width": self.width,
            "height": self.height,
            "model": model,
            "made": None if self.made is None else self.made.to_dict(),
            "colour": None if self.colour is None else self.colour.to_dict(),
        }


@dataclass
class Job:
    """Runs tasks, once. `results` holds what is finished, even if the run is interrupted."""

    settings: JobSettings
    open_model: Callable[[], Model]
    """Is called at most once, and only if a picture needs it."""
    at_once: int = 1
    """Pictures to enhance at the same time. Each takes memory of its own; so does one more that is read or written."""
    results: dict[int, Result] = field(default_factory=dict)
    """Index of the entry -> its result."""

    def __post_init__(self) -> None:
        self._targets = Targets(self.settings)

    def run(self, entries: Sequence[Task | NoTask], progress: Progress) -> list[Result]:
        """Works on all entries and returns their results in order; `progress` moves on once for each.

        Raises:
            MirnetDeployError: the model cannot be opened.
        """
        todo: dict[int, Task] = {}
        for index, entry in enumerate(entries):
            result = self._settled(entry) if isinstance(entry, Task) else _without_task(entry)
            if result is not None:
                self.results[index] = result
                progress(1)
            elif isinstance(entry, Task):
                todo[index] = entry
        if todo:
            self._enhance_all(todo, self.open_model(), progress)
        return [self.results[index] for index in range(len(entries))]

    def no_more_writes(self) -> AbstractContextManager[None]:
        """See `Targets.no_more_writes`."""
        return self._targets.no_more_writes()

    def _settled(self, task: Task) -> Result | None:
        """The result of a task that needs no work, or that cannot be done because of its files; None for all others."""
        try:
            if self._targets.is_done(task):
                return Result(task.source, "skipped", task.target, note=DONE_BEFORE)
        except OSError as error:
            unread = error.filename or task.source
            return Result(task.source, "failed", task.target, f"{unread} cannot be read: {error.strerror or error}")
        except (MirnetDeployError, MemoryError, ImportError) as error:
            return _failed(task, error)
        return None

    def _enhance_all(self, todo: dict[int, Task], model: Model, progress: Progress) -> None:
        turns = _InTurn(model, self.at_once)
        in_memory = min(self.at_once + 1, len(todo))
        executor = ThreadPoolExecutor(in_memory, thread_name_prefix="picture")

        def enhance(index: int, task: Task) -> None:
            # Here and not in the thread that waits, which an interruption may find between two of them.
            self.results[index] = self._enhance(task, turns, in_memory, progress)

        try:
            try:
                futures = [executor.submit(enhance, index, task) for index, task in todo.items()]
            except RuntimeError as error:  # a thread cannot be started
                raise MemoryError from error
            for future in as_completed(futures):
                future.result()
                progress(1)
        finally:
            # Does not wait: after an interruption a tile may go on for seconds.
            executor.shutdown(wait=False, cancel_futures=True)

    def _enhance(self, task: Task, model: _InTurn, in_memory: int, progress: Progress) -> Result:
        """Enhances one of `in_memory` pictures that are worked on. An error of this package, of a file, of memory or of
        a library becomes its result."""
        start = time.perf_counter()
        try:
            with progress.line() as show:
                made = make_picture(task, self.settings, self._targets, model, show, in_memory)
        except (MirnetDeployError, OSError, MemoryError, ImportError) as error:
            _log.debug("%s failed", task.source, exc_info=True)
            return _failed(task, error)
        notes = "; ".join([*made.notes, *_shortfalls(made, self.settings.runtime)]) or None
        seconds = time.perf_counter() - start - model.waited()
        known = made.width, made.height, made.info, made.colour
        return Result(task.source, "done", task.target, None, notes, seconds, *known)


class _InTurn:
    """A model that enhances at most so many pictures at the same time; others wait."""

    def __init__(self, model: Model, at_once: int) -> None:
        self._model, self._turns = model, threading.Semaphore(at_once)
        self._own = threading.local()

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        """See `Model`."""
        start = time.perf_counter()
        with self._turns:
            self._own.waited = time.perf_counter() - start
            return self._model.enhance_into(source, sink, advance)

    def takes(self, dtype: Any) -> bool:
        """See `Model`."""
        return self._model.takes(dtype)

    def waited(self) -> float:
        """Seconds for which the last picture of this thread waited."""
        return float(self._own.waited)


def _failed(task: Task, error: Exception) -> Result:
    reason = _reason(error, task)
    if str(task.source) not in reason:
        reason = f"{task.source}: {reason}"
    return Result(task.source, "failed", task.target, error=reason)


def _without_task(entry: NoTask) -> Result:
    if entry.own:
        return Result(entry.source, "skipped", note=OWN)
    return Result(entry.source, "failed", error=entry.reason)


def _reason(error: Exception, task: Task) -> str:
    """One line for the user on why a task failed."""
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --tile or fewer --jobs"
    if isinstance(error, ImportError):
        return not_loaded(error)
    if isinstance(error, OSError):
        read = error.filename == str(task.source)
        what = f"{task.source} cannot be read" if read else f"{task.target} cannot be written"
        return f"{what}: {error.strerror or error}"
    return str(error)


def _shortfalls(made: Made, settings: RuntimeSettings) -> list[str]:
    """One note per setting that the result does not meet."""
    info, notes = made.info, []
    if settings.consistency == "exact" and info.within_tolerance is False:
        reached = info.predicted_psnr or 0.0
        pixel = 255 * (info.predicted_max_abs or 0.0)
        notes.append(
            f"its tiles agree to {telling(reached, settings.tolerance)} dB, and the worst pixel to {pixel:.2g} levels, "
            f"after {info.passes} passes, which does not keep the tolerance of {settings.tolerance:g}"
        )
    if info.gain is not None and not 1.01 / MOST_GAIN < info.gain < 0.99 * MOST_GAIN:
        shade = "black" if info.gain > 1 else "white"
        notes.append(f"it is too {shade} for a brightness of {settings.brightness:g}")
    return notes
