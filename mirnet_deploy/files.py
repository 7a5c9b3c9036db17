"""Writes files so that each is there whole or not at all, and hashes files."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from platformdirs import user_cache_path

_TEMPORARY: set[Path] = set()
"""What `remove_temporary` removes."""


def is_there(path: Path) -> bool:
    """Whether writing `path` would replace something: a file, a folder, or a link, also one that leads nowhere."""
    return os.path.lexists(path)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`. It replaces `path` if the block ends without an error, and is removed otherwise.

    The data is flushed to the disk before the rename, so that a power cut leaves the old file or the new one.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new file beside `path`, removed at the end if it is still there."""
    # 40 characters are at most 160 bytes, so that the name stays below the usual limit of 255. Not mkstemp, which makes
    # private files: a result gets the permissions of any new file, and reading the umask changes it for all threads.
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.partial"
    _TEMPORARY.add(temporary)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _TEMPORARY.discard(temporary)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder among the system's temporary ones, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="mirnet-deploy-") as name:
        folder = Path(name)
        _TEMPORARY.add(folder)
        try:
            yield folder
        finally:
            _TEMPORARY.discard(folder)


def remove_temporary() -> None:
    """Removes all that is unfinished: for a process that ends at once, in the middle of the blocks above."""
    for path in list(_TEMPORARY):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("r+b") as stream:  # Windows cannot flush a file that is open for reading only
        os.fsync(stream.fileno())


def cache_folder(name: str) -> Path:
    """The folder called `name` among what this package keeps for the user and can make again. It need not exist."""
    return user_cache_path("mirnet-deploy", appauthor=False) / name


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path` so that no reader ever sees half of it.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Writes files that belong together: all of them are on the disk before the first replaces what was there.

    Raises:
        OSError: a folder cannot be written, or the disk is full; then all files are as they were.
    """
    with ExitStack() as stack:
        staged = [(stack.enter_context(_temporary(path)), path, data) for path, data in files.items()]
        for temporary, _, data in staged:
            temporary.write_bytes(data)
            _flush(temporary)
        for temporary, path, _ in staged:
            temporary.replace(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
