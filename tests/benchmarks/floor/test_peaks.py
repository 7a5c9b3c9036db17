"""What the machine can do: that products and copies are made, and how their rates come about."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mirnet_deploy.benchmarks.floor import peaks
from mirnet_deploy.benchmarks.floor.peaks import (
    Copy,
    DeviceCopy,
    MatrixProduct,
    Peaks,
    best_product,
    fastest,
    last_cache,
    peaks_for,
)
from mirnet_deploy.errors import EngineError, MissingDependencyError

PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-5), ("bf16", 0.02), ("fp16", 0.005)])
def test_the_matrix_product_is_one_in_its_precision(precision: str, within: float) -> None:
    product = MatrixProduct(precision, side=16)
    product.run()
    left, right, result = (each.float().numpy() for each in (*product.matrices, product.result))
    np.testing.assert_allclose(result, left @ right, rtol=within)
    assert str(product.result.dtype) == f"torch.{peaks.TYPES[precision]}"
    assert product.amount == 16**3
    assert peaks.TYPES[precision] in product.how


def test_without_torch_numpy_multiplies_in_float32_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    product = MatrixProduct("fp32", side=16)
    product.run()
    np.testing.assert_allclose(product.result, product.matrices[0] @ product.matrices[1], rtol=1e-5)
    assert product.how.startswith("numpy")
    with pytest.raises(MissingDependencyError, match="torch"):
        MatrixProduct("bf16", side=16)
    with pytest.raises(MissingDependencyError, match="torch"):
        DeviceCopy("cuda:0")
    monkeypatch.setattr(peaks, "describe_processor", lambda: {"cores": 8})
    with pytest.raises(EngineError, match="cannot be held to 2 threads"):
        MatrixProduct("fp32", threads=2, side=16)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_copy_copies_all_of_it(threads: int) -> None:
    copy = Copy(threads, nbytes=2002)
    copy.source[:] = np.arange(1001) % 251
    copy.run()
    np.testing.assert_array_equal(copy.target, copy.source)
    assert copy.amount == 2002, "read and written"


def test_a_copy_is_beyond_the_cache_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "LEAST_COPY", 1000)
    monkeypatch.setattr(peaks, "last_cache", lambda: 4000)
    monkeypatch.setattr(peaks, "available_memory", lambda: 32_000)
    assert Copy(1).amount == 8000
    monkeypatch.setattr(peaks, "last_cache", lambda: None)
    assert Copy(1).amount == 1000
    monkeypatch.setattr(peaks, "last_cache", lambda: 4001)
    with pytest.raises(EngineError, match="beyond the cache"):
        Copy(1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cache is read from /sys")
def test_the_last_cache_is_the_largest_that_the_system_tells() -> None:
    found = last_cache()
    assert found is None or found >= 2**15


def test_a_gpu_that_torch_has_not_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    for make in (lambda: MatrixProduct("fp16", "cuda:0", side=16), lambda: DeviceCopy("cuda:0")):
        with pytest.raises(EngineError, match="has no cuda:0"):
            make()


def test_the_fastest_run_counts_and_what_fails_does_not_stop_the_others() -> None:
    times = iter([0, 400, 1000, 1500, 2000, 2300, 3000, 3250, 4000, 4600])

    def broken() -> Any:
        raise MemoryError("no room\nand a second line")

    done: list[str] = []
    good = SimpleNamespace(how="twice", amount=1000.0, run=lambda: done.append("good"))
    later = SimpleNamespace(how="once", amount=300.0, run=lambda: done.append("later"))
    made = Peaks({"broken": broken, "good": lambda: good, "later": lambda: later}, clock=lambda: next(times))
    assert made.rate("good") is None
    assert made.enhance(PICTURE) is PICTURE
    later.run = broken
    made.enhance(PICTURE)
    made.enhance(PICTURE)
    assert done == ["good", "later", "good", "good"]
    assert made.rate("good") == pytest.approx(1000 / 300e-9)
    assert made.rate("later") == pytest.approx(300 / 500e-9), "of its one run"
    assert made.rate("broken") is None
    assert made.failures == {"broken": "MemoryError: no room", "later": "MemoryError: no room"}
    assert (made.how("good"), made.how("broken")) == ("twice", "")


def test_every_device_has_a_copy_and_a_product_in_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []
    for name in ("best_product", "Copy", "DeviceCopy"):
        monkeypatch.setattr(peaks, name, lambda *values, name=name: made.append((name, *values)))
    peaks_for([("cpu", "fp32"), ("cpu", None), ("cuda:1", "fp16"), ("cpu", "bf16"), ("cpu", "fp32")], threads=3)
    assert sorted(made) == [
        ("Copy", 3),
        ("DeviceCopy", "cuda:1"),
        ("best_product", "bf16", "cpu", 3),
        ("best_product", "fp16", "cuda:1", 3),
        ("best_product", "fp32", "cpu", 3),
    ]


class Timed:
    """A peak whose runs take these milliseconds, on a clock of their own."""

    def __init__(self, amount: float, *milliseconds: float) -> None:
        self.amount, self.how, self._left = amount, "", list(milliseconds)

    def run(self) -> None:
        Timed.now += int(self._left.pop(0) * 1e6)

    now = 0


def test_the_side_of_the_highest_rate_is_taken_and_a_slow_one_has_no_larger_one() -> None:
    def chosen(*made: Timed) -> int:
        return made.index(fastest([lambda each=each: each for each in made], lambda: Timed.now))

    assert chosen(Timed(1, 9, 3, 9), Timed(8, 16, 90, 90), Timed(64, 300, 300, 300)) == 1, "0.33, 0.5, 0.21 a ms"
    assert chosen(Timed(1, 2, 2, 2), Timed(8, 99, 8, 8), Timed(64, 40, 99, 99)) == 2, "0.5, 1, 1.6 a ms"
    assert chosen(Timed(1, 9, 9, 9), Timed(8, 101, 101, 101), Timed(64)) == 0, "the last one is not run"


def test_a_product_of_the_largest_sides_is_chosen_in_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peaks.SIDES == (1024, 2048, 4096)
    monkeypatch.setattr(peaks, "SIDES", (24,))
    assert "bfloat16, 24x24" in best_product("bf16").how


def test_the_product_is_made_without_tf32_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    matmul, seen = torch.backends.cuda.matmul, []
    before = matmul.allow_tf32
    monkeypatch.setattr(torch, "mm", lambda *_, out: seen.append(matmul.allow_tf32))
    try:
        matmul.allow_tf32 = True
        MatrixProduct("fp32", side=16).run()
        assert (seen, matmul.allow_tf32) == ([False], True)
    finally:
        matmul.allow_tf32 = before
