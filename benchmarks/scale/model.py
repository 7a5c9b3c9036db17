"""A deployment as a queueing network: which servers a picture visits, and how long it takes at each."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.deployment import Driver, Hosts, Storage
from mirnet_deploy.benchmarks.scale.queueing import Server, Steady, Visit, bound, simulate
from mirnet_deploy.errors import UsageError

MOST_TOKENS = 256
"""Pictures under way in a simulation: hosts beyond are like those that are simulated."""
FULL = 0.9
"""A resource that is busy for this share of its time, or more, is what limits the rate."""
WAITING = "pictures in flight"
"""What limits where no resource does: too few pictures are under way to fill any."""
SEED = 0
HOUR = 3600
Route = list[Visit[PictureCost]]


@dataclass(frozen=True)
class Fleet:
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
        if self.hosts.cores < self.costs.threads:
            cores = f"{self.hosts.cores} cores of {self.hosts.kind}"
            raise UsageError(f"{self.costs.threads} threads do not fit on {cores}")
        return self.hosts.gpus or self.hosts.cores // self.costs.threads


@dataclass(frozen=True)
class Even:
    """The even rate of a fleet."""

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
    even: bool
    bound_per_hour: float
    """The most that the parameters allow without anybody ever waiting for another (`queueing.bound`)."""


def even_rate(fleet: Fleet) -> Even:
    """Simulates the fleet until its rate is even. Pictures are drawn from those measured, always the same ones."""
    each = fleet.actors * fleet.hosts.in_flight
    simulated = max(1, min(fleet.count, MOST_TOKENS // each))
    there = fleet.count * uptime(fleet)
    routes = _routes(fleet, simulated, share=simulated / there)
    pictures, random_numbers = fleet.costs.pictures, random.Random(SEED)
    steady = simulate(routes, lambda: random_numbers.choice(pictures))
    scale = HOUR * there / simulated
    return Even(
        pictures_per_hour=steady.rate * scale,
        bottleneck=_bottleneck(steady),
        utilisation=steady.utilisation,
        picture_s=steady.residence_s,
        simulated_hosts=simulated,
        simulated_pictures=steady.pictures,
        even=steady.even,
        bound_per_hour=bound(routes, pictures) * scale,
    )


def uptime(fleet: Fleet) -> float:
    """Share of its time in which a host is at work, where hosts are taken away `interruptions` times an hour: another
    boots, an actor starts, and the pictures under way are made again, half of which was done in the mean."""
    alone = sum(visit.seconds(each) for visit in _stages(fleet, 1, 1.0)[0] for each in fleet.costs.pictures)
    lost = fleet.hosts.boot_s + (fleet.costs.cold_start_s or 0.0) + alone / len(fleet.costs.pictures) / 2
    return 1 / (1 + fleet.hosts.interruptions * lost / HOUR)


def shared_limit(fleet: Fleet) -> float:
    """Pictures an hour that one job allows, whatever its hosts: its driver, and its prefix of the storage."""
    limits = []
    if fleet.storage:
        limits += [_rate(fleet.storage.get_rate, fleet.storage.gets)]
        limits += [_rate(fleet.storage.put_rate, fleet.storage.puts)]
    if driver_s := _driver_s(fleet):
        limits.append(1 / driver_s)
    return HOUR * min(limits, default=float("inf"))


def _rate(rate: float, each: float) -> float:
    return rate / each if each else float("inf")


def _driver_s(fleet: Fleet) -> float:
    """Seconds of a job's driver for each picture."""
    dispatch = 1 / fleet.driver.dispatch_rate if fleet.driver else 0.0
    return dispatch + (fleet.manifest.line_s if fleet.manifest else 0.0)


def _bottleneck(steady: Steady) -> str:
    name = max(steady.utilisation, key=lambda each: steady.utilisation[each])
    return name if steady.utilisation[name] >= FULL else WAITING


def _routes(fleet: Fleet, hosts: int, share: float) -> list[Route]:
    """One route for each picture that is under way on so many hosts."""
    return [route for route in _stages(fleet, hosts, share) for _ in range(fleet.hosts.in_flight)]


def _stages(fleet: Fleet, hosts: int, share: float) -> list[Route]:
    """One route for each actor.

    Args:
        share: of what all hosts share, the part that is left for those simulated.
    """
    before, after = _shared(fleet, share)
    kind, actors, routes = fleet.hosts, fleet.actors, list[Route]()
    for _ in range(hosts):
        down, up = Server("network in"), Server("network out")
        for _ in range(actors):
            # Without a GPU reading and writing share what the model computes on.
            processors = Server("processors", kind.cores // actors if kind.gpus else 1)
            model = Server("GPU") if kind.gpus else processors
            route: Route = [
                Visit(processors, lambda each: each.read_s / kind.speed),
                # A GPU is as fast as it was; it is the host's processors that may be others.
                Visit(model, lambda each: each.compute_s / (1 if kind.gpus else kind.speed)),
                Visit(processors, lambda each: each.write_s / kind.speed),
            ]
            if fleet.storage:
                route.insert(0, Visit(down, lambda each: each.bytes_in * 8e-9 / kind.network_gbps))
                route.append(Visit(up, lambda each: each.bytes_out * 8e-9 / kind.network_gbps))
            else:
                route.append(Visit(None, lambda each: each.wait_s))
            routes.append([*before, *route, *after])
    return routes


def _shared(fleet: Fleet, share: float) -> tuple[Route, Route]:
    """The stages before and after a picture is on its host, at servers that all hosts share."""
    jobs, before, after = fleet.jobs * share, Route(), Route()
    if driver_s := _driver_s(fleet):
        before.append(Visit(Server("driver"), lambda each: driver_s / jobs))
    storage = fleet.storage
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
