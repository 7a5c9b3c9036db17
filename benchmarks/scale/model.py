"""A deployment as a queueing network: which servers a picture visits, and how long it takes at each."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.deployment import GIB, Driver, Hosts, Storage
from mirnet_deploy.benchmarks.scale.queueing import Server, Simulated, Visit, bound, simulate
from mirnet_deploy.errors import UsageError

MOST_CUSTOMERS = 256
"""Pictures under way in a simulation: hosts beyond are like those that are simulated."""
FULL = 0.9
"""A resource that is busy for this share of its time, or more, is what limits the rate."""
WAITING = "pictures in flight"
"""What limits where no resource does: too few pictures are under way to fill any."""
SEED = 0
HOUR = 3600
PIXEL_BYTES = 6
"""Of memory for each picture under way beyond an actor's first: RGB in 8 bits, and a result like it."""
Route = list[Visit[PictureCost]]


@dataclass(frozen=True)
class Cluster:
    """Some hosts of one kind at work.

    `jobs` jobs share the work, each with a driver and a prefix of the storage of its own.
    """

    hosts: Hosts
    count: int
    costs: Costs
    jobs: int = 1
    storage: Storage | None = None
    """None: a disk that pictures wait for as long as where they were measured."""
    driver: Driver | None = None
    """None: none that limits."""
    manifest: ManifestCost | None = None
    """None: none."""

    @property
    def actors(self) -> int:
        """Of each host: one for each GPU; or without any, for as many processors as the model has threads.

        Raises:
            UsageError: the host has fewer.
        """
        if self.hosts.vcpus < self.costs.threads:
            vcpus = f"{self.hosts.vcpus} vCPUs of {self.hosts.kind}"
            raise UsageError(f"{self.costs.threads} threads do not fit on {vcpus}")
        return self.hosts.gpus or self.hosts.vcpus // self.costs.threads

    @property
    def memory_gb(self) -> float:
        """Of a host, at least: that of its actors, as far as it was measured, and of all pictures under way."""
        first = self.costs.memory_bytes or PIXEL_BYTES * self.costs.mean("pixels")
        others = (self.hosts.in_flight - 1) * PIXEL_BYTES * self.costs.mean("pixels")
        return self.actors * (first + others) / GIB

    @property
    def fits(self) -> bool:
        """Whether a host has so much memory."""
        return self.memory_gb <= self.hosts.memory_gb


@dataclass(frozen=True)
class SteadyState:
    """What a cluster does once its first pictures are through."""

    pictures_per_hour: float
    bottleneck: str
    """The resource that is busy most, or `WAITING`."""
    utilisation: dict[str, float]
    """Resource -> share of its time in which it is busy."""
    picture_s: float
    """From when a picture is handed out until its result is written, mean."""
    simulated_hosts: int
    """The others are taken for alike; what all share was made smaller by as much."""
    simulated_pictures: int
    converged: bool
    """Whether the simulation came to it (`queueing.simulate`); else the figures are those of its last pictures."""
    bound_per_hour: float
    """The most that the parameters allow without anybody ever waiting for another (`queueing.bound`)."""


