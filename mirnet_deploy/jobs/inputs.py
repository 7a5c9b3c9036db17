"""Which pictures a command line means, and where each result goes. Nothing is decoded and nothing is written here."""

from __future__ import annotations

import glob
import mimetypes
import mmap
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mirnet_deploy.errors import ImageError, UsageError
from mirnet_deploy.images.folders import pictures_in
from mirnet_deploy.images.formats import RAW_SUFFIXES, SUFFIXES, Format, format_of_name, sniff
from mirnet_deploy.images.raw.kinds import format_of_content
from mirnet_deploy.jobs.record import has_stamp

IGNORES_CASE = sys.platform in ("win32", "darwin")
"""Whether names that differ only in the case of letters are taken for one file."""
_SUFFIX_OF: dict[Format, str] = {
    **{kind: f".{kind}" for kind in SUFFIXES.values()},
    "raw": ".tif",
}
"""Format -> suffix of its results; those of camera RAW are TIFFs."""


@dataclass(frozen=True)
class Task:
    """One picture to enhance."""

    source: Path
    target: Path
    format: Format
    """Of the target."""


@dataclass(frozen=True)
class NoTask:
    """An input that gives no picture to enhance, and why."""

    source: Path
    reason: str
    own: bool = False
    """Whether it is an output of mirnet-deploy: that is not a failure, but outputs are never enhanced again."""


@dataclass(frozen=True)
class InputFile:
    """A file that should be a picture."""

    path: Path
    place: Path
    """Relative path of its result below an output folder, still with the name of the file."""


def find_tasks(
    arguments: Sequence[str], *, output: Path | None, target_format: Format | None, recursive: bool
) -> list[Task | NoTask]:
    """One entry per input, in the order of the arguments, each file once.

    An argument is a file, a folder (its pictures by suffix, without hidden ones) or a glob. The result is `output`
    itself where that has a picture's suffix, is not a folder, and there is one input. Otherwise the result of
    `NAME.EXT` is `NAME.EXT` at the same place of the tree below `output`, or without an `output` `NAME_enhanced.EXT`
    beside it; there EXT changes where it does not stand for `target_format` or, without one, for the format of the
    content (a PNG named .jpg gives .png); a TIFF of camera RAW is a .tif. An input has no task if its result would
    replace an input or would be that of an earlier input.

    Raises:
        UsageError: `output` does not fit the inputs.
    """
    found = list(expand(arguments, recursive))
    inspected = [(entry, inspect(entry) if isinstance(entry, InputFile) else entry) for entry in found]
    inputs = {_real(entry.path) for entry, kind in inspected if isinstance(entry, InputFile) and isinstance(kind, str)}
    single = _single_target(output, target_format, sum(isinstance(entry, InputFile) for entry in found), arguments)
    claimed: dict[Path, Path] = {}
    entries: list[Task | NoTask] = []
    for entry, kind in inspected:
        if isinstance(kind, NoTask):
            entries.append(kind)
        elif isinstance(entry, InputFile):
            target = single or _target(entry, kind, output, target_format)
            entries.append(_claim(entry.path, target, claimed, inputs))
    return entries


def inspect(file: InputFile) -> Format | NoTask:
    """The format of a file's content, or why the file is not enhanced."""
    path = file.path
    try:
        if not path.is_file():
            raise ImageError("is not a regular file; expected a picture")
        if has_stamp(path):
            return NoTask(path, f"{path} is an output of mirnet-deploy", own=True)
        if not path.stat().st_size:
            return sniff(b"")
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as block:
            return format_of_content(block)
    except ImageError as error:
        return NoTask(path, f"{path} {error}")
    except OSError as error:
        return NoTask(path, f"{path} cannot be read: {error.strerror or error}")


def _target(file: InputFile, content: Format, output: Path | None, target_format: Format | None) -> Path:
    """Where the result of a file goes: beside it, or below the folder `output`. `content` is the format of the file."""
    suffix = result_suffix(file.path, content, target_format)
    if output is None:
        return file.path.with_name(f"{file.path.stem}_enhanced{suffix}")
    return output / file.place.with_name(file.path.stem + suffix)


def result_suffix(path: PurePath, content: Format, target_format: Format | None) -> str:
    """The suffix of the result of a file called `path` that holds `content`; see `find_tasks`."""
    wanted = target_format or content
    if content == "raw" and wanted == "tiff":  # as without a wish
        wanted = content
    return path.suffix if SUFFIXES.get(path.suffix.lower()) == wanted else _SUFFIX_OF[wanted]


