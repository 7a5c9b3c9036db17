"""A command's connection to a Ray cluster, or a cluster of its own, and the end of both."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from mirnet_deploy.errors import ClusterError, UsageError, extra_module, first_line
from mirnet_deploy.files import temporary_folder

LOCAL = "local"
STORE_BYTES = 256 << 20
"""Ray's shared memory on a cluster of this machine alone: nothing but the model and names goes through it."""
CONNECT_SECONDS = 10.0
END_SECONDS = 5.0
"""How long processes of a cluster of this machine may take to end by themselves."""
_FOLDERS: set[Path] = set()
"""Of clusters that were started here and have not been ended."""


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address`, or to one of this machine (`LOCAL`) for the length of
    the block, in which standard output leads nowhere. Ray reports no usage unless the environment asks for it.

    Raises:
        ClusterError: it cannot be reached, or not be started.
        MissingDependencyError: Ray is not installed.
        UsageError: the address is one of Ray's client, which Ray Data does not work through.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray {address} is of Ray's client; run the command on a machine of the cluster with --ray auto"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a default to come
    ray = extra_module("ray", "--ray needs Ray", "ray")
    extra_module("ray.data", "--ray needs Ray Data", "ray")
    # Ray prints what machines report, such as a process that died, on standard output, where results go.
    with ExitStack() as opened:
        opened.enter_context(redirect_stdout(opened.enter_context(open(os.devnull, "w"))))  # noqa: PTH123
        folder = None
        if address == LOCAL:
            # Sockets lie in it, whose paths may have no more than 107 characters.
            folder = opened.enter_context(temporary_folder("/tmp" if os.name == "posix" else None))
            _FOLDERS.add(folder)
        opened.callback(leave, ray)
        _connect(ray, address, folder)
        for name in ("ray", "ray._private.worker", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield ray


def _connect(ray: Any, address: str, folder: Path | None) -> None:
    # Also that of a cluster of its own: without an address Ray goes to the one in RAY_ADDRESS.
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.CRITICAL}
    if folder:
        options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False, "_temp_dir": str(folder)}
    try:
        if found := re.fullmatch(r"\[?([^\]]+)\]?:(\d+)", address):  # Ray itself would try for minutes
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
        # Ray would end the process on SIGTERM in its own way; the command has its own (`cli.process`).
        with suppress(AttributeError):
            ray._private.utils.set_sigterm_handler = lambda handler: None
        with _no_stderr():
            ray.init(**options)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = f"no Ray cluster answers at {address}" if folder is None else "no Ray cluster can be started here"
        raise ClusterError(f"{what}: {first_line(error)}") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Within the block what is written to standard error is lost: Ray's core tells there at which level it logs."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (os.devnull is a name, not a path)
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def leave(ray: Any | None, seconds: float = 20.0) -> None:
    """Leaves the cluster, and ends the one that was started here, all of its processes. Waits no longer than that, and
    `END_SECONDS`. May be called twice.

    Args:
        ray: the module; None where a signal came while the cluster was being reached or started.
    """
    ours = {folder: processes_of(folder) for folder in _FOLDERS}
    if ray is not None:
        thread = threading.Thread(target=ray.shutdown, daemon=True)
        thread.start()
        thread.join(seconds)
    for folder, processes in ours.items():
        _end(processes)
        _end(processes_of(folder))  # what was being started meanwhile
        _FOLDERS.discard(folder)


def processes_of(folder: Path) -> list[Any]:
    """The processes of a cluster that was started with this temporary folder, and those that they started: Ray's agents
    would find out by themselves, but take a minute, and write into the folder until then."""
    import psutil  # Ray comes with it

    found: dict[int, Any] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in word for word in process.cmdline()):
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each
    return list(found.values())


def _end(processes: list[Any]) -> None:
    import psutil

    _, left = psutil.wait_procs(processes, timeout=END_SECONDS / 10)
    for act in ("terminate", "kill"):
        for process in left:
            with suppress(psutil.Error):
                getattr(process, act)()
        _, left = psutil.wait_procs(left, timeout=END_SECONDS)
