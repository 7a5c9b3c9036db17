"""Clusters whose rate can be found with a pencil."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirnet_deploy.benchmarks.scale import model
from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.deployment import GIB, Driver, Hosts, Storage
from mirnet_deploy.benchmarks.scale.model import WAITING, Cluster, SteadyState, shared_limit, steady_state, uptime
from mirnet_deploy.errors import UsageError

PICTURE = PictureCost(0.02, 0.16, 0.02, 0.4, bytes_in=1_000_000, bytes_out=2_000_000, pixels=240_000)
COSTS = Costs((PICTURE,), "a pencil", threads=1, cold_start_s=5.0)
HOSTS = Hosts("one", vcpus=4, network_gbps=1.0)
STORAGE = Storage(latency_s=0.05, get_rate=500, put_rate=100)


def rate(cluster: Cluster) -> tuple[float, SteadyState]:
    """Pictures a second, and the rest."""
    state = steady_state(cluster)
    assert state.converged
    assert state.pictures_per_hour <= state.bound_per_hour * 1.004  # many are done at the same moment
    return state.pictures_per_hour / 3600, state


def test_processors_limit_hosts_without_a_gpu() -> None:
    """Each picture takes 0.2 s of one of 4 processors; the disk's 0.4 s pass while the other picture is made."""
    found, state = rate(Cluster(replace(HOSTS, in_flight=4), 3, COSTS))
    assert found == pytest.approx(3 * 4 / 0.2, rel=4e-3)
    assert (state.bottleneck, state.simulated_hosts) == ("processors", 3)


def test_threads_share_out_the_processors() -> None:
    found, _ = rate(Cluster(replace(HOSTS, in_flight=4, vcpus=7), 1, replace(COSTS, threads=3)))
    assert found == pytest.approx(2 / 0.2, rel=4e-3)
    with pytest.raises(UsageError, match="5 threads do not fit on 4 vCPUs of one"):
        steady_state(Cluster(HOSTS, 1, replace(COSTS, threads=5)))


def test_faster_processors_take_less_time() -> None:
    found, _ = rate(Cluster(replace(HOSTS, in_flight=8, speed=2.0), 1, COSTS))
    assert found == pytest.approx(4 / 0.1, rel=4e-3)


def test_too_few_pictures_under_way_fill_nothing() -> None:
    """One in flight waits for the disk, or for the storage and the network, all by itself."""
    found, state = rate(Cluster(replace(HOSTS, in_flight=1), 1, COSTS))
    assert found == pytest.approx(4 / (0.2 + 0.4), rel=4e-3)
    assert (state.bottleneck, state.picture_s) == (WAITING, pytest.approx(0.6))
    stored = Cluster(replace(HOSTS, vcpus=1, in_flight=1), 1, COSTS, storage=STORAGE)
    # 8 and 16 ms on the network, 1/500 and 1/100 s for the limits of requests.
    assert rate(stored)[0] == pytest.approx(1 / (0.2 + 2 * 0.05 + 0.008 + 0.016 + 0.002 + 0.01), rel=4e-3)


def test_a_gpu_computes_while_processors_read_and_write() -> None:
    """2 GPUs of 0.16 s; processors twice as fast do not make them faster."""
    hosts = replace(HOSTS, gpus=2, in_flight=8, speed=2.0)
    found, state = rate(Cluster(hosts, 1, COSTS))
    assert found == pytest.approx(2 / 0.16, rel=4e-3)
    assert state.bottleneck == "GPU"
    assert state.utilisation["processors"] == pytest.approx(2 / 0.16 * 0.02 / 4, rel=1e-2)


def test_a_gpu_waits_for_slow_processors() -> None:
    hosts = replace(HOSTS, gpus=2, vcpus=2, in_flight=8, speed=0.1)
    found, state = rate(Cluster(hosts, 1, COSTS))
    assert (found, state.bottleneck) == (pytest.approx(2 / 0.4, rel=4e-3), "processors")