def _claim(path: Path, target: Path, claimed: dict[Path, Path], inputs: set[Path]) -> Task | NoTask:
    """The task, unless its target is one of `inputs` or another input's already. Adds it to `claimed`.

    Args:
        claimed: target, as `_real` gives it -> the input whose result it is.
        inputs: the pictures among the inputs, as `_real` gives them.
    """
    real = _real(target)
    if real in inputs:
        return NoTask(path, f"{path}: its result {target} would replace an input; choose another -o")
    if real in claimed:
        return NoTask(path, f"{path}: its result {target} is already that of {claimed[real]}; choose another -o")
    claimed[real] = path
    return Task(path, target, format_of_name(target))


def _single_target(
    output: Path | None, target_format: Format | None, count: int, arguments: Sequence[str]
) -> Path | None:
    """`output` where it names the one result itself; None where it is None or a folder, existing or not.

    Args:
        count: how many files the arguments mean.

    Raises:
        UsageError: `output` cannot be the result, or names one picture for several inputs.
    """
    if output is None or os.path.isdir(output):  # noqa: PTH112 (Path.is_dir raises in a folder that may not be entered)
        return None
    if os.path.lexists(output) and output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {output} is a file that is not a picture; expected a folder or a picture's name")
    if output.suffix.lower() not in SUFFIXES:
        if output.suffix.lower() in RAW_SUFFIXES:
            raise UsageError(f"-o {output}: camera RAW cannot be written; expected {', '.join(SUFFIXES)}")
        if (mimetypes.guess_type(output)[0] or "").startswith("image/"):
            raise UsageError(f"-o {output}: {output.suffix} cannot be written; expected {', '.join(SUFFIXES)}")
        return None
    if count != 1 or Path(arguments[0]).is_dir():
        raise UsageError(f"-o {output} names one picture, but the input may be several; name a folder")
    if target_format is not None and format_of_name(output) != target_format:
        raise UsageError(f"-o {output} and --format {target_format} contradict each other; leave one out")
    return output


def expand(arguments: Iterable[str], recursive: bool) -> Iterator[InputFile | NoTask]:
    """Yields the files that the arguments mean (see `find_tasks`), in order and each once, and a `NoTask` where they
    mean none. No file is opened."""
    return _once(_expand(arguments, recursive))


def _expand(arguments: Iterable[str], recursive: bool) -> Iterator[InputFile | NoTask]:
    """Like `expand`, but files may repeat."""
    for argument in arguments:
        path = Path(argument)
        if not argument:  # an unset shell variable, for example; Path("") would be the whole current folder
            yield NoTask(path, "an empty name is not a picture, folder or glob; a dot is this folder")
            continue
        # A file whose name contains a bracket is that file; only what does not exist can be a glob.
        if os.path.lexists(path) or not glob.has_magic(argument):
            yield from _of_path(path, recursive)
            continue
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not matches:
            yield NoTask(path, f"{argument} matches no file")
        for match in matches:
            yield from _of_path(Path(match), recursive)


def _of_path(path: Path, recursive: bool) -> Iterator[InputFile | NoTask]:
    """Yields the file itself or the pictures of a folder, and a `NoTask` for what is missing or cannot be read."""
    try:
        mode = path.stat().st_mode  # not exists(), which raises in a folder that may not be entered
    except FileNotFoundError:
        yield NoTask(path, f"{path} does not exist")
        return
    except OSError as refusal:
        yield NoTask(path, f"{path} cannot be read: {refusal.strerror or refusal}")
        return
    if not stat.S_ISDIR(mode):
        yield InputFile(path, Path(path.name))
        return
    closed: list[OSError] = []
    pictures = list(pictures_in(path, recursive=recursive, on_error=closed.append))
    for error in closed:
        yield NoTask(Path(error.filename), f"{error.filename} cannot be read: {error.strerror}")
    if not pictures and not closed:
        hint = "" if recursive else "; --recursive looks into its folders"
        yield NoTask(path, f"{path} holds no pictures ({', '.join(SUFFIXES)}, or camera RAW){hint}")
    for file in pictures:
        yield InputFile(file, file.relative_to(path))


def _once(entries: Iterable[InputFile | NoTask]) -> Iterator[InputFile | NoTask]:
    """Yields each file's first entry."""
    seen: set[Path] = set()
    for entry in entries:
        real = _real(entry.path if isinstance(entry, InputFile) else entry.source)
        if real not in seen:
            seen.add(real)
            yield entry


def _real(path: Path) -> Path:
    """A path that is the same for all names of one file: without links, and in one case where case is ignored."""
    real = os.path.realpath(path)
    return Path(real.casefold() if IGNORES_CASE else real)
