"""The manifest of a job: what became of each picture, and the settings under which, in JSON lines.

Every run adds a line that begins with `{"mirnet_deploy_manifest": 1` and holds the settings, and then a line a picture,
as it is finished, with the run's `run`. A later run with the same settings trusts the lines of those that were done.
Only the command that the user started writes it. On this machine it is one file, locked meanwhile. In an object store,
where nothing can be appended, it is a folder of parts, each with the run's line and up to `PART` pictures, in the order
of their names.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mirnet_deploy.cluster.storage import Location, stored_parts
from mirnet_deploy.errors import ClusterError, StorageError
from mirnet_deploy.files import temporary_folder

NAME = "mirnet-deploy.jsonl"
"""Of a manifest below the output."""
VERSION = 1
PART = 1000
PART_SECONDS = 30.0
"""A part in an object store is written when it has so many lines, or when this long has passed."""
_HEADER = "mirnet_deploy_manifest"
_FINISHED = ("done", "skipped")
_FIELDS = {"source", "size", "mtime_ns", "target", "target_place", "target_state", "status", "note"}
"""What a later run reads of a picture's line."""


class Manifest:
    """Reads a manifest where there is one, and adds to it.

    Args:
        asked: all that decides the results, as the user asked for it: plain values.

    Raises:
        ClusterError: there is a file that is no manifest, or one that is damaged elsewhere than at its end.
        OSError, StorageError: it cannot be read.
    """

    def __init__(self, location: Location, asked: dict[str, Any]) -> None:
        self.location, self._asked = location, json.loads(json.dumps(asked))
        self.settings: dict[str, Any] | None = None
        """Those of the last run that was asked for the same; None where there was none."""
        self.finished: dict[str, dict[str, Any]] = {}
        """Source -> its line, of pictures that were finished by runs that were asked for the same."""
        self._header: dict[str, Any] = {}
        self._run = ""
        self._part: list[bytes] = []
        self._parts, self._written_at = 0, 0.0
        self._descriptor: int | None = None
        self._size = self._whole = 0
        """Bytes of the file when it was read, and of its whole lines."""
        self._read()

    def begin(self, settings: dict[str, Any], **facts: Any) -> None:
        """Adds the line of a run.

        Args:
            settings: all that decides the results, as it was resolved: plain values.
            facts: what else to state.

        Raises:
            ClusterError: it cannot be written; or another run writes it, or has done so since it was read.
        """
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._run = secrets.token_hex(4)
        stated = {"run": self._run, "started": started, "asked": self._asked, "settings": settings}
        self._header = {_HEADER: VERSION, **stated, **facts}
        self._written_at = time.monotonic()
        if self.location.local is None:
            self._stem = f"{time.time_ns()}-{os.getpid()}"
            self._part = [_line(self._header)]
            self._write_part()
        else:
            with _telling(self.location):
                self.location.local.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.location.local, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                try:
                    self._take(descriptor)
                except BaseException:
                    os.close(descriptor)
                    raise
            self._descriptor = descriptor
            self._append(_line(self._header))

    def add(self, row: dict[str, Any]) -> None:
        """Adds the line of a picture.

        Raises:
            ClusterError: it cannot be written.
        """
        line = _line({"run": self._run, **row})
        if self._descriptor is not None:
            self._append(line)
            return
        self._part.append(line)
        if len(self._part) > PART or time.monotonic() - self._written_at > PART_SECONDS:
            self._write_part()

    def close(self) -> None:
        """Writes what is not written yet. May be called twice.

        Raises:
            ClusterError: it cannot be written.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        elif len(self._part) > 1:
            self._write_part()

    def _take(self, descriptor: int) -> None:
        """Locks the file until it is closed, and cuts off its last line where that was not written to its end."""
        if not _locked(descriptor):
            raise ClusterError(f"another run writes the manifest {self.location}; wait for it, or name another -o")
        if os.fstat(descriptor).st_size != self._size:
            raise ClusterError(f"another run has written the manifest {self.location} meanwhile; start again")
        os.ftruncate(descriptor, self._whole)

    def _append(self, line: bytes) -> None:
        with _telling(self.location):
            assert self._descriptor is not None
            end = os.fstat(self._descriptor).st_size
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                with suppress(OSError):  # half a line would be no harm: the next run cuts it off
                    os.ftruncate(self._descriptor, end)
                raise

    def _write_part(self) -> None:
        self._parts += 1
        with _telling(self.location):
            self.location.below(f"{self._stem}-{self._parts:06}.jsonl").put(b"".join(self._part))
        self._part = [_line(self._header)]
        self._written_at = time.monotonic()

    def _read(self) -> None:
        if self.location.local is not None:
            if self.location.local.exists():
                self._read_file(self.location.local, self.location)
            return
        with temporary_folder() as folder:
            for part in stored_parts(self.location):
                part.fetch(folder / "part")
                self._read_file(folder / "part", part)

    def _read_file(self, path: Path, shown: Location) -> None:
        """Takes over what a file says, but for a last line that was not written to its end."""
        same: dict[str, bool] = {}  # runs: a file system without locks may have let their lines mix
        self._size, self._whole = path.stat().st_size, 0
        for number, row, end in _rows(path, shown):
            self._whole = end
            if number == 1 and _HEADER not in row:
                raise ClusterError(f"{shown} is not a manifest of mirnet-deploy; name another with --manifest")
            if _HEADER in row:
                if row[_HEADER] != VERSION:
                    raise ClusterError(f"{shown} is a manifest of version {row[_HEADER]}; this one writes {VERSION}")
                if not isinstance(row.get("settings"), dict):
                    raise _damaged(shown, number)
                same[str(row.get("run"))] = asked = row.get("asked") == self._asked
                self.settings = row["settings"] if asked else self.settings
            elif not row.keys() >= _FIELDS or not isinstance(row["source"], str) or str(row.get("run")) not in same:
                raise _damaged(shown, number)
            elif same[str(row["run"])] and row["status"] in _FINISHED:
                self.finished[row["source"]] = row
            elif same[str(row["run"])]:
                self.finished.pop(row["source"], None)


def _damaged(shown: Location, number: int) -> ClusterError:
    hint = "is damaged" if number > 1 else "is not a manifest of mirnet-deploy"
    return ClusterError(f"{shown} {hint} (line {number}); name another with --manifest")


def _rows(path: Path, shown: Location) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Each whole line: its number, what it holds, and the bytes up to its end."""
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("no object")
            except ValueError as error:
                raise _damaged(shown, number) from error
            whole += len(line)
            yield number, row, whole
        else:
            return
    if not whole and not line.startswith(f'{{"{_HEADER}"'.encode()):
        raise _damaged(shown, 1)


def _locked(descriptor: int) -> bool:
    """Whether a file could be locked until it is closed. Where there are no locks, as on Windows and some network file
    systems, it counts as locked."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"  # ASCII: file names that are no text are escaped


@contextmanager
def _telling(location: Location) -> Iterator[None]:
    """Turns an error of writing into one line."""
    try:
        yield
    except OSError as error:
        raise ClusterError(f"the manifest {location} cannot be written: {error.strerror or error}") from error
    except StorageError as error:
        raise ClusterError(f"the manifest cannot be written: {error}") from error
