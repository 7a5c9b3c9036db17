"""Costs and the driver's work, on numbers that a pencil can follow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mirnet_deploy.benchmarks.scale import plan
from mirnet_deploy.benchmarks.scale.costs import Costs, ManifestCost, PictureCost
from mirnet_deploy.benchmarks.scale.deployment import GIB, Deployment
from mirnet_deploy.benchmarks.scale.model import WAITING, Cluster, SteadyState, steady_state
from mirnet_deploy.benchmarks.scale.plan import IN_FLIGHT, ScaleReport, Work, simulate_all
from mirnet_deploy.benchmarks.scale.tables import figure, tables
from mirnet_deploy.benchmarks.stored_tables import read_rows
from mirnet_deploy.errors import UsageError

PICTURE = PictureCost(0.1, 0.3, 0.1, 0.0, bytes_in=GIB // 4096, bytes_out=GIB // 1024, pixels=240_000)
CPU = Costs((PICTURE,), "a pencil", threads=1, cold_start_s=100.0)
GPU = Costs((replace(PICTURE, read_s=0.01, compute_s=0.05, write_s=0.01),), "a GPU", threads=1, cold_start_s=None)
GIVEN = [
    *("cpu.vcpus=4", "cpu.usd_per_hour=2", "cpu.in_flight=8", "cpu.network_gbps=100", "cpu.kind=four"),
    *("gpu.vcpus=8", "gpu.gpus=1", "gpu.usd_per_hour=none", "gpu.kind=one", "storage.latency_s=0.36"),
    *("storage.get_rate=1000", "storage.put_rate=24.5", "storage.gets=2", "storage.usd_per_1000_gets=1"),
    *("storage.usd_per_1000_puts=3", "storage.usd_per_gb_month=0.5", "storage.months=2", "storage.usd_per_gb_moved=4"),
    *("driver.dispatch_rate=1000", "driver.memory_gb=0.5", "driver.list_hours=2"),
]
WORK = Work(
    Deployment.of(GIVEN), ManifestCost(0.001, 512, 1024), {"cpu": CPU, "gpu": GPU}, (1, 6), ((14_400, 1), (8 * GIB, 6))
)


@pytest.fixture(scope="module")
def report() -> ScaleReport:
    made = ScaleReport("the command", WORK.costs, WORK.manifest, WORK.assumptions)
    assert sum(1 for _ in simulate_all(WORK, made)) == WORK.steps
    return made


def test_one_job_is_limited_by_its_hosts_and_then_by_what_they_share(report: ScaleReport) -> None:
    """Four processors make 8 pictures a second; a prefix takes 24.5."""
    found = {(row.kind, row.hosts): row.rate for row in report.hosts}
    assert list(found) == [("four", 1), ("four", 6), ("one", 1), ("one", 6)]
    assert found["four", 1].pictures_per_hour == pytest.approx(8 * 3600, rel=4e-3)
    assert found["four", 6].pictures_per_hour == pytest.approx(24.5 * 3600, rel=4e-3)
    assert (found["four", 1].bottleneck, found["four", 6].bottleneck) == ("processors", "write requests")


def test_one_host_is_tried_with_more_pictures_under_way(report: ScaleReport) -> None:
    rows = [row for row in report.in_flight if row.kind == "one"]
    assert [row.in_flight for row in rows] == list(IN_FLIGHT)
    assert rows[0].rate.bottleneck == WAITING
    assert {row.hosts for row in rows} == {1}


def test_what_a_small_run_costs(report: ScaleReport) -> None:
    """14 400 pictures at 8 a second, behind a start of 100 s; 15 lists of 1000 keys."""
    row = report.runs[0]
    assert (row.kind, row.pictures, row.hosts, row.in_flight, row.jobs, row.at_once) == ("four", 14_400, 1, 8, 1, 1)
    assert row.hours == pytest.approx((100 + 1800) / 3600, rel=4e-3)
    assert row.host_hours == row.hours
    assert row.hosts_usd == pytest.approx(2 * row.hours)
    assert row.requests_usd == pytest.approx((14_400 * (2 * 1 + 3) + 15 * 3) / 1000)
    assert row.storage_usd == pytest.approx(14_400 / 1024 * 0.5 * 2)
    assert row.moved_usd == pytest.approx(14_400 * (1 / 4096 + 1 / 1024) * 4)
    assert row.usd == pytest.approx((row.hosts_usd or 0) + row.requests_usd + row.storage_usd + row.moved_usd)


def test_jobs_share_a_large_run_so_that_hosts_are_what_limits(report: ScaleReport) -> None:
    """6 hosts make 48 pictures a second; a job at nine tenths of its limit has 22: so three are at work at once."""
    (row,) = (row for row in report.runs if row.kind == "four" and row.pictures == 8 * GIB)
    assert (row.at_once, row.rate.bottleneck) == (3, "processors")
    assert row.rate.pictures_per_hour == pytest.approx(48 * 3600, rel=4e-3)
    assert row.host_hours == pytest.approx(6 * row.hours)
    assert row.jobs == report.drivers[1].jobs > 3


def test_hosts_that_wait_are_shown_with_enough_pictures_under_way_too(report: ScaleReport) -> None:
    """A GPU of 0.05 s, and 1.15 s of all for a picture, which has two reads and a write of 0.36 s each: 23 fill it."""
    waiting, filled = (row for row in report.runs if row.kind == "one" and row.pictures == 14_400)
    assert (waiting.in_flight, waiting.rate.bottleneck) == (2, WAITING)
    assert (filled.in_flight, filled.rate.bottleneck) == (32, "GPU")
    assert filled.rate.pictures_per_hour == pytest.approx(20 * 3600, rel=4e-3)
    assert filled.hosts_usd is None
    assert filled.usd is None


def test_a_run_of_moments_pays_for_a_minute(report: ScaleReport) -> None:
    made = ScaleReport("", {"gpu": GPU}, WORK.manifest, [])
    for _ in simulate_all(replace(WORK, costs={"gpu": GPU}, hosts=(), runs=((2, 1),)), made):
        pass
    assert made.runs[0].hours == pytest.approx(1 / 60)


def test_what_a_driver_has_to_do(report: ScaleReport) -> None:
    small, large = report.drivers
    assert (small.pictures, small.lists, small.jobs) == (14_400, 15, 1)
    assert small.list_hours == pytest.approx(15 * 0.36 / 3600)
    assert small.drive_hours == pytest.approx(14_400 * (1 / 1000 + 0.001) / 3600)
    assert large.lists == -(-8 * GIB // 1000)
    assert large.lists_usd == pytest.approx(large.lists * 3 / 1000)
    assert (large.names_gb, large.manifest_gb) == (8 * 1024, 8 * 512)
    # 8192 GB of names at half a GB each are more jobs than 859 hours of listing at two hours each.
    assert large.list_hours == pytest.approx(859, rel=1e-3)
    assert large.jobs == 16384


def test_the_json_holds_all_that_the_tables_show(report: ScaleReport) -> None:
    content = json.loads(report.to_json())
    assert tables(content) == tables(report.to_dict())
    assert (content["format"], content["format_version"]) == ("mirnet-deploy bench scale", 1)
    made = {name: table.markdown() for name, table in tables(content).items()}
    assert list(made) == ["measured", "runs", "hosts", "in_flight", "drivers", "assumptions"]
    lines = made["runs"].splitlines()
    assert lines[2].startswith(
        "| pictures | on | hosts | in flight | jobs | at once | GB a host | pictures/h | hours |"
    )
    row = report.runs[0]
    cells = [each.strip() for each in lines[4].strip("|").split("|")]
    assert cells[:7] == ["14,400", "four", "1", "8", "1", "1", "0.0429 of 32"]
    assert cells[-2:] == [figure(row.usd), figure((row.usd or 0) / 14_400 * 1e6)]
    assert lines[5].split("|")[-3].strip() == "–"
    assert "| `gpu.usd_per_hour` | none USD | given with --set |" in made["assumptions"]
    assert "| a pencil | 1 | 1 of 1 | 0.24 | 100 | 300 | 100 |" in made["measured"]
    assert "| four | 6 | 88,200 | write requests |" in made["hosts"]
    assert all(len({line.count("|") for line in text.splitlines()[2:]}) == 1 for text in made.values())


def test_no_more_pictures_are_under_way_than_memory_takes() -> None:
    """A host with 1 GB, and 0.1 GB a picture: 8 fit, 16 do not."""
    large = replace(GPU, pictures=(replace(GPU.pictures[0], pixels=GIB // 60),))
    small = Deployment.of([*GIVEN, "gpu.memory_gb=1"])
    made = ScaleReport("", {"gpu": large}, WORK.manifest, [])
    work = replace(WORK, deployment=small, costs={"gpu": large}, hosts=(1,), runs=((2, 1),))
    assert sum(1 for _ in simulate_all(work, made)) == work.steps
    assert [row.in_flight for row in made.in_flight] == [2, 4, 8]
    assert [row.in_flight for row in made.runs] == [2, 8]
    assert made.runs[1].rate.bottleneck == WAITING
    assert [row.memory_gb for row in made.in_flight] == pytest.approx([0.2, 0.4, 0.8])


def test_tables_say_what_does_not_fit_and_what_is_not_steady(report: ScaleReport) -> None:
    content = json.loads(report.to_json())
    content["hosts"][0]["memory_gb"] = 33
    content["hosts"][0]["rate"]["converged"] = content["runs"][0]["rate"]["converged"] = False
    made = tables(content)
    assert made["hosts"].rows[0][2:5] == ["28,800 (not steady)", "processors", "does not fit: 33 of 32"]
    assert made["runs"].rows[0][7] == "28,800 (not steady)"
    assert "not steady" not in tables(report.to_dict())["hosts"].markdown()


def test_a_run_is_simulated_no_more_often_than_its_numbers_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once to see whether it waits, and twice for its cost: `jobs` at once are found without limits."""
    calls: list[int] = []

    def counted(cluster: Cluster) -> SteadyState:
        calls.append(cluster.hosts.in_flight)
        return steady_state(cluster)

    monkeypatch.setattr(plan, "steady_state", counted)
    work = replace(WORK, costs={"cpu": CPU}, hosts=(), runs=((2, 1),))
    for _ in simulate_all(work, ScaleReport("", work.costs, WORK.manifest, [])):
        pass
    assert calls[len(IN_FLIGHT) :] == [8, 8, 8]
    calls.clear()
    work = replace(work, costs={"gpu": GPU})
    for _ in simulate_all(work, ScaleReport("", work.costs, WORK.manifest, [])):
        pass
    assert calls[len(IN_FLIGHT) :] == [2, 4, 8, 16, 32, 2, 2, 32, 32]


