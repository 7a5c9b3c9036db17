"""What runs on the machines of a cluster. Nothing here needs Ray but its references, which Ray resolves."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.cluster.order import Order, without_task
from mirnet_deploy.cluster.planning import result_place
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import (
    ClusterError,
    EngineError,
    MirnetDeployError,
    OtherTilesWarning,
    first_line,
    not_loaded,
)
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.images.formats import format_of_name
from mirnet_deploy.jobs.inputs import InputFile, NoTask, Task, inspect
from mirnet_deploy.jobs.job import Job
from mirnet_deploy.jobs.progress import Show
from mirnet_deploy.jobs.targets import Targets
from mirnet_deploy.machine import describe_processor
from mirnet_deploy.settings import RuntimeSettings

if TYPE_CHECKING:  # the runtime loads with the actor
    from mirnet_deploy.pixels import Sink, Source
    from mirnet_deploy.results import PictureInfo
    from mirnet_deploy.runtime import MIRNetRuntime

Row = dict[str, Any]


def open_model(files: Mapping[str, bytes], settings: RuntimeSettings) -> MIRNetRuntime:
    """Opens a runtime for a model that was sent as `order.model_files`.

    Raises:
        MirnetDeployError, OSError, ImportError: as `MIRNetRuntime`; or there is no room for its file.
    """
    from mirnet_deploy.runtime import MIRNetRuntime

    with temporary_folder() as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return MIRNetRuntime(folder / next(iter(files)), settings)


class Actor:
    """One runtime, and what makes pictures with it: a callable class as Ray Data's `map_batches` takes it.

    What is wrong with the machine, so that none of its pictures would come out right, is not raised: Ray would show it
    as a traceback, and try again. It becomes the answer to every row.

    Args:
        order: the job.
        model: a reference to what `order.model_files` gave.
    """

    def __init__(self, order: Order, model: Any) -> None:
        import ray

        self._order = order
        self._who = {"node": socket.gethostname(), "pid": os.getpid(), "processor": describe_processor()["name"]}
        self._problem: str | None = None
        try:
            files = ray.get(model)
            self._model = _Model(lambda: open_model(files, order.settings.runtime), order.jobs)
            self._check()
        except Exception as error:
            self._problem = _told(error)
        _bound_threads(order.settings.runtime.threads)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Takes rows of text, each a picture in JSON: `index`, `root`, `path`, `place`, `result`; answers in the same
        way, with what became of each."""
        return {"row": [json.dumps(self._answer(json.loads(str(text)))) for text in batch["item"]]}

    def _check(self) -> None:
        order = self._order
        if order.version != __version__:
            raise ClusterError(f"it has mirnet-deploy {__version__}, and the command runs {order.version}")
        if order.manifest and not order.manifest.exists():
            raise ClusterError(
                f"it does not see {order.manifest}: -o must be a folder that all machines share, or a URL"
            )
        if self._model.backend != order.backend:
            raise ClusterError(f"it would compute with {self._model.backend}, and the others with {order.backend}")

    def _answer(self, row: Row) -> Row:
        if self._problem is not None:
            return {"index": row["index"], "problem": f"{self._who['node']} cannot take part: {self._problem}"}
        with ExitStack() as opened:
            folders: list[Path] = []

            def folder() -> Path:
                if not folders:
                    folders.append(opened.enter_context(temporary_folder()))
                return folders[0]

            source = Location(row["root"], row["path"])
            try:
                made = self._made(source, row, folder)
            except Exception as error:  # nobody's fault but ours: Ray would drop it, and the row would count as lost
                made = self._without_task(source, f"{source}: {_told(error)}")
        return {"index": row["index"], **made, **self._who}

    def _made(self, source: Location, row: Row, folder: Callable[[], Path]) -> Row:
        """What became of one picture: `Result.to_dict`, and size and time of its result."""
        place = PurePosixPath(row["place"])
        copies: dict[str, Location] = {}
        try:
            path = source.local
            if path is None:
                path = folder() / "source" / place.name
                source.fetch(path)
                copies[str(path)] = source
            kind = inspect(InputFile(path, Path(place)))
            if isinstance(kind, NoTask):
                return self._without_task(source, _renamed(kind.reason, copies) or "", own=kind.own)
            result = PurePosixPath(row["result"] or result_place(place, kind, self._order.settings.target_format))
            target = self._order.output.below(result)
            local = target.local
            if local is None:
                local = folder() / "target" / result.name
                local.parent.mkdir()
                if target.state() is not None:
                    target.fetch(local)
                copies[str(local)] = target
            made = self._run(Task(path, local, format_of_name(local)), copies)
            made |= {"input": str(source), "output": str(target)}
            if made["status"] == "failed":
                state = None
            elif made["status"] == "done" and target.local is None:
                state = target.put(local.read_bytes())
            else:
                state = target.state()
            return {**made, "target_state": state}
        except (MirnetDeployError, OSError) as error:
            text = _renamed(str(error), copies) or ""
            return self._without_task(source, text if str(source) in text else f"{source}: {text}")

    def _without_task(self, source: Location, reason: str, own: bool = False) -> Row:
        return without_task(str(source), self._order.settings.model, reason, own)

    def _run(self, task: Task, copies: Mapping[str, Location]) -> Row:
        """`Job` on one picture. What plain `enhance` made as it was asked for is done, too."""
        order, model = self._order, _Turn(self._model)
        job = Job(order.settings, lambda: model)
        if not order.settings.force:
            try:
                if Targets(order.asked).is_done(task):
                    job = Job(order.asked, lambda: model)
            except (MirnetDeployError, OSError):
                pass  # the job finds it, too, and says it
        (result,) = job.run([task], _NoProgress())
        made = result.to_dict(order.settings.model)
        made["seconds"] = made["seconds"] and round(made["seconds"] - model.waited, 3)
        return made | {name: _renamed(made[name], copies) for name in ("error", "note")}


