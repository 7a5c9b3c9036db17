"""Faults of workers, for tests: Python runs this file as `sitecustomize` where its folder is on PYTHONPATH.

A process of Ray that opens a picture called `killer.png` is killed, as the kernel does for want of memory; so is the
first that opens a picture called `once.png`; and in a folder `out/full` nothing can be written.
"""

import errno
import os
import signal
import sys
from typing import Any


def _is_first() -> bool:
    try:
        os.close(os.open(os.environ["FAULTY_WORKERS_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _faults(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not isinstance(arguments[0], str):
        return
    folder, name = os.path.split(arguments[0])
    if name == "killer.png" or (name == "once.png" and _is_first()):
        os.kill(os.getpid(), signal.SIGKILL)
    if folder.endswith("/out/full") and arguments[2] & os.O_CREAT:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])


if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    sys.addaudithook(_faults)
