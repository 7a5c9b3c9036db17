"""The files that results go to: what is done already, what may be replaced, and what is the user's.

An output ends in a record of what it was made from and how (`jobs.record`). An existing target is
- skipped, if it is untouched and its record equals the one that the work would give it,
- made again, if it is untouched and the record differs (another input, model, setting or version of mirnet-deploy),
- left alone, if it has no record or was changed since: then it is the user's.
`force` makes all of them again and replaces what is the user's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mirnet_deploy.errors import ImageError
from mirnet_deploy.files import atomic_path, file_sha256, is_there
from mirnet_deploy.jobs.colours import are_right, recorded_in
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.record import Stamp, read_stamp
from mirnet_deploy.jobs.settings import JobSettings


class Targets:
    """Guards the targets of one job. Threads may share it: one writes at a time."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._writing = threading.Lock()

    def is_done(self, task: Task) -> bool:
        """Whether the task's target is there already, as the work would make it; never with `force`.

        Raises:
            ImageError: the target is the user's, or not a regular file; or the input is no picture.
            OSError: the target or the input cannot be read.
        """
        if not is_there(task.target):
            return False
        stamp = _stamp_of(task.target)
        self._check_replaceable(task.target, stamp)
        if self._settings.force or stamp is None:
            return False
        colours = recorded_in(stamp.record)
        if stamp.record != self._settings.record(file_sha256(task.source), task, colours):
            return False
        return are_right(colours, task.source, self._settings)

    @contextmanager
    def replacing(self, target: Path) -> Iterator[Path]:
        """A temporary file to write, which becomes the target at the end of the block.

        Raises:
            ImageError: the target is the user's by now, or not a regular file.
            OSError: it cannot be written.
        """
        with self._writing:
            # Checked again: the inference took its time, and the user may have saved something here meanwhile.
            if is_there(target):
                self._check_replaceable(target, _stamp_of(target))
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                yield temporary

    @contextmanager
    def no_more_writes(self) -> Iterator[None]:
        """Waits for a write that is under way and lets no other begin: inside the block the process may end at once."""
        with self._writing:
            yield

    def _check_replaceable(self, target: Path, stamp: Stamp | None) -> None:
        """Checks that an existing target may be replaced; `stamp` is what `_stamp_of` found in it.

        Raises:
            ImageError: it may not.
        """
        if target.is_symlink() and not target.exists():
            if not self._settings.force:
                raise ImageError(f"{target} is a link that leads nowhere; pass --force to replace it")
            return
        if not target.is_file():
            raise ImageError(f"{target} is in the way and is not a regular file; move it or choose another -o")
        if self._settings.force:
            return
        if stamp is None:
            raise ImageError(f"{target} exists and was not made by mirnet-deploy; pass --force to replace it")
        if not stamp.intact:
            raise ImageError(f"{target} was changed since mirnet-deploy made it; pass --force to replace it")


def _stamp_of(target: Path) -> Stamp | None:
    """What the record of a target says; None where it has none or is not a regular file."""
    return read_stamp(target) if target.is_file() else None
