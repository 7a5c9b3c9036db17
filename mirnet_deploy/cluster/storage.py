"""Files of this machine and of object stores by one name. Object stores are reached through pyarrow.

A URL is `s3://BUCKET/KEY`, and likewise gs, abfs and hdfs; `file:///PATH` is a path. What pyarrow needs to know beside
the environment follows as a query: `s3://BUCKET/KEY?endpoint_override=localhost:9000&scheme=http`
(https://arrow.apache.org/docs/python/filesystems.html). An object appears whole or not at all: a PUT is atomic.
"""

from __future__ import annotations

import mimetypes
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from mirnet_deploy.errors import StorageError, UsageError, extra_module, first_line
from mirnet_deploy.images.formats import RAW_SUFFIXES, SUFFIXES

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_URL = re.compile(r"(\w+)://([^/?]*)/?([^?]*)(\?.*)?", re.DOTALL)
_MAGIC = re.compile(r"[*\[]")


@dataclass(frozen=True)
class Location:
    """A file or folder: of this machine, or of an object store."""

    root: str
    """URL of the object store, its query included, which may hold credentials; empty for this machine."""
    path: str
    """On this machine as the user wrote it; in an object store with the bucket before the key."""

    @classmethod
    def of(cls, text: str) -> Location:
        """The location that a user means.

        Raises:
            UsageError: the URL is of no kind that is known here.
        """
        found = _URL.fullmatch(text)
        if not found:
            return cls("", text)
        scheme, host, path, query = found[1].lower(), found[2], found[3], found[4] or ""
        if scheme == "file":
            return cls("", "/" + unquote(path))
        if scheme not in SCHEMES:
            raise UsageError(f"{scheme}:// is not known; expected a path, file:// or one of {', '.join(SCHEMES)}://")
        root = f"{scheme}://{host}{query}"
        return cls(root, posixpath.join(_opened(root)[1], path).rstrip("/"))

    @property
    def local(self) -> Path | None:
        """The path on this machine; None in an object store."""
        return None if self.root else Path(self.path)

    def __str__(self) -> str:
        """The name to show, without credentials."""
        return f"{self.root.partition('://')[0]}://{self.path}" if self.root else self.path

    def below(self, place: str | PurePosixPath) -> Location:
        """What lies at the relative path `place` below this folder."""
        return replace(self, path=posixpath.join(self.path, str(place)) if self.root else str(Path(self.path, place)))

    def state(self) -> tuple[int, int] | None:
        """Size in bytes, and time of the last change in nanoseconds; None where there is no such file.

        Raises:
            StorageError: the object store refuses.
            OSError: a folder on the way cannot be read.
        """
        if self.local is not None:
            try:
                found = self.local.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return found.st_size, found.st_mtime_ns
        with _telling(self, "read"):
            info = _opened(self.root)[0].get_file_info(self.path)
            return (info.size, info.mtime_ns or 0) if info.is_file else None

    def fetch(self, target: Path) -> None:
        """Copies an object to a file of this machine.

        Raises:
            StorageError: the object store refuses.
            OSError: `target` cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            with _telling(self, "read"):
                stream = _opened(self.root)[0].open_input_stream(self.path)
            with stream:
                while block := self._next(stream):
                    file.write(block)

    def _next(self, stream: Any) -> bytes:
        with _telling(self, "read"):
            block: bytes = stream.read(1 << 20)
            return block

    def put(self, data: bytes) -> tuple[int, int]:
        """Makes an object of `data`, in place of the one that is there, and returns its `state`.

        Raises:
            StorageError: the object store refuses; or the object has not the size of `data` afterwards.
        """
        with _telling(self, "written"):
            kind = mimetypes.guess_type(self.path)[0] or "application/octet-stream"
            stream = _opened(self.root)[0].open_output_stream(self.path, metadata={"Content-Type": kind})
            # Not as a context manager: leaving it by an error would finish the upload of what was sent so far.
            stream.write(data)
            stream.close()
        state = self.state()
        if state is None or state[0] != len(data):
            raise StorageError(
                f"{self} cannot be written: {len(data)} bytes were sent, and it has {state and state[0]}"
            )
        return state


@dataclass(frozen=True)
class Stored:
    """An object that should be a picture."""

    location: Location
    place: PurePosixPath
    """See `jobs.inputs.InputFile`."""
    size: int
    mtime_ns: int


def stored_pictures(argument: Location, recursive: bool) -> list[Stored]:
    """The objects that a URL means, as `jobs.inputs` does for files: the object itself, the pictures below a folder by
    suffix without hidden ones, or what matches a glob (`*`, `**` and `[…]`), in the order of folders and names.

    Raises:
        StorageError: the object store refuses.
    """
    if _MAGIC.search(argument.path):
        parts = PurePosixPath(argument.path).parts
        fixed = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
        base = replace(argument, path="/".join(parts[:fixed]).replace("//", "/"))
        return [
            replace(each, place=PurePosixPath(each.place.name))
            for each in _listed(base, recursive=len(parts) > fixed + 1 or "**" in parts)
            if _matches(each.place.parts, parts[fixed:])
        ]
    state = argument.state()
    if state is not None:
        return [Stored(argument, PurePosixPath(PurePosixPath(argument.path).name), *state)]
    return [each for each in _listed(argument, recursive) if _is_picture(each.place)]


def stored_parts(folder: Location) -> list[Location]:
    """All objects right below a folder, in the order of their names.

    Raises:
        StorageError: the object store refuses.
    """
    return [each.location for each in _listed(folder, recursive=False)]


def states_below(folder: Location) -> dict[str, tuple[int, int]]:
    """The `state` of every object below a folder, by its relative path: a request for a thousand, not for each.

    Raises:
        StorageError: the object store refuses.
    """
    return {str(each.place): (each.size, each.mtime_ns) for each in _listed(folder, recursive=True)}


def same_state(state: Sequence[int] | None, other: Sequence[int] | None, remote: bool) -> bool:
    """Whether two states of a file are the same. Of an object the second counts: some stores (MinIO) tell its time more
    finely in a list than when they are asked for it alone."""
    if not state or not other:
        return False
    unit = 10**9 if remote else 1
    return (state[0], state[1] // unit) == (other[0], other[1] // unit)


def _listed(folder: Location, recursive: bool) -> list[Stored]:
    """All objects below a folder."""
    from pyarrow.fs import FileSelector

    with _telling(folder, "read"):
        selector = FileSelector(folder.path, recursive=recursive, allow_not_found=True)
        infos = [info for info in _opened(folder.root)[0].get_file_info(selector) if info.is_file]
    found = [
        Stored(
            replace(folder, path=info.path),
            PurePosixPath(posixpath.relpath(info.path, folder.path)),
            info.size,
            info.mtime_ns or 0,
        )
        for info in infos
    ]
    # The order of a walk: the files of a folder come before those of the folders in it.
    return sorted(found, key=lambda each: [*((1, part) for part in each.place.parts[:-1]), (0, each.place.name)])


def _is_picture(place: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") for part in place.parts)
    return not hidden and place.suffix.lower() in {*SUFFIXES, *RAW_SUFFIXES}


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a glob's parts match those of a path: `**` stands for any number of folders, `*` stays within a name, and
    neither stands for the dot of what is hidden."""
    if not (names and pattern):
        return not names and not pattern
    first, rest = pattern[0], pattern[1:]
    hidden = names[0].startswith(".") and not first.startswith(".")
    if first == "**":
        return _matches(names, rest) or (not hidden and (_matches(names[1:], pattern) or not (names[1:] or rest)))
    return not hidden and fnmatchcase(names[0], first) and _matches(names[1:], rest)


@lru_cache(maxsize=64)
def _opened(root: str) -> tuple[Any, str]:
    """The file system of an object store, and the path of its root.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        StorageError: pyarrow does not know it, or takes no such query.
    """
    module = extra_module("pyarrow.fs", "an object store needs pyarrow", "ray")
    url = root
    if root.startswith("s3:") and "allow_delayed_open" not in root:  # one PUT for what is small
        url += f"{'&' if '?' in root else '?'}allow_delayed_open=true"
    try:
        system, path = module.FileSystem.from_uri(url)
    except Exception as error:
        scheme, _, host = root.partition("?")[0].partition("://")
        shown = f"{scheme}://{host.rpartition('@')[2]}"  # before the @ stand credentials
        raise StorageError(f"{shown} cannot be opened: {first_line(error)}") from error
    return system, path


@contextmanager
def _telling(location: Location, done: str) -> Iterator[None]:
    """Turns pyarrow's errors into one line."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # ArrowInvalid is a ValueError, others are of OSError
        if type(error).__module__.startswith("pyarrow") or isinstance(error, OSError):
            raise StorageError(f"{location} cannot be {done}: {first_line(error)}") from error
        raise
