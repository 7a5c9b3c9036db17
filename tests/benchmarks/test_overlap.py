"""Spans of time, and the copies and runs of a video that are noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, picture

from mirnet_deploy import MIRNetRuntime
from mirnet_deploy.benchmarks.overlap import Watch, common, cuda_mark, summary, union
from mirnet_deploy.errors import EngineError


def test_spans() -> None:
    assert union([(3, 4), (0, 1), (0.5, 2), (2, 2.5)]) == [(0, 2.5), (3, 4)]
    assert common([(0, 2), (1, 3)], [(2, 5), (2.5, 6)]) == 1
    found = summary({"upload": [(0, 2)], "download": [(6, 8)], "engine": [(1, 7)]})
    assert found == {"upload_ms": 2, "download_ms": 2, "engine_ms": 6, "copies_beside_engine": 0.5}
    assert summary({"upload": [], "download": [], "engine": []})["copies_beside_engine"] == 0


def test_every_copy_and_run_of_a_video_is_noted(tmp_path: Path) -> None:
    """The clock here counts marks in the order in which the streams reach them."""
    engine = Engine(make_onnx(tmp_path / "a.onnx", "mean"), Driver(), graphs=False)
    ticks: list[int] = []

    def mark(stream: Any) -> Callable[[], float]:
        at: list[int] = []

        def reach() -> None:
            ticks.append(len(ticks))
            at.append(ticks[-1])

        stream.enqueue(reach)
        return lambda: float(at[0])

    watch = Watch(mark)
    with MIRNetRuntime(engine, tile=64, consistency="local", observer=watch) as each:
        assert len(list(each.frames([picture()] * 3, 2))) == 3
        spans = watch.spans()
    tiles = 4 * 6
    assert len(spans["engine"]) == 3 * tiles
    # Of every frame the picture; the table of tiles once in each slot that held it.
    assert 3 < len(spans["upload"]) <= 3 + 2 * 3
    assert len(spans["download"]) >= 2 * 3
    assert all(begin < end for kind in spans.values() for begin, end in kind)
    assert watch.spans()["engine"] == []


def test_a_cpu_copies_nothing(tmp_path: Path) -> None:
    with MIRNetRuntime(make_onnx(tmp_path / "a.onnx"), device="cpu") as each, pytest.raises(EngineError, match="GPU"):
        cuda_mark(each.engine.driver)
