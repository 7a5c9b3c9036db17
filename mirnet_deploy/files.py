"""Writes files so that each is there whole or not at all, and hashes files."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import RLock

from platformdirs import user_cache_path

_TEMPORARY: set[tuple[int, Path]] = set()
"""What `remove_temporary` removes, each with the process that made it: a fork has a copy of this."""
_SUFFIX = ".partial"
_RENAMING = RLock()
"""Held while files that belong together take their places, and while what is unfinished is removed."""


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
    temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(8)}{_SUFFIX}"
    entry = (os.getpid(), temporary)
    _TEMPORARY.add(entry)
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _TEMPORARY.discard(entry)


@contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[Path]:
    """A folder in `parent`, or among the system's temporary ones, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="mirnet-deploy-", dir=parent, ignore_cleanup_errors=True) as name:
        entry = (os.getpid(), Path(name))
        _TEMPORARY.add(entry)
        try:
            yield entry[1]
        finally:
            _TEMPORARY.discard(entry)


@contextmanager
def atomic_folder(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """A new folder to fill. It becomes `path`, which is not there, if the block ends without an error, and is removed
    otherwise.

    Args:
        beside: the new folder is made beside this one, on the same file system; None for `path`.

    Raises:
        OSError: it cannot be made or filled; or `path` is there by now and is not an empty folder.
    """
    beside = beside or path
    temporary = beside.parent / f"{_prefix(beside)}{secrets.token_hex(8)}{_SUFFIX}"
    entry = (os.getpid(), temporary)
    _TEMPORARY.add(entry)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _TEMPORARY.discard(entry)


@contextmanager
def locked(path: Path, waiting: Callable[[], object] | None = None, patience: float = 0.0) -> Iterator[None]:
    """The block runs in one process and thread at a time, of all that lock the file `path`, which is made and stays:
    one that waits may have it open. The lock is the system's: it ends with its process, however that ends. (On a file
    system without locks filelock's own file stands in, and one that a process on another host leaves behind when it is
    killed has to be deleted by hand.)

    Args:
        waiting: called before it waits for another for longer than `patience`, in seconds.

    Raises:
        OSError, NotImplementedError: the file cannot be made or locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o666)  # those who share the folder share the lock
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether the block is the only one on this machine, of all that hold the file `path`. Never waits.

    False also where the file cannot be made or locked, as on Windows. (By `fcntl`: filelock takes 60 ms to import.)
    """
    alone = False
    with ExitStack() as opened:
        with suppress(ImportError, OSError):
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            mine = f"{path}-{os.uname().nodename}"  # the folders of several machines may be one, with its locks
            file = os.open(mine, os.O_RDWR | os.O_CREAT, 0o666)
            opened.callback(os.close, file)
            with suppress(OSError):
                os.fchmod(file, 0o666)  # those who share the folder share the lock, whatever their umask
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        yield alone


def remove_temporary() -> None:
    """Removes all that is unfinished: for a process that ends at once, in the middle of the blocks above.

    Waits for renames of `write_together` that are under way. Raises nothing: what cannot be removed stays.
    """
    held = _RENAMING.acquire(timeout=10)  # not for ever: in a fork nobody may be there to release it
    for process, path in list(_TEMPORARY):
        if process == os.getpid():
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
    if held:
        _RENAMING.release()


def _prefix(path: Path) -> str:
    return f".{path.name[:40]}."


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes the temporary files that processes left beside `paths` when they were killed. None may be at work there.
    Raises nothing: what cannot be removed stays."""
    prefixes: dict[Path, set[str]] = {}
    for path in paths:
        prefixes.setdefault(path.parent, set()).add(_prefix(path))
    for folder, known in prefixes.items():
        with suppress(OSError):
            for found in [*folder.iterdir()]:
                stem = found.name.removesuffix(_SUFFIX)
                if stem != found.name and stem[:-16] in known:
                    with suppress(OSError):
                        found.unlink()


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

    A process that ends by `remove_temporary` on a signal ends before or after all of the renames.

    Raises:
        OSError: a folder cannot be written, or the disk is full; then all files are as they were. Or a rename fails, as
            where a folder has the file's name; then the files before it in `files` are new, and it and the rest as they
            were.
        MemoryError: there is none for a thread.
    """
    with ExitStack() as stack:
        staged = [(stack.enter_context(_temporary(path)), path) for path in files]
        for temporary, path in staged:
            temporary.write_bytes(files[path])
            _flush(temporary)
        if len(staged) == 1:
            _rename(staged)
            return
        # Python runs signal handlers in the main thread, whichever thread has blocked them: so it may have to wait for
        # the renames, and they are not made there.
        with ThreadPoolExecutor(1) as executor:
            try:
                renamed = executor.submit(_rename, staged)
            except RuntimeError as error:  # a thread cannot be started
                raise MemoryError from error
            renamed.result()


def _rename(staged: Sequence[tuple[Path, Path]]) -> None:
    with _RENAMING:
        for temporary, path in staged:
            temporary.replace(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
