"""The forms of one checkpoint: which there are, what stands in their rows, and a tiny one in all of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artifacts import make_onnx, make_plan
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks import forms
from mirnet_deploy.benchmarks.apart import Apart
from mirnet_deploy.benchmarks.comparison import Comparison
from mirnet_deploy.benchmarks.forms import REFERENCE, Form, FormFile, FormFiles, FormRow, forms_of
from mirnet_deploy.benchmarks.forms_table import forms_table
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows
from mirnet_deploy.benchmarks.report import Quality, Report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport
from mirnet_deploy.cli import artifacts_of, main
from mirnet_deploy.cli.artifacts_of import checkpoint_of, forms_files
from mirnet_deploy.cli.options import console
from mirnet_deploy.errors import ArtifactError, ExportError
from mirnet_deploy.files import file_sha256
from mirnet_deploy.training.checkpoint import save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

ROOT = Path(__file__).parents[2]
NAMES = [
    *("PyTorch FP32", "PyTorch FP32, channels last", "PyTorch FP16", "ONNX FP32, ONNX Runtime"),
    *("ONNX FP16, ONNX Runtime", "ONNX FP32, OpenVINO", "ONNX FP32, OpenVINO in bfloat16", "TensorRT plan"),
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with random weights."""
    path = tmp_path_factory.mktemp("forms") / "tiny.pt"
    torch.manual_seed(0)
    network = MIRNet(MIRNetConfig(8, 1, 1))
    save_checkpoint(path, {"config": network.config.to_dict(), "network": network.state_dict()})
    return path


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real export takes most of a minute, and has its own tests."""

    def refused(*_: object) -> None:
        raise ExportError("tiny.onnx misses its bound")

    monkeypatch.setattr(artifacts_of, "export_settings", lambda loaded, name: None)
    monkeypatch.setattr(artifacts_of, "export", refused)


@pytest.fixture
def beside(checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with files whose sidecars say that they came from the checkpoint, and with others."""
    sha256 = file_sha256(checkpoint)
    make_onnx(tmp_path / "b.onnx", "brighter", checkpoint_sha256=sha256)
    make_onnx(tmp_path / "a.plain.onnx", "brighter", checkpoint_sha256=sha256, context=0)
    make_onnx(tmp_path / "half.onnx", "identity", checkpoint_sha256=sha256, precision="fp16")
    make_onnx(tmp_path / "another.onnx", "identity", checkpoint_sha256="00" * 32)
    make_onnx(tmp_path / "0damaged.onnx", "identity", checkpoint_sha256=sha256)
    (tmp_path / "0damaged.onnx").write_bytes(b"something else")
    make_plan(tmp_path / "tiny.plan", checkpoint_sha256=sha256)
    return tmp_path


@pytest.mark.usefixtures("no_export")
def test_files_are_known_by_their_sidecars(checkpoint: Path, beside: Path, tmp_path: Path) -> None:
    said: list[str] = []
    files = forms_files(checkpoint, beside, tmp_path, said.append)
    assert (files.fp32.path, files.fp16.path) == (beside / "b.onnx", beside / "half.onnx")
    assert (files.plan.path, files.bundled) == (beside / "tiny.plan", None)
    assert "0damaged.onnx does not match its sidecar" in said[0]
    assert [line.split(",")[0] for line in said[1:]] == [
        f"found {beside / name}" for name in ("b.onnx", "half.onnx", "tiny.plan")
    ]