def test_the_larger_of_two_directions_limits_a_network() -> None:
    fast = replace(COSTS, pictures=(replace(PICTURE, read_s=1e-4, compute_s=1e-4, write_s=1e-4),))
    unlimited = replace(STORAGE, get_rate=1e6, put_rate=1e6)
    found, state = rate(Cluster(replace(HOSTS, in_flight=16), 2, fast, storage=unlimited))
    assert (found, state.bottleneck) == (pytest.approx(2 / 0.016, rel=1e-2), "network out")
    shared = Cluster(replace(HOSTS, in_flight=16), 2, fast, storage=replace(unlimited, network_gbps=1.0))
    found, state = rate(shared)
    assert (found, state.bottleneck) == (pytest.approx(1 / 0.016, rel=1e-2), "storage in")


@pytest.mark.parametrize(
    ("storage", "driver", "jobs", "expected", "limit"),
    [
        (STORAGE, None, 1, 100, "write requests"),
        (STORAGE, None, 3, 300, "write requests"),
        (replace(STORAGE, gets=10), None, 1, 50, "read requests"),
        (STORAGE, Driver(dispatch_rate=80), 1, 80, "driver"),
        (STORAGE, Driver(dispatch_rate=80), 2, 160, "driver"),
    ],
)
def test_what_all_hosts_share_limits_them_however_many_there_are(
    storage: Storage, driver: Driver | None, jobs: int, expected: float, limit: str
) -> None:
    cluster = Cluster(replace(HOSTS, in_flight=8), 1000, COSTS, jobs, storage, driver)
    found, state = rate(cluster)
    assert (found, state.bottleneck) == (pytest.approx(expected, rel=4e-3), limit)
    assert state.simulated_hosts < 1000
    assert shared_limit(cluster) == pytest.approx(expected / jobs * 3600)


def test_a_line_of_the_manifest_takes_time_of_the_driver() -> None:
    cluster = Cluster(HOSTS, 1000, COSTS, driver=Driver(dispatch_rate=100), manifest=ManifestCost(0.01, 500, 100))
    found, state = rate(replace(cluster, hosts=replace(HOSTS, in_flight=8)))
    assert (found, state.bottleneck) == (pytest.approx(50, rel=4e-3), "driver")
    assert shared_limit(cluster) == pytest.approx(50 * 3600)
    assert shared_limit(Cluster(HOSTS, 1, COSTS)) == float("inf")


def test_hosts_that_are_not_simulated_are_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the limit that all share, where it matters most: 45 hosts ask for 900 of 1000 pictures a second."""
    times = tuple(replace(PICTURE, compute_s=0.16 * factor) for factor in (0.6, 0.9, 1.5))
    storage = replace(STORAGE, get_rate=2000, put_rate=1000)
    cluster = Cluster(replace(HOSTS, in_flight=4), 45, replace(COSTS, pictures=times), storage=storage)
    few = steady_state(cluster)
    monkeypatch.setattr(model, "MOST_CUSTOMERS", 10**6)
    all_of_them = steady_state(cluster)
    assert (few.simulated_hosts, all_of_them.simulated_hosts) == (16, 45)
    assert few.pictures_per_hour == pytest.approx(all_of_them.pictures_per_hour, rel=0.01)


def test_hosts_that_are_taken_away_are_missing() -> None:
    """Twice an hour 100 s of boot, 5 s of start and half of a picture's 0.2 + 0.4 s."""
    hosts = replace(HOSTS, boot_s=100.0, interruptions=2.0, in_flight=8)
    cluster = Cluster(hosts, 10, COSTS)
    assert uptime(cluster) == pytest.approx(1 / (1 + 2 * (100 + 5 + 0.3) / 3600))
    assert rate(cluster)[0] == pytest.approx(10 * 4 / 0.2 * uptime(cluster), rel=4e-3)
    assert uptime(Cluster(HOSTS, 1, COSTS)) == 1


def test_memory_is_that_of_actors_and_of_pictures_under_way() -> None:
    """4 actors of 0.5 GB, and in each 3 pictures more of 6 bytes a pixel."""
    costs = replace(COSTS, memory_bytes=GIB / 2)
    cluster = Cluster(replace(HOSTS, in_flight=4, memory_gb=2.02), 3, costs)
    assert cluster.memory_gb == pytest.approx(2 + 4 * 3 * 6 * 240_000 / GIB)
    assert (cluster.fits, replace(cluster, hosts=replace(cluster.hosts, memory_gb=2.01)).fits) == (True, False)
    assert Cluster(replace(HOSTS, in_flight=4), 1, COSTS).memory_gb == pytest.approx(4 * 4 * 6 * 240_000 / GIB)