def steady_state(cluster: Cluster) -> SteadyState:
    """Simulates the cluster. Pictures are drawn from those measured, always the same ones."""
    each = cluster.actors * cluster.hosts.in_flight
    simulated = max(1, min(cluster.count, MOST_CUSTOMERS // each))
    there = cluster.count * uptime(cluster)
    routes = _routes(cluster, simulated, share=simulated / there)
    pictures, random_numbers = cluster.costs.pictures, random.Random(SEED)
    found = simulate(routes, lambda: random_numbers.choice(pictures))
    scale = HOUR * there / simulated
    return SteadyState(
        pictures_per_hour=found.rate * scale,
        bottleneck=_bottleneck(found),
        utilisation=found.utilisation,
        picture_s=found.residence_s,
        simulated_hosts=simulated,
        simulated_pictures=found.pictures,
        converged=found.converged,
        bound_per_hour=bound(routes, pictures) * scale,
    )


def uptime(cluster: Cluster) -> float:
    """Share of its time in which a host is at work, where hosts are taken away `interruptions` times an hour: another
    boots, an actor starts, and the pictures under way are made again, half of which was done in the mean."""
    alone = sum(visit.seconds(each) for visit in _stages(cluster, 1, 1.0)[0] for each in cluster.costs.pictures)
    lost = cluster.hosts.boot_s + (cluster.costs.cold_start_s or 0.0) + alone / len(cluster.costs.pictures) / 2
    return 1 / (1 + cluster.hosts.interruptions * lost / HOUR)


def shared_limit(cluster: Cluster) -> float:
    """Pictures an hour that one job allows, whatever its hosts: its driver, and its prefix of the storage."""
    limits = []
    if cluster.storage:
        limits += [_rate(cluster.storage.get_rate, cluster.storage.gets)]
        limits += [_rate(cluster.storage.put_rate, cluster.storage.puts)]
    if driver_s := _driver_s(cluster):
        limits.append(1 / driver_s)
    return HOUR * min(limits, default=float("inf"))


def _rate(rate: float, each: float) -> float:
    return rate / each if each else float("inf")


def _driver_s(cluster: Cluster) -> float:
    """Seconds of a job's driver for each picture."""
    dispatch = 1 / cluster.driver.dispatch_rate if cluster.driver else 0.0
    return dispatch + (cluster.manifest.line_s if cluster.manifest else 0.0)


def _bottleneck(found: Simulated) -> str:
    name = max(found.utilisation, key=lambda each: found.utilisation[each])
    return name if found.utilisation[name] >= FULL else WAITING


def _routes(cluster: Cluster, hosts: int, share: float) -> list[Route]:
    """One route for each picture that is under way on so many hosts."""
    return [route for route in _stages(cluster, hosts, share) for _ in range(cluster.hosts.in_flight)]


def _stages(cluster: Cluster, hosts: int, share: float) -> list[Route]:
    """One route for each actor.

    Args:
        share: of what all hosts share, the part that is left for those simulated.
    """
    before, after = _shared(cluster, share)
    kind, actors, routes = cluster.hosts, cluster.actors, list[Route]()
    for _ in range(hosts):
        down, up = Server("network in"), Server("network out")
        for _ in range(actors):
            # Without a GPU reading and writing share what the model computes on.
            processors = Server("processors", kind.vcpus // actors if kind.gpus else 1)
            model = Server("GPU") if kind.gpus else processors
            route: Route = [
                Visit(processors, lambda each: each.read_s / kind.speed),
                # A GPU is as fast as it was; it is the host's processors that may be others.
                Visit(model, lambda each: each.compute_s / (1 if kind.gpus else kind.speed)),
                Visit(processors, lambda each: each.write_s / kind.speed),
            ]
            if cluster.storage:
                route.insert(0, Visit(down, lambda each: each.bytes_in * 8e-9 / kind.network_gbps))
                route.append(Visit(up, lambda each: each.bytes_out * 8e-9 / kind.network_gbps))
            else:
                route.append(Visit(None, lambda each: each.wait_s))
            routes.append([*before, *route, *after])
    return routes


def _shared(cluster: Cluster, share: float) -> tuple[Route, Route]:
    """The stages before and after a picture is on its host, at servers that all hosts share."""
    jobs, before, after = cluster.jobs * share, Route(), Route()
    if driver_s := _driver_s(cluster):
        before.append(Visit(Server("driver"), lambda each: driver_s / jobs))
    storage = cluster.storage
    if storage is None:
        return before, after
    before.append(Visit(Server("read requests"), lambda each: storage.gets / storage.get_rate / jobs))
    before.append(Visit(None, lambda each: storage.gets * storage.latency_s))
    if gbps := storage.network_gbps:
        before.append(Visit(Server("storage out"), lambda each: each.bytes_in * 8e-9 / gbps / share))
        after.append(Visit(Server("storage in"), lambda each: each.bytes_out * 8e-9 / gbps / share))
    after.append(Visit(Server("write requests"), lambda each: storage.puts / storage.put_rate / jobs))
    after.append(Visit(None, lambda each: storage.puts * storage.latency_s))
    return before, after
