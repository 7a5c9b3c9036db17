"""`mirnet-deploy bench` from its options to its tables, its JSON and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks import bench, costs, deadline
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.memory import PeakMemory
from mirnet_deploy.benchmarks.subjects.base import SubjectReport, SubjectSpec
from mirnet_deploy.benchmarks.sweeps import AXES
from mirnet_deploy.cli import bench_run, main
from mirnet_deploy.cli.bench import command
from mirnet_deploy.errors import EngineError
from mirnet_deploy.files import file_sha256
from mirnet_deploy.settings import RuntimeSettings


class FakeSubject:
    """An engine that brightens by a known factor and records its calls."""

    log: list[tuple[str, int]]
    closed: list[str]
    graphs = "off"
    batch = 1
    concurrent = True

    def __init__(self, spec: SubjectSpec) -> None:
        if spec.engine == "absent":
            raise EngineError("absent is not here; see `mirnet-deploy doctor`")
        self.report = SubjectReport(
            name=spec.engine,
            path=None,
            sha256="ab" * 32,
            kind="onnx",
            interface="float",
            precision="fp16",
            precision_proof="211 of 211 convolutions compute in HALF",
            weights="ema",
            network={"n_feat": 8},
            backend="fake 1.0",
            device="cpu",
            tile="512",
        )

    @property
    def name(self) -> str:
        return self.report.name

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        FakeSubject.log.append((self.name, image.shape[1]))
        if self.name == "fragile" and image.shape[1] > 100:
            raise MemoryError("no room for the maps")
        return np.clip(image.astype(int) * 3, 0, 255).astype(np.uint8)

    def __enter__(self) -> FakeSubject:
        return self

    def __exit__(self, *_: object) -> None:
        FakeSubject.closed.append(self.name)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSubject.log, FakeSubject.closed = [], []

    def probe(spec: SubjectSpec, size: Size, seconds: float | None) -> PeakMemory:
        if spec.engine == "greedy" and size.width > 100:
            return PeakMemory(failure="the process was killed by signal 9 (out of memory?)")
        return PeakMemory(peak_rss_mib=123.4)

    monkeypatch.setattr(bench, "open_subject", FakeSubject)
    monkeypatch.setattr(costs, "probe", probe)


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for side in ("low", "high"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
    for name in ("a", "b"):
        high = np.repeat(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), 3, axis=0)
        Image.fromarray(high).save(tmp_path / "pairs" / "high" / f"{name}.png")
        Image.fromarray(high // 4).save(tmp_path / "pairs" / "low" / f"{name}.png")
    return tmp_path / "pairs"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def run_json(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json", "-")
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.mark.usefixtures("fakes")
def test_engines_run_interleaved_at_every_size() -> None:
    result = run("--engine", "a", "--engine", "b", "--size", "40x30", "--size", "20x10", "--runs", 2, "--warmup", 1)
    assert result.exit_code == 0, result.output
    phases = 2
    rounds = 3 + phases
    turns = [sorted(FakeSubject.log[at : at + 2]) for at in range(0, len(FakeSubject.log), 2)]
    assert turns == [[("a", 40), ("b", 40)]] * rounds + [[("a", 20), ("b", 20)]] * rounds
    assert sorted(FakeSubject.closed) == ["a", "b"]
    for words in ("Latency at 40x30, 2 runs", "p99 ms", "ratio", "211 of 211 convolutions", "machine:", "perf_counter"):
        assert words in " ".join(result.output.split())


@pytest.mark.usefixtures("fakes")
def test_json_on_standard_output_is_the_report_alone() -> None:
    result = run("--engine", "a", "--engine", "a", "--size", "16x16", "--runs", 3, "--json", "-")
    report = json.loads(result.stdout)
    assert "Latency at 16x16" in result.stderr
    assert (report["format"], report["format_version"]) == ("mirnet-deploy bench", 2)
    assert report["commit"] == running_commit()
    assert set(report["protocol"]) == {"latency", "phases", "memory"}
    assert report["machine"]
    assert report["settings"]["runs"] == 3
    assert [engine["name"] for engine in report["engines"]] == ["a", "a (2)"]
    engine = report["engines"][0]
    assert (engine["precision"], engine["precision_proof"]) == ("fp16", "211 of 211 convolutions compute in HALF")
    assert engine["sha256"] == "ab" * 32
    first, second = report["latency"]
    assert (first["ratio"], first["size"], first["peak_rss_mib"]) == (1.0, "16x16", 123.4)
    assert second["ratio"] == pytest.approx(second["p50_ms"] / first["p50_ms"])
    for row in report["latency"]:
        assert len(row["times_ms"]) == 3
        assert row["p50_ms"] == pytest.approx(np.percentile(row["times_ms"], 50))
        assert row["p99_ms"] == pytest.approx(np.percentile(row["times_ms"], 99))
        assert row["images_per_s"] == pytest.approx(3000 / sum(row["times_ms"]))
        assert row["megapixels_per_s"] == pytest.approx(row["images_per_s"] * 256e-6)
    assert report["quality"] is None
    assert report["failures"] == []


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("engine", "reason", "where"),
    [
        ("fragile", "MemoryError: no room for the maps", "failure"),
        ("greedy", "killed by signal 9 (out of memory?)", "memory_failure"),
    ],
)
def test_an_engine_that_fails_at_one_size_goes_on_at_the_others_and_exits_1(
    engine: str, reason: str, where: str
) -> None:
    arguments = ["--engine", "a", "--engine", engine, "--size", "200x10", "--size", "50x10", "--runs", 2]
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 1
    assert f"failed: {engine} at 200x10" in result.stderr
    assert "error: 1 measurements failed" in result.stderr
    report = json.loads(result.stdout)
    rows = {(row["engine"], row["size"]): row for row in report["latency"]}
    assert reason in rows[engine, "200x10"][where]
    assert rows[engine, "200x10"]["peak_rss_mib"] is None
    assert (rows[engine, "200x10"]["p50_ms"] is None) == (where == "failure"), "memory that fails leaves the latency"
    for good in (("a", "200x10"), ("a", "50x10"), (engine, "50x10")):
        assert rows[good]["failure"] is None
        assert rows[good]["p50_ms"] > 0
    assert len(report["failures"]) == 1
    assert report["ended"] == "whole"


@pytest.mark.usefixtures("fakes")
def test_rows_are_printed_and_saved_as_they_come_and_memory_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, seen = tmp_path / "report.json", []

    def probe(spec: SubjectSpec, size: Size, seconds: float | None) -> PeakMemory:
        saved = json.loads(target.read_text())
        seen.append((saved["ended"], [(row["size"], row["peak_rss_mib"]) for row in saved["latency"]]))
        return PeakMemory(peak_rss_mib=123.4, cold_start_s=2.5 if len(seen) == 1 else None)

    monkeypatch.setattr(costs, "probe", probe)
    result = run("--engine", "a", "--size", "40x30", "--size", "20x10", "--runs", 2, "--json", target)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["a at 40x30", "a at 20x10"]
    assert lines[2:] == ["a at 40x30, memory: peak 123 MiB, cold start 2.5 s", "a at 20x10, memory: peak 123 MiB"]
    unfinished = "cut short: it is under way, or its process died"
    assert seen == [
        (unfinished, [("40x30", None), ("20x10", None)]),
        (unfinished, [("40x30", 123.4), ("20x10", None)]),
    ]
    report = json.loads(target.read_text())
    assert report["ended"] == "whole"
    assert [row["peak_rss_mib"] for row in report["latency"]] == [123.4, 123.4]


@pytest.mark.usefixtures("fakes")
def test_memory_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(costs, "probe")
    report = run_json("--engine", "a", "--size", "16x16", "--runs", 1, "--no-memory")
    assert report["settings"]["memory"] is False
    assert report["latency"][0]["peak_rss_mib"] is None
    assert report["failures"] == []


@pytest.mark.usefixtures("fakes")
def test_a_time_limit_ends_it_with_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also in the middle of a size; what was not reached is not in the report, which says that it was cut short."""
    target, clock = tmp_path / "report.json", SimpleNamespace(now=0.0)
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: clock.now))
    enhance = FakeSubject.enhance

    def enhance_in_a_second(subject: FakeSubject, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        clock.now += 1
        return enhance(subject, image)

    monkeypatch.setattr(FakeSubject, "enhance", enhance_in_a_second)
    sizes = ("--size", "40x30", "--size", "20x10", "--size", "9x9")
    limit = ("--runs", 5, "--warmup", 1, "--max-seconds", 11.5, "--json", target)
    result = run("--engine", "a", *sizes, *limit)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "error: cut short: 11.5 s were over; what was measured is above"
    report = json.loads(target.read_text())
    assert report["ended"] == "cut short: 11.5 s were over"
    assert [(row["size"], len(row["times_ms"])) for row in report["latency"]] == [("40x30", 5), ("20x10", 2)]
    assert "Latency at 20x10, 2 runs" in result.stdout


@pytest.mark.usefixtures("fakes")
def test_warm_up_and_spread_stand_in_the_report() -> None:
    report = run_json("--engine", "a", "--engine", "b", "--size", "16x16", "--runs", 6, "--no-memory")
    assert report["settings"]["warmup"] == "auto"
    assert report["picture"].startswith("mirnet_deploy/samples/crop_a.png")
    for row in report["latency"]:
        assert row["std_ms"] == pytest.approx(np.std(row["times_ms"], ddof=1))
        assert row["warmup_runs"] == 6
        assert isinstance(row["warmup_stable"], bool)
        assert row["cold_start_s"] is None, "without the process that measures memory there is none"
    first, second = report["latency"]
    assert first["ratio_interval"] is None
    low, high = second["ratio_interval"]
    assert low <= second["ratio"] <= high
    conditions = report["conditions"]
    assert set(conditions) == {"cpu_mhz", "other_cpu_share", "load_before", "throttled", "gpu", "remarks"}
    runs = [row["warmup_runs"] + 6 + 3 for row in report["latency"]]
    assert [sum(name == each for name, _ in FakeSubject.log) for each in "ab"] == runs


@pytest.mark.usefixtures("fakes")
def test_throughput_and_sweeps_come_row_by_row_after_the_latencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "open_subject", FakeSubject)
    monkeypatch.setattr(costs, "describe_processor", lambda: {"cores": 2})
    target = tmp_path / "report.json"
    result = run(
        *("--engine", "a", "--engine", "fragile", "--size", "140x100", "--size", "50x10", "--runs", 1, "--warmup", 0),
        *("--in-flight", 2, "--sweep", "threads", "--sweep", "tile", "--json", target),
    )
    assert result.exit_code == 1, "fragile takes no picture as wide as the largest"
    lines = [line.split(":")[0] for line in result.stderr.splitlines()]
    assert lines == [
        *("a at 140x100", "fragile at 140x100", "a at 50x10", "fragile at 50x10"),
        *("a at 140x100, 2 in flight", "a at 50x10, 2 in flight", "fragile at 50x10, 2 in flight"),
        *("a, threads 1", "fragile, threads 1", "a, threads 2", "fragile, threads 2"),
        *("a, tile 128", "fragile, tile 128"),
        *("a at 140x100, memory", "a at 50x10, memory", "fragile at 50x10, memory"),
        *("a, threads 1, memory", "a, threads 2, memory", "a, tile 128, memory", "error"),
    ]
    report = json.loads(target.read_text())
    assert [(row["engine"], row["size"], row["in_flight"], row["runs"]) for row in report["throughput"]] == [
        ("a", "140x100", 2, 6),
        ("a", "50x10", 2, 6),
        ("fragile", "50x10", 2, 6),
    ]
    for row in report["throughput"]:
        assert row["megapixels_per_s"] == pytest.approx(row["images_per_s"] * Size.parse(row["size"]).megapixels)
    points = {(row["axis"], row["value"], row["engine"]): row for row in report["sweeps"]}
    assert len(points) == 6
    for (_, _, engine), row in points.items():
        assert row["megapixels"] == pytest.approx(0.014)
        if engine == "a":
            assert row["ms_per_megapixel"] == pytest.approx(row["p50_ms"] / 0.014)
            assert row["peak_rss_mib"] == 123.4
        else:
            assert row["failure"] == "MemoryError: no room for the maps"
            assert row["peak_rss_mib"] is None
    assert report["failures"] == [
        "fragile at 140x100: MemoryError: no room for the maps",
        "fragile, sweep of threads: MemoryError: no room for the maps",
        "fragile, sweep of tile: MemoryError: no room for the maps",
    ]
    for words in ("Throughput", "Sweep of threads at 140x100", "Sweep of tile at 140x100", "ms/MP", "█"):
        assert words in result.stdout


