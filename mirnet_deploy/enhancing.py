"""Many pictures through one model: what is done already is skipped, what fails does not stop the rest.

An output ends in a record of what it was made from and how (`images.record`). An existing target is
- skipped, if it is untouched since and its record equals the one that the work would give it,
- made again, if it is untouched and the record differs (another input, model, setting or version of mirnet-deploy),
- left alone, if it has no record or was changed since: then it is the user's. `force` alone replaces it.
A file that carries a record is never an input.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from mirnet_deploy import __version__
from mirnet_deploy.errors import ImageError, MirnetDeployError
from mirnet_deploy.files import atomic_path
from mirnet_deploy.finishing import MOST_GAIN, Finish
from mirnet_deploy.images.bands import BandedTiff, RawBands, bytes_in_memory, pack_bands
from mirnet_deploy.images.formats import SIXTEEN_BIT_FORMATS, Format
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.reading import DEFAULT_MAX_PIXELS, decode_image, read_file
from mirnet_deploy.images.record import Record, Stamp, read_stamp, stamp_file, stamped
from mirnet_deploy.images.writing import Subsampling, check_encodable, encode_image
from mirnet_deploy.machine import available_memory
from mirnet_deploy.metadata import file_sha256
from mirnet_deploy.planning import NoTask, Task
from mirnet_deploy.watching import Passes, Progress, Show

if TYPE_CHECKING:  # the runtime loads with the first picture
    from mirnet_deploy.consistency import Consistency
    from mirnet_deploy.pixels import Sink, Source
    from mirnet_deploy.results import PictureInfo

_log = logging.getLogger(__name__)


class Enhancer(Protocol):
    """What is needed of `MIRNetRuntime`."""

    def enhance_into(self, source: Source, sink: Sink, advance: Callable[[int], None]) -> PictureInfo:
        """[H,W,3] RGB uint8 or uint16 to the same shape and dtype; called by several threads at once."""


@dataclass(frozen=True)
class Settings:
    """What decides an output besides its input."""

    model: str
    """The model's name, for reports."""
    model_sha256: str
    tile: str = "auto"
    consistency: Consistency = "exact"
    tolerance: float = 60.0
    finish: Finish = field(default_factory=Finish)
    quality: int = 95
    subsampling: Subsampling = "4:4:4"
    target_format: Format | None = None
    """As the user asked for it; such a wish also lets 16 bit become 8."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    force: bool = False

    def record(self, input_sha256: str, task: Task) -> Record:
        """What an output of these settings says about itself. A setting that a format does not use is left out."""
        values: dict[str, str | int | float | None] = {"tile": self.tile, "format": task.format}
        values["consistency"] = self.consistency
        if self.consistency == "exact":
            values["tolerance"] = self.tolerance
        if not self.finish.is_none:  # left out otherwise: what older versions made stays done
            values |= {"brightness": self.finish.brightness, "strength": self.finish.strength}
        if task.format in ("jpg", "webp"):
            values["quality"] = self.quality
        if task.format == "jpg":
            values["subsampling"] = self.subsampling
        return Record(input_sha256, self.model_sha256, values, __version__)


@dataclass(frozen=True)
class Result:
    """What became of one input."""

    input: Path
    status: Literal["done", "skipped", "failed"]
    output: Path | None = None
    error: str | None = None
    note: str | None = None
    """Why it was skipped, or what the user should know of a picture that was done."""
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    made: PictureInfo | None = None
    """How it was enhanced, and how close it is to the network's result for the whole picture."""


