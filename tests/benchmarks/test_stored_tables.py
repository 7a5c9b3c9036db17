"""Stored results as rows of texts: the figures of this repository's own runs, with their digits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_reports import full_report

from mirnet_deploy.benchmarks.stored_tables import KINDS, Row, read_rows
from mirnet_deploy.benchmarks.tiling import TilingReport, TilingRow
from mirnet_deploy.errors import UsageError

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


def row_of(kind: str, name: str, file: str, **where: str) -> Row:
    rows = [row for row in read_rows(kind, RESULTS / file) if where.items() <= row.items() and row["name"] == name]
    (row,) = rows
    return row


def cells(row: Row, *columns: str) -> list[str]:
    return [row[column] for column in columns]


def test_quality() -> None:
    columns = ("psnr", "ssim", "gt_mean_psnr", "flip", "niqe", "brisque", "pictures")
    lite = row_of("quality", "lite@onnxruntime", "cpu/quality_pairs.json")
    assert cells(lite, *columns) == ["22.87", "0.944", "28.67", "0.261", "6.17", "61.2", "4"]
    truth = row_of("quality", "truth", "cpu/quality_pairs.json")
    assert cells(truth, *columns[:4]) == ["inf", "1.000", "inf", "0.000"]


def test_latency() -> None:
    eager = row_of("latency", "weights/lite.pt@fp16", "h200/bench_lite_compiled_graphs.json")
    assert cells(eager, "size", "runs", "ms", "ratio", "interval", "mib") == ["600x400", "20", "16.1", "2.33", "–", "–"]
    after = row_of("latency", "mirnet_deploy/models/lite.onnx", "cpu/rewrites_openvino.json")
    assert cells(after, "backend", "ratio") == ["openvino 2026.4.1 CPU", "0.96"]


def test_a_latency_that_failed_has_no_figure(tmp_path: Path) -> None:
    report = full_report()
    report["latency"][-1] = {"engine": "absent.onnx", "size": "600x400", "failure": "no room"}
    (tmp_path / "a.json").write_text(
        json.dumps({**report, "throughput": [], "sweeps": [], "forms": [], "quality": None})
    )
    rows = read_rows("latency", tmp_path / "a.json")
    assert cells(rows[-1], "name", "ms", "ratio") == ["absent.onnx", "failed", "–"]
    with pytest.raises(UsageError, match="holds no quality"):
        read_rows("quality", tmp_path / "a.json")


def test_peers() -> None:
    columns = ("ms", "s", "ratio", "interval", "apart")
    coarse = row_of("peers", "ours, bfloat16", "cpu/peers_lite_600x400.json")
    assert cells(coarse, *columns) == ["144.7", "0.14", "0.40", "0.39 to 0.42", "56.4 dB, 2 levels at most"]
    ours = row_of("peers", "ours", "cpu/peers_lite_600x400.json", model="weights/lite.pt")
    assert cells(ours, *columns) == ["357.8", "0.36", "1.00", "–", "100.7 dB"]
    assert row_of("peers", "PyTorch", "cpu/peers_lite_600x400.json")["apart"] == "reference"
    floor = row_of("peers", "arithmetic", "cpu/peers_paper_600x400.json")
    assert cells(floor, "work", "rate", "s", "ratio", "apart") == ["1565.1 G", "134 G/s", "11.68", "0.74", ""]


def test_a_peer_that_failed_or_is_equal(tmp_path: Path) -> None:
    report = json.loads((RESULTS / "cpu/peers_lite_600x400.json").read_text())
    nothing = dict.fromkeys(("median_ms", "ratio", "interval", "max_levels", "psnr"))
    report["tables"][0]["rows"][1] |= {**nothing, "failure": "no room"}
    report["tables"][0]["rows"][4] |= {"max_levels": 0, "psnr": None}
    (tmp_path / "a.json").write_text(json.dumps(report))
    rows = read_rows("peers", tmp_path / "a.json")
    assert cells(rows[1], "ms", "s", "ratio", "apart") == ["failed", "failed", "–", "–"]
    assert rows[4]["apart"] == "equal"


def test_ways_of_onnx_runtime() -> None:
    batch = row_of("ort-cuda", "graph, batch of 4", "h200/ort_cuda.json", size="600x400")
    assert cells(batch, "model", "ms", "first_s", "apart") == ["lite/mirnet.fp16.onnx", "4.9", "1.3", "65.5"]


def test_training_steps() -> None:
    base = row_of("training-step", "base", "h100/training_step.json", batch="16", crop="96")
    assert cells(base, "launched", "captured") == ["177.4 ms", "60.0 ms, 2.96 times as fast"]
    assert base["compiled"] == "51.9 ms, 3.42 times as fast"


def test_what_one_training_step_command_writes_is_a_row_too(tmp_path: Path) -> None:
    (run,) = json.loads((RESULTS / "h100/training_step.json").read_text())["runs"][:1]
    (tmp_path / "a.json").write_text(json.dumps({"commit": None, **run}))
    (row,) = read_rows("training-step", tmp_path / "a.json")
    assert cells(row, "name", "batch", "launched") == ["lite", "16", "81.7 ms"]


def test_tiles(tmp_path: Path) -> None:
    exact = TilingRow(
        "a.jpg", 600, 400, "whole", 168, 15, "exact", 74.46, 60.0, 0.104, 0.031, 72.6, 0.21, 2, 0.171, 3.0, 1.987
    )
    local = replace(exact, mode="local", predicted_psnr=None, predicted_max_abs=None, passes=1, sampled=0.0, ratio=None)
    (tmp_path / "a.json").write_text(TilingReport("lite", "cpu", {}, rows=[local, exact]).to_json())
    columns = ("name", "size", "tile", "mode", "apart", "levels", "step", "predicted", "passes", "ratio")
    first, second = read_rows("tiling", tmp_path / "a.json")
    assert cells(second, *columns) == "a.jpg,600x400,168,exact,74.5,0.10,0.03,72.6 / 0.21,2 + 0.17,1.99".split(",")
    assert cells(first, "mode", "predicted", "passes", "ratio") == ["local", "", "1", ""]


def test_exports() -> None:
    rows = read_rows("export", RESULTS / "cpu/export_lite.json")
    assert [row["name"] for row in rows[:2]] == ["mirnet.onnx", "mirnet.fp16.onnx"]
    assert rows[2]["name"].startswith("mirnet.plan (TensorRT-RTX 1.")
    assert cells(rows[0], "precision", "mb", "largest") == ["fp32: 223 convolutions in FLOAT", "2.8", "1 level"]
    assert rows[1]["precision"] == "fp16: 167 of 167 convolutions in FLOAT16, 56 in the FP32 islands in FLOAT"
    assert cells(rows[2], "largest", "apart", "residual") == ["not executed", "–", "–"]


def test_the_error_of_floats_is_no_number_of_levels(tmp_path: Path) -> None:
    entry: dict[str, Any] = json.loads((RESULTS / "cpu/export_lite.json").read_text())[0]
    (tmp_path / "a.json").write_text(
        json.dumps(
            [entry | {"interface": "float", "parity": entry["parity"] | {"max_abs": 4.2e-7}}, entry | {"parity": None}]
        )
    )
    floats, unmeasured = read_rows("export", tmp_path / "a.json")
    assert floats["largest"] == "4.2e-07"
    assert cells(unmeasured, "largest", "apart") == ["not executed", "–"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content", [None, "", "{}", "[1]", "[[]]", '{"format": "mirnet-deploy bench", "format_version": 9}']
)
def test_a_file_that_holds_no_such_table_is_one_line_of_error(tmp_path: Path, kind: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=r"a\.json") as caught:
        read_rows(kind, tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_a_result_of_another_command_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 'mirnet-deploy bench peers'"):
        read_rows("peers", RESULTS / "cpu/quality_pairs.json")


@pytest.mark.parametrize(("kind", "file"), [("ort-cuda", "h200/ort_cuda"), ("training-step", "h100/training_step")])
def test_a_format_is_looked_at_where_there_is_one(tmp_path: Path, kind: str, file: str) -> None:
    content = json.loads((RESULTS / f"{file}.json").read_text())
    assert "format" not in content, "it is older"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content | {"format": f"mirnet-deploy bench {kind}"}))
    assert read_rows(kind, path) == read_rows(kind, RESULTS / f"{file}.json")
    path.write_text(json.dumps(content | {"format": "mirnet-deploy bench night"}))
    with pytest.raises(UsageError, match=f"one of 'mirnet-deploy bench night'; expected 'mirnet-deploy bench {kind}'"):
        read_rows(kind, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "holds no table of ort-cuda: it has no 'rows'"),
        ('{"rows": 3}', "holds no table of ort-cuda: it is laid out otherwise"),
        ("{", "is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_what_a_file_lacks_is_said_in_words(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_rows("ort-cuda", path)
    assert str(caught.value) == f"{path} {said}"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no table of 'speed'; expected quality, latency, peers"):
        read_rows("speed", RESULTS / "cpu/quality_pairs.json")
