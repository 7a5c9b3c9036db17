"""Rounds of a job: what is done where Ray brings nothing back, with a stand-in for Ray Data."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from mirnet_deploy.cluster import run
from mirnet_deploy.cluster.manifest import Manifest
from mirnet_deploy.cluster.nodes import Room
from mirnet_deploy.cluster.order import Order, without_task
from mirnet_deploy.cluster.planning import Picture
from mirnet_deploy.cluster.run import ClusterJob
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import ClusterError
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.settings import RuntimeSettings

Batches = Callable[[list[int]], Iterator[dict[str, Any]]]


class RayError(Exception):
    """Stands in for `ray.exceptions.RayError`."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClusterJob]:
    """Makes a job of which `batches`, given the indices of a round, yields what comes back."""
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.05)

    def make(batches: Batches, nodes: list[dict[str, Any]]) -> ClusterJob:
        settings = JobSettings("lite", "12", RuntimeSettings(), 95, "4:4:4", None, False)
        order = Order(settings, settings, "backend", Location("", str(tmp_path / "out")), None, 1)
        manifest = Manifest(Location("", str(tmp_path / "m.jsonl")), {})
        manifest.begin({})
        ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=RayError), nodes=lambda: nodes)
        made = ClusterJob(ray, order, None, manifest, Room(1, 0.0), 1, {})

        def dataset(todo: dict[int, Picture], attempt: int) -> Any:
            return SimpleNamespace(iter_batches=lambda **_: batches([*todo]))

        monkeypatch.setattr(made, "_dataset", dataset)
        return made

    return make


PLAN = [Picture(Location("", f"/in/{name}.png"), PurePosixPath(f"{name}.png"), 1, 2) for name in "abc"]
ONE = [{"Alive": True, "Resources": {"CPU": 1}}]


def batch(*indices: int) -> dict[str, Any]:
    rows = [without_task(str(PLAN[index].source), "lite", "why") | {"index": index} for index in indices]
    return {"row": [json.dumps(row) for row in rows]}


def test_what_is_missing_is_tried_again_and_what_comes_twice_counts_once(job: Callable[..., ClusterJob]) -> None:
    rounds: list[list[int]] = []

    def batches(todo: list[int]) -> Iterator[dict[str, Any]]:
        rounds.append(todo)
        if len(rounds) == 1:
            yield batch(2, 2)
            raise RayError("a block was lost\nand more")
        if len(rounds) == 2:
            yield batch(0, 2)

    made, steps = job(batches, ONE), []
    made.run(PLAN, steps.append)
    assert rounds == [[0, 1, 2], [0, 1], [1]]
    assert [made.entries[index]["attempt"] for index in range(3)] == [2, 3, 1]
    assert made.retried == {0, 1}
    assert made.entries[1]["error"] == f"/in/b.png: {run.LOST}; Ray says: a block was lost"
    assert len(steps) == 3
    assert made.manifest.location.local is not None
    assert len(made.manifest.location.local.read_text().splitlines()) == 1 + 3


def test_a_machine_that_cannot_take_part_ends_the_job(job: Callable[..., ClusterJob]) -> None:
    made = job(lambda todo: iter([batch(0), {"row": [json.dumps({"index": 1, "problem": "far cannot"})]}]), ONE)
    with pytest.raises(ClusterError, match=r"^far cannot$"):
        made.run(PLAN, lambda n: None)
    assert set(made.entries) == {0}


def test_where_no_machine_has_room_any_more_the_job_ends(
    job: Callable[..., ClusterJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "GONE_SECONDS", 0.1)
    forever = threading.Event()

    def batches(todo: list[int]) -> Iterator[dict[str, Any]]:
        yield batch(0)
        forever.wait(30)

    made = job(batches, [{"Alive": False, "Resources": {"CPU": 1}}, {"Alive": True, "Resources": {}}])
    with pytest.raises(ClusterError, match="no machine of the cluster has room for an actor any more"):
        made.run(PLAN, lambda n: None)
    forever.set()
    assert set(made.entries) == {0}


def test_an_error_that_is_not_ray_s_is_told(job: Callable[..., ClusterJob]) -> None:
    def batches(todo: list[int]) -> Iterator[dict[str, Any]]:
        raise ValueError("a bug\nin two lines")
        yield batch(0)

    with pytest.raises(ClusterError, match=r"^Ray Data failed: a bug$"):
        job(batches, ONE).run(PLAN, lambda n: None)


def test_room_counts_whole_actors() -> None:
    node = {"Alive": True, "Resources": {"CPU": 7.0, "GPU": 1.0}}
    assert Room(2, 0.0).on(node) == 3
    assert Room(1, 0.3).on(node) == 3
    assert Room(1, 0.1).on({**node, "Resources": {"CPU": 64, "GPU": 1}}) == 10
    assert Room(1, 0.0).on({**node, "Alive": False}) == 0
