"""Costs from reports of `bench`, and those of a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_reports import FIRST, full_report
from PIL import Image

from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.scale.costs import (
    KEY,
    Costs,
    PictureCost,
    from_report,
    gpu_of,
    joined,
    manifest_cost,
    sample_file,
)
from mirnet_deploy.benchmarks.stored import read_report
from mirnet_deploy.errors import UsageError

HERE = Costs(
    (PictureCost(0.01, 0.5, 0.03, 0.2, 1000, 3000, 240_000), PictureCost(0.03, 0.7, 0.05, 0.4, 2000, 4000, 240_000)),
    *("here", 1, 2.0),
)
GPU = {"name": "NVIDIA H200", "memory_mib": 143771, "driver": "580", "compute_capability": "9.0"}


def timed() -> dict[str, Any]:
    """A report of costs alone."""
    content = full_report()
    return content | {"latency": content["latency"][:2], "sweeps": [], "forms": [], "quality": None}


def stored(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(content))
    return path


def on_gpu(content: dict[str, Any]) -> dict[str, Any]:
    content["machine"]["gpus"] = [GPU]
    for engine in content["engines"]:
        engine["device"] = "cuda:0"
    return content


def test_a_report_of_a_cpu_gives_latencies_and_phases(tmp_path: Path) -> None:
    content = timed()
    content["settings"]["threads"] = 4
    path = stored(tmp_path, content)
    costs = from_report(path, read_report(path), HERE)
    row = content["latency"][0]
    assert [each.compute_s * 1000 for each in costs.pictures] == pytest.approx(row["times_ms"])
    assert {(each.read_s, each.write_s, each.wait_s) for each in costs.pictures} == {(0.0045, 0.02025, 0.0)}
    assert {(each.bytes_in, each.bytes_out, each.pixels) for each in costs.pictures} == {(1000, 3000, 240_000)}
    assert (costs.threads, costs.cold_start_s, gpu_of(read_report(path))) == (4, 1.23, None)
    assert costs.memory_bytes == row["peak_rss_mib"] * 2**20
    assert FIRST in costs.source
    assert "Example <CPU> 9000" in costs.source


def test_without_a_number_of_threads_a_report_is_of_all_processors(tmp_path: Path) -> None:
    path = stored(tmp_path, timed())
    assert from_report(path, read_report(path), HERE).threads == 2


def test_a_report_of_a_gpu_gives_its_best_throughput_and_the_processor_here_the_rest(tmp_path: Path) -> None:
    content = on_gpu(timed())
    content["throughput"].append({**content["throughput"][0], "in_flight": 4, "images_per_s": 40.0})
    path = stored(tmp_path, content)
    costs = from_report(path, read_report(path), HERE)
    assert costs.pictures == (PictureCost(0.02, 1 / 40.0, 0.04, pytest.approx(0.3), 1000, 3000, 240_000),)
    assert (costs.threads, gpu_of(read_report(path))) == (1, "NVIDIA H200")
    assert costs.source.endswith("on NVIDIA H200, its best throughput, with 4 pictures on the GPU at a time")


def test_a_report_of_a_gpu_without_throughput_gives_latencies(tmp_path: Path) -> None:
    content = on_gpu(timed()) | {"throughput": []}
    path = stored(tmp_path, content)
    found = [each.compute_s * 1000 for each in from_report(path, read_report(path), HERE).pictures]
    assert found == pytest.approx(content["latency"][0]["times_ms"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latency": []}, "has no latencies"),
        ({"latency.size": "640x480"}, r"was measured at 640x480, and the pictures have \[240000\] pixels"),
        ({"latency.phases_ms": None}, "has no phases of lite: measure anew"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    content = timed()
    for name, value in change.items():
        if name == "latency":
            content["latency"] = value
        else:
            for row in content["latency"]:
                row[name.removeprefix("latency.")] = value
    path = stored(tmp_path, content)
    with pytest.raises(UsageError, match=said):
        from_report(path, read_report(path), HERE)


def test_processes_are_joined_with_the_slowest_start() -> None:
    other = Costs(HERE.pictures[:1], "there", 1, 3.5)
    sizes = {"files": 2, "drawn_from": 9}
    found = joined([HERE, replace(other, memory_bytes=5.0)], "both", **sizes)
    assert found == Costs((*HERE.pictures, HERE.pictures[0]), "both", 1, 3.5, 5.0, **sizes)
    alone = joined([Costs(HERE.pictures, "", 1, None)], "", **sizes)
    assert (alone.cold_start_s, alone.memory_bytes) == (None, None)
    assert HERE.mean("bytes_out") == 3500


def test_lines_of_a_manifest_are_counted_byte_by_byte() -> None:
    entry = {"input": "a.jpg", "output": "b.jpg", "status": "done", "width": 600}
    cost = manifest_cost(entry)
    lines = [json.dumps({**entry, "input": KEY, "output": KEY, "number": number}) for number in range(2000)]
    assert cost.line_bytes == round(sum(len(line) + 1 for line in lines) / 2000)
    assert cost.line_s > 0
    assert cost.key_bytes > len(KEY)


def test_the_packaged_picture_becomes_a_file_of_that_size(tmp_path: Path) -> None:
    path = sample_file(tmp_path, Size(80, 60))
    pixels = np.asarray(Image.open(path)).astype(int)
    assert pixels.shape == (60, 80, 3)
    assert np.abs(pixels - sample_picture(Size(80, 60))).mean() < 4
