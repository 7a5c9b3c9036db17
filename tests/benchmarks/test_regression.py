"""Two reports compared: on figures that were made up, whose answer is known, and by the command on files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner, Result

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.latency import LatencyRow, Timed, latency_rows
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows
from mirnet_deploy.benchmarks.regression import (
    TOLERANCES,
    Change,
    compare_reports,
    parse_tolerances,
)
from mirnet_deploy.benchmarks.report import Quality, Report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport
from mirnet_deploy.cli import main
from mirnet_deploy.errors import UsageError

MACHINE = {
    **{"cpu": "Some Processor", "cores": 4, "instructions": ["AVX2"], "gpus": [], "memory_bytes": 8 << 30},
    **{"os": "Linux", "python": "3.11", "onnxruntime": {"onnxruntime": "1.32"}, "tensorrt": {}, "numpy": "2.3"},
}
SETTINGS = {"sizes": ["60x40"], "runs": 30, "tile": "auto", "threads": None, "device": "cpu", "floor": False}


def engine(name: str) -> SubjectReport:
    return SubjectReport(
        name, None, "ab" * 32, "onnx", "float", "fp32", "made up", "ema", {"n_feat": 8}, "fake 1", "cpu", "auto"
    )


def times(seed: int, factor: float = 1.0, spread: float = 0.02, runs: int = 30) -> list[float]:
    """Milliseconds around 100 times `factor`."""
    return list(factor * np.random.default_rng(seed).normal(100, 100 * spread, runs))


def report(timed: dict[str, Sequence[float]], **values: Any) -> Report:
    names = list(timed)
    rows = latency_rows(names, Size(60, 40), Timed({place: timed[name] for place, name in enumerate(names)}, {}, {}))
    made = Report(
        "2026-01-01T00:00:00+00:00", "1.0", SETTINGS, MACHINE, [engine(name) for name in names], rows, None, "whole"
    )
    return replace(made, **values)


def quality(figures: dict[str, Sequence[float]], data: str = "pairs") -> Quality:
    """PSNR of engines on pictures 0, 1, …; SSIM is a hundredth of it."""
    rows = [
        QualityRow(name, str(place), psnr=value, ssim=value / 100)
        for name, values in figures.items()
        for place, value in enumerate(values)
    ]
    return Quality(data, mean_rows(rows), rows, [])


def changes(old: Report, new: Report, *, any_machine: bool = False) -> dict[str, Change]:
    found = compare_reports(old, new, TOLERANCES, any_machine=any_machine).changes
    return {each.figure: each for each in found}


def remarks(old: Report, new: Report) -> str:
    return "\n".join(compare_reports(old, new, TOLERANCES, any_machine=False).remarks)


def test_noise_alone_is_the_same() -> None:
    change = changes(report({"a": times(1)}), report({"a": times(2)}))["p50"]
    assert (change.verdict, change.reason) == ("same", "")
    assert change.interval
    assert change.change
    assert change.interval[0] < change.change < change.interval[1]


@pytest.mark.parametrize(
    ("factor", "spread", "verdict"),
    [(1.2, 0.02, "worse"), (1 / 1.2, 0.02, "better"), (1.03, 0.01, "same"), (1.06, 0.2, "unclear")],
)
def test_a_change_of_latency_counts_beyond_noise_and_tolerance(factor: float, spread: float, verdict: str) -> None:
    old, new = report({"a": times(1, spread=spread)}), report({"a": times(2, factor, spread)})
    change = changes(old, new)["p50"]
    assert change.verdict == verdict
    assert change.change == pytest.approx(np.median(new.latency[0].times_ms) / np.median(old.latency[0].times_ms))


def test_the_interval_of_a_mean_difference_is_near_students_and_for_few_there_is_the_range() -> None:
    values = np.random.default_rng(5).normal(-0.3, 0.2, 60)
    student = scipy.stats.t.interval(0.95, 59, values.mean(), scipy.stats.sem(values))
    many, few = (
        changes(
            report({"a": times(1)}, quality=quality({"a": [20.0] * len(each)})),
            report({"a": times(1)}, quality=quality({"a": [20 + value for value in each]})),
        )["psnr"]
        for each in (list(values), [0.1, -0.4, 0.2])
    )
    assert many.interval == pytest.approx(student, abs=0.015)
    assert many.range is None
    assert few.interval is None, "too few for one of 95 %"
    assert few.range == pytest.approx((-0.4, 0.2))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"backend": "openvino 2026.2.0 CPU"}, "other backend"),
        ({"backend": "fake 2.0.0", "precision": "bf16"}, "other precision"),
        ({"device": "cuda:0", "precision": "fp16"}, "other precision, other device"),
        ({"backend": "fake 1.32.1"}, ""),
    ],
)
def test_an_engine_that_runs_otherwise_is_said_and_only_its_quality_judged(values: dict[str, str], reason: str) -> None:
    old = report({"a": times(1), "b": times(1)}, quality=quality({"a": [20.0] * 8}))
    old = replace(old, engines=[replace(each, backend="fake 1.31.0") for each in old.engines])
    new = report({"a": times(2, 2.0), "b": times(2, 2.0)}, quality=quality({"a": [19.0] * 8}))
    new = replace(new, engines=[replace(old.engines[0], **values), old.engines[1]])
    found = compare_reports(old, new, TOLERANCES, any_machine=False)
    verdicts = {(each.engine, each.figure): (each.verdict, each.reason) for each in found.changes}
    assert verdicts["a", "p50"] == (("not compared", reason) if reason else ("worse", ""))
    assert (verdicts["b", "p50"], verdicts["a", "psnr"]) == (("worse", ""), ("worse", ""))
    assert changes(old, new, any_machine=True)["p50"].verdict == "worse"
    for name in reason.replace("other ", "").split(", ") if reason else ():
        line = f"a has another {name}: {getattr(old.engines[0], name)} -> {getattr(new.engines[0], name)}"
        assert line in found.remarks


def test_what_equals_the_ground_truth_in_one_run_alone_is_worse_or_better() -> None:
    def with_infinite(infinite: set[int]) -> Quality:
        rows = [
            QualityRow("a", str(place), psnr=None if place in infinite else 30.0, ssim=1.0, identical=place in infinite)
            for place in range(7)
        ]
        return Quality("pairs", mean_rows(rows), rows, [])

    old = report({"a": times(1)}, quality=with_infinite({0, 1, 2}))
    new = report({"a": times(1)}, quality=with_infinite({2, 3}))
    found = compare_reports(old, new, TOLERANCES, any_machine=False).changes
    assert [(each.where, each.verdict, each.reason) for each in found if each.figure == "psnr"] == [
        ("2 pictures", "worse", "infinite in the old run, finite in the new one"),
        ("1 picture", "better", "finite in the old run, infinite in the new one"),
        ("3 pictures", "same", ""),
    ]


def test_few_runs_are_not_judged() -> None:
    change = changes(report({"a": times(1, runs=5)}), report({"a": times(2, 3.0)}))["p50"]
    assert (change.verdict, change.reason) == ("not compared", "fewer than 6 runs")
    assert change.change == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("machine", "settings", "reason"),
    [
        ({"cpu": "Another"}, {}, "other processor"),
        ({"cores": 8, "gpus": [{"name": "H100"}]}, {}, "other number of cores, other GPUs"),
        ({}, {"threads": 2}, "other setting threads"),
        ({}, {"floor": True}, "other setting floor"),
    ],
)
def test_another_machine_is_said_and_only_quality_judged(
    machine: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    old = report({"a": times(1)}, quality=quality({"a": [20.0] * 8}))
    new = report({"a": times(2, 2.0)}, quality=quality({"a": [19.0] * 8}))
    new = replace(new, machine=MACHINE | machine, settings=SETTINGS | settings)
    found = changes(old, new)
    assert (found["p50"].verdict, found["p50"].reason) == ("not compared", reason)
    assert found["psnr"].verdict == "worse"
    assert reason.split(", ", maxsplit=1)[0] in remarks(old, new)
    assert changes(old, new, any_machine=True)["p50"].verdict == "worse"


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ([20.7, 22.7, 24.8, 18.7, 21.7, 23.6], "worse"),  # each 0.2 to 0.4 lower
        ([20.96, 22.96, 24.96, 18.96, 21.96, 23.96], "same"),  # 0.04 lower: within the tolerance
        ([21.3, 23.4, 25.2, 19.4, 22.3, 24.3], "better"),
        ([15.0, 26.0, 25.0, 19.0, 22.0, 24.0], "unclear"),  # one much lower, one higher
        ([18.0, 26.0, 25.0, 19.0, 22.0, 24.0], "unclear"),  # the mean is the same, with an interval of decibels
    ],
)
def test_a_change_of_quality_counts_beyond_pictures_and_tolerance(new: list[float], verdict: str) -> None:
    before = [21.0, 23.0, 25.0, 19.0, 22.0, 24.0]
    old = report({"a": times(1)}, quality=quality({"a": before}))
    change = changes(old, report({"a": times(1)}, quality=quality({"a": new})))["psnr"]
    assert change.verdict == verdict
    assert change.change == pytest.approx(np.mean(new) - np.mean(before))
    assert change.where == "6 pictures"


def test_of_some_metrics_less_is_better() -> None:
    from mirnet_deploy.benchmarks.regression import _quality

    assert _quality("flip", "a", [(0.1, 0.2)] * 7, 0.002).verdict == "worse"
    assert _quality("niqe", "a", [(4.0, 3.0)] * 7, 0.1).verdict == "better"


def test_pictures_are_paired_by_name_and_others_of_that_name_are_said() -> None:
    old = report({"a": times(1)}, quality=quality({"input": [9.0, 9, 9], "a": [20.0, 30, 25]}))
    new = report({"a": times(1)}, quality=quality({"input": [9.0, 8, 9], "a": [20.0, 20, 25]}, "elsewhere"))
    assert (changes(old, new)["psnr"].verdict, changes(old, new)["psnr"].where) == ("same", "2 pictures")
    assert "1 is another picture in the new run" in remarks(old, new)
    assert "pairs -> elsewhere" in remarks(old, new)


def test_what_failed_only_in_the_new_run_is_worse() -> None:
    old = report({"a": times(1)}, quality=quality({"a": [20.0, 21.0]}))
    rows = [QualityRow("a", "0", psnr=20.0), QualityRow("a", "1", failure="out of memory")]
    broken = Quality("pairs", mean_rows(rows), rows, [])
    new = replace(old, latency=[LatencyRow("a", "60x40", failure="refused")], quality=broken)
    found = changes(old, new)
    assert (found["p50"].verdict, found["p50"].reason) == ("worse", "failed: refused")
    assert (found["pictures"].verdict, found["pictures"].where) == ("worse", "1 of 2 pictures")
    assert {each.verdict for each in changes(new, old).values()} == {"not compared", "same"}


def test_memory_is_compared() -> None:
    old = report({"a": times(1)})
    old = replace(old, latency=[replace(old.latency[0], peak_rss_mib=500.0, peak_gpu_mib=100.0)])
    new = replace(old, latency=[replace(old.latency[0], peak_rss_mib=600.0, peak_gpu_mib=105.0)])
    found = changes(old, new)
    assert (found["peak memory"].verdict, found["peak memory"].change) == ("worse", pytest.approx(1.2))
    assert found["peak GPU memory"].verdict == "same"


def test_what_is_in_one_run_only_and_what_was_cut_short_is_said() -> None:
    old = report({"a": times(1), "gone": times(1)}, quality=quality({"a": [20.0, 21.0]}))
    new = report({"a": times(2), "new": times(1)}, quality=quality({"a": [20.0]}), ended="cut short: interrupted")
    new = replace(new, created="2025-01-01T00:00:00+00:00", engines=[replace(new.engines[0], sha256="cd" * 32)])
    text = remarks(old, replace(new, tool_version="1.1", machine=MACHINE | {"onnxruntime": {"onnxruntime": "1.33"}}))
    for line in (
        "the new run was cut short: interrupted",
        "latencies only in the old run: gone at 60x40",
        "latencies only in the new run: new at 60x40",
        "engines only in the old run: gone",
        "pictures only in the old run: 1",
        "other onnxruntime: 1.32 -> 1.33",
        "other mirnet-deploy: 1.0 -> 1.1",
        "a is another file: SHA-256 abababababab -> cdcdcdcdcdcd",
        "the new run was made before the old one",
    ):
        assert line in text


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(UsageError, match="nothing in common"):
        changes(report({"a": times(1)}), report({"b": times(1)}))


@pytest.mark.parametrize("text", ["psnr", "psnr=", "psnr=x", "psnr=-1", "psnr=nan", "psnr=inf", "colour=1"])
def test_a_tolerance_is_a_metric_and_a_number(text: str) -> None:
    with pytest.raises(UsageError, match="--tolerance is"):
        parse_tolerances([text])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A report, one with other noise, and one that is a fifth slower and 0.3 dB worse."""
    made = [
        report({"a": times(1)}, quality=quality({"a": [20.0, 21, 22, 23, 24, 25]})),
        report({"a": times(2)}, quality=quality({"a": [20.0, 21, 22, 23, 24, 25]})),
        report({"a": times(3, 1.2)}, quality=quality({"a": [19.7, 20.7, 21.7, 22.7, 23.7, 24.7]})),
    ]
    paths = tmp_path / "old.json", tmp_path / "noise.json", tmp_path / "slow.json"
    for path, each in zip(paths, made, strict=True):
        path.write_text(each.to_json())
    return paths


