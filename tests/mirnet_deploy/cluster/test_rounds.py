"""Rounds of a job: what is done where Ray brings nothing back, with a stand-in for Ray Data."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from s3_server import Store

from mirnet_deploy.cluster import nodes, run
from mirnet_deploy.cluster.manifest import Manifest
from mirnet_deploy.cluster.nodes import Room
from mirnet_deploy.cluster.order import Order, without_task
from mirnet_deploy.cluster.planning import Picture, Refused
from mirnet_deploy.cluster.run import ClusterJob
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import ClusterError, MirnetDeployWarning
from mirnet_deploy.jobs.job import DONE_BEFORE
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.pipeline import limits
from mirnet_deploy.settings import RuntimeSettings

Batches = Callable[[list[int]], Iterator[dict[str, Any]]]


class RayError(Exception):
    """Stands in for `ray.exceptions.RayError`."""


class GetTimeoutError(RayError):
    """Likewise."""


SETTINGS = JobSettings("lite", "12", RuntimeSettings(), 95, "4:4:4", None, False)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClusterJob]:
    """Makes a job of which `batches`, given the indices of a round, yields what comes back."""
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.05)

    def make(batches: Batches, nodes: list[dict[str, Any]]) -> ClusterJob:
        order = Order(SETTINGS, SETTINGS, "backend", Location("", str(tmp_path / "out")), None, 1)
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


def finished(job: ClusterJob, index: int, target: Path) -> None:
    """Writes a result, and the manifest's line that tells it."""
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"result")
    found = target.stat()
    source, state = str(PLAN[index].source), [found.st_size, found.st_mtime_ns]
    row = {"source": source, "size": 1, "mtime_ns": 2, "target": str(target), "note": None, "status": "done"}
    job.manifest.finished[source] = {**row, "target_place": target.name, "target_state": state}


def test_what_has_changed_since_is_made_again(job: Callable[..., ClusterJob], tmp_path: Path) -> None:
    rounds: list[list[int]] = []

    def batches(todo: list[int]) -> Iterator[dict[str, Any]]:
        rounds.append(todo)
        yield batch(*todo)

    made = job(batches, ONE)
    for index, name in enumerate("abc"):
        finished(made, index, tmp_path / "out" / f"{name}.png")
    (tmp_path / "out" / "c.png").write_bytes(b"another result")
    made.run([PLAN[0], replace(PLAN[1], mtime_ns=3), PLAN[2], Refused("/in/d.png", "why")], lambda n: None)
    assert rounds == [[1, 2]]
    assert made.entries[0]["note"] == DONE_BEFORE
    # What was refused has its line, too.
    assert made.manifest.location.local is not None
    rows = [json.loads(line) for line in made.manifest.location.local.read_text().splitlines()[1:]]
    assert [(row["source"], row["status"], row["error"]) for row in rows] == [
        ("/in/d.png", "failed", "why"),
        ("/in/b.png", "failed", "why"),
        ("/in/c.png", "failed", "why"),
    ]


def test_results_in_a_store_are_listed_once(
    job: Callable[..., ClusterJob], s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.bucket("done")
    out = Location.of(s3.url("done/out"))
    made = job(lambda todo: iter([batch(*todo)]), ONE)
    made.order = replace(made.order, output=out)
    for index, name in enumerate("abc"):
        finished(made, index, tmp_path / "out" / f"{name}.png")
        made.manifest.finished[str(PLAN[index].source)]["target_state"] = list(out.below(f"{name}.png").put(b"result"))
    out.below("b.png").put(b"another result")
    monkeypatch.setattr(Location, "state", lambda self: pytest.fail("a request for one object"))
    made.run(PLAN, lambda n: None)
    assert [made.entries[index]["status"] for index in range(3)] == ["skipped", "failed", "skipped"]


def test_a_busy_cluster_is_told_and_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(reference: object, timeout: float) -> None:
        assert timeout == nodes.ROOM_SECONDS
        raise GetTimeoutError("")

    task = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: "reference"))
    errors = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError)
    ray = SimpleNamespace(
        remote=lambda _: task, wait=lambda *_, timeout: ([], ["reference"]), get=get, exceptions=errors
    )
    with (
        pytest.warns(
            MirnetDeployWarning, match="the model is not open .*: 2 CPU and 0.5 GPU are awaited for up to 600 s"
        ),
        pytest.raises(ClusterError, match="the cluster had no room for an actor, or did not open the model, in 600 s"),
    ):
        nodes.resolve(ray, None, SETTINGS, None, Room(2, 0.5), 1 << 30, 1)


def test_whole_pixels_follow_from_an_actor_s_memory_and_are_kept_on_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = {"backend": "b", "device": "cpu", "settings": {"backend": "onnxruntime"}, "bytes_per_pixel": 100}
    monkeypatch.setattr(nodes, "_asked_there", lambda *_: opened)

    def whole(memory: int, known: JobSettings | None = None, **runtime: Any) -> int | None:
        asked = replace(SETTINGS, runtime=RuntimeSettings(**runtime))
        return nodes.resolve(None, None, asked, known, Room(1, 0.0), memory, 2)[0].runtime.whole_pixels

    assert whole(64 << 30) == whole(64 << 30, max_memory=1 << 20) == limits.WHOLE_BYTES // 100
    assert whole(64 << 30, max_memory=8 << 30) == (8 << 30) // 100
    assert whole(4 << 30, max_memory=8 << 30) == whole(4 << 30) == (1 << 30) // 100
    assert whole(64 << 30, whole_pixels=7) == 7
    assert whole(64 << 30, tile=64) is None
    known = replace(SETTINGS, runtime=RuntimeSettings(whole_pixels=1 << 20))
    assert whole(64 << 30, known) == 1 << 20
    with pytest.warns(MirnetDeployWarning, match="up to 1048576 pixels, and an actor has memory for 335544"):
        assert whole(128 << 20, known) == 1 << 20


@pytest.mark.parametrize(
    ("variable", "ci", "sent"),
    [
        ("openvino:bf16", "", ("openvino", "bf16")),
        ("openvino", "true", ("openvino", "fp32")),
        ("", "true", ("onnxruntime", "fp32")),
        ("", "", ("auto", "auto")),
    ],
)
def test_what_the_environment_says_here_holds_there(
    monkeypatch: pytest.MonkeyPatch, variable: str, ci: str, sent: tuple[str, str]
) -> None:
    opened = {"backend": "b", "device": "cpu", "settings": {}, "bytes_per_pixel": 100}
    asked: list[RuntimeSettings] = []

    def ask(ray: Any, model: Any, settings: RuntimeSettings, room: Room) -> dict[str, Any]:
        asked.append(settings)
        return opened

    monkeypatch.setattr(nodes, "_asked_there", ask)
    monkeypatch.setenv("MIRNET_DEPLOY_BACKEND", variable)
    monkeypatch.setenv("CI", ci)
    nodes.resolve(None, None, SETTINGS, None, Room(1, 0.0), 1 << 30, 1)
    opened["device"] = "cuda"
    nodes.resolve(None, None, SETTINGS, None, Room(1, 1.0), 1 << 30, 1)  # a GPU takes no notice of it
    assert [(each.backend, each.precision) for each in asked] == [sent, ("auto", "auto")]


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
