"""How far engines are from the floor: on known numbers, on real engines in tiles, and by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import FIXTURES, make_onnx, make_plan
from click.testing import CliRunner

from mirnet_deploy.benchmarks.costs import CostSettings
from mirnet_deploy.benchmarks.floor import peaks, rows
from mirnet_deploy.benchmarks.floor.rows import FloorRow, FloorRun, with_times
from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.cli import main
from mirnet_deploy.errors import ArtifactError
from mirnet_deploy.files import file_sha256
from mirnet_deploy.settings import RuntimeSettings

TINY = FIXTURES / "published_layout" / "model.pth"
KNOWN = FloorRow("a", "8x8", macs=6_000_000, least_bytes=40_000, product_gmacs=2.0, copy_gbytes=0.02)


@pytest.fixture
def small_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "SIDES", (32,))
    monkeypatch.setattr(peaks, "LEAST_COPY", 2**16)
    monkeypatch.setattr(peaks, "last_cache", lambda: 2**10)
    monkeypatch.setattr("mirnet_deploy.benchmarks.latency.PAUSE_S", 0)


def test_the_floor_is_the_longer_of_arithmetic_and_traffic() -> None:
    row = with_times(KNOWN, 10.0)
    assert (row.floor_ms, row.bound) == (pytest.approx(3.0), "arithmetic")
    assert row.of_floor == pytest.approx(0.3)
    assert (row.intensity, row.reached_gmacs) == (150, pytest.approx(0.6))
    slow = with_times(FloorRow(**{**vars(KNOWN), "copy_gbytes": 0.01}), 10.0)
    assert (slow.floor_ms, slow.bound, slow.of_floor) == (pytest.approx(4.0), "memory", pytest.approx(0.4))


def test_what_is_not_known_makes_no_figure() -> None:
    alone = with_times(FloorRow(**{**vars(KNOWN), "copy_gbytes": None}), 10.0)
    assert (alone.floor_ms, alone.bound) == (pytest.approx(3.0), "arithmetic")
    for missing in ("macs", "least_bytes", "product_gmacs"):
        row = with_times(FloorRow(**{**vars(KNOWN), missing: None}), 10.0)
        assert (row.floor_ms, row.bound, row.of_floor) == (None, None, None)


def test_tiles_with_halos_run_more_than_the_picture_has(tmp_path: Path, small_peaks: None) -> None:
    path = make_onnx(tmp_path / "blur.onnx", "blur", context=0, tile=64, halo=16)
    picture, times = sample_picture(Size(96, 96)), (4.0, 4.0)
    found = {}
    for how, tile in (("whole", 0), ("tiles", 64)):
        settings = RuntimeSettings(device="cpu", **({"tile": tile, "consistency": "local"} if tile else {}))
        with open_subject(SubjectSpec(str(path), settings)) as subject:
            run = FloorRun([subject], picture, Size(96, 96), None)
            run.peaks.enhance(picture)
            (found[how],) = run.rows([LatencyRow(str(path), "96x96", times, 4.0)])
    assert [(row.macs, row.runs, row.remarks) for row in found.values()] == [
        (96 * 96 * 75, 1, ()),
        (96 * 96 * 75, 4, ()),
    ]
    assert found["whole"].run_macs == found["whole"].macs
    assert found["tiles"].run_macs == 4 * 64 * 64 * 75
    assert found["tiles"].run_unfused_bytes > found["tiles"].unfused_bytes == found["whole"].run_unfused_bytes
    weights = 3 * 25 * 4
    assert found["whole"].least_bytes == weights + 2 * 96 * 96 * 3 * 4
    assert found["tiles"].run_least_bytes == weights + 4 * 2 * 64 * 64 * 3 * 4
    for row in found.values():
        assert row.precision == "fp32"
        assert row.product_gmacs
        assert row.floor_ms == pytest.approx(max(row.macs / row.product_gmacs, row.least_bytes / row.copy_gbytes) / 1e6)


@pytest.mark.parametrize("how", ["", "@session", "@native", "@alone", "@openvino"])
def test_every_way_to_run_a_file_says_what_it_runs(how: str, tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "blur.onnx", "blur", context=0)
    with open_subject(SubjectSpec(f"{path}{how}", RuntimeSettings(device="cpu"))) as subject:
        row = rows._counted(subject, sample_picture(Size(30, 22)), FloorRow("a", "30x22"))
    assert (row.macs, row.run_macs, row.runs, row.precision, row.remarks) == (24 * 32 * 75, 24 * 32 * 75, 1, "fp32", ())


def test_an_engine_in_half_precision_need_move_half_of_a_file_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = make_onnx(tmp_path / "blur.onnx", "blur", context=0), []
    for precision in ("fp32", "bf16"):
        with open_subject(SubjectSpec(str(path), RuntimeSettings(device="cpu"))) as subject:
            # As OpenVINO tells it on a processor with AMX.
            monkeypatch.setattr(subject, "computes_in", lambda precision=precision: precision)
            found.append(rows._counted(subject, sample_picture(Size(32, 24)), FloorRow("a", "32x24")))
    full, half = found
    assert half.macs == full.macs
    for name in ("least_bytes", "unfused_bytes", "run_least_bytes", "run_unfused_bytes"):
        assert 2 * getattr(half, name) == getattr(full, name) > 0


@pytest.mark.parametrize("how", ["", "@fp16", "@channels-last"])
def test_a_checkpoint_is_counted_in_its_precision(how: str) -> None:
    with open_subject(SubjectSpec(f"{TINY}{how}", RuntimeSettings(device="cpu"))) as subject:
        row = rows._counted(subject, sample_picture(Size(30, 22)), FloorRow("a", "30x22"))
    assert row.macs == row.run_macs == 13_763_680
    assert (row.precision, row.remarks) == ("fp16" if how == "@fp16" else "fp32", ())


def test_a_precision_that_is_not_told_has_no_peak(tmp_path: Path, small_peaks: None) -> None:
    path = make_onnx(tmp_path / "half.onnx", "blur", context=0, precision="fp16")
    with open_subject(SubjectSpec(str(path), RuntimeSettings(device="cpu"))) as subject:
        run = FloorRun([subject], sample_picture(Size(16, 16)), Size(16, 16), None)
        (row,) = run.rows([LatencyRow(str(path), "16x16", (1.0,), 1.0)])
    assert (row.precision, row.product_gmacs, row.floor_ms) == (None, None, None)
    assert row.remarks == ("matrix product: in what onnxruntime computes a file in fp16 is not told",)
    assert row.macs == 16 * 16 * 75


def test_a_plan_s_graph_is_the_file_that_it_was_built_from(tmp_path: Path) -> None:
    make_onnx(tmp_path / "mirnet.onnx", "identity")
    source = make_onnx(tmp_path / "mirnet.fp16.onnx", "blur")
    plan = make_plan(tmp_path / "mirnet.plan", onnx_sha256=file_sha256(source))
    assert rows._graph_file(plan) == source
    source.unlink()
    with pytest.raises(ArtifactError, match=r"that mirnet\.plan was built from is not beside it"):
        rows._graph_file(plan)


def test_an_engine_that_fails_has_no_row_of_the_floor(small_peaks: None, tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "nan.onnx", "nan", context=0)
    with open_subject(SubjectSpec(str(path), RuntimeSettings(device="cpu"))) as subject:
        run = FloorRun([subject], sample_picture(Size(16, 16)), Size(16, 16), None)
        assert run.rows([LatencyRow(str(path), "16x16", failure="NaN")]) == []


def test_the_steps_of_a_run_count_a_turn_of_the_peaks_in_every_round() -> None:
    settings = [
        CostSettings((SubjectSpec("a"),), (Size(8, 8), Size(9, 9)), 5, 2, (), (), memory=False, floor=floor)
        for floor in (False, True)
    ]
    assert settings[1].steps - settings[0].steps == 2 * (5 + 2)


def test_the_command_sets_a_floor_below_every_latency(tmp_path: Path, small_peaks: None) -> None:
    path = make_onnx(tmp_path / "blur.onnx", "blur")
    target, page = tmp_path / "report.json", tmp_path / "report.html"
    sizes = ("--size", "40x30", "--size", "16x16", "--runs", "6", "--warmup", "0")
    arguments = ["--engine", str(path), *sizes, "--floor", "--no-memory", "--json", str(target), "--html", str(page)]
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(target.read_text())
    first, second = report["floor"]
    assert (first["size"], first["macs"], first["run_macs"]) == ("40x30", 32 * 40 * 75, 32 * 40 * 75)
    assert (second["size"], second["macs"]) == ("16x16", 16 * 16 * 75)
    for row, timed in zip(report["floor"], report["latency"], strict=True):
        parts = row["macs"] / row["product_gmacs"], row["least_bytes"] / row["copy_gbytes"]
        assert row["floor_ms"] == pytest.approx(max(parts) / 1e6)
        assert row["bound"] == ("arithmetic", "memory")[int(np.argmax(parts))]
        assert row["of_floor"] == pytest.approx(row["floor_ms"] / timed["p50_ms"])
        assert row["remarks"] == []
        assert "32x32" in row["product"]
    assert report["settings"]["floor"] is True
    assert "floor" in report["protocol"]
    lines = [line.split(": ")[0].removeprefix(str(path)) for line in result.stderr.splitlines()]
    assert lines == [" at 40x30", " at 40x30, floor", " at 16x16", " at 16x16, floor"]
    for words in ("Floor at 40x30", "floor / p50", "best rates: torch"):
        assert words in result.stdout
    assert "Roofline at 16x16" in page.read_text()


def test_a_floor_that_no_engine_has_is_a_failure_and_the_product_has_the_threads(
    tmp_path: Path, small_peaks: None
) -> None:
    path = make_onnx(tmp_path / "half.onnx", "blur", context=0, precision="fp16")
    arguments = [f"{path}", "--size", "16x16", "--runs", "1", "--warmup", "0", "--threads", "1", "--floor"]
    result = CliRunner().invoke(main, ["bench", "--engine", *arguments, "--no-memory", "--json", "-"])
    assert result.exit_code == 1
    (failure,) = json.loads(result.stdout)["failures"]
    assert failure == (
        "no engine has a floor at 16x16: matrix product: in what onnxruntime computes a file in fp16 is not told"
    )
    arguments += ["--engine", str(make_onnx(tmp_path / "blur.onnx", "blur"))]
    result = CliRunner().invoke(main, ["bench", "--engine", *arguments, "--no-memory", "--json", "-"])
    assert result.exit_code == 0, "one of them has"
    report = json.loads(result.stdout)
    assert report["failures"] == []
    for name in ("product", "copy"):
        assert "1 thread" in report["floor"][1][name]
        assert "1 threads" not in report["floor"][1][name]


def test_without_the_option_nothing_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mirnet_deploy.benchmarks.costs.FloorRun")
    path = make_onnx(tmp_path / "blur.onnx", "blur")
    arguments = ["--engine", str(path), "--size", "16x16", "--runs", "1", "--no-memory", "--json", "-"]
    report = json.loads(CliRunner().invoke(main, ["bench", *arguments]).stdout)
    assert (report["floor"], report["settings"]["floor"], "floor" in report["protocol"]) == ([], False, False)
