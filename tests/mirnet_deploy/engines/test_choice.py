"""Which way runs an ONNX file: asked for, remembered, or measured."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx, make_plan
from deferred import picture
from numpy.typing import NDArray

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.engines import choice
from mirnet_deploy.engines.choice import OVERRIDE, described, fastest, overridden, ways_here, without_race
from mirnet_deploy.engines.openvino import OpenVinoEngine, openvino_module
from mirnet_deploy.engines.race import CROPS, Way
from mirnet_deploy.errors import EngineError, MissingDependencyError, UsageError
from mirnet_deploy.jobs.record import read_stamp
from mirnet_deploy.machine import describe_machine

ORT, OPENVINO, BF16 = Way("onnxruntime"), Way("openvino"), Way("openvino", "bf16")
needs_bf16 = pytest.mark.skipif(not describe_machine().bf16, reason="the processor has no bfloat16")


class Racer:
    """An engine whose runs take `ms` on a clock of its own, and are off by `error`."""

    now = 0.0

    def __init__(self, ms: float, *errors: float) -> None:
        """`errors`: of the two crops."""
        self.ms, self.errors, self.closed = ms, errors or (0.0,), False
        self.runs = 0

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        type(self).now += self.ms / 1000
        self.runs += 1
        return batch + np.float32(self.errors[min(self.runs, len(self.errors)) - 1])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def metadata(tmp_path: Path) -> ArtifactMetadata:
    return read_onnx(make_onnx(tmp_path / "a.onnx"))[1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and Racer's clock."""
    monkeypatch.setattr(choice, "cache_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(choice, "_known", {})
    monkeypatch.setattr("mirnet_deploy.engines.race.time.perf_counter", lambda: Racer.now)
    return tmp_path / "choices"


def choose(
    metadata: ArtifactMetadata, racers: dict[Way, Any], allowed: Callable[[Way], bool] = lambda way: True
) -> tuple[Way, list[Way]]:
    """The way chosen, and the ways that were opened for that, in a process that knows of none yet."""
    opened: list[Way] = []
    choice._known.clear()

    def open_way(way: Way) -> Any:
        opened.append(way)
        if isinstance(racers[way], Exception):
            raise racers[way]
        return racers[way]

    return fastest(metadata, list(racers), allowed, open_way, None), opened


def test_the_fastest_within_the_bound_wins_and_is_remembered(metadata: ArtifactMetadata, folder: Path) -> None:
    racers = {ORT: Racer(50), OPENVINO: Racer(20), BF16: Racer(10, 0.001)}  # 60 dB
    assert choose(metadata, racers) == (BF16, [ORT, OPENVINO, BF16])
    assert all(each.closed for each in racers.values())
    assert choose(metadata, racers) == (BF16, [])
    assert choose(metadata, racers, lambda way: way.precision == "fp32") == (OPENVINO, [])


def test_a_way_beyond_the_bound_does_not_win(metadata: ArtifactMetadata) -> None:
    assert choose(metadata, {ORT: Racer(50), OPENVINO: Racer(20), BF16: Racer(10, 0.004)})[0] == OPENVINO
    assert choose(metadata, {ORT: Racer(60), BF16: Racer(10, float("nan"))})[0] == ORT


@pytest.mark.parametrize("errors", [(0.004, 0.0), (0.0, 0.004), (0.001, 0.004)])
def test_both_crops_must_be_close(metadata: ArtifactMetadata, errors: tuple[float, float]) -> None:
    assert choose(metadata, {ORT: Racer(60), BF16: Racer(10, *errors)})[0] == ORT


def test_a_way_that_cannot_run_takes_no_part(metadata: ArtifactMetadata, caplog: pytest.LogCaptureFixture) -> None:
    assert choose(metadata, {ORT: Racer(50), BF16: EngineError("broken")})[0] == ORT
    assert "openvino:bf16 takes no part: broken" in caplog.text
    with pytest.raises(EngineError, match="broken"):
        choose(metadata, {OPENVINO: EngineError("broken"), BF16: Racer(1)})


def test_a_way_that_fails_in_a_later_round_takes_no_part_either(
    metadata: ArtifactMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    class Tired(Racer):
        def run(self, batch: NDArray[Any]) -> NDArray[Any]:
            if self.runs == 3:
                raise EngineError("out of memory")
            return super().run(batch)

    assert choose(metadata, {ORT: Racer(50), OPENVINO: Tired(1)})[0] == ORT
    assert "openvino takes no part: out of memory" in caplog.text


def test_a_way_that_failed_is_tried_again_by_the_next_process(metadata: ArtifactMetadata) -> None:
    choose(metadata, {ORT: Racer(50), OPENVINO: EngineError("out of memory")})
    assert choose(metadata, {ORT: Racer(50), OPENVINO: Racer(20)}) == (OPENVINO, [ORT, OPENVINO])


def test_a_model_that_gives_nan_in_fp32_is_left_to_it(metadata: ArtifactMetadata) -> None:
    """Its runs say what is wrong with it."""
    racers = {ORT: Racer(50, float("nan")), OPENVINO: Racer(20, float("nan"))}
    assert choose(metadata, racers)[0] == ORT
    assert choose(metadata, racers) == (ORT, [])


def test_a_process_measures_once_also_where_nothing_can_be_written(metadata: ArtifactMetadata, folder: Path) -> None:
    folder.write_text("in the way")
    racers = {ORT: Racer(50), OPENVINO: Racer(20)}
    choose(metadata, racers)
    opened: list[Way] = []

    def open_way(way: Way) -> Any:
        opened.append(way)
        return racers[way]

    assert fastest(metadata, list(racers), lambda way: True, open_way, None) == OPENVINO
    assert not opened


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-40],
        lambda text: "[]",
        lambda text: text.replace(f'"version": {choice._VERSION}', '"version": 0'),
        lambda text: json.dumps(json.loads(text) | {"measured": []}),
    ],
)
def test_a_damaged_or_foreign_memory_is_ignored_and_said(
    metadata: ArtifactMetadata, folder: Path, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    racers = {ORT: Racer(50), OPENVINO: Racer(20)}
    choose(metadata, racers)
    (path,) = folder.glob("*.json")
    path.write_text(damage(path.read_text()))
    assert choose(metadata, racers) == (OPENVINO, [ORT, OPENVINO])
    assert f"{path} is ignored: " in caplog.text
    assert choose(metadata, racers) == (OPENVINO, [])


def test_of_those_who_ask_at_once_one_measures(metadata: ArtifactMetadata) -> None:
    """Each in a process of its own, as Triton's instances are: what is kept in memory is not shared."""
    racers = {ORT: Racer(50), OPENVINO: Racer(20)}
    opened: list[str] = []

    def ask(name: str, meanwhile: Callable[[], object]) -> Way:
        def open_way(way: Way) -> Any:
            opened.append(name)
            meanwhile()
            return racers[way]

        choice._known.clear()
        return fastest(metadata, list(racers), lambda way: True, open_way, None)

    with ThreadPoolExecutor(1) as other:
        waiting: list[Future[Way]] = []

        def ask_too() -> None:
            if not waiting:
                waiting.append(other.submit(ask, "second", lambda: None))
                wait(waiting, 0.3)

        assert ask("first", ask_too) == OPENVINO
        assert waiting[0].result(60) == OPENVINO
    assert opened == ["first", "first"]


def test_what_is_known_is_told_and_nothing_is_measured_for_it(
    metadata: ArtifactMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(choice, "ways_here", lambda: [ORT, OPENVINO, BF16])
    monkeypatch.setenv(OVERRIDE, "tflite")
    assert described(metadata).startswith("nothing: MIRNET_DEPLOY_BACKEND is 'tflite'")
    monkeypatch.setenv(OVERRIDE, "openvino")
    assert described(metadata) == "openvino, by MIRNET_DEPLOY_BACKEND"
    monkeypatch.delenv(OVERRIDE)
    assert described(metadata) == "not measured yet: onnxruntime, openvino, openvino:bf16"
    choose(metadata, {ORT: Racer(50), OPENVINO: Racer(20), BF16: Racer(10, 0.004)})
    assert described(metadata) == (
        "openvino, measured here: onnxruntime 50 ms, openvino 20 ms, openvino:bf16 10 ms (too far from FP32: 48.0 dB)"
    )
    monkeypatch.setenv("CI", "true")
    assert described(metadata) == "onnxruntime, since CI is set"
    monkeypatch.delenv("CI")
    monkeypatch.setattr(choice, "ways_here", lambda: [OPENVINO])
    assert described(metadata) == "openvino, the only one here"
    monkeypatch.setattr(choice, "library_versions", dict)
    assert described(metadata) == "nothing: neither ONNX Runtime nor OpenVINO is installed"


def test_another_processor_or_version_is_measured_anew(
    metadata: ArtifactMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    racers = {ORT: Racer(50), OPENVINO: Racer(20)}
    choose(metadata, racers)
    monkeypatch.setattr(choice, "library_versions", lambda: {"openvino": "9"})
    assert choose(metadata, racers)[1]
    monkeypatch.setattr(choice, "describe_processor", lambda: {"name": "another"})
    assert choose(metadata, racers)[1]
    assert not choose(metadata, racers)[1]


def test_a_folder_that_cannot_be_written_is_said(
    metadata: ArtifactMetadata, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("in the way")
    assert choose(metadata, {ORT: Racer(50), OPENVINO: Racer(20)})[0] == OPENVINO
    assert "cannot be written, so the next process measures again" in caplog.text
    assert "so other processes may measure at the same time" in caplog.text


def test_the_environment_takes_the_place_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, way in {"onnxruntime": ORT, "openvino": OPENVINO, "openvino:bf16": BF16}.items():
        monkeypatch.setenv(OVERRIDE, text)
        assert overridden() == way
    monkeypatch.setenv(OVERRIDE, "tflite")
    with pytest.raises(UsageError, match="MIRNET_DEPLOY_BACKEND is 'tflite'; expected one of onnxruntime, openvino"):
        MIRNetRuntime("lite", device="cpu")
    monkeypatch.delenv(OVERRIDE)
    assert overridden() is None


@pytest.mark.parametrize(
    ("value", "build"),
    [("true", True), ("1", True), ("woodpecker", True), ("", False), ("0", False), ("false", False), ("False", False)],
)
def test_a_build_does_not_race(monkeypatch: pytest.MonkeyPatch, value: str, build: bool) -> None:
    monkeypatch.delenv(OVERRIDE, raising=False)
    monkeypatch.setattr(choice, "ways_here", lambda: [ORT, OPENVINO])
    monkeypatch.setenv("CI", value)
    assert without_race() == (ORT if build else None)


@pytest.mark.parametrize("ci", ["true", ""])
@pytest.mark.parametrize(("installed", "backend"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_one_library_alone_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str, backend: str, ci: str
) -> None:
    from mirnet_deploy.engines import opening

    def missing() -> Any:
        raise MissingDependencyError("it is not installed")

    for module in (choice, opening):
        monkeypatch.setattr(module, "library_versions", lambda: {installed: "1"})
    monkeypatch.setattr(choice, "describe_processor", lambda: {"instructions": []})
    monkeypatch.delenv(OVERRIDE)
    monkeypatch.setenv("CI", ci)
    other = "openvino.openvino_module" if installed == "onnxruntime" else "onnxruntime_session.onnxruntime_module"
    monkeypatch.setattr(f"mirnet_deploy.engines.{other}", missing)
    if installed == "openvino":
        monkeypatch.setattr(opening, "onnxruntime_module", missing)
    with MIRNetRuntime(make_onnx(tmp_path / "a.onnx")) as runtime:
        assert runtime.info.backend.startswith(backend)


def test_a_gpu_is_not_left_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirnet_deploy.engines.opening.onnx_device", lambda device: 0)
    with pytest.raises(
        UsageError, match="precision is 'fp32', which is for the CPU, and device is 'auto', here cuda:0"
    ):
        MIRNetRuntime(make_onnx(tmp_path / "a.onnx"), precision="fp32")


def test_the_instructions_of_a_processor_are_known_by_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirnet_deploy.machine._processor", lambda: ("one", None, ["avx2", "avx512_bf16"]))
    assert BF16 in ways_here()
    monkeypatch.setattr("mirnet_deploy.machine._processor", lambda: ("one", None, ["avx2"]))
    assert BF16 not in ways_here()


def test_what_is_asked_for_runs_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_onnx(tmp_path / "a.onnx")
    monkeypatch.setenv(OVERRIDE, "openvino")
    for settings, backend in (
        ({}, "openvino"),
        ({"backend": "onnxruntime"}, "onnxruntime"),
        ({"precision": "fp32"}, "openvino"),
        ({"backend": "openvino", "precision": "fp32"}, "openvino"),
    ):
        with MIRNetRuntime(path, device="cpu", **settings) as runtime:
            assert runtime.info.backend.startswith(backend)
            assert "bf16" not in runtime.info.backend
            assert runtime.enhance_with_info(picture(8, 8)).info.backend == runtime.info.backend


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "onnxruntime", "precision": "bf16"}, "which ONNX Runtime does not compute in on a CPU"),
        ({"device": "cuda", "precision": "bf16"}, "precision is 'bf16', which is for the CPU, and device is 'cuda'"),
        ({"device": "cuda", "precision": "fp32"}, "precision is 'fp32', which is for the CPU, and device is 'cuda'"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MIRNetRuntime(make_onnx(tmp_path / "a.onnx"), **settings)


def test_a_plan_has_no_choice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"precision is 'bf16', and .* is a plan, which TensorRT runs as it was built"):
        MIRNetRuntime(make_plan(tmp_path / "a.plan"), precision="bf16")


def test_a_processor_without_bfloat16_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = openvino_module()

    class Core(openvino.Core):  # type: ignore[misc, name-defined]
        def get_property(self, *_: Any) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(EngineError, match="this processor does not compute in bfloat16"):
        OpenVinoEngine(*read_onnx(make_onnx(tmp_path / "a.onnx")), precision="bf16")
    monkeypatch.setattr(choice, "describe_processor", lambda: {"instructions": ["AVX2"]})
    assert ways_here() == [ORT, OPENVINO]


@needs_bf16
def test_bfloat16_is_close_to_fp32_and_its_tiles_to_its_own_whole() -> None:
    image = picture(160, 300)
    results = {}
    for precision in ("fp32", "bf16"):
        for tile in ("none", 160):
            with MIRNetRuntime("lite", backend="openvino", precision=precision, tile=tile) as runtime:
                results[precision, tile] = runtime.enhance(image).astype(np.float64)

    def psnr(one: Any, other: Any) -> float:
        return float(10 * np.log10(255**2 / np.mean((results[one] - results[other]) ** 2)))

    assert 45 <= psnr(("bf16", "none"), ("fp32", "none")) < 70  # it is not FP32
    assert psnr(("bf16", 160), ("bf16", "none")) >= 50


def test_a_real_race_is_run_once_and_told_by_the_command_line(tmp_path: Path) -> None:
    """In processes of their own, as a user has them, without what keeps tests from racing."""
    import os

    environment = {name: value for name, value in os.environ.items() if name not in (OVERRIDE, "CI")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    source = CROPS[0]
    command = [sys.executable, "-m", "mirnet_deploy", "enhance", str(source), "--device", "cpu", "--json", "-o"]
    runs = [
        subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, check=True, env=environment)
        for name in ("one.png", "two.png")
    ]
    assert runs[0].stderr.count("note: measuring once which library runs lite fastest here: onnxruntime, openvino") == 1
    assert "measuring" not in runs[1].stderr
    made = [json.loads(run.stdout)["pictures"][0]["made"]["backend"] for run in runs]
    assert made[0] == made[1]
    stamp = read_stamp(tmp_path / "one.png")
    assert stamp
    assert stamp.record
    assert (stamp.record.backend, stamp.record.tile_size) == (made[0], "whole")
    said = subprocess.run(
        [sys.executable, "-m", "mirnet_deploy", "info", "lite", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    library, _, measured = json.loads(said.stdout)["on_cpu"].partition(", measured here: ")
    assert made[0].startswith(library.partition(":")[0])
    assert made[0].endswith(", bf16") == library.endswith(":bf16")
    assert measured.startswith("onnxruntime ")


def test_the_library_logs_and_does_not_print(metadata: ArtifactMetadata, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        choose(metadata, {ORT: Racer(50), OPENVINO: Racer(20)})
    assert "measuring once which library runs a fastest here: onnxruntime, openvino" in caplog.text
