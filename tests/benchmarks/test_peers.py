"""The comparison with other ways to run the network: all of them on a tiny one, and the figures on known numbers."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from artifacts import FIXTURES, make_onnx
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks import peers
from mirnet_deploy.benchmarks.floor.peaks import MatrixProduct
from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.peers import NO_TIME, measure_peers, peers_of
from mirnet_deploy.benchmarks.peers_report import PEERS, PeerFiles, PeerRow, PeersConfig, PeersReport, PeerTable
from mirnet_deploy.benchmarks.subjects import need
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.need import MEMORY_SHARE, SESSION_BYTES_PER_VALUE, TORCH_BYTES_PER_VALUE
from mirnet_deploy.cli import main
from mirnet_deploy.cli.artifacts_of import bundled_with
from mirnet_deploy.cli.peers import _prepare, _random_weights
from mirnet_deploy.errors import UsageError
from mirnet_deploy.export import onnx_file, samples
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.files import file_sha256
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

ROWS = [
    *("ours", "ours, openvino", "PyTorch", "PyTorch, channels last", "torch.compile"),
    *("ONNX Runtime, plain export", "OpenVINO, plain export"),
]


LITE = Path(__file__).parents[2] / "weights" / "lite.pt"
TINY = FIXTURES / "published_layout" / "model.pth"
Whole: TypeAlias = tuple[Result, dict[str, Any], Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", "peers", *map(str, arguments)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shared_traces: None) -> Whole:
    """The command with every peer; what it printed, its JSON, and the file that holds it.

    Here torch.compile traces, and leaves out the C++ compiler, which takes half a minute: see the long test. The export
    is proven on a corner of a crop, and the products are of small matrices: the fastest ones take seconds each.
    """
    target = tmp_path_factory.mktemp("peers") / "peers.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        patch.setattr(peers, "describe_processor", lambda: {"instructions": ["AVX2"]})
        patch.setattr(peers, "best_product", partial(MatrixProduct, side=256))
        patch.setattr(samples, "read_crops", lambda folder: [np.ascontiguousarray(read_crops(folder)[0][:96, :128])])
        result = run(TINY, "--size", "32x24", "--runs", 6, "--warmup", 0, "--json", target)
    return result, json.loads(target.read_text()), target


def test_every_peer_runs_the_same_weights_and_gives_the_same_picture(whole: Whole) -> None:
    result, report, _ = whole
    (table,) = report["tables"]
    rows = {row["peer"]: row for row in table["rows"]}
    assert list(rows) == ROWS, result.output
    assert result.exit_code == 0, result.output
    for name, row in rows.items():
        assert row["failure"] is None, row
        assert len(row["times_ms"]) == 6
        assert row["median_ms"] == pytest.approx(np.median(row["times_ms"]))
        assert row["ratio"] == pytest.approx(row["median_ms"] / rows["ours"]["median_ms"])
        assert row["of_floor"] == pytest.approx(table["floor_ms"] / row["median_ms"])
        assert row["max_levels"] <= 1
        assert (row["psnr"] is None) == (row["max_levels"] == 0)
        if name != "ours":
            low, high = row["interval"]
            assert low <= row["ratio"] <= high
    assert table["reference"] == "PyTorch"
    assert table["floor_ms"] == pytest.approx(table["multiplications"] / table["product_gmacs"] / 1e6)


@pytest.mark.long
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_checkpoint_is_exported_and_compiled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MIRNet(MIRNetConfig(8, 1, 1))
    checkpoint, target = tmp_path / "tiny.pt", tmp_path / "peers.json"
    save_checkpoint(checkpoint, {"config": network.config.to_dict(), "network": network.state_dict()})
    result = run(checkpoint, "--size", "30x23", "--runs", 2, "--peer", "compile", "--peer", "pytorch", "--json", target)
    assert result.exit_code == 0, result.output
    (table,) = json.loads(target.read_text())["tables"]
    assert table["artifact"] == "exported anew"
    assert [row["peer"] for row in table["rows"]] == ["ours", "ours, openvino", "PyTorch", "torch.compile"]
    assert all(row["max_levels"] <= 1 and row["interval"] is None for row in table["rows"])


def test_the_table_says_on_what_it_was_measured(whole: Whole) -> None:
    result, report, _ = whole
    assert report["machine"]["cpu"] in result.output
    assert "unmeasured" in result.output
    assert "ours (onnxruntime)" in result.output
    assert "arithmetic at the rate" in result.output
    assert (report["format"], report["ended"]) == ("mirnet-deploy bench peers", "whole")
    assert report["commit"] == running_commit()
    assert (report["settings"]["sizes"], report["settings"]["runs"]) == (["32x24"], 6)
    assert report["tables"][0]["artifact"] == "exported anew"


def test_a_file_of_the_users_is_not_replaced(whole: Whole) -> None:
    result = run(TINY, "--json", whole[2])
    assert (result.exit_code, "exists" in result.output) == (2, True)


def test_multiplications_are_those_that_torch_counts(whole: Whole) -> None:
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        load_checkpoint(TINY).network(torch.rand(1, 3, 24, 32))
    twice = 9 * 16 * 12 * 8  # a blur that the exporter saw to be there twice
    assert whole[1]["tables"][0]["multiplications"] == counted.get_total_flops() // 2 - twice


class Fake:
    """A peer that adds a known number of levels, and runs out of memory where its name says so."""

    graphs = "off"

    def __init__(self, spec: SubjectSpec) -> None:
        self.name = spec.engine
        backend = "openvino 1" if spec.settings.backend == "openvino" else "onnxruntime 1"
        coarse = ", bf16" if spec.settings.precision == "bf16" else ""
        self.report = SimpleNamespace(name=spec.engine, backend=backend + coarse)
        Fake.opened.append(spec.engine)

    given: list[NDArray[np.uint8]]
    failing: tuple[str, ...] = ("native",)
    opened: list[str]
    closed: list[str]
    levels: dict[str, int]

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        Fake.given.append(image)
        how = self.name.rpartition("@")[2]
        if how in Fake.failing:
            raise MemoryError("no room for 3 GiB\nand a second line")
        return image + np.uint8(Fake.levels.get(how, 0))

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        Fake.closed.append(self.name)


@pytest.fixture
def fake_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PeerFiles:
    Fake.opened, Fake.closed, Fake.levels, Fake.given = [], [], {}, []
    monkeypatch.setattr(peers, "open_subject", Fake)
    monkeypatch.setattr("mirnet_deploy.benchmarks.latency.PAUSE_S", 0)
    monkeypatch.setattr(peers, "describe_processor", lambda: {"instructions": ["AVX2"]})
    plain = make_onnx(tmp_path / "plain.onnx", "blur", context=0)
    return PeerFiles("fake", Path("fake.pt"), plain, "fake", "a fake", n_feat=16)


def measure(files: PeerFiles, **values: Any) -> tuple[PeerTable, PeersReport, list[int]]:
    """The one table, its report, and how many rows there were at every notice."""
    config = PeersConfig(**{"sizes": (Size(32, 24),), "runs": 6, "warmup": 0, "product_side": 8, **values})
    report, seen = PeersReport(config), []

    def notice() -> None:
        json.loads(report.to_json())
        seen.append(len(report.tables[-1].rows))

    (table,) = measure_peers([lambda: files], report, notice, lambda: None)
    return table, report, seen


def test_bfloat16_is_a_row_where_the_processor_has_it_and_may_be_off(
    fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "describe_processor", lambda: {"instructions": ["AVX2", "bf16"]})
    found = {each.name: each.spec.settings.precision for each in peers_of(fake_files, PeersConfig())}
    assert found.pop("ours, bfloat16") == found.pop("OpenVINO, plain export, bfloat16") == "bf16"
    assert set(found.values()) == {"fp32"}
    row = PeerRow("ours, bfloat16", max_levels=3)
    assert not row.differs
    assert replace(row, peer="ours").differs
    assert [each.name for each in peers_of(fake_files, PeersConfig(peers=("pytorch",)))] == [
        *("ours", "ours, onnxruntime", "ours, openvino", "ours, bfloat16", "PyTorch")
    ]


def test_a_ratio_is_to_ours_in_the_same_precision(fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "describe_processor", lambda: {"instructions": ["bf16"]})
    monkeypatch.setattr(Fake, "failing", ())
    table, _, _ = measure(fake_files, peers=("openvino",))
    rows = {row.peer: row for row in table.rows}
    for name, base in (
        ("OpenVINO, plain export", "ours"),
        ("ours, bfloat16", "ours"),
        ("OpenVINO, plain export, bfloat16", "ours, bfloat16"),
    ):
        median = rows[base].median_ms
        assert median
        assert rows[name].ratio == pytest.approx(rows[name].median_ms / median)
        low, high = rows[name].interval or (0, 0)
        assert low <= rows[name].ratio <= high
    coarse, fine = rows["OpenVINO, plain export, bfloat16"], rows["OpenVINO, plain export"]
    assert coarse.of_floor * coarse.median_ms != pytest.approx(fine.of_floor * fine.median_ms)  # another product's rate


def test_a_peer_that_fails_is_a_row_of_one_line_and_the_others_go_on(fake_files: PeerFiles) -> None:
    table, report, seen = measure(fake_files)
    rows = {row.peer: row for row in table.rows}
    assert rows.pop("OpenVINO, plain export").failure == "MemoryError: no room for 3 GiB"
    assert all(len(row.times_ms) == 6 and row.ratio for row in rows.values())
    assert report.failures == ["OpenVINO, plain export, fake at 32x24: MemoryError: no room for 3 GiB"]
    # After every row, ours by ONNX Runtime being the default's and thus none; and at the end, complete.
    assert seen == [1, 1, 2, 3, 4, 5, 6, 7, 7]
    assert table.multiplications == 24 * 32 * 3 * 25


def test_a_result_that_is_another_is_called_so(fake_files: PeerFiles) -> None:
    Fake.levels = {"session": 2, "channels-last": 1}
    table, report, _ = measure(fake_files, peers=("pytorch", "channels-last", "onnxruntime"))
    found = {row.peer: (row.max_levels, row.differs) for row in table.rows}
    assert found["ONNX Runtime, plain export"] == (2, True)
    assert found["PyTorch, channels last"] == (1, False)
    assert report.failures == ["ONNX Runtime, plain export, fake at 32x24: its result is 2 levels from that of PyTorch"]
    # Every value is one level away, which is an error of 1 in 255: 20 log10(255).
    (near,) = [row.psnr for row in table.rows if row.max_levels == 1]
    assert near == pytest.approx(20 * math.log10(255))


def test_a_photograph_is_cut_or_mirrored_to_the_size(
    fake_files: PeerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    _, report, _ = measure(fake_files, picture=str(tmp_path / "a.png"))
    assert Fake.given
    assert all(np.array_equal(image, pixels[:24, :32]) for image in Fake.given)
    Fake.given.clear()
    measure(fake_files, picture=str(tmp_path / "a.png"), sizes=(Size(60, 20),))
    assert Fake.given
    assert all(np.array_equal(image[:, 40:], pixels[:20, :19:-1]) for image in Fake.given)
    assert json.loads(report.to_json())["settings"]["picture"] == str(tmp_path / "a.png")
    monkeypatch.setattr("mirnet_deploy.cli.peers._prepare", lambda *_: pytest.fail("exported before it was read"))
    result = run(LITE, "--picture", tmp_path / "none.png", "--json", tmp_path / "peers.json")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "none.png" in result.stderr


def test_what_does_not_fit_into_memory_is_not_begun(fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = 24 * 32
    monkeypatch.setattr(need, "available_memory", lambda: 100 * 16 * pixels)
    table, _, _ = measure(fake_files)
    failures = {row.peer: row.failure for row in table.rows if row.failure}
    assert failures.pop("OpenVINO, plain export") == "MemoryError: no room for 3 GiB"
    assert failures == {
        "ONNX Runtime, plain export": ("it would take about 0.0 GiB, and it may have 90% of the 0.0 GiB that are free")
    }
    assert "session" not in {name.rpartition("@")[2] for name in Fake.opened}


def test_engines_that_memory_does_not_hold_together_are_opened_for_every_run(
    fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of PyTorch give their memory back, and would be compiled anew every time."""
    table, _, _ = measure(fake_files, peers=("pytorch", "onnxruntime"), runs=3)
    assert not table.anew
    assert Counter(Fake.opened) == {"fake": 3, "fake.pt": 1, f"{fake_files.plain}@session": 1}
    assert len(Fake.closed) == len(Fake.opened)
    Fake.opened, Fake.closed = [], []
    # A byte less than what ours (on ONNX Runtime and OpenVINO), the session and PyTorch take.
    together = (88 + 45 + SESSION_BYTES_PER_VALUE + TORCH_BYTES_PER_VALUE) * 16 * 24 * 32
    monkeypatch.setattr(need, "available_memory", lambda: math.ceil(together / MEMORY_SHARE) - 2)
    table, _, _ = measure(fake_files, peers=("pytorch", "onnxruntime"), runs=3)
    assert table.anew
    assert [len(row.times_ms) for row in table.rows] == [3] * 4
    assert Counter(Fake.opened) == {"fake": 3 + 2 * 3, "fake.pt": 1, f"{fake_files.plain}@session": 1 + 3}
    assert len(Fake.closed) == len(Fake.opened)


