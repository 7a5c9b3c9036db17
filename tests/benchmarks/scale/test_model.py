"""Fleets whose rate can be found with a pencil."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirnet_deploy.benchmarks.scale import model
from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.deployment import Driver, Hosts, Storage
from mirnet_deploy.benchmarks.scale.model import WAITING, Even, Fleet, even_rate, shared_limit, uptime
from mirnet_deploy.errors import UsageError

PICTURE = PictureCost(0.02, 0.16, 0.02, 0.4, bytes_in=1_000_000, bytes_out=2_000_000, pixels=240_000)
COSTS = Costs((PICTURE,), "a pencil", threads=1, cold_start_s=5.0)
HOSTS = Hosts("one", cores=4, network_gbps=1.0)
STORAGE = Storage(latency_s=0.05, get_rate=500, put_rate=100)


def rate(fleet: Fleet) -> tuple[float, Even]:
    """Pictures a second, and the rest."""
    even = even_rate(fleet)
    assert even.even
    assert even.pictures_per_hour <= even.bound_per_hour * 1.004  # many are done at the same moment
    return even.pictures_per_hour / 3600, even


def test_processors_limit_hosts_without_a_gpu() -> None:
    """Each picture takes 0.2 s of one of 4 processors; the disk's 0.4 s pass while the other picture is made."""
    found, even = rate(Fleet(replace(HOSTS, in_flight=4), 3, COSTS))
    assert found == pytest.approx(3 * 4 / 0.2, rel=4e-3)
    assert (even.bottleneck, even.simulated_hosts) == ("processors", 3)


def test_threads_share_out_the_processors() -> None:
    found, _ = rate(Fleet(replace(HOSTS, in_flight=4, cores=7), 1, replace(COSTS, threads=3)))
    assert found == pytest.approx(2 / 0.2, rel=4e-3)
    with pytest.raises(UsageError, match="5 threads do not fit on 4 cores of one"):
        even_rate(Fleet(HOSTS, 1, replace(COSTS, threads=5)))


def test_faster_processors_take_less_time() -> None:
    found, _ = rate(Fleet(replace(HOSTS, in_flight=8, speed=2.0), 1, COSTS))
    assert found == pytest.approx(4 / 0.1, rel=4e-3)


def test_too_few_pictures_under_way_fill_nothing() -> None:
    """One in flight waits for the disk, or for the storage and the network, all by itself."""
    found, even = rate(Fleet(replace(HOSTS, in_flight=1), 1, COSTS))
    assert found == pytest.approx(4 / (0.2 + 0.4), rel=4e-3)
    assert (even.bottleneck, even.picture_s) == (WAITING, pytest.approx(0.6))
    stored = Fleet(replace(HOSTS, cores=1, in_flight=1), 1, COSTS, storage=STORAGE)
    # 8 and 16 ms on the network, 1/500 and 1/100 s for the limits of requests.
    assert rate(stored)[0] == pytest.approx(1 / (0.2 + 2 * 0.05 + 0.008 + 0.016 + 0.002 + 0.01), rel=4e-3)


def test_a_gpu_computes_while_processors_read_and_write() -> None:
    """2 GPUs of 0.16 s; processors twice as fast do not make them faster."""
    hosts = replace(HOSTS, gpus=2, in_flight=8, speed=2.0)
    found, even = rate(Fleet(hosts, 1, COSTS))
    assert found == pytest.approx(2 / 0.16, rel=4e-3)
    assert even.bottleneck == "GPU"
    assert even.utilisation["processors"] == pytest.approx(2 / 0.16 * 0.02 / 4, rel=1e-2)


def test_a_gpu_waits_for_slow_processors() -> None:
    hosts = replace(HOSTS, gpus=2, cores=2, in_flight=8, speed=0.1)
    found, even = rate(Fleet(hosts, 1, COSTS))
    assert (found, even.bottleneck) == (pytest.approx(2 / 0.4, rel=4e-3), "processors")


def test_the_larger_of_two_directions_limits_a_network() -> None:
    fast = replace(COSTS, pictures=(replace(PICTURE, read_s=1e-4, compute_s=1e-4, write_s=1e-4),))
    unlimited = replace(STORAGE, get_rate=1e6, put_rate=1e6)
    found, even = rate(Fleet(replace(HOSTS, in_flight=16), 2, fast, storage=unlimited))
    assert (found, even.bottleneck) == (pytest.approx(2 / 0.016, rel=1e-2), "network out")
    shared = Fleet(replace(HOSTS, in_flight=16), 2, fast, storage=replace(unlimited, network_gbps=1.0))
    found, even = rate(shared)
    assert (found, even.bottleneck) == (pytest.approx(1 / 0.016, rel=1e-2), "storage in")


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
    fleet = Fleet(replace(HOSTS, in_flight=8), 1000, COSTS, jobs, storage, driver)
    found, even = rate(fleet)
    assert (found, even.bottleneck) == (pytest.approx(expected, rel=4e-3), limit)
    assert even.simulated_hosts < 1000
    assert shared_limit(fleet) == pytest.approx(expected / jobs * 3600)


def test_a_line_of_the_manifest_takes_time_of_the_driver() -> None:
    fleet = Fleet(HOSTS, 1000, COSTS, driver=Driver(dispatch_rate=100), manifest=ManifestCost(0.01, 500, 100))
    found, even = rate(replace(fleet, hosts=replace(HOSTS, in_flight=8)))
    assert (found, even.bottleneck) == (pytest.approx(50, rel=4e-3), "driver")
    assert shared_limit(fleet) == pytest.approx(50 * 3600)
    assert shared_limit(Fleet(HOSTS, 1, COSTS)) == float("inf")


def test_hosts_that_are_not_simulated_are_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the limit that all share, where it matters most: 45 hosts ask for 900 of 1000 pictures a second."""
    times = tuple(replace(PICTURE, compute_s=0.16 * factor) for factor in (0.6, 0.9, 1.5))
    storage = replace(STORAGE, get_rate=2000, put_rate=1000)
    fleet = Fleet(replace(HOSTS, in_flight=4), 45, replace(COSTS, pictures=times), storage=storage)
    few = even_rate(fleet)
    monkeypatch.setattr(model, "MOST_TOKENS", 10**6)
    all_of_them = even_rate(fleet)
    assert (few.simulated_hosts, all_of_them.simulated_hosts) == (16, 45)
    assert few.pictures_per_hour == pytest.approx(all_of_them.pictures_per_hour, rel=0.01)


def test_hosts_that_are_taken_away_are_missing() -> None:
    """Twice an hour 100 s of boot, 5 s of start and half of a picture's 0.2 + 0.4 s."""
    hosts = replace(HOSTS, boot_s=100.0, interruptions=2.0, in_flight=8)
    fleet = Fleet(hosts, 10, COSTS)
    assert uptime(fleet) == pytest.approx(1 / (1 + 2 * (100 + 5 + 0.3) / 3600))
    assert rate(fleet)[0] == pytest.approx(10 * 4 / 0.2 * uptime(fleet), rel=4e-3)
    assert uptime(Fleet(HOSTS, 1, COSTS)) == 1
