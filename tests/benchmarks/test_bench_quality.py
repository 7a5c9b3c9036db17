"""`mirnet-deploy bench --data` with results of other methods, and on pictures without a ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from PIL import Image
from scipy.ndimage import gaussian_filter

from mirnet_deploy.cli import main

SIDE = 200
NAMES = tuple("abcdefg")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pairs; `doubled/` holds what a method of twice the brightness makes of them."""
    folder: Path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    for side in ("low", "high", "doubled"):
        (folder / side).mkdir()
    for name in NAMES:
        smooth = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE, 3)), (2, 2, 0))
        high = np.rint(120 + 300 * smooth + rng.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(high).save(folder / "high" / f"{name}.png")
        Image.fromarray(high // 4).save(folder / "low" / f"{name}.png")
        Image.fromarray(high // 4 * 2).save(folder / "doubled" / f"{name}.bmp")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def quality_of(result: Result) -> dict[str, Any]:
    quality: dict[str, Any] = json.loads(result.stdout)["quality"]
    return quality


@pytest.fixture(scope="module")
def compared(data: Path) -> Result:
    """Three methods' results, and no engine; the JSON on standard output, and the tables beside it."""
    methods = ("doubled", "low", "high")
    return run("--data", data, *(f"--results={name}={data / name}" for name in methods), "--json", "-")


def test_results_are_compared_without_an_engine_and_nothing_is_timed(compared: Result) -> None:
    assert compared.exit_code == 0, compared.output
    for words in (
        "PSNR dB",
        "FLIP",
        "NIQE",
        "BRISQUE",
        "7, 7 equal",
        "Differences from doubled",
        "worst of low by PSNR",
    ):
        assert words in compared.stderr
    for words in ("Latency", "Peak resident set"):
        assert words not in compared.stderr
    report = json.loads(compared.stdout)
    assert (report["engines"], report["latency"]) == ([], [])
    assert [result.split("=")[0] for result in report["settings"]["results"]] == ["doubled", "low", "high"]


def test_results_without_an_engine_are_a_page_and_compared_with_a_later_run(data: Path, tmp_path: Path) -> None:
    page, report = tmp_path / "page.html", tmp_path / "report.json"
    for name in NAMES[:2]:
        for side in ("low", "high", "doubled"):
            (source,) = (data / side).glob(f"{name}.*")
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / side / source.name).write_bytes(source.read_bytes())
    arguments = ("--data", tmp_path, f"--results=doubled={tmp_path / 'doubled'}", "--baselines")
    result = run(*arguments, "--html", page, "--json", report)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "<title>Benchmark of doubled</title>" in text
    assert "On 2 pairs of" in text
    assert "doubled reached a PSNR of" in text
    assert '<div class="row one">\n<p class="name">doubled</p>' in text, "it is set off from the baselines"
    same = run("--from", report, report)
    assert same.exit_code == 0, same.output
    assert "0 worse" in same.output
    assert "gamma" not in same.output


def test_the_report_holds_intervals_tests_and_the_worst(compared: Result) -> None:
    quality = quality_of(compared)
    means = {mean["engine"]: mean for mean in quality["means"]}
    for metric in ("psnr", "ssim", "flip", "niqe", "brisque", "gt_mean_psnr"):
        values = [row[metric] for row in quality["pictures"] if row["engine"] == "doubled"]
        assert means["doubled"][metric] == pytest.approx(np.mean(values))
        low, high = means["doubled"]["intervals"][metric]
        assert min(values) <= low <= np.mean(values) <= high <= max(values)
    assert (means["high"]["psnr"], means["high"]["flip"]) == (None, 0)
    tests = {(test["engine"], test["metric"]): test for test in quality["tests"]}
    assert {test["against"] for test in quality["tests"]} == {"doubled"}
    assert ("high", "psnr") not in tests, "what is infinite has no difference"
    psnr, flip = tests["low", "psnr"], tests["low", "flip"]
    assert psnr["mean_difference"] == pytest.approx(means["low"]["psnr"] - means["doubled"]["psnr"])
    assert psnr["interval"][1] < 0 < flip["interval"][0]
    assert (psnr["p_value"], flip["p_value"]) == (2 / 2**7, 2 * 2 / 2**7), "the second of two engines"
    worst = [each for each in quality["worst"] if each["engine"] == "low"]
    assert len(worst) == 5
    assert [each["value"] for each in worst] == sorted(each["value"] for each in worst)


def test_pictures_without_a_ground_truth_have_niqe_and_brisque(data: Path, tmp_path: Path) -> None:
    engine, sheet = make_onnx(tmp_path / "brighter.onnx", "brighter"), tmp_path / "sheet.png"
    timing = ("--size", "16x16", "--runs", 1, "--warmup", 0, "--no-memory", "--device", "cpu", "--threads", 1)
    result = run("--engine", engine, *timing, "--data", data / "low", "--json", "-", "--sheet", sheet)
    assert result.exit_code == 0, result.output
    quality = quality_of(result)
    assert [mean["engine"] for mean in quality["means"]] == ["input", str(engine)]
    for row in quality["pictures"]:
        assert (row["psnr"], row["ssim"], row["flip"], row["identical"]) == (None, None, None, False)
        assert row["niqe"] > 0
        assert row["brisque"] is not None
    assert {each["metric"] for each in quality["worst"]} == {"niqe"}
    for words in ("PSNR dB", "GT-mean", "FLIP: mean"):
        assert words not in result.stderr
    assert "NIQE" in result.stderr
    with Image.open(sheet) as drawn:
        assert 2 * SIDE < drawn.width < 3 * SIDE, "the input and the engine, and no ground truth"


def test_a_missing_and_a_wrong_file_are_failed_rows(data: Path, tmp_path: Path) -> None:
    for name in NAMES[1:]:
        (tmp_path / f"{name}.bmp").write_bytes((data / "doubled" / f"{name}.bmp").read_bytes())
    Image.new("RGB", (10, 10)).save(tmp_path / "b.bmp")
    result = run("--data", data, "--results", f"theirs={tmp_path}", "--json", "-")
    assert result.exit_code == 1
    failures = {row["picture"]: row["failure"] for row in quality_of(result)["pictures"] if row["failure"]}
    assert failures == {
        "a": f"{tmp_path} holds no picture a",
        "b": f"{tmp_path / 'b.bmp'} is 10x10; expected 200x200, as the picture is",
    }
    assert "5 of 7" in result.stderr


def test_options_that_need_something_else_are_refused(data: Path) -> None:
    missing = run("--results", "x=y")
    assert (missing.exit_code, "--results needs pictures" in missing.stderr) == (2, True)
    claimed = run("--data", data / "low", "--results", f"x={data / 'low'}", "--claimed", "20")
    assert (claimed.exit_code, "--claimed needs pairs of pictures" in claimed.stderr) == (2, True)