def test_when_the_time_is_over_nothing_is_begun(fake_files: PeerFiles) -> None:
    table, report, _ = measure(fake_files, max_seconds=1e-9)
    assert {row.failure for row in table.rows} == {NO_TIME}
    assert Fake.opened == []
    assert report.ended == "cut short: 1e-09 s were over"


def test_rounds_that_are_missing_are_said(fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = iter([0.0] * 20)  # the time is over in one of the later rounds
    monkeypatch.setattr(peers, "time", SimpleNamespace(monotonic=lambda: next(begun, 99.0), sleep=lambda seconds: None))
    table, report, _ = measure(fake_files, peers=("pytorch",), runs=50, max_seconds=9)
    assert 0 < len(table.rows[0].times_ms) < 50
    assert report.ended == "cut short: 9 s were over"


def test_threads_are_those_of_every_library(fake_files: PeerFiles) -> None:
    specs = [peer.spec.settings for peer in peers_of(fake_files, PeersConfig(threads=3))]
    assert {(each.threads, each.device, each.alone) for each in specs} == {(3, "cpu", True)}


@pytest.mark.parametrize(("backend", "rows"), [("onnxruntime", ["ours"]), ("openvino", ["ours", "ours, bfloat16"])])
def test_one_backend_of_ours_may_be_named(
    fake_files: PeerFiles, monkeypatch: pytest.MonkeyPatch, backend: Any, rows: list[str]
) -> None:
    monkeypatch.setattr(peers, "describe_processor", lambda: {"instructions": ["bf16"]})
    found = peers_of(fake_files, PeersConfig(backend=backend, peers=()))
    assert [(each.name, each.spec.settings.backend) for each in found] == [(name, backend) for name in rows]


@pytest.mark.parametrize(
    ("values", "said"), [({"runs": 0}, "--runs"), ({"peers": ("tvm",)}, "tvm"), ({"max_seconds": 0}, "--max-seconds")]
)
def test_what_cannot_be_asked_for_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PeersConfig(**values)


def test_ours_is_the_bundled_file_where_that_came_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "export_plain", lambda loaded, path: None)
    files = _prepare(str(LITE), tmp_path, 0)
    assert (files.ours, files.artifact) == ("lite", "bundled lite")
    assert bundled_with(file_sha256(LITE)) == "lite"
    assert bundled_with("00" * 32) is None


def test_the_papers_network_has_the_same_random_weights_every_time(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:  # the paper's own is 127 MB
        patch.setattr(MIRNetConfig, "preset", lambda name: MIRNetConfig(8, 1, 1))
        one, two = (load_checkpoint(_random_weights(tmp_path)).network.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_without_a_clone_a_model_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run()
    assert (result.exit_code, "name a checkpoint" in result.output) == (2, True)


def test_the_command_offers_every_peer() -> None:
    assert all(name in run("--help").output for name in PEERS)