def test_what_is_missing_is_told_before_it_is_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export takes minutes, in which nothing else is printed."""
    said: list[str] = []
    before: list[list[str]] = []
    monkeypatch.setattr(artifacts_of, "export_settings", lambda loaded, name: None)
    monkeypatch.setattr(artifacts_of, "export", lambda *arguments: before.append([*said]))
    forms_files(checkpoint, tmp_path, tmp_path / "made", said.append)
    told = [
        f"exporting {name}, which is not there; this can take minutes" for name in ("mirnet.onnx", "mirnet.fp16.onnx")
    ]
    assert before[0] == told[:1]
    assert (before[1][0], before[1][1][:16], before[1][2]) == (told[0], "made mirnet.onnx", told[1])


@pytest.mark.usefixtures("no_export")
def test_a_file_that_cannot_be_made_is_a_reason(checkpoint: Path, tmp_path: Path) -> None:
    files = forms_files(checkpoint, tmp_path, tmp_path, lambda line: None)
    assert files.fp32.failure == files.fp16.failure == "tiny.onnx misses its bound"
    found = {form.name: form for form in forms_of(files, "cpu")}
    assert found["ONNX FP32, OpenVINO"].failure == "tiny.onnx misses its bound"
    assert found["ONNX FP32, OpenVINO"].engine is None
    assert "CUDA GPU" in str(found["TensorRT plan"].failure)
    assert "no model of this package" in str(found["bundled model"].failure)


def test_half_precision_is_left_out_where_the_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    file = FormFile(Path("x.onnx"))
    files = FormFiles(Path("x.pt"), file, file, FormFile(None, "no GPU"), "lite")
    flags: list[str] = ["avx2"]
    monkeypatch.setattr(forms, "describe_processor", lambda: {"flags": flags})
    without = forms_of(files, "cpu")
    assert [form.name for form in without] == [*NAMES, "bundled lite"]
    assert "--engine x.pt@fp16" in str(without[2].failure)
    flags.append("avx512_fp16")
    assert forms_of(files, "cpu")[2].engine == "x.pt@fp16"


def test_two_results_are_apart_by_their_largest_difference() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    near, far = black + np.uint8(1), black + np.uint8(255)
    assert Apart.of(black, black) == Apart(None, 0)
    assert Apart.of(near, black) == Apart(pytest.approx(20 * math.log10(255)), 1)
    assert Apart.of(black, far).max_levels == 255, "bytes would wrap around to 1"
    assert Apart(None, 0).or_worse(Apart(50.0, 3)) == Apart(50.0, 3)
    assert Apart(40.0, 2).or_worse(Apart(50.0, 3)) == Apart(40.0, 3)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any]]:
    """The command on the tiny checkpoint, with a FP32 file that is another network than PyTorch's, and data."""
    folder, rng = tmp_path_factory.mktemp("whole"), np.random.default_rng(1)
    make_onnx(folder / "b.onnx", "identity", checkpoint_sha256=file_sha256(checkpoint))
    for side in ("low", "high"):
        (folder / "pairs" / side).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / "pairs" / side / "1.png")

    def refused(*_: object) -> None:
        raise ExportError("tiny.fp16.onnx misses its bound")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts_of, "export_settings", lambda loaded, name: None)
        patch.setattr(artifacts_of, "export", refused)
        patch.setenv("OMP_NUM_THREADS", "2")
        result = run(
            *("--compare", checkpoint, "--exported", folder, "--data", folder / "pairs", "--size", "32x24"),
            *("--runs", 6, "--warmup", 0, "--threads", 1, "--no-memory", "--device", "cpu", "--json", "-"),
        )
    return result, json.loads(result.stdout)


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["form"]: row for row in report["forms"]}