def test_the_command_ends_with_0_on_noise_and_with_1_on_a_regression(files: tuple[Path, Path, Path]) -> None:
    old, noise, slow = files
    same = run("--from", old, noise)
    assert same.exit_code == 0, same.output
    assert "0 worse, 0 unclear, 3 same, 0 better" in same.output
    worse = run("--from", old, slow)
    assert worse.exit_code == 1
    assert worse.stderr.strip() == f"error: 3 figures are worse than in {old}; see the table above"
    tolerant = run("--from", old, slow, "--tolerance", "latency=0.5", "--tolerance", "psnr=1", "--tolerance", "ssim=1")
    assert tolerant.exit_code == 0, tolerant.output
    assert run("--from", slow, old).exit_code == 0


def test_the_comparison_is_written_as_json(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    old, _, slow = files
    result = run("--from", old, slow, "--json", "-")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["format"], found["format_version"], found["worse"]) == ("mirnet-deploy bench --from", 1, 3)
    assert found["commit"] == running_commit()
    assert [(each["figure"], each["verdict"]) for each in found["changes"]] == [
        *(("p50", "worse"), ("psnr", "worse"), ("ssim", "worse")),
    ]
    assert found["changes"][0]["change"] == pytest.approx(1.2, abs=0.02)
    assert "worse" in result.stderr
    target = tmp_path / "mine.json"
    target.write_text("mine")
    assert (run("--from", old, slow, "--json", target).exit_code, target.read_text()) == (2, "mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "lite"], "--engine means nothing with --from"),
        (["--runs", "3"], "--runs means nothing with --from"),
        (["--threads", "1"], "--threads means nothing with --from"),
        (["--compare", "lite.pt"], "--compare means nothing with --from"),
        (["--tolerance", "latency=a"], "--tolerance is 'latency=a'"),
    ],
)
def test_other_options_do_not_go_with_it(files: tuple[Path, Path, Path], arguments: list[str], words: str) -> None:
    result = run("--from", *files[:2], *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_its_options_mean_nothing_without_it() -> None:
    result = run("--engine", "lite", "--tolerance", "psnr=1")
    assert (result.exit_code, "--tolerance means nothing without --from" in result.stderr) == (2, True)
