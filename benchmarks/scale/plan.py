"""Pictures an hour and what they cost, over numbers of hosts and of pictures; the report of `bench scale`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mirnet_deploy.benchmarks.origin import origin
from mirnet_deploy.benchmarks.scale.check import CheckRound
from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost
from mirnet_deploy.benchmarks.scale.deployment import GIB, Deployment
from mirnet_deploy.benchmarks.scale.model import FULL, HOUR, WAITING, Cluster, SteadyState, shared_limit, steady_state

KIND = "bench scale"
IN_FLIGHT = (2, 4, 8, 16, 32, 64)
"""Pictures an actor that are tried."""
PROTOCOL: Mapping[str, str] = {
    "measured": (
        "Pictures go from file to file as in `mirnet-deploy enhance`, one by one, in so many processes at once as "
        "`costs` says: read and write are processor time of all threads, compute is wall clock of the model. They are "
        "drawn from those given, by chance and always alike. With --from times are of that report. On a GPU compute is "
        "one over a report's best throughput, with as many pictures on the GPU as that took, however few are in flight "
        "here; or its latency without one, copies included; read and write are of the processor here."
    ),
    "simulation": (
        "A closed queueing network of actors that hold in_flight pictures each. Hosts beyond those simulated are taken "
        "for alike, and what all share is made smaller by as much. After one batch four are measured; where their "
        "rates differ by more than 2 %, four of twice the size are measured instead, up to 32 times the size; a rate "
        "that has not converged then is said to be not steady. Larger numbers of pictures are that rate, times as "
        "long. Requests beyond a limit wait; a real store refuses them, and clients try again. Memory of a host is the "
        "actors', where it was measured, and 6 bytes for each pixel under way beyond an actor's first picture."
    ),
    "cost": (
        "Hosts are paid from the boot to the last picture (with the cold start of a process, where that was measured), "
        "a minute at least. Requests: one list for so many keys, and gets and puts for each picture. Storage: results "
        "alone. GB are 2^30 bytes. Taxes, discounts and the driver's own host are left out."
    ),
}


@dataclass(frozen=True)
class RateRow:
    """What some hosts of one kind do."""

    kind: str
    hosts: int
    jobs: int
    in_flight: int
    memory_gb: float
    """That a host needs, at least; it has `memory_there_gb`."""
    memory_there_gb: float
    rate: SteadyState


@dataclass(frozen=True)
class CostRow:
    """What so many pictures take."""

    kind: str
    pictures: int
    hosts: int
    in_flight: int
    memory_gb: float
    """As in `RateRow`."""
    memory_there_gb: float
    jobs: int
    """In all: see `DriverRow.jobs`, and no fewer than at once."""
    at_once: int
    """The fewest with which neither drivers nor requests limit the hosts."""
    rate: SteadyState
    hours: float
    """From the boot to the last picture, without listing."""
    host_hours: float
    hosts_usd: float | None
    """None where a host has no price."""
    requests_usd: float
    storage_usd: float
    moved_usd: float

    @property
    def usd(self) -> float | None:
        """All together."""
        if self.hosts_usd is None:
            return None
        return self.hosts_usd + self.requests_usd + self.storage_usd + self.moved_usd


@dataclass(frozen=True)
class DriverRow:
    """What one driver has to do for so many pictures, and how many jobs share it well."""

    pictures: int
    lists: int
    """Requests that list the inputs."""
    list_hours: float
    """One after the other, as each names where the next begins."""
    lists_usd: float
    names_gb: float
    """Memory of the names of all inputs."""
    manifest_gb: float
    drive_hours: float
    """To hand out all pictures and to write the manifest, were there hosts without end."""
    jobs: int
    """The fewest that list within `driver.list_hours` and hold their names in `driver.memory_gb`; they need not
    run at once."""


@dataclass(frozen=True)
class Work:
    """What is to be simulated."""

    deployment: Deployment
    manifest: ManifestCost
    costs: Mapping[str, Costs]
    """`cpu`, and `gpu` where a report of one was given."""
    hosts: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]
    """Pictures, and hosts for them."""

    def cluster(self, name: str, count: int = 1, jobs: int = 1) -> Cluster:
        """So many hosts of a kind, `cpu` or `gpu`."""
        deployment = self.deployment
        hosts = deployment.gpu if name == "gpu" else deployment.cpu
        shared = deployment.storage, deployment.driver, self.manifest
        return Cluster(hosts, count, self.costs[name], jobs, *shared)

    @property
    def assumptions(self) -> list[dict[str, Any]]:
        """`Deployment.listed`, without hosts with GPUs where there are none."""
        return self.deployment.listed(without="" if "gpu" in self.costs else "gpu")

    @property
    def steps(self) -> int:
        """Simulations."""
        return len(self.costs) * (len(self.hosts) + len(IN_FLIGHT) + len(self.runs))


@dataclass
class ScaleReport:
    """All that was found."""

    command: str
    costs: Mapping[str, Costs]
    manifest: ManifestCost
    assumptions: list[dict[str, Any]]
    hosts: list[RateRow] = field(default_factory=list)
    """One job on ever more hosts."""
    in_flight: list[RateRow] = field(default_factory=list)
    """One host with ever more pictures in each actor."""
    runs: list[CostRow] = field(default_factory=list)
    drivers: list[DriverRow] = field(default_factory=list)
    check: list[CheckRound] = field(default_factory=list)
    check_command: str | None = None
    origin: dict[str, Any] = field(default_factory=lambda: origin(KIND))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None where there is no figure."""
        runs = [asdict(row) | {"usd": row.usd} for row in self.runs]
        check = [asdict(each) | {"ratio": each.ratio} for each in self.check]
        values = asdict(self)
        del values["origin"]
        return self.origin | {"protocol": dict(PROTOCOL)} | values | {"runs": runs, "check": check}

    def to_json(self) -> str:
        """The JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def simulate_all(work: Work, report: ScaleReport) -> Iterator[None]:
    """Fills the report; yields after every simulation."""
    for name in work.costs:
        for count in work.hosts:
            report.hosts.append(_rate_row(work.cluster(name, count)))
            yield
        for in_flight in IN_FLIGHT:
            cluster = _with_in_flight(work.cluster(name), in_flight)
            if cluster.fits:
                report.in_flight.append(_rate_row(cluster))
            yield
    report.drivers += [_driver_row(work, pictures) for pictures in dict.fromkeys(each for each, _ in work.runs)]
    jobs = {row.pictures: row.jobs for row in report.drivers}
    for pictures, count in work.runs:
        for name in work.costs:
            for cluster in _filled(work.cluster(name, count)):
                report.runs.append(_cost_row(work, cluster, pictures, jobs[pictures]))
            yield


def _filled(cluster: Cluster) -> list[Cluster]:
    """The cluster; and where it waits because too few pictures are under way, also with the fewest of `IN_FLIGHT` that
    fill something, or the most that the memory of a host takes."""
    clusters = [cluster]
    more = (_with_in_flight(cluster, each) for each in IN_FLIGHT if each > cluster.hosts.in_flight)
    for larger in more:
        if not larger.fits or steady_state(replace(clusters[-1], count=1)).bottleneck != WAITING:
            break
        clusters[1:] = [larger]
    return clusters


def _with_in_flight(cluster: Cluster, in_flight: int) -> Cluster:
    return replace(cluster, hosts=replace(cluster.hosts, in_flight=in_flight))


def _rate_row(cluster: Cluster) -> RateRow:
    hosts = cluster.hosts
    memory = cluster.memory_gb, hosts.memory_gb
    return RateRow(hosts.kind, cluster.count, cluster.jobs, hosts.in_flight, *memory, steady_state(cluster))


def _cost_row(work: Work, cluster: Cluster, pictures: int, jobs: int) -> CostRow:
    # What the hosts do where nothing that they share limits them.
    alone = steady_state(replace(cluster, jobs=10**9))
    at_once = max(1, math.ceil(alone.pictures_per_hour / (FULL * shared_limit(cluster))))
    rate = steady_state(replace(cluster, jobs=at_once))
    hosts, storage, costs, count = cluster.hosts, work.deployment.storage, cluster.costs, cluster.count
    start = hosts.boot_s + (costs.cold_start_s or 0.0)
    hours = max(hosts.minimum_s, start + HOUR * pictures / rate.pictures_per_hour) / HOUR
    requests = storage.gets * storage.usd_per_1000_gets + storage.puts * storage.usd_per_1000_puts
    lists = math.ceil(pictures / storage.keys_a_list)
    moved = pictures * (costs.mean("bytes_in") + costs.mean("bytes_out")) / GIB
    return CostRow(
        kind=hosts.kind,
        pictures=pictures,
        hosts=count,
        in_flight=hosts.in_flight,
        memory_gb=cluster.memory_gb,
        memory_there_gb=hosts.memory_gb,
        jobs=max(jobs, at_once),
        at_once=at_once,
        rate=rate,
        hours=hours,
        host_hours=hours * count,
        hosts_usd=None if hosts.usd_per_hour is None else hours * count * hosts.usd_per_hour,
        requests_usd=(pictures * requests + lists * storage.usd_per_1000_puts) / 1000,
        storage_usd=pictures * costs.mean("bytes_out") / GIB * storage.usd_per_gb_month * storage.months,
        moved_usd=moved * storage.usd_per_gb_moved,
    )


def _driver_row(work: Work, pictures: int) -> DriverRow:
    storage, driver, manifest = work.deployment.storage, work.deployment.driver, work.manifest
    lists = math.ceil(pictures / storage.keys_a_list)
    list_hours = lists * storage.latency_s / HOUR
    names_gb = pictures * manifest.key_bytes / GIB
    return DriverRow(
        pictures=pictures,
        lists=lists,
        list_hours=list_hours,
        lists_usd=lists * storage.usd_per_1000_puts / 1000,
        names_gb=names_gb,
        manifest_gb=pictures * manifest.line_bytes / GIB,
        drive_hours=pictures * (1 / driver.dispatch_rate + manifest.line_s) / HOUR,
        jobs=max(1, math.ceil(list_hours / driver.list_hours), math.ceil(names_gb / driver.memory_gb)),
    )
