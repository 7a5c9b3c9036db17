"""Sweeps: the values of each axis, and what an engine or a machine does not take."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.subjects import need
from mirnet_deploy.benchmarks.subjects.base import SubjectReport, SubjectSpec
from mirnet_deploy.benchmarks.sweeps import Axis, Sweep, SweepRow, failures, points
from mirnet_deploy.errors import UsageError
from mirnet_deploy.settings import RuntimeSettings

GIB = 1 << 30


class Fake:
    """An engine on a CPU that fails where a picture is wider than it takes."""

    log: list[tuple[str, int, Any, int, int | None]]
    """Of every run: the engine, the width, the tile, the batch and the threads."""

    def __init__(self, spec: SubjectSpec) -> None:
        if spec.settings.batch > 4:
            raise UsageError("batch is 8; this plan takes up to 4")
        self.name, self.settings = spec.engine, spec.settings
        whole = spec.engine == "torch"
        tile = "none" if whole else str(spec.settings.tile)
        device = "cuda:0" if spec.engine == "gpu" else "cpu"
        self.report = SimpleNamespace(
            tile=tile, device=device, kind="checkpoint" if whole else "onnx", network={"n_feat": 16}
        )

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        settings, width = self.settings, image.shape[1]
        Fake.log.append((self.name, width, settings.tile, settings.batch, settings.threads))
        if self.name == "narrow" and width > 700:
            raise MemoryError("no room")
        return image

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def swept(axis: Axis, *engines: str, largest: str = "600x400", over: Any = lambda: False) -> list[SweepRow]:
    """The rows of a sweep; every step of the progress is counted."""
    Fake.log = []
    steps = itertools.count()
    specs = [SubjectSpec(engine) for engine in engines]
    chosen = points(axis, Size.parse(largest), "auto", 6)
    sweep = Sweep(chosen, Fake, 3, 1, lambda: next(steps), over)
    found = list(sweep.rows([(Fake(spec), spec) for spec in specs]))
    assert next(steps) == len(chosen) * len(engines) * (3 + 1) or over() is not False
    return found


@pytest.mark.parametrize(
    ("axis", "largest", "values"),
    [
        ("tile", "600x400", ["128", "256", "512"]),
        ("tile", "300x1025", ["128", "256", "512", "1024"]),
        ("batch", "600x400", ["1", "2", "4", "8"]),
        ("threads", "600x400", ["1", "2", "4", "6"]),
    ],
)
def test_the_values_of_an_axis(axis: Axis, largest: str, values: list[str]) -> None:
    found = points(axis, Size.parse(largest), "auto", 6)
    assert [point.value for point in found] == values
    assert {str(point.size) for point in found} == {largest}


def test_sizes_are_a_tenth_to_four_megapixels() -> None:
    found = [point.size.megapixels for point in points("size", Size(600, 400), "auto", 6)]
    assert found == pytest.approx([0.1, 0.25, 0.5, 1, 2, 4], rel=0.05)


def test_threads_of_few_processors() -> None:
    for cores, values in ((1, ["1"]), (2, ["1", "2"]), (8, ["1", "2", "4", "8"])):
        assert [point.value for point in points("threads", Size(8, 8), "auto", cores)] == values


def test_batches_are_of_the_tiles_that_were_asked_for() -> None:
    def tiles(size: str, tile: int | str) -> set[int]:
        return {point.changes["tile"] for point in points("batch", Size.parse(size), tile, 6)}

    assert (tiles("600x400", "auto"), tiles("256x200", "auto"), tiles("600x400", 64)) == ({256}, {128}, {64})
    with pytest.raises(UsageError, match="--sweep batch cuts pictures into tiles, and 128x96 is one tile"):
        points("batch", Size(128, 96), "auto", 6)


def test_every_value_is_measured_with_every_engine_in_turn() -> None:
    rows = swept("tile", "a", "b")
    assert [(row.value, row.engine) for row in rows] == list(itertools.product(("128", "256", "512"), "ab"))
    assert Fake.log == [(e, 600, t, 1, None) for t in (128, 256, 512) for e in "ab" for _ in range(4)]
    for row in rows:
        assert len(row.times_ms) == 3
        assert row.p50_ms == pytest.approx(np.median(row.times_ms))
        assert row.ms_per_megapixel == pytest.approx(row.p50_ms / 0.24)
        assert (row.tile, row.size, row.megapixels) == (row.value, "600x400", 0.24)


def test_what_an_engine_does_not_take_is_a_row_with_a_reason() -> None:
    rows = swept("batch", "a", "torch")
    reasons = {(row.engine, row.value): row.failure for row in rows}
    assert [reasons["a", value] for value in "124"] == [None] * 3
    assert reasons["a", "8"] == "batch is 8; this plan takes up to 4"
    assert reasons["torch", "2"] == "it runs pictures whole, whatever the tile"
    assert failures(rows) == ["torch, sweep of batch: it runs pictures whole, whatever the tile"]
    assert [row.failure for row in swept("threads", "gpu")] == ["it runs on cuda:0, where threads do not compute"] * 4


def test_no_larger_size_is_tried_with_an_engine_that_failed() -> None:
    rows = swept("size", "a", "narrow")
    reasons = [row.failure for row in rows if row.engine == "narrow"]
    assert reasons == [None, None, "MemoryError: no room", *["not tried: it failed at a smaller size"] * 3]
    assert sum(row.p50_ms is not None for row in rows) == 6 + 2
    assert [width for name, width, *_ in Fake.log if name == "narrow"] == [384] * 4 + [600] * 4 + [864]
    assert failures(rows) == []


def test_a_size_that_would_fill_the_memory_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """70 bytes for each of 16 features of PyTorch: 2.2 GB at 2 megapixels, 4.5 at 4."""
    monkeypatch.setattr(need, "available_memory", lambda: 3 * GIB)
    rows = swept("size", "torch", "a")
    reasons = {(row.engine, row.value): row.failure for row in rows}
    assert reasons["torch", "1728x1152"] is None
    assert reasons["torch", "2448x1632"] == (
        "it would take about 4.2 GiB, and it may have 90% of the 3.0 GiB that are free"
    )
    assert reasons["a", "2448x1632"] is None, "it cuts into tiles what it has no room for"
    assert Fake.log.count(("torch", 2448, "auto", 1, None)) == 0


def test_nothing_begins_when_the_time_is_over() -> None:
    assert swept("tile", "a", over=lambda: True) == []
    calls = itertools.count()
    rows = swept("tile", "a", over=lambda: next(calls) > 5)  # asked before the row, and before each of its 4 rounds
    assert [(row.value, len(row.times_ms)) for row in rows] == [("128", 3)]


def test_a_report_of_a_session_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(need, "available_memory", lambda: GIB)
    session = SubjectReport("s", "s.onnx", "", "onnx", "float", "fp32", "", "ema", {"n_feat": 8}, "", "cpu", "none")
    assert need.lack_of_memory(session, Size(800, 800)) is None  # 0.72 GiB
    assert "about 1.1 GiB" in (need.lack_of_memory(session, Size(1000, 1000)) or "")
    monkeypatch.setattr(need, "available_memory", lambda: None)
    assert need.lack_of_memory(session, Size(1000, 1000)) is None


def test_a_point_keeps_the_other_settings() -> None:
    spec = SubjectSpec("lite", RuntimeSettings(precision="fp32", threads=3, tile=64))
    changed = points("threads", Size(600, 400), 64, 2)[0].spec(spec)
    assert changed == SubjectSpec("lite", RuntimeSettings(precision="fp32", threads=1, tile=64))
