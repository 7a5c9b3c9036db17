"""The ways to run ONNX files on CUDA: what is measured, saved and gone on with; with the library itself on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_onnx, make_plan
from click.testing import CliRunner, Result

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks import ort_cuda
from mirnet_deploy.benchmarks.ort_cuda import WAYS
from mirnet_deploy.cli import main
from mirnet_deploy.files import file_sha256


def run(target: Path, *arguments: object) -> Result:
    words = ["bench", "ort-cuda", str(target), "--device", "cpu", "--runs", "2", *map(str, arguments)]
    return CliRunner().invoke(main, words)


def rows_of(target: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(target.read_text())["rows"]
    return rows


def test_rows_are_saved_and_not_measured_again(tmp_path: Path) -> None:
    target = tmp_path / "ways.json"
    one = make_onnx(tmp_path / "one.onnx", "blur")
    two = make_onnx(tmp_path / "two.onnx", "identity", interface="image")
    first = run(target, "--engine", one, "--size", "61x40")
    assert first.exit_code == 0, first.output
    assert "at 61x40, on a CPU: " in first.output
    (row,) = rows_of(target)
    assert (row["sha256"], row["precision"], row["runs"]) == (file_sha256(one), "fp32", 2)
    assert row["first_ms"] > 0 < row["p50_ms"]
    assert row["commit"] == running_commit()
    again = run(target, "--engine", one, "--engine", two, "--size", "61x40")
    assert again.exit_code == 0, again.output
    assert len(again.output.splitlines()) == 1, "only the new one"
    assert rows_of(target)[0] == row
    assert [each["sha256"] for each in rows_of(target)] == [file_sha256(one), file_sha256(two)]


def test_a_way_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = ort_cuda._timed

    def fails_at_first(data: bytes, metadata: Any, size: Any, *rest: Any) -> Any:
        if size.width == 8:
            raise RuntimeError("no plan\nfor this")
        return timed(data, metadata, size, *rest)

    monkeypatch.setattr(ort_cuda, "_timed", fails_at_first)
    target = tmp_path / "ways.json"
    done = run(target, "--engine", make_onnx(tmp_path / "a.onnx"), "--size", "8x8", "--size", "12x8")
    assert done.exit_code == 1
    assert "error: 1 measurements failed" in done.stderr
    assert [row["failure"] for row in rows_of(target)] == ["RuntimeError: no plan", None]
    monkeypatch.undo()
    again = run(target, "--engine", tmp_path / "a.onnx", "--size", "8x8", "--size", "12x8")
    assert again.exit_code == 0, again.output
    assert [(row["size"], row["failure"]) for row in rows_of(target)] == [("12x8", None), ("8x8", None)]


def test_the_time_limit_leaves_the_rest_to_the_next_run(tmp_path: Path) -> None:
    target, engine = tmp_path / "ways.json", make_onnx(tmp_path / "a.onnx")
    sizes = ("--size", "8x8", "--size", "12x8")
    short = run(target, "--engine", engine, *sizes, "--max-seconds", "1e-9")
    assert short.exit_code == 0
    assert "the same command goes on" in short.output
    assert run(target, "--engine", engine, *sizes).exit_code == 0
    assert [row["size"] for row in rows_of(target)] == ["8x8", "12x8"]


@pytest.mark.parametrize("text", ["mine", "[1]", "{}", '{"gpus": ["A"], "onnxruntime": "1", "rows": []}'])
def test_another_file_or_machine_is_left_alone(tmp_path: Path, text: str) -> None:
    target = tmp_path / "ways.json"
    target.write_text(text)
    done = run(target, "--engine", make_onnx(tmp_path / "a.onnx"))
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert target.read_text() == text


def test_a_plan_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path / "ways.json", "--engine", make_plan(tmp_path / "a.plan"))
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "is not an ONNX file" in done.output


def test_every_way_differs_from_the_first_and_has_a_name_of_its_own() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)
    assert len({tuple(list(vars(way).values())[1:]) for way in WAYS}) == len(WAYS)