class _Model:
    """A runtime that so many pictures use at a time, while others are read or written. Does not retreat where memory is
    short: other tiles would be another result than that of other machines."""

    def __init__(self, open_runtime: Callable[[], MIRNetRuntime], jobs: int) -> None:
        self._open, self._jobs = open_runtime, jobs
        self._turns, self._opening = threading.Semaphore(jobs), threading.Lock()
        warnings.simplefilter("error", OtherTilesWarning)
        self._runtime = open_runtime()
        self.backend = self._runtime.info.backend

    def takes(self, dtype: Any) -> bool:
        """See `jobs.making.Model`."""
        return self._runtime.takes(dtype)

    def timed(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> tuple[PictureInfo, float]:
        """See `jobs.making.Model.enhance_into`; also returns the seconds that it waited for others.

        Raises:
            EngineError: the machine has not the memory for the tiles of the settings.
        """
        start = time.perf_counter()
        with self._turns:
            waited, runtime = time.perf_counter() - start, self._runtime
            try:
                return runtime.enhance_into(source, sink, advance), waited
            except OtherTilesWarning as warning:
                with self._opening:
                    if self._runtime is runtime:  # which has made its tiles smaller for good
                        self._runtime = self._open()
                raise EngineError(
                    f"{socket.gethostname()} has too little memory for it, and smaller tiles would be another result "
                    "than on other machines; use fewer --actors, or a smaller --whole-pixels or --tile"
                ) from warning


class _Turn:
    """A model for one picture, which knows how long that waited."""

    def __init__(self, model: _Model) -> None:
        self._model, self.waited = model, 0.0

    def takes(self, dtype: Any) -> bool:
        return self._model.takes(dtype)

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        info, self.waited = self._model.timed(source, sink, advance)
        return info


class _NoProgress:
    def __call__(self, n: float = 1, /) -> None: ...

    def line(self) -> AbstractContextManager[Show]:
        return nullcontext(lambda description, share: None)


def _bound_threads(threads: int | None) -> None:
    """Libraries beside the engine take so many threads; and --max-pixels alone judges sizes, not Pillow too."""
    import cv2
    from PIL import Image

    cv2.setNumThreads(threads or 1)
    Image.MAX_IMAGE_PIXELS = None


def _told(error: Exception) -> str:
    """One line; of an error that nobody expected, its type too."""
    if isinstance(error, ImportError):
        return not_loaded(error)
    if isinstance(error, MirnetDeployError | OSError):
        return str(error)
    text = first_line(error)
    return text if text == type(error).__name__ else f"{type(error).__name__}: {text}"


def _renamed(text: str | None, copies: Mapping[str, Location]) -> str | None:
    """A text in which copies have the names of what they are copies of."""
    for copy, location in copies.items():
        text = text and text.replace(copy, str(location))
    return text
