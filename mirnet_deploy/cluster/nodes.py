"""A Ray cluster: what room and which machines it has, and what a job's settings come to on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.cluster.actor import open_model
from mirnet_deploy.cluster.order import with_runtime
from mirnet_deploy.engines.choice import is_build, overridden
from mirnet_deploy.engines.race import Way
from mirnet_deploy.errors import ClusterError, MirnetDeployError, first_line, not_loaded, warn
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.settings import Backend, Precision, RuntimeSettings

OPEN_SECONDS = 30.0
ROOM_SECONDS = 600.0
"""How long the model may take to be opened on the cluster before that is said, and before the job ends: there may be
no room, since others use it."""
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
        ClusterError: the model cannot be opened there, or runs elsewhere than asked; a process was lost on the way; or
            the cluster had no room for one.
    """
    runtime = asked.runtime
    device = "cpu" if runtime.device == "auto" and not room.gpus else runtime.device
    way = overridden() or (Way("onnxruntime") if is_build() else None)  # a node knows nothing of either
    if device == "cpu" and runtime.backend == "auto" and runtime.precision == "auto" and way:
        runtime = replace(runtime, backend=way.backend, precision=way.precision)
    threads = runtime.threads or room.cpus
    tried = known.runtime if known else replace(runtime, device=device, threads=threads)
    found = _asked_there(ray, model, tried, room)
    if room.gpus and found["device"] == "cpu":
        raise ClusterError(
            f"an actor has {room.gpus:g} GPU, but the model runs on {found['backend']}; leave out --gpus-per-actor"
        )
    whole = runtime.whole_pixels
    if runtime.tile == "auto" and whole is None and found["bytes_per_pixel"]:
        from mirnet_deploy.pipeline.limits import whole_bytes

        whole = max(1, whole_bytes(runtime.max_memory, memory // jobs) // found["bytes_per_pixel"])
    if known:
        before = known.runtime.whole_pixels
        if whole and before and before > whole:
            warn(
                f"the manifest's runs took pictures whole up to {before} pixels, and an actor has memory for {whole}; "
                "larger ones may fail for want of it: use fewer --actors, or --force to begin anew"
            )
        return known, found["backend"]
    resolved = with_runtime(asked, **{**found["settings"], "threads": threads}, whole_pixels=whole)
    return replace(resolved, in_memory=memory // (2 * (jobs + 1))), found["backend"]


def _asked_there(ray: Any, model: Any, settings: RuntimeSettings, room: Room) -> dict[str, Any]:
    task = ray.remote(opened_there).options(num_cpus=room.cpus, num_gpus=room.gpus, max_retries=1)
    try:
        reference = task.remote(model, settings)
        if not ray.wait([reference], timeout=OPEN_SECONDS)[0]:
            gpus = f" and {room.gpus:g} GPU" if room.gpus else ""
            warn(
                f"the model is not open on the cluster after {OPEN_SECONDS:g} s; perhaps others use it: "
                f"{room.cpus} CPU{gpus} are awaited for up to {ROOM_SECONDS:g} s"
            )
        found: dict[str, Any] = ray.get(reference, timeout=ROOM_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        raise ClusterError(
            f"the cluster had no room for an actor, or did not open the model, in {ROOM_SECONDS:g} s"
        ) from error
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