def test_nothing_is_assumed_of_hosts_that_are_not_in_the_tables() -> None:
    assert {row["name"].partition(".")[0] for row in WORK.assumptions} == {"cpu", "gpu", "storage", "driver"}
    alone = replace(WORK, costs={"cpu": CPU})
    assert {row["name"].partition(".")[0] for row in alone.assumptions} == {"cpu", "storage", "driver"}


def test_the_json_says_where_it_comes_from(report: ScaleReport) -> None:
    content = report.to_dict()
    assert {"tool_version", "commit", "created", "machine"} <= set(content)
    assert "origin" not in content


def test_rows_of_pages_are_those_of_the_tables(report: ScaleReport, tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    path.write_text(report.to_json())
    rows = read_rows("scale", path)
    (four,) = (row for row in rows if (row["table"], row["name"]) == ("hosts", "four") and row["hosts"] == "6")
    assert (four["pictures/h"], four["limited by"], four["GPU"]) == ("88,200", "write requests", "–")
    assert {row["table"] for row in rows} == {"measured", "runs", "hosts", "in_flight", "drivers", "assumptions"}
    path.write_text('{"format": "mirnet-deploy bench"}')
    with pytest.raises(UsageError, match="is not a report of `mirnet-deploy bench scale --json`"):
        read_rows("scale", path)
