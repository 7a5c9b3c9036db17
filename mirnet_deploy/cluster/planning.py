"""Which pictures a command line means, and which of their results would have one name. Hardly a picture is opened here:
what it holds, and so the suffix of its result, is found out where it is enhanced.

Two results can only have one name where their inputs have one place and one stem (`a.png` and `a.jpg`), and a result
can only replace an input where that lies at its place. These few are opened here, and get their names in order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mirnet_deploy.cluster.storage import Location, Stored, same_state, stored_pictures
from mirnet_deploy.errors import MirnetDeployError, StorageError, UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.images.formats import SUFFIXES, Format
from mirnet_deploy.jobs.inputs import IGNORES_CASE, InputFile, NoTask, expand, inspect, result_suffix


@dataclass(frozen=True)
class Picture:
    """An input that should be a picture."""

    source: Location
    place: PurePosixPath
    """See `jobs.inputs.InputFile`."""
    size: int
    mtime_ns: int
    """Of the source."""
    result: PurePosixPath | None = None
    """Relative path of the result below the output, where it had to be settled beforehand."""


@dataclass(frozen=True)
class Refused:
    """An input that gives no picture to enhance, and why; see `jobs.inputs.NoTask`."""

    source: str
    reason: str
    own: bool = False


def plan(
    arguments: Sequence[str],
    output: Location,
    target_format: Format | None,
    recursive: bool,
    finished: Iterable[Mapping[str, Any]] = (),
) -> list[Picture | Refused]:
    """One entry per input, in the order of the arguments, each once; names and refusals as of `jobs.inputs.find_tasks`.

    Args:
        arguments: files, folders and globs of this machine, and URLs of objects, of folders and globs of them.
        output: the folder of the results.
        finished: lines of a manifest. Inputs that are their results, as they were then, are not opened: with an output
            below an input there are as many as pictures.

    Raises:
        StorageError: an object store refuses.
        UsageError: `output` is a file, or named as one.
    """
    _check_folder(output)
    results = {row["target"]: row["target_state"] for row in finished if row["target"] is not None}
    entries = [_unless_own(entry, results) for entry in _entries(arguments, recursive)]
    pictures = [entry for entry in entries if isinstance(entry, Picture)]
    stems = Counter(_stem(output, picture.place) for picture in pictures)
    occupied = {_stem_of(picture.source) for picture in pictures}

    def meets(picture: Picture) -> bool:
        stem = _stem(output, picture.place)
        return stems[stem] > 1 or stem in occupied or _stem_of(picture.source) in stems

    kinds = {index: _kind(entry) for index, entry in enumerate(entries) if isinstance(entry, Picture) and meets(entry)}
    inputs = {
        _key(entry.source)
        for index, entry in enumerate(entries)
        if isinstance(entry, Picture) and isinstance(kinds.get(index), str)
    }
    claimed: dict[tuple[str, str], Picture] = {}
    return [
        _settled(entry, kinds[index], output, target_format, inputs, claimed)
        if isinstance(entry, Picture) and index in kinds
        else entry
        for index, entry in enumerate(entries)
    ]


def result_place(place: PurePosixPath, content: Format, target_format: Format | None) -> PurePosixPath:
    """Where the result of a file at `place` that holds `content` goes, below the output."""
    return place.with_name(place.stem + result_suffix(place, content, target_format))


def _unless_own(entry: Picture | Refused, results: Mapping[str, Any]) -> Picture | Refused:
    if not isinstance(entry, Picture):
        return entry
    name = str(entry.source)
    own = same_state((entry.size, entry.mtime_ns), results.get(name), bool(entry.source.root))
    return Refused(name, f"{name} is an output of mirnet-deploy", own=True) if own else entry


def _check_folder(output: Location) -> None:
    local = output.local
    if local is not None and local.is_dir():
        return
    suffix = PurePosixPath(output.path).suffix.lower()
    if (local is not None and os.path.lexists(local)) or suffix in SUFFIXES:
        raise UsageError(f"-o {output} is or names a file; on a cluster results go into a folder")


def _entries(arguments: Sequence[str], recursive: bool) -> Iterator[Picture | Refused]:
    seen: set[tuple[str, str]] = set()
    for argument in arguments:
        location = Location.of(argument)
        for entry in _remote(location, recursive) if location.root else _local(location.path, recursive):
            key = _key(entry.source) if isinstance(entry, Picture) else ("", entry.source)
            if key not in seen:
                seen.add(key)
                yield entry


def _local(argument: str, recursive: bool) -> Iterator[Picture | Refused]:
    for entry in expand([argument], recursive):
        if isinstance(entry, NoTask):
            yield Refused(str(entry.source), entry.reason, entry.own)
            continue
        try:
            state = entry.path.stat()
        except OSError as error:
            yield Refused(str(entry.path), f"{entry.path} cannot be read: {error.strerror or error}")
            continue
        place = PurePosixPath(entry.place.as_posix())
        # Workers need not have this command's working directory.
        yield Picture(Location("", str(entry.path.absolute())), place, state.st_size, state.st_mtime_ns)


def _remote(location: Location, recursive: bool) -> Iterator[Picture | Refused]:
    found: list[Stored] = stored_pictures(location, recursive)
    if not found:
        hint = "" if recursive else "; --recursive looks into its folders"
        yield Refused(str(location), f"{location} does not exist or holds no pictures{hint}")
    for each in found:
        yield Picture(each.location, each.place, each.size, each.mtime_ns)


def _key(location: Location) -> tuple[str, str]:
    """The same for all names of one file."""
    if location.root:
        return location.root, location.path
    real = os.path.realpath(location.path)
    return "", real.casefold() if IGNORES_CASE else real


def _stem_of(location: Location) -> tuple[str, str]:
    root, path = _key(location)
    return root, os.path.splitext(path)[0]  # noqa: PTH122 (an object's key is no path)


def _stem(output: Location, place: PurePosixPath) -> tuple[str, str]:
    return _stem_of(output.below(place))


def _kind(picture: Picture) -> Format | NoTask:
    """The format of a picture's content, or why it is not enhanced."""
    if picture.source.local is not None:
        return inspect(InputFile(picture.source.local, Path(picture.place)))
    try:
        with temporary_folder() as folder:
            copy = folder / picture.place.name
            picture.source.fetch(copy)
            kind = inspect(InputFile(copy, Path(picture.place)))
            if isinstance(kind, NoTask):
                return replace(kind, reason=kind.reason.replace(str(copy), str(picture.source)))
            return kind
    except (StorageError, OSError) as error:
        return NoTask(Path(picture.place), f"{picture.source} cannot be read: {error}")


def _settled(
    picture: Picture,
    kind: Format | NoTask,
    output: Location,
    target_format: Format | None,
    inputs: set[tuple[str, str]],
    claimed: dict[tuple[str, str], Picture],
) -> Picture | Refused:
    """The picture with the name of its result, unless that is one of `inputs` or another's; see `find_tasks`."""
    name = str(picture.source)
    if isinstance(kind, NoTask):
        return Refused(name, kind.reason, kind.own)
    try:
        result = result_place(picture.place, kind, target_format)
    except MirnetDeployError as error:
        return Refused(name, str(error))
    key = _key(output.below(result))
    if key in inputs:
        return Refused(name, f"{name}: its result {output.below(result)} would replace an input; choose another -o")
    if key in claimed:
        other = claimed[key].source
        return Refused(name, f"{name}: its result {output.below(result)} is already that of {other}; choose another -o")
    claimed[key] = picture
    return replace(picture, result=result)
