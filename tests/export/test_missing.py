"""`build_missing`: a plan from an ONNX file alone, once for many processes, whatever happens to the one that builds."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import racing
from click.testing import CliRunner
from export_types import Export

from mirnet_deploy import MIRNetRuntime, machine
from mirnet_deploy.artifacts.fleet import MANIFEST, Fleet, FleetFile
from mirnet_deploy.artifacts.sidecar import read_sidecar, sidecar_path
from mirnet_deploy.cli import main
from mirnet_deploy.engines.fleet import artifact_for
from mirnet_deploy.engines.tensorrt_library import RTX_TARGETS
from mirnet_deploy.errors import EngineError, ExportError
from mirnet_deploy.export import missing
from mirnet_deploy.export.builder import find_builder
from mirnet_deploy.export.islands import proven_islands
from mirnet_deploy.export.missing import build_missing
from mirnet_deploy.export.pipeline import export_plan
from mirnet_deploy.export.precision import find_islands
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training.checkpoint import LoadedCheckpoint

pytest.importorskip("tensorrt_rtx")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, also for the processes that a test starts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return racing.missing_folder()


@pytest.fixture
def folder(exported: Export, tmp_path: Path) -> Path:
    """A fleet without plans, of the tiny network in FP16."""
    source = exported("image", "fp16")
    folder = tmp_path / "fleet"
    folder.mkdir()
    for path in (source.path, sidecar_path(source.path)):
        os.link(path, folder / path.name)
    entry = FleetFile(source.path.name, source.metadata.sha256 or "", source.path.stat().st_size)
    (folder / MANIFEST).write_text(Fleet(folder, entry, entry).to_json())
    return folder


def gpu(monkeypatch: pytest.MonkeyPatch, *targets: str) -> None:
    monkeypatch.setattr(machine, "_cuda", lambda: tuple(("Test GPU", target) for target in targets))
    monkeypatch.setitem(sys.modules, "tensorrt", None)


def test_a_plan_from_the_onnx_file_is_described_as_one_from_the_checkpoint(
    folder: Path, exported: Export, checkpoint: LoadedCheckpoint, tmp_path: Path, cache: Path, monkeypatch, caplog
) -> None:
    library = find_builder("tensorrt_rtx", ["sm120"])
    assert library is not None
    source, settings = exported("image", "fp16"), ExportSettings(tile=64, halo=8)
    monkeypatch.setattr(machine, "_cuda", tuple)
    expected = export_plan(checkpoint, source, tmp_path / "a.plan", settings, library, [], lambda share: None)
    gpu(monkeypatch, "sm80", "sm120")
    with caplog.at_level(logging.INFO):
        path = build_missing(folder, "cuda:1")
    assert path.parent == cache
    assert replace(read_sidecar(path), sha256=None) == replace(expected, sha256=None)
    assert caplog.messages == [f"building the plan of {folder} for sm120 once, with tensorrt_rtx {library.version}"]
    monkeypatch.setattr(missing, "plan_of", None)  # so that another build would fail
    assert build_missing(folder, "cuda:1") == path == artifact_for(folder, "cuda:1")
    with pytest.raises(EngineError, match=r"this GPU .* is sm80"):
        artifact_for(folder, "cuda:0")


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_islands_read_off_the_file_are_those_of_the_network(
    exported: Export, checkpoint: LoadedCheckpoint, precision: Any
) -> None:
    import onnx

    source = exported("image", precision)
    data = source.path.read_bytes()
    read, known = proven_islands(data, source.metadata), find_islands(onnx.load_from_string(data), checkpoint.network)
    assert read.inside | read.outside == known.inside | known.outside
    assert len(read.outside) == (85 if precision == "fp16" else 113)
    if precision == "fp16":
        assert read == known


def test_a_graph_of_other_types_than_were_proven_is_refused(exported: Export) -> None:
    source, fp32 = exported("image", "fp16"), exported("image", "fp32")
    with pytest.raises(ExportError, match=r"has 0 of 0 .*113 in the FP32 islands.*, and its export proved 85 of 85"):
        proven_islands(fp32.path.read_bytes(), source.metadata)
    with pytest.raises(ExportError, match="cannot be read"):
        proven_islands(source.path.read_bytes()[:-1000], source.metadata)


def race(folder: Path, marks: Path, count: int, seconds: float) -> subprocess.Popen[str]:
    marks.mkdir(exist_ok=True)
    command = [sys.executable, racing.__file__, str(folder), str(marks), str(count), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def killed() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are killed at the end, with their children."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def test_eight_processes_build_once_and_seven_say_for_whom_they_wait(folder: Path, tmp_path: Path, cache: Path) -> None:
    said = race(folder, tmp_path / "marks", 8, 1.0).communicate(timeout=60)[0].splitlines()
    *answers, heavy = map(json.loads, said)
    builders = [path.name for path in (tmp_path / "marks").iterdir()]
    assert len(builders) == 1
    assert len(answers) == 8
    assert {each["path"] for each in answers} == {str(path) for path in cache.glob("*.plan")}
    lines = [line for each in answers if str(each["process"]) not in builders for line in each["said"]]
    whom = rf"waiting for (process {builders[0]} on \S+|another process), which builds the plan of {folder} for sm89"
    assert all(re.fullmatch(whom, line) for line in lines), lines
    assert any(f"process {builders[0]} on" in line for line in lines)  # a second is enough for one of seven at least
    assert list(cache.glob(".*")) == []
    assert heavy == []  # neither torch nor onnx was imported


def test_a_builder_that_is_killed_frees_the_lock_and_leaves_nothing(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch, killed: list[subprocess.Popen[str]]
) -> None:
    killed.append(race(folder, tmp_path / "marks", 1, 600))
    end = time.monotonic() + 60
    while not list(cache.glob(".*.partial")):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(killed[0].pid, signal.SIGKILL)
    killed[0].wait()
    assert list(cache.glob("*.plan")) == []
    gpu(monkeypatch, "sm89")
    monkeypatch.setattr(missing, "plan_of", racing.stand_in(tmp_path / "marks", 0))
    path = build_missing(folder)
    assert path.read_bytes() == b"a plan"
    assert list(cache.glob(".*.partial")) == []


def test_a_build_that_fails_leaves_nothing_and_the_next_one_is_made(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch
) -> None:
    gpu(monkeypatch, "sm89")

    def fail(*_: Any) -> Any:
        raise ExportError("no plan")

    monkeypatch.setattr(missing, "plan_of", fail)
    with pytest.raises(ExportError, match="no plan"):
        build_missing(folder)
    assert list(cache.glob("*.plan*")) == []
    (tmp_path / "marks").mkdir()
    monkeypatch.setattr(missing, "plan_of", racing.stand_in(tmp_path / "marks", 0))
    assert build_missing(folder).read_bytes() == b"a plan"


def test_a_damaged_plan_in_the_cache_is_built_anew(folder: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    gpu(monkeypatch, "sm89")
    (tmp_path / "marks").mkdir()
    monkeypatch.setattr(missing, "plan_of", racing.stand_in(tmp_path / "marks", 0))
    build_missing(folder).write_bytes(b"half")
    assert build_missing(folder).read_bytes() == b"a plan"
    assert "not used" in caplog.text


def test_a_cache_that_cannot_be_written_is_one_line_of_error(folder: Path, tmp_path: Path, monkeypatch) -> None:
    gpu(monkeypatch, "sm89")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ExportError, match="cannot be written: Not a directory"):
        build_missing(folder)


def test_the_oldest_plans_go_first(tmp_path: Path) -> None:
    for age, name in enumerate("cab"):
        for suffix in (".plan", ".plan.json", ".holder"):
            (tmp_path / f"{name}{suffix}").touch()
        os.utime(tmp_path / f"{name}.plan", (1000 - age, 1000 - age))
    missing.prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{suffix}" for name in "ac" for suffix in (".plan", ".plan.json", ".holder")
    )
    missing.prune(tmp_path / "none", 2)


def test_the_flag_builds_and_only_for_fleets(folder: Path, tmp_path: Path, monkeypatch) -> None:
    gpu(monkeypatch, "sm89")
    (tmp_path / "marks").mkdir()
    monkeypatch.setattr(missing, "plan_of", racing.stand_in(tmp_path / "marks", 0))
    monkeypatch.setitem(sys.modules, "pycuda", None)  # the plan is chosen, and cannot run here
    picture = str(ROOT / "examples" / "night.jpg")
    words = ["--model", str(folder), "-o", str(tmp_path / "out")]
    without = CliRunner().invoke(main, ["enhance", picture, *words])
    assert (without.exit_code, "--build-missing" in without.stderr) == (1, True)
    with_flag = CliRunner().invoke(main, ["enhance", picture, *words, "--build-missing"])
    assert "building the plan of" in with_flag.stderr
    assert "GPUs need pycuda" in with_flag.stderr
    assert len(list((tmp_path / "marks").iterdir())) == 1
    bench = CliRunner().invoke(main, ["bench", "--engine", f"{folder}@alone", "--build-missing", "--no-memory"])
    assert "GPUs need pycuda" in bench.output
    for command in (["enhance", picture], ["bench", "--engine", "lite"]):
        refused = CliRunner().invoke(main, [*command, "--build-missing"])
        assert refused.exit_code == 2
        assert "error: --build-missing is for the folder of a fleet, which lite is not\n" in refused.stderr


def test_on_a_cpu_nothing_is_missing(folder: Path, monkeypatch) -> None:
    gpu(monkeypatch)
    with pytest.raises(EngineError, match="device 'auto' means none"):
        build_missing(folder)
    monkeypatch.setattr(missing, "build_missing", None)
    picture = str(ROOT / "examples" / "night.jpg")
    words = ["enhance", picture, "--model", str(folder), "--build-missing", "--device", "cpu", "--max-pixels", "1"]
    said = CliRunner().invoke(main, [*words, "-o", str(folder.parent / "out")]).stderr
    assert f"error: {picture} is 512x512" in said  # the model was found, and the picture looked at


@pytest.mark.gpu
def test_on_a_gpu_a_missing_plan_is_built_and_runs(folder: Path) -> None:
    """With the library and the GPU that are here; its result agrees with that of the ONNX file on the CPU."""
    target = machine.cuda_capabilities()[0]
    if find_spec("tensorrt") is None and target not in RTX_TARGETS:
        pytest.skip(f"TensorRT-RTX does not run on {target}, and the full library is not here")
    image = cv2.imread(str(ROOT / "examples" / "night.jpg"))[:64, :64]
    path = build_missing(folder)
    with MIRNetRuntime(folder) as runtime, MIRNetRuntime(folder, device="cpu") as cpu:
        assert (runtime.info.path, runtime.info.device) == (str(path), "cuda:0")
        error = runtime.enhance(image).astype(float) - cpu.enhance(image)
    assert 10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)) >= 45