@pytest.mark.usefixtures("fakes")
def test_sweeps_run_on_the_library_that_runs_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where "auto" would choose another one: otherwise a sweep would compare two things at once."""
    opened = []

    class Chosen(FakeSubject):
        chosen = RuntimeSettings(backend="onnxruntime", precision="fp32")

        def __init__(self, spec: SubjectSpec) -> None:
            super().__init__(spec)
            opened.append((spec.settings.backend, spec.settings.threads))

    probed = []
    monkeypatch.setattr(bench, "open_subject", Chosen)
    monkeypatch.setattr(costs, "open_subject", Chosen)
    monkeypatch.setattr(costs, "describe_processor", lambda: {"cores": 2})
    monkeypatch.setattr(costs, "probe", lambda spec, *_: probed.append(spec.settings) or PeakMemory(1.0))
    run_json("--engine", "a", "--size", "16x16", "--runs", 1, "--sweep", "threads")
    assert opened == [("auto", None), ("onnxruntime", 1), ("onnxruntime", 2)]
    assert [(each.backend, each.threads) for each in probed] == [("auto", None), *opened[1:]]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("where", ["latency", "phases", "throughput", "sweep"])
def test_an_interrupt_anywhere_leaves_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    """There are 3 timed runs, 3 of phases, 2 + 3 pictures of throughput, and 3 runs of each point."""
    monkeypatch.setattr(costs, "open_subject", FakeSubject)
    monkeypatch.setattr(costs, "describe_processor", lambda: {"cores": 2})
    at = {"latency": 3, "phases": 5, "throughput": 9, "sweep": 16}[where]
    enhance = FakeSubject.enhance

    def interrupted(subject: FakeSubject, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(FakeSubject.log) == at - 1:
            raise KeyboardInterrupt
        return enhance(subject, image)

    monkeypatch.setattr(FakeSubject, "enhance", interrupted)
    target = tmp_path / "report.json"
    arguments = ("--engine", "a", "--size", "16x16", "--runs", 3, "--warmup", 0, "--in-flight", 1, "--sweep", "threads")
    result = run(*arguments, "--json", target)
    assert result.exit_code == 128 + signal.SIGINT
    report = json.loads(target.read_text())
    assert report["ended"] == "cut short: interrupted"
    timed = 2 if where == "latency" else 3
    assert [len(row["times_ms"]) for row in report["latency"]] == [timed]
    assert (report["latency"][0]["phases_ms"] is None) == (where in ("latency", "phases"))
    assert len(report["throughput"]) == (where == "sweep")
    assert [row["value"] for row in report["sweeps"]] == (["1"] if where == "sweep" else [])
    assert f"Latency at 16x16, {timed} runs" in result.stdout


@pytest.mark.usefixtures("fakes")
def test_the_progress_bar_reaches_its_end(pairs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon the warm-up ends, and whatever fails."""
    monkeypatch.setattr(costs, "open_subject", FakeSubject)
    config = bench.BenchConfig(
        engines=("a", "fragile"),
        sizes=(Size(140, 100), Size(50, 10)),
        runs=2,
        data=pairs_folder,
        in_flight=(1, 2),
        sweeps=("batch", "threads"),
    )
    scenes, done = bench.scenes_of(config), []
    report, _ = bench.run_bench(config, scenes, lambda: done.append(1), lambda report: None)
    assert report.ended == "whole"
    assert len(done) == bench.steps(config, scenes)