def test_every_form_is_a_row_with_figures_or_a_reason(whole: tuple[Result, dict[str, Any]]) -> None:
    result, report = whole
    assert result.exit_code == 0, result.output
    rows = rows_of(report)
    assert list(rows)[: len(NAMES)] == NAMES
    reference, other = rows[REFERENCE], rows["ONNX FP32, ONNX Runtime"]
    assert (reference["ratio"], reference["ratio_interval"], reference["max_levels"]) == (1.0, None, 0)
    timed = {row["engine"]: row for row in report["latency"]}
    assert other["ratio"] == pytest.approx(timed[other["engine"]]["p50_ms"] / timed[REFERENCE]["p50_ms"])
    assert other["ratio_interval"][0] <= other["ratio"] <= other["ratio_interval"][1]
    assert rows["ONNX FP16, ONNX Runtime"]["failure"] == "tiny.fp16.onnx misses its bound"
    assert "CUDA" in rows["TensorRT plan"]["failure"]
    assert "no model of this package" in rows["bundled model"]["failure"]
    for name in ("ONNX FP16, ONNX Runtime", "TensorRT plan"):
        assert f"{name} is left out: " in result.stderr
        assert rows[name]["engine"] is None
    engines = {engine["name"]: engine for engine in report["engines"]}
    assert (
        other["bytes"]
        == engines[other["engine"]]["file_bytes"]
        == Path(engines[other["engine"]]["path"]).stat().st_size
    )


def test_differences_and_quality_are_those_of_the_results(
    whole: tuple[Result, dict[str, Any]], checkpoint: Path
) -> None:
    from mirnet_deploy.benchmarks.inputs import Size, sample_picture
    from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
    from mirnet_deploy.benchmarks.subjects.opening import open_subject

    report = whole[1]
    rows, low = rows_of(report), np.asarray(Image.open(Path(report["settings"]["data"]) / "low" / "1.png"))
    with open_subject(SubjectSpec(str(checkpoint))) as subject:
        apart = [difference(subject.enhance(each), each) for each in (sample_picture(Size(32, 24)), low)]
    identity = rows["ONNX FP32, ONNX Runtime"]
    assert identity["difference_psnr"] == pytest.approx(min(decibels for decibels, _ in apart), abs=0.05)
    assert abs(identity["max_levels"] - max(levels for _, levels in apart)) <= 1
    assert rows["PyTorch FP32, channels last"]["max_levels"] <= 1
    means = {mean["engine"]: mean["psnr"] for mean in report["quality"]["means"]}
    assert {"input (no model)", "gamma (no model)"} <= set(rows)
    for row in report["forms"]:
        assert row["psnr"] == means.get(row["engine"])
    assert identity["psnr"] == pytest.approx(means["input"])


def difference(output: NDArray[Any], other: NDArray[Any]) -> tuple[float, int]:
    error = output.astype(float) - other
    return 10 * math.log10(255**2 / np.mean(error**2)), int(np.abs(error).max())


def made_up(first: str, quality: Quality | None) -> Report:
    """A report on two forms, whose ratios are not those of their times."""
    engines = [
        SubjectReport(
            name, None, None, "onnx", "image", "fp32", "made up", "ema", {}, "fake 1", "cpu", "auto", file_bytes=1
        )
        for name in (first, "other")
    ]
    times = (100.0,) * 6
    rows = [
        LatencyRow(first, "60x40", times, p50_ms=100.0, ratio=1.0),
        LatencyRow("other", "60x40", times, p50_ms=100.0, ratio=0.7, ratio_interval=(0.6, 0.8)),
    ]
    return Report("2026-01-01T00:00:00+00:00", "1.0", {}, {}, engines, rows, quality, "whole")


def test_ratios_are_those_of_the_latencies_where_the_reference_is_first() -> None:
    comparison = Comparison([Form(REFERENCE, "a"), Form("other", "b")])
    other = comparison.added_to(made_up(REFERENCE, None)).forms[1]
    assert (other.ratio, other.ratio_interval) == (0.7, (0.6, 0.8))
    comparison = Comparison([Form(REFERENCE, failure="no room"), Form("second", "a"), Form("other", "b")])
    other = comparison.added_to(made_up("second", None)).forms[2]
    assert (other.p50_ms, other.ratio, other.ratio_interval) == (100, None, None), "they are to another form"


