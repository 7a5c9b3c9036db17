"""A Ray cluster: reached or started, what room and which machines it has, and what a job's settings come to on it."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.cluster.actor import open_model
from mirnet_deploy.cluster.order import with_runtime
from mirnet_deploy.engines.choice import overridden
from mirnet_deploy.errors import ClusterError, MirnetDeployError, UsageError, extra_module, first_line, not_loaded
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.settings import Backend, Precision, RuntimeSettings

LOCAL = "local"
STORE_BYTES = 256 << 20
"""Ray's shared memory on a cluster of this machine alone: nothing but the model and names goes through it."""
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 120.0
"""How long a machine may take to start a process."""


@dataclass(frozen=True)
class Room:
    """What an actor takes."""

    cpus: int
    gpus: float

    def on(self, node: Mapping[str, Any]) -> int:
        """How many actors a machine has room for, by its resources as Ray lists them."""
        resources = node["Resources"] if node["Alive"] else {}
        fits = int(resources.get("CPU", 0) // self.cpus)
        return min(fits, int(resources.get("GPU", 0) / self.gpus + 1e-9)) if self.gpus else fits


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
        opened.callback(leave, ray)
        _connect(ray, address, folder)
        for name in ("ray", "ray._private.worker", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield ray


def _connect(ray: Any, address: str, folder: Path | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if folder:
        options |= {"object_store_memory": STORE_BYTES, "include_dashboard": False, "_temp_dir": str(folder)}
    else:
        options["address"] = address
    try:
        if found := re.fullmatch(r"\[?([^\]]+)\]?:(\d+)", address):  # Ray itself would try for minutes
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
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


def leave(ray: Any, seconds: float = 20.0) -> None:
    """Leaves the cluster, and ends it where it was started here. Waits no longer than that: what is left then ends with
    this process."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(seconds)


def alive(ray: Any) -> list[dict[str, Any]]:
    """The machines of a cluster, as Ray lists them."""
    return [node for node in ray.nodes() if node["Alive"]]


def actors_for(ray: Any, room: Room, wanted: int | None) -> int:
    """How many actors a cluster takes: as many as were wanted, or as fit.

    Raises:
        ClusterError: there is no room for so many, or for one.
    """
    nodes = alive(ray)
    fit = sum(room.on(node) for node in nodes)
    have = {kind: sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    gpus = f" and {room.gpus:g} GPU" if room.gpus else ""
    each = f"an actor takes {room.cpus} CPU{gpus}, and the cluster has {have['CPU']:g} CPU and {have['GPU']:g} GPU"
    if not fit:
        raise ClusterError(
            f"{each} on {len(nodes)} machines, none with room for one; use other --threads or --gpus-per-actor"
        )
    if wanted is not None and wanted > fit:
        raise ClusterError(f"{each}, which is room for {fit} and not for {wanted}; use fewer --actors or --threads")
    return wanted or fit


def memory_of_actor(ray: Any, room: Room, actors: int) -> int:
    """Bytes for each actor where the most of them fall on the machine with the least memory for it."""
    shares = [
        int(node["Resources"].get("memory", 0)) // min(actors, room.on(node)) for node in alive(ray) if room.on(node)
    ]
    return min(shares)


def check_machines(ray: Any) -> list[str]:
    """Starts a process on every machine, and returns their names.

    Raises:
        ClusterError: one of them does not answer, or has no mirnet-deploy or another version of it.
    """
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy

    def version() -> str | None:  # goes there as code: the package may not be there
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as version_of

        try:
            return version_of("mirnet-deploy")
        except PackageNotFoundError:
            return None

    version.__module__ = "__main__"
    nodes = alive(ray)
    asked = [
        ray.remote(version).options(num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    for node, reference in zip(nodes, asked, strict=True):
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            found = ray.get(reference, timeout=PROBE_SECONDS)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"{name} does not answer: {first_line(error)}") from error
        if found != __version__:
            raise ClusterError(
                f"{name} has {f'mirnet-deploy {found}' if found else 'no mirnet-deploy'}, and this command is "
                f"{__version__}; install the same version on all machines"
            )
    return [node["NodeManagerHostname"] for node in nodes]


def resolve(
    ray: Any, model: Any, asked: JobSettings, known: JobSettings | None, room: Room, memory: int, jobs: int
) -> tuple[JobSettings, str]:
    """The settings in which nothing is left to a machine, and what `RuntimeInfo.backend` says with them: backend and
    precision are found out on a machine of the cluster.

    Args:
        model: a reference to what `order.model_files` gave.
        known: those of an earlier run, which are kept; None for none.
        memory: bytes for each actor.
        jobs: pictures that an actor enhances at a time.

    Raises:
        ClusterError: the model cannot be opened there, or runs elsewhere than asked; or a process was lost on the way.
    """
    runtime = asked.runtime
    if runtime.backend == "auto" and runtime.precision == "auto" and (way := overridden()):
        runtime = replace(runtime, backend=way.backend, precision=way.precision)
    device = "cpu" if runtime.device == "auto" and not room.gpus else runtime.device
    threads = runtime.threads or room.cpus
    tried = known.runtime if known else replace(runtime, device=device, threads=threads)
    found = _asked_there(ray, model, tried, room)
    if room.gpus and found["device"] == "cpu":
        raise ClusterError(
            f"an actor has {room.gpus:g} GPU, but the model runs on {found['backend']}; leave out --gpus-per-actor"
        )
    if known:
        return known, found["backend"]
    resolved = with_runtime(asked, **{**found["settings"], "threads": threads})
    if runtime.tile == "auto" and runtime.whole_pixels is None and found["bytes_per_pixel"]:
        from mirnet_deploy.pipeline.limits import WHOLE_BYTES

        whole = min(WHOLE_BYTES, memory // (2 * jobs)) // found["bytes_per_pixel"]
        resolved = with_runtime(resolved, whole_pixels=max(1, whole))
    return replace(resolved, in_memory=memory // (2 * (jobs + 1))), found["backend"]


def _asked_there(ray: Any, model: Any, settings: RuntimeSettings, room: Room) -> dict[str, Any]:
    task = ray.remote(opened_there).options(num_cpus=room.cpus, num_gpus=room.gpus, max_retries=1)
    try:
        found: dict[str, Any] = ray.get(task.remote(model, settings))
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the model was not opened on the cluster: {first_line(error)}") from error
    if "problem" in found:
        raise ClusterError(f"the model cannot be opened on the cluster: {found['problem']}")
    return found


def opened_there(files: Mapping[str, bytes], settings: RuntimeSettings) -> dict[str, Any]:
    """Opens a model on a machine of the cluster and says what its settings came to."""
    from mirnet_deploy.pipeline.limits import bytes_per_value

    try:
        with open_model(files, settings) as runtime:
            info, engine = runtime.info, runtime.engine
    except (MirnetDeployError, OSError, ImportError) as error:
        return {"problem": not_loaded(error) if isinstance(error, ImportError) else str(error)}
    plan = info.metadata.kind == "plan"
    way: dict[str, Backend | Precision | str] = {"device": "cpu" if info.device == "cpu" else "cuda"}
    if not plan:
        way["backend"] = cast(Backend, info.backend.partition(" ")[0])
        if info.device == "cpu":
            way["precision"] = "bf16" if info.backend.endswith(", bf16") else "fp32"
    per_pixel = 0 if plan else bytes_per_value(engine) * int(info.metadata.network["n_feat"])
    return {"backend": info.backend, "device": info.device, "settings": way, "bytes_per_pixel": per_pixel}


def spilled_bytes(ray: Any) -> int | None:
    """Bytes that the cluster's object stores have written to disks since it was started, for want of memory; None where
    Ray does not tell."""
    with suppress(Exception):  # Ray has no public way to ask
        from ray._private.internal_api import get_memory_info_reply, get_state_from_address

        state = get_state_from_address(ray.get_runtime_context().gcs_address)
        return int(get_memory_info_reply(state).store_stats.spilled_bytes_total)
    return None


def processors(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of processors that made pictures."""
    return sorted({str(row["processor"]) for row in rows if row.get("status") == "done" and row.get("processor")})
