"""The tile that suits memory and speed."""

from __future__ import annotations

from pathlib import Path

import pytest
from artifacts import metadata

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines import openvino
from mirnet_deploy.engines.base import BYTES_PER_VALUE, Engine
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine
from mirnet_deploy.engines.openvino import OpenVinoEngine
from mirnet_deploy.machine import available_memory, describe_machine
from mirnet_deploy.pipeline import limits
from mirnet_deploy.pipeline.limits import (
    WHOLE_BYTES,
    WHOLE_BYTES_ALONE,
    Limits,
    choose_tile,
    tile_budget,
    whole_budget,
    whole_bytes,
)

LITE = metadata(network={"n_feat": 16, "n_rrg": 1, "n_msrb": 2})


@pytest.mark.parametrize(
    ("free", "side"), [(None, 512), (64 << 30, 512), (2 << 30, 512), (640 << 20, 336), (1 << 20, 64)]
)
def test_auto_takes_at_most_half_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int | None, side: int
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: free)
    budget = whole_budget(engine(OpenVinoEngine))
    assert budget == pytest.approx(
        min(WHOLE_BYTES, free // 2 if free else WHOLE_BYTES) / openvino.BYTES_PER_VALUE["fp32"], abs=1
    )
    budget = whole_budget(engine(OnnxRuntimeEngine))
    assert tile(budget, OnnxRuntimeEngine) == side
    if free:
        assert budget * BYTES_PER_VALUE <= free / 2
    assert budget * BYTES_PER_VALUE <= WHOLE_BYTES


@pytest.mark.parametrize(
    ("kind", "n_feat", "free", "batch", "side"),
    [
        (OpenVinoEngine, 32, 64, 1, 512),
        (OpenVinoEngine, 64, 64, 1, 512),
        (OpenVinoEngine, 64, 64, 4, 304),
        (OpenVinoEngine, 64, 2, 1, 416),
        (OpenVinoEngine, 64, 0, 1, 192),
        (OnnxRuntimeEngine, 32, 64, 1, 512),
        (OnnxRuntimeEngine, 64, 64, 1, 432),
        (OnnxRuntimeCudaEngine, 32, 64, 1, 352),
        (OnnxRuntimeCudaEngine, 64, 64, 1, 256),
    ],
)
def test_a_large_network_has_tiles_as_large_where_memory_holds_them(
    kind: type[Engine], n_feat: int, free: int, batch: int, side: int
) -> None:
    """In smaller ones most of the work would be halo. On a GPU that is not known."""
    each = openvino.BYTES_PER_VALUE["fp32"] if kind is OpenVinoEngine else BYTES_PER_VALUE
    network = metadata(network={"n_feat": n_feat, "n_rrg": 3, "n_msrb": 2}, halo=48)
    assert tile(whole_bytes(None, free << 30) // each, kind, network, batch) == side


@pytest.mark.parametrize(
    ("free", "most", "expected"),
    [
        (64 << 30, 12 << 30, 12 << 30),
        (None, 12 << 30, 12 << 30),
        (16 << 30, 12 << 30, 8 << 30),
        (64 << 30, 1 << 30, WHOLE_BYTES),  # the memory plan sees to less
        (64 << 30, None, WHOLE_BYTES),
    ],
)
def test_whoever_allows_more_memory_has_larger_pictures_run_whole(
    monkeypatch: pytest.MonkeyPatch, free: int | None, most: int | None, expected: int
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: free)
    for alone in (False, True) if most else (False,):
        budget = whole_budget(engine(OpenVinoEngine), most, alone=alone)
        assert budget == expected // openvino.BYTES_PER_VALUE["fp32"]


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (None, WHOLE_BYTES),
        (64 << 30, 8704 << 20),
        (17408 << 20, 8704 << 20),
        (17407 << 20, 4864 << 20),  # steps, so that tiles do not change with every program that is opened
        (9728 << 20, 4864 << 20),
        (9727 << 20, WHOLE_BYTES),
        (4 << 30, 2 << 30),
    ],
)
def test_one_picture_at_a_time_may_take_more_where_much_is_free(free: int | None, expected: int) -> None:
    assert whole_bytes(None, free, alone=True) == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_photograph_of_a_phone_runs_whole_alone_and_one_of_24_megapixels_does_not(precision: str) -> None:
    most = WHOLE_BYTES_ALONE[0 if precision == "fp32" else 1]
    values = most // openvino.BYTES_PER_VALUE[precision]
    assert values >= 16 * 4096 * 3072
    assert max(WHOLE_BYTES_ALONE) // openvino.BYTES_PER_VALUE[precision] < 16 * 6000 * 4000


def engine(kind: type[Engine]) -> Engine:
    """An engine of that kind which has loaded nothing."""
    return kind.__new__(kind)


def tile(budget: int, kind: type[Engine], network: ArtifactMetadata = LITE, batch: int = 1) -> int:
    """The side of tiles under "auto"."""
    found = choose_tile("auto", network, Limits(), tile_budget(engine(kind), budget, batch))
    assert found
    assert found[0] == found[1]
    return found[0]


def test_free_memory_is_at_most_all_memory() -> None:
    free, memory = available_memory(), describe_machine().memory_bytes
    assert (free is None) == (not Path("/proc/meminfo").exists())
    if free is not None and memory is not None:
        assert 0 < free <= memory


GIB = 1 << 30
STAT = f"anon 1\ninactive_file {3 * GIB}\ntotal_inactive_file {3 * GIB}\n"


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/\n", {}, 8 * GIB),
        ("\nodd\n", {}, 8 * GIB),
        ("0::/\n", {"memory.max": 4 * GIB, "memory.current": 4 * GIB}, 3 * GIB),
        ("0::/job/step\n", {"job/step/memory.max": "max", "job/step/memory.current": GIB}, 8 * GIB),
        # A job's limit holds for its steps; what is near the root may be more, and the machine has less than that.
        ("0::/job/step\n", {"job/memory.max": 6 * GIB, "job/memory.current": 5 * GIB}, 4 * GIB),
        ("0::/job/step\n", {"memory.max": 20 * GIB, "memory.current": 4 * GIB}, 8 * GIB),
        (
            "4:cpu:/job\n3:memory:/job\n",
            {"memory/job/memory.limit_in_bytes": 5 * GIB, "memory/job/memory.usage_in_bytes": 4 * GIB},
            4 * GIB,
        ),
        (
            "3:memory:/elsewhere\n",  # a container's own group is mounted at the root
            {"memory/memory.limit_in_bytes": 5 * GIB, "memory/memory.usage_in_bytes": 4 * GIB},
            4 * GIB,
        ),
    ],
)
def test_free_memory_is_the_least_that_a_control_group_leaves(
    tmp_path: Path, groups: str, files: dict[str, object], free: int
) -> None:
    """Memory that caches files counts as free: a container that has read many has a full control group, which gives
    most of it back on demand."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {9 << 20} kB\nMemAvailable: {8 << 20} kB\n")
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
        (path.parent / "memory.stat").write_text(STAT)
    assert available_memory(tmp_path) == free
    assert available_memory(tmp_path / "nothing") is None


def test_only_openvino_takes_more_for_one_picture_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it was not measured, and a GPU's memory is not the host's."""
    monkeypatch.setattr(limits, "available_memory", lambda: 64 << 30)
    assert whole_budget(engine(OpenVinoEngine), alone=True) == (8704 << 20) // openvino.BYTES_PER_VALUE["fp32"]
    assert whole_budget(engine(OnnxRuntimeEngine), alone=True) == WHOLE_BYTES // BYTES_PER_VALUE