def test_results_are_of_their_own_kind_and_nothing_is_said_without_a_ground_truth() -> None:
    comparison = Comparison([Form(REFERENCE, "a"), Form("other", "b")])
    names = ("input", REFERENCE, "other", "theirs")
    rows = [QualityRow(name, "1", psnr=20.0, ssim=0.5) for name in names]
    report = comparison.added_to(made_up(REFERENCE, Quality("pairs", mean_rows(rows), rows, [])))
    assert [row.form for row in report.forms[2:]] == ["input (no model)", "theirs (results)"]
    rows = [QualityRow(name, "1", niqe=5.0) for name in names]
    report = comparison.added_to(made_up(REFERENCE, Quality("night", mean_rows(rows), rows, [], paired=False)))
    assert [row.form for row in report.forms] == [REFERENCE, "other"]
    table = forms_table(report.forms, "60x40", "night")
    assert "PSNR dB" not in [column.header for column in table.columns]
    assert "night" in str(table.title)


def test_the_report_says_how_to_repeat_it(whole: tuple[Result, dict[str, Any]], checkpoint: Path) -> None:
    report = whole[1]
    assert report["command"].startswith(
        "MIRNET_DEPLOY_BACKEND=onnxruntime OMP_NUM_THREADS=2 mirnet-deploy bench --compare"
    )
    assert report["command"].endswith("--device cpu --json -")
    assert report["settings"]["compare"] == str(checkpoint)
    assert report["format_version"] == 2


def test_what_computes_is_told_by_openvino(tmp_path: Path) -> None:
    from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
    from mirnet_deploy.benchmarks.subjects.opening import open_subject
    from mirnet_deploy.benchmarks.subjects.runtime import RuntimeSubject

    pytest.importorskip("openvino")
    path = make_onnx(tmp_path / "blur.onnx", "blur")
    for how, library in (("openvino", "openvino"), ("onnxruntime", "onnxruntime")):
        with open_subject(SubjectSpec(f"{path}@{how}")) as subject:
            assert isinstance(subject, RuntimeSubject)
            assert subject.executed() is None
            subject.enhance(np.full((16, 16, 3), 99, np.uint8))
            assert subject.report.backend.startswith(library)
            told = subject.executed()
        if how == "openvino":
            assert told == ("fp32", "1 convolutions computed: 1 in f32 (OpenVINO's runtime model)")
        else:
            assert told is None


def test_the_table_has_a_row_for_each() -> None:
    rows = [
        FormRow(REFERENCE, REFERENCE, "cpu", 2_000_000, "fp32", "all float32", 10.0, 1.0, None, 20.0, None, 0),
        FormRow("same", "same", "cpu", 1_500_000, "fp16", "proven", 5.0, 0.5, (0.4, 0.6), 19.0, None, 0),
        FormRow("apart", "apart", "cuda:0", 1, "fp16", "proven", 5.0, 0.5, None, 19.0, 61.26, 2),
        FormRow("TensorRT plan", failure="it needs a GPU"),
    ]
    target = console()
    with target.capture() as captured:
        target.print(forms_table(rows, "60x40", "pairs"))
        target.print(forms_table([replace(row, psnr=None) for row in rows], "60x40", None))
    text = " ".join(captured.get().split())
    for words in ("0.40 to 0.60", "equal", "61.3", "reference", "left out: it", "2.0", "19.00", "on cuda:0"):
        assert words in text
    assert text.count("PSNR dB") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--compare", "x.pt", "--engine", "lite"], "leave --engine out"),
        (["--compare", "x.pt", "--size", "8x8", "--size", "9x9"], "--compare measures at one size"),
        (["--engine", "lite", "--exported", "."], "--exported means nothing without --compare"),
        (["--compare", "x.pt", "--tiling", "."], "--compare means nothing with --tiling"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_a_bundled_name_stands_for_its_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert checkpoint_of("lite") == Path("weights/lite.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mirnet_deploy.artifacts.models.PACKAGE", tmp_path / "package")
    with pytest.raises(ArtifactError, match="is not here"):
        checkpoint_of("lite")
