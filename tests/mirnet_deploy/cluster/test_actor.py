"""What an actor does on its machine, without a cluster around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from PIL import Image

from mirnet_deploy.cluster.actor import Actor
from mirnet_deploy.cluster.order import Order, model_files, settings_dict, settings_of, with_runtime, without_task
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import ClusterError, OtherTilesWarning, warn
from mirnet_deploy.files import file_sha256
from mirnet_deploy.jobs import making
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.settings import RuntimeSettings

Make = Callable[..., Actor]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    model = make_onnx(tmp_path / "own.onnx")
    runtime = RuntimeSettings(device="cpu", backend="onnxruntime", precision="fp32", threads=1)
    settings = JobSettings(str(model), file_sha256(model), runtime, 95, "4:4:4", None, False)
    with MIRNetRuntime(model, runtime) as opened:
        backend = opened.info.backend
    return Order(settings, settings, backend, Location("", str(tmp_path / "out")), None, 1)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "get", lambda reference: reference)  # as on a cluster, where it has come already

    def made(order: Order) -> Actor:
        return Actor(order, model_files(order.settings.model))

    return made


def answer(actor: Actor, source: Path) -> dict[str, Any]:
    row = {"index": 7, "root": "", "path": str(source), "place": source.name, "result": None}
    (text,) = actor({"item": np.array([json.dumps(row)])})["row"]
    answered: dict[str, Any] = json.loads(text)
    assert answered.pop("index") == 7
    return answered


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.arange(48 * 40 * 3, dtype=np.uint8).reshape(40, 48, 3)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_picture_is_made_once(order: Order, make: Make, picture: Path) -> None:
    actor = make(order)
    first = answer(actor, picture)
    target = Path(order.output.path) / "a.png"
    assert (first["status"], first["output"], first["error"]) == ("done", str(target), None)
    assert first["target_state"] == [target.stat().st_size, target.stat().st_mtime_ns]
    assert first["made"]["backend"] == order.backend
    assert np.array_equal(Image.open(target), Image.open(picture))
    again = answer(actor, picture)
    assert (again["status"], again["target_state"]) == ("skipped", first["target_state"])
    assert answer(actor, target)["note"] == "an output of mirnet-deploy"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.0.1"}, "it has mirnet-deploy 0.1.0, and the command runs 0.0.1"),
        ({"backend": "openvino 1 CPU"}, "it would compute with onnxruntime"),
        (
            {"manifest": Path("/nowhere/m.jsonl")},
            "it does not see /nowhere/m.jsonl: -o must be a folder that all machines",
        ),
    ],
)
def test_a_machine_that_is_not_like_the_others_says_so(
    order: Order, make: Make, picture: Path, changes: dict[str, Any], said: str
) -> None:
    problem = answer(make(replace(order, **changes)), picture)["problem"]
    assert f" cannot take part: {said}" in problem
    assert not Path(order.output.path).exists()


def test_a_model_that_cannot_be_opened_there_is_the_answer(order: Order, make: Make, picture: Path) -> None:
    wrong = replace(order, settings=with_runtime(order.settings, tile=6))
    assert "cannot take part: tile is 6; expected a multiple of 4" in answer(make(wrong), picture)["problem"]


def test_other_tiles_for_want_of_memory_are_no_result(
    order: Order, make: Make, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make(order)
    first = actor._model._runtime
    enhance = MIRNetRuntime.enhance_into

    def short(self: MIRNetRuntime, *arguments: Any) -> Any:
        made = enhance(self, *arguments)
        if self is first:
            warn("cpu ran out of memory", OtherTilesWarning)
        return made

    monkeypatch.setattr(MIRNetRuntime, "enhance_into", short)
    failed = answer(actor, picture)
    assert failed["status"] == "failed"
    assert "has too little memory for it, and smaller tiles would be another result" in failed["error"]
    assert not (Path(order.output.path) / "a.png").exists()
    assert answer(actor, picture)["status"] == "done", "with a runtime whose tiles are as they were"


def test_an_error_that_nobody_expected_fails_its_picture_alone(
    order: Order, make: Make, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make(order)
    with monkeypatch.context() as patch:
        patch.setattr(MIRNetRuntime, "enhance_into", lambda *_: [].index(1))
        failed = answer(actor, picture)
    assert (failed["status"], failed["error"]) == ("failed", f"{picture}: ValueError: 1 is not in list")
    assert failed["input"] == str(picture)
    assert answer(actor, picture)["status"] == "done"
    monkeypatch.setattr("mirnet_deploy.cluster.actor.open_model", lambda *_: {}["none"])
    assert answer(make(order), picture)["problem"].endswith(" cannot take part: KeyError: 'none'")


def test_the_order_says_which_tiffs_go_through_in_bands(
    order: Order, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the machine's free memory."""
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / "a.tif")
    ways: list[str] = []
    for name in ("_in_bands", "_in_memory"):
        way = getattr(making, name)
        monkeypatch.setattr(making, name, lambda *given, name=name, way=way: (ways.append(name), way(*given))[1])
    for free, most in ((1 << 40, 1), (1, 1 << 40)):
        monkeypatch.setattr(making, "available_memory", lambda free=free: free)
        forced = replace(order.settings, in_memory=most, force=True)
        assert answer(make(replace(order, settings=forced)), tmp_path / "a.tif")["status"] == "done"
    assert ways == ["_in_bands", "_in_memory"]


def test_settings_survive_the_manifest(order: Order) -> None:
    settings = replace(with_runtime(order.settings, tile=64, whole_pixels=9), in_memory=5, target_format="webp")
    stored = json.loads(json.dumps(settings_dict(settings)))
    assert "force" not in stored
    assert "alone" not in stored["runtime"], "older manifests lack it, and must stay comparable"
    assert settings_of(stored, force=True) == replace(settings, force=True)
    del stored["quality"]
    with pytest.raises(ClusterError, match=r"^the settings in the manifest are damaged \(.*quality"):
        settings_of(stored, force=True)
    assert without_task("s3://b/a", "lite", "why")["input"] == "s3://b/a"