@dataclass
class Batch:
    """Runs tasks. One use; `results` holds what is finished, also when the run is interrupted."""

    settings: Settings
    open_model: Callable[[], Enhancer]
    """Called at most once, and only if a picture needs it."""
    jobs: int = 1
    """Pictures at a time. Each needs the memory of its own inference."""
    results: dict[int, Result] = field(default_factory=dict)
    """Index of the input -> result."""
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def run(self, entries: Sequence[Task | NoTask], progress: Progress) -> list[Result]:
        """Works on all entries and returns their results in order; `progress` moves on once for each.

        Raises:
            MirnetDeployError: the model cannot be opened.
            KeyboardInterrupt: as it comes; the caller then leaves by way of `no_more_writes`.
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

    @contextmanager
    def no_more_writes(self) -> Iterator[None]:
        """Waits for a write that is under way and lets no other begin: in this block the process may end at once."""
        with self._writing:
            yield

    def _settled(self, task: Task) -> Result | None:
        """The result of a task that needs no work, or whose target is the user's."""
        source, target = task.source, task.target
        try:
            if not target.exists():
                return None
            stamp = _stamp_of(target)
            if obstacle := self._obstacle(target, stamp):
                return Result(source, "failed", target, error=f"{target} {obstacle}")
            wanted = None if self.settings.force else self.settings.record(file_sha256(source), task)
        except OSError as error:
            unread = error.filename or source
            return Result(source, "failed", target, error=f"{unread} cannot be read: {error.strerror or error}")
        if wanted is not None and stamp is not None and stamp.record == wanted:
            return Result(source, "skipped", target, note="done before with this model and these settings")
        return None

    def _obstacle(self, target: Path, stamp: Stamp | None) -> str | None:
        """Why an existing target may not be replaced."""
        if not target.is_file():
            return "is in the way and is no regular file; move it or choose another -o"
        if self.settings.force:
            return None
        if stamp is None:
            return "exists and was not made by mirnet-deploy; pass --force to replace it"
        return None if stamp.intact else "was changed since mirnet-deploy made it; pass --force to replace it"

    def _enhance_all(self, todo: dict[int, Task], model: Enhancer, progress: Progress) -> None:
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="picture")
        try:
            indices = {pool.submit(self._enhance, task, model, progress): index for index, task in todo.items()}
            for future in as_completed(indices):
                self.results[indices[future]] = future.result()
                progress(1)
        finally:
            # Not waited for: after an interruption a tile may take seconds yet.
            pool.shutdown(wait=False, cancel_futures=True)

    def _enhance(self, task: Task, model: Enhancer, progress: Progress) -> Result:
        """One picture, from file to file; a failure that is the picture's own becomes its result."""
        try:
            with progress.line() as show:
                return self._make(task, model, show)
        except (MirnetDeployError, OSError, MemoryError) as error:
            _log.debug("%s failed", task.source, exc_info=True)
            reason = _reason(error, task)
        if str(task.source) not in reason:
            reason = f"{task.source}: {reason}"
        return Result(task.source, "failed", task.target, error=reason)

    def _make(self, task: Task, model: Enhancer, show: Show) -> Result:
        start = time.perf_counter()
        make = self._make_in_bands if _needs_bands(task, toned=self.settings.finish.tones) else self._make_in_memory
        info, notes, (height, width) = make(task, model, show)
        if self.settings.consistency == "exact" and info.within_tolerance is False:
            notes.append(
                f"its tiles agree to {info.predicted_psnr:.1f} dB after {info.passes} passes, which does not keep the "
                f"tolerance of {self.settings.tolerance:g}"
            )
        if info.gain is not None and not 1.01 / MOST_GAIN < info.gain < 0.99 * MOST_GAIN:
            shade = "black" if info.gain > 1 else "white"
            notes.append(f"it is too {shade} for a brightness of {self.settings.finish.brightness:g}")
        seconds = time.perf_counter() - start
        said = "; ".join(notes) or None
        return Result(task.source, "done", task.target, None, said, seconds, width, height, info)

    def _make_in_memory(self, task: Task, model: Enhancer, show: Show) -> _Made:
        data = read_file(task.source)
        picture = decode_image(data, str(task.source), max_pixels=self.settings.max_pixels)
        allow_8_bit = self.settings.target_format == task.format
        # Before the inference, which may take minutes.
        check_encodable(picture, task.format, allow_8_bit=allow_8_bit)
        _check_writable(task.target.parent)
        dark = picture.rgb()
        pixels = np.empty_like(dark)
        info = model.enhance_into(dark, pixels, _passes(dark, task, show))
        content = encode_image(
            picture.with_rgb(pixels),
            task.format,
            quality=self.settings.quality,
            subsampling=self.settings.subsampling,
            allow_8_bit=allow_8_bit,
        )
        record = self.settings.record(hashlib.sha256(data).hexdigest(), task)
        with self._replacing(task.target) as temporary:
            temporary.write_bytes(stamped(content, record))
        return info, _notes(picture, task.format), (picture.height, picture.width)

    def _make_in_bands(self, task: Task, model: Enhancer, show: Show) -> _Made:
        """A TIFF to a TIFF, of any size: neither the picture nor its result is ever in memory."""
        record, folder = self.settings.record(file_sha256(task.source), task), task.target.parent
        folder.mkdir(parents=True, exist_ok=True)
        with (
            BandedTiff(task.source, self.settings.max_pixels) as source,
            TemporaryFile(dir=folder) as raw,  # beside the target: the system's folder may be in memory
            TemporaryFile(dir=folder) as strips,
        ):
            result = RawBands(raw, source)
            info = model.enhance_into(source, result, _passes(source, task, show))
            head = pack_bands(result, source, strips)
            with self._replacing(task.target) as temporary:
                with temporary.open("wb") as stream:
                    stream.write(head)
                    copyfileobj(strips, stream)
                stamp_file(temporary, record)
            notes = []
            if self.settings.finish.tones and source.dtype == np.uint8:
                notes.append("its brightness was set in 8 bits, since it does not fit into memory: it may show steps")
            return info, notes, source.shape[:2]

    @contextmanager
    def _replacing(self, target: Path) -> Iterator[Path]:
        """A file to write, which becomes the target at the end of the block."""
        with self._writing:
            # Once more: the inference took its time, and the user may have saved something here.
            if target.exists() and (obstacle := self._obstacle(target, _stamp_of(target))):
                raise ImageError(f"{target} {obstacle}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                yield temporary


_Made = tuple["PictureInfo", list[str], tuple[int, ...]]
"""How a picture was enhanced, what the user should know of it, and its height and width."""


def _passes(source: Source, task: Task, show: Show) -> Callable[[int], None]:
    return Passes(task.source.name, source.shape[0] * source.shape[1], show).advance


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


def _needs_bands(task: Task, *, toned: bool) -> bool:
    """Whether the picture and its result would take more than half of the free memory, and both are TIFFs."""
    free = available_memory()
    return task.format == "tiff" and free is not None and bytes_in_memory(task.source, toned=toned) > free // 2


def _stamp_of(target: Path) -> Stamp | None:
    return read_stamp(target) if target.is_file() else None


def _without_task(entry: NoTask) -> Result:
    if entry.own:
        return Result(entry.source, "skipped", note="an output of mirnet-deploy")
    return Result(entry.source, "failed", error=entry.reason)


def _reason(error: Exception, task: Task) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --tile or fewer --jobs"
    if isinstance(error, OSError):
        read = error.filename == str(task.source)
        what = f"{task.source} cannot be read" if read else f"{task.target} cannot be written"
        return f"{what}: {error.strerror or error}"
    return str(error)


def _notes(picture: Picture, target: Format) -> list[str]:
    """What the user should know of a picture that was done."""
    notes = []
    if picture.bits == 16 and target not in SIXTEEN_BIT_FORMATS:
        notes.append(f"16 bit became 8, since a {target} holds no more")
    if target == "bmp" and (picture.exif or picture.icc):
        notes.append("its EXIF and ICC profile are lost, since a bmp holds none")
    return notes
