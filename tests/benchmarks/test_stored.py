"""Reports read back from their JSON, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mirnet_deploy.benchmarks.floor.rows import FloorRow
from mirnet_deploy.benchmarks.forms import FormRow
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.latency import LatencyRow, Timed, latency_rows
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows
from mirnet_deploy.benchmarks.report import FORMAT_VERSION, Quality, Report
from mirnet_deploy.benchmarks.stored import read_report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport
from mirnet_deploy.errors import UsageError

ENGINE = SubjectReport("a", None, None, "onnx", "float", "fp32", "proof", "ema", {"n_feat": 8}, "fake", "cpu", "auto")
PICTURES = [QualityRow("a", "1", psnr=20.0, ssim=0.9), QualityRow("a", "2", failure="no room")]
REPORT = Report(
    created="2026-01-01T00:00:00+00:00",
    tool_version="1.0",
    settings={"sizes": ["60x40"], "threads": None},
    machine={"cpu": "x", "gpus": [{"name": "y"}]},
    engines=[ENGINE],
    latency=[
        *latency_rows(["a"], Size(60, 40), Timed({0: [1.5, 2.5]}, {}, {})),
        LatencyRow("b", "60x40", failure="refused"),
    ],
    quality=Quality("pairs", mean_rows(PICTURES), PICTURES, ["a remark"]),
    ended="whole",
    command="mirnet-deploy bench --engine 'my model.onnx'",
    forms=[FormRow("PyTorch FP32", ratio_interval=(0.9, 1.1), max_levels=0)],
    floor=[FloorRow("a", "60x40", macs=3, of_floor=0.4, remarks=("none",))],
)


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "report.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_report(written(tmp_path, REPORT.to_json().encode())) == REPORT


def test_an_older_version_is_read_and_what_it_lacks_has_its_default(tmp_path: Path) -> None:
    old = REPORT.to_dict() | {"format_version": 1}
    del old["command"], old["forms"], old["floor"], old["engines"][0]["file_bytes"]
    found = read_report(written(tmp_path, old))
    assert (found.command, found.forms, found.floor, found.latency) == ("", [], [], REPORT.latency)


def test_fields_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    more = REPORT.to_dict() | {"weather": "dark"}
    more["latency"][0]["colour"] = [1]
    assert read_report(written(tmp_path, more)) == REPORT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (REPORT.to_json().encode()[:900], "cut off, damaged or no JSON"),
        (b"\xff\xfe\x00", "cut off, damaged or no JSON"),
        (b"[" * 100_000, "cut off, damaged or no JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        ([], "it names no format of ours"),
        ({"format": "mirnet-deploy bench peers", "format_version": 1}, "one of 'mirnet-deploy bench peers'"),
        (REPORT.to_dict() | {"format_version": FORMAT_VERSION + 1}, "use a newer one"),
        (REPORT.to_dict() | {"format_version": True}, "format version True"),
        (REPORT.to_dict() | {"latency": {}}, "report.latency is '{}'; expected a list"),
        (REPORT.to_dict() | {"machine": []}, "report.machine is '[]'"),
        (REPORT.to_dict() | {"engines": [{"name": "a"}]}, "report.engines[0].path is missing"),
        (REPORT.to_dict() | {"forms": [{"form": "x", "ratio_interval": [1.0]}]}, "has 1 values; expected 2"),
        (REPORT.to_dict() | {"forms": [{"form": "x", "p50_ms": "3"}]}, "report.forms[0].p50_ms is '3'; expected float"),
        (REPORT.to_dict() | {"forms": [{"form": "x", "bytes": True}]}, "bytes is 'True'; expected int"),
        (REPORT.to_json().replace("1.5", "1e999").encode(), "times_ms[0] is 'inf'"),
    ],
)  # fmt: skip
def test_what_is_not_a_report_is_refused_in_one_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_report(written(tmp_path, content))
    assert said in str(raised.value)
    assert str(tmp_path / "report.json") in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_report(tmp_path / "none.json")