@pytest.fixture
def heard() -> Iterator[None]:
    """A shell that runs the tests in the background makes them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("fakes", "heard")
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    target = tmp_path / "report.json"

    def interrupted(spec: SubjectSpec, size: Size, seconds: float | None) -> PeakMemory:
        act = signal.getsignal(number)  # not os.kill: see test_process
        assert callable(act)
        act(number, None)
        return PeakMemory()

    monkeypatch.setattr(costs, "probe", interrupted)
    result = run("--engine", "a", "--size", "16x16", "--runs", 2, "--json", target)
    assert result.exit_code == 128 + number
    assert "Latency at 16x16, 2 runs" in result.stdout
    report = json.loads(target.read_text())
    assert report["ended"] == "cut short: interrupted"
    assert len(report["latency"][0]["times_ms"]) == 2


@pytest.mark.usefixtures("fakes")
def test_data_adds_quality_with_baselines_and_a_sheet(pairs_folder: Path, tmp_path: Path) -> None:
    target, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    result = run(
        *("--engine", "a", "--size", "16x16", "--runs", 1, "--data", pairs_folder, "--baselines"),
        *("--json", target, "--sheet", sheet),
    )
    assert result.exit_code == 0, result.output
    quality = json.loads(target.read_text())["quality"]
    names = ["input", "autocontrast", "gamma", "CLAHE", "equalized", "MSRCR", "a"]
    assert [mean["engine"] for mean in quality["means"]] == names
    unlike = [mean["engine"] for mean in quality["means"] if mean["brightness_psnr"] is not None]
    explained = [remark.split(":")[0] for remark in quality["remarks"] if "brightness alone" in remark]
    assert explained == unlike
    assert "input" in unlike
    assert len(quality["pictures"]) == 2 * len(names)
    for mean in quality["means"]:
        values = [row["psnr"] for row in quality["pictures"] if row["engine"] == mean["engine"]]
        assert mean["psnr"] == pytest.approx(np.mean(values))
    means = {mean["engine"]: mean for mean in quality["means"]}
    assert means["a"]["psnr"] > means["input"]["psnr"]
    assert f"{means['a']['psnr']:.2f}" in result.output
    assert "GT-mean" in result.output
    assert "Gaussian window" in result.output
    with Image.open(sheet) as drawn:
        assert drawn.width >= 8 * 120, "the input, five operations, the engine, the ground truth"
        assert drawn.height >= 2 * 36


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("to_pipe", [True, False])
def test_files_are_written_before_anything_goes_to_a_pipe(
    pairs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_pipe: bool
) -> None:
    """Whoever reads it may stop, as `| head` does."""
    files = {name: tmp_path / name for name in ("r.json", "s.png", "p.html")}

    def closed(*arguments: object, **options: object) -> None:
        raise BrokenPipeError

    json_to: object = files["r.json"]
    if to_pipe:
        monkeypatch.setattr(bench_run, "write_json", closed)
        json_to = "-"
        files.pop("r.json")
    monkeypatch.setattr("mirnet_deploy.benchmarks.tables.print_report", closed)
    shown = ("--sheet", tmp_path / "s.png", "--html", tmp_path / "p.html", "--json", json_to)
    result = run("--engine", "a", "--size", "16x16", "--runs", 1, "--data", pairs_folder, "--no-memory", *shown)
    assert result.exit_code != 0
    assert [name for name, path in files.items() if path.exists()] == [*files]
    lines = [line.split(":")[0] for line in result.stderr.splitlines()]
    assert lines[:3] == ["a at 16x16", "a on a", "a on b"]


@pytest.mark.usefixtures("fakes")
def test_an_engine_that_cannot_be_opened_ends_the_run_before_it_starts() -> None:
    result = run("--engine", "a", "--engine", "absent")
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: absent is not here; see `mirnet-deploy doctor`"
    assert FakeSubject.log == []
    assert FakeSubject.closed == ["a"]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "600"], "size '600' is not WxH"),
        (["--size", "0x5"], "has no pixels"),
        (["--runs", "0"], "--runs is 0; expected at least 1"),
        (["--warmup", "-1"], "--warmup is -1"),
        (["--warmup", "some"], "--warmup is 'some'; expected auto or a number"),
        (["--in-flight", "0"], "--in-flight is 0; expected at least 1"),
        (["--sweep", "tile", "--size", "64x64"], "--sweep tile cuts pictures into tiles, and 64x64 is one tile"),
        (["--tiling", ".", "--sweep", "size"], "--sweep means nothing with --tiling"),
        (["--tiling", ".", "--in-flight", "2"], "--in-flight means nothing with --tiling"),
        (["--threads", "0"], "--threads is 0"),
        (["--tile", "half"], "--tile is 'half'"),
        (["--max-seconds", "0"], "--max-seconds is 0; expected more than 0"),
        (["--baselines"], "--baselines needs pictures"),
        (["--claimed", "60"], "--claimed needs pictures"),
        (["--claimed", "nan", "--data", "."], "--claimed is nan; expected"),
        (["--sheet", "x.png"], "--sheet needs pictures"),
        (["--json", "no/such/folder/x.json"], "--json no/such/folder/x.json cannot be written"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    result = run("--engine", "a", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert FakeSubject.log == []


def test_every_axis_has_its_option() -> None:
    (option,) = (each for each in command.params if each.name == "sweeps")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == AXES


def test_an_engine_must_be_named() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--engine" in result.stderr


@pytest.mark.usefixtures("fakes")
def test_an_earlier_report_is_kept_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("mine")
    arguments = ("--engine", "a", "--size", "8x8", "--runs", 1, "--json", target)
    refused = run(*arguments)
    assert (refused.exit_code, target.read_text()) == (2, "mine")
    assert "--force" in refused.stderr
    assert run(*arguments, "--force").exit_code == 0
    assert json.loads(target.read_text())["format"] == "mirnet-deploy bench"


@pytest.mark.usefixtures("fakes")
def test_a_folder_without_pairs_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    result = run("--engine", "a", "--data", tmp_path)
    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert FakeSubject.log == []


def test_real_onnx_files_from_end_to_end(tmp_path: Path, pairs_folder: Path) -> None:
    """With nothing replaced: the runtime, the memory processes, the figures and the sheet."""
    one, two = make_onnx(tmp_path / "one.onnx", "brighter"), make_onnx(tmp_path / "two.onnx", "identity")
    target, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    result = run(
        *("--engine", one, "--engine", two, "--size", "48x32", "--runs", 2, "--device", "cpu", "--threads", 1),
        *("--data", pairs_folder, "--baselines", "--json", target, "--sheet", sheet),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(target.read_text())
    assert [engine["sha256"] for engine in report["engines"]] == [file_sha256(one), file_sha256(two)]
    for row in report["latency"]:
        assert row["p50_ms"] > 0
        assert 20 < row["peak_rss_mib"] < 2000
        assert 0.05 < row["cold_start_s"] < 600, "Python, its libraries and the model were loaded meanwhile"
        assert row["cold_start_s"] > row["p50_ms"] / 1000
        phases = row["phases_ms"]
        assert (phases["upload"], phases["download"]) == (None, None)
        assert min(phases["read"], phases["compute"], phases["write"]) > 0
        assert phases["end_to_end"] >= max(phases["read"], phases["compute"], phases["write"])
    means = {mean["engine"]: mean for mean in report["quality"]["means"]}
    assert means[str(two)]["psnr"] == pytest.approx(means["input"]["psnr"]), "the identity is the untouched input"
    assert means[str(two)]["gt_mean_ssim"] == pytest.approx(means["input"]["gt_mean_ssim"])
    expected = []
    for pair in ("a", "b"):
        low, high = (np.asarray(Image.open(pairs_folder / side / f"{pair}.png"), float) for side in ("low", "high"))
        output = np.rint(np.clip(2 * low - 0.3 * 255, 0, 255))
        expected.append(10 * np.log10(255**2 / np.mean((output - high) ** 2)))
    # Every value of 2x - 76.5 lies halfway between two levels, so the last bit of float32 decides which one it becomes.
    assert means[str(one)]["psnr"] == pytest.approx(np.mean(expected), abs=0.05)
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"


def test_the_command_loads_no_library_before_it_runs() -> None:
    code = "import sys, mirnet_deploy.cli.bench; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "numpy", "cv2", "onnx", "onnxruntime", "PIL", "skimage", "rich", "tensorrt", "tensorrt_rtx"}
    assert "mirnet_deploy.cli.bench" in loaded.split()
    assert not heavy & set(loaded.split())


@pytest.mark.usefixtures("fakes")
def test_a_claimed_figure_that_is_wrong_is_exposed(pairs_folder: Path) -> None:
    measuring = ("--engine", "a", "--size", "16x16", "--runs", 1, "--data", pairs_folder)
    report = json.loads(run(*measuring, "--json", "-").stdout)
    plain = report["quality"]["means"][0]["psnr"]
    result = run(*measuring, "--claimed", plain + 48.13)
    assert result.exit_code == 0, result.output
    assert "WARNING: it is the plain PSNR" in result.output
    assert "a data range of 255 on values in [0, 1]" in result.output
