"""Latency: the order of the runs, the percentiles, the ratios, and engines that fail."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks import latency
from mirnet_deploy.benchmarks.cost_tables import unstable_lines
from mirnet_deploy.benchmarks.inputs import Size, one_line, sample_picture
from mirnet_deploy.benchmarks.latency import Timed, Turns, latency_rows, percentiles, time_interleaved
from mirnet_deploy.benchmarks.warmup import Warmup
from mirnet_deploy.errors import EngineError, UsageError


class Recorder:
    """An engine that records its name and takes a known time on a fake clock."""

    def __init__(self, name: str, log: list[str], clock: Clock | None = None, ms: float = 0, fail_at: int = 0) -> None:
        self.name, self.log, self.clock, self.ms, self.fail_at = name, log, clock, ms, fail_at
        self.calls = 0

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.calls += 1
        self.log.append(self.name)
        if self.calls == self.fail_at:
            raise MemoryError("no room for 4 GiB\nand a second line")
        if self.clock:
            self.clock.now += int(self.ms * 1e6)
        return image


class Clock:
    """A clock in nanoseconds that stands still unless a test or an engine moves it."""

    now = 0

    def __call__(self) -> int:
        return self.now


IMAGE = np.zeros((8, 8, 3), np.uint8)


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """These engines have no threads that must come to rest."""
    monkeypatch.setattr(latency, "PAUSE_S", 0)


def rounds_of(log: list[str], engines: int) -> list[list[str]]:
    """Who ran in each round, in the order of the round."""
    return [log[start : start + engines] for start in range(0, len(log), engines)]


def test_engines_take_turns_and_the_warm_up_is_not_kept() -> None:
    log: list[str] = []
    engines = [Recorder("a", log), Recorder("b", log), Recorder("c", log)]
    times, failures, _ = time_interleaved(engines, IMAGE, runs=8, warmup=2, advance=lambda: None, is_over=never)
    rounds = rounds_of(log, 3)
    assert [sorted(each) for each in rounds] == [["a", "b", "c"]] * 10
    behind = {(first, second) for each in rounds for first, second in itertools.pairwise(each)}
    assert len(behind) == 6, "none always runs behind the same other one"
    assert [len(values) for values in times.values()] == [8, 8, 8]
    assert not failures


def test_only_the_engine_is_timed() -> None:
    clock, log = Clock(), []
    engines = [Recorder("a", log, clock, 10), Recorder("b", log, clock, 25)]
    times, _, _ = time_interleaved(
        engines,
        IMAGE,
        runs=4,
        warmup=1,
        clock=clock,
        is_over=never,
        advance=lambda: setattr(clock, "now", clock.now + 10**9),
    )
    assert times == {0: [10.0] * 4, 1: [25.0] * 4}


class Settling(Recorder):
    """An engine whose runs take the given times, and the last of them from then on."""

    def __init__(self, name: str, log: list[str], clock: Clock, times: list[float]) -> None:
        super().__init__(name, log, clock)
        self.times = times

    def enhance(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.ms = self.times[min(self.calls, len(self.times) - 1)]
        return super().enhance(image)


def test_the_warm_up_ends_with_the_round_in_which_all_engines_are_settled_at_once() -> None:
    clock, log, steps = Clock(), [], itertools.count()
    engines = [Settling("a", log, clock, [50, 10]), Settling("b", log, clock, [90, 40, 30, 30, 20])]
    timed = time_interleaved(
        engines, IMAGE, runs=12, warmup="auto", clock=clock, is_over=never, advance=lambda: next(steps)
    )
    # a is settled from the sixth round on. The medians of b are 20 after 40, 20 after 30, 20 after 30, 20 after 20.
    assert timed.warmups == {0: Warmup(9, True), 1: Warmup(9, True)}
    assert timed.times == {0: [10.0] * 12, 1: [20.0] * 12}
    assert [sorted(each) for each in rounds_of(log, 2)] == [["a", "b"]] * 21
    assert next(steps) == 2 * (12 + 12), "the progress bar still reaches its end"


def test_two_runs_that_happen_to_be_alike_are_no_end() -> None:
    """The clock falls: 40 and 40 at first, then ever longer runs, of which no three are like the three before."""
    clock, log = Clock(), []
    engines = [Settling("a", log, clock, [40, 40, *(40 * 1.1**n for n in range(1, 99))])]
    timed = time_interleaved(engines, IMAGE, runs=12, warmup="auto", clock=clock, is_over=never, advance=lambda: None)
    assert timed.warmups == {0: Warmup(12, False)}


def test_an_engine_that_was_settled_once_and_is_no_more_is_not_stable() -> None:
    """While another one, which never settles, keeps the warm-up going."""
    clock, log = Clock(), []
    engines = [
        Settling("a", log, clock, [10] * 7 + [20, 40, 80, 160, 320]),
        Settling("b", log, clock, [1000 * 0.8**n for n in range(99)]),
    ]
    for warmup in ("auto", 12):
        for each in engines:
            each.calls = 0
        timed = time_interleaved(
            engines, IMAGE, runs=12, warmup=warmup, clock=clock, is_over=never, advance=lambda: None
        )
        assert timed.warmups == {0: Warmup(12, False), 1: Warmup(12, False)}


def test_an_engine_that_never_settles_is_timed_all_the_same_and_told() -> None:
    clock, log = Clock(), []
    engines = [Settling("a", log, clock, [1000 * 0.8**n for n in range(99)]), Recorder("b", log, clock, 10)]
    for runs, most, told in ((3, 3, False), (1, 2, False), (6, 6, True), (50, 20, True)):
        log.clear()
        engines[0].calls = 0
        timed = time_interleaved(
            engines, IMAGE, runs=runs, warmup="auto", clock=clock, is_over=never, advance=lambda: None
        )
        assert timed.warmups == {0: Warmup(most, False if told else None), 1: Warmup(most, True if told else None)}
        assert len(log) == 2 * (most + runs)
    first, second = latency_rows(["a", "b"], Size(8, 8), timed)
    assert (first.warmup_runs, first.warmup_stable) == (20, False)
    assert unstable_lines([first, second]) == ["a at 8x8: its run time was not stable after 20 warm-up runs"]
    few = [replace(row, warmup_runs=1, warmup_stable=None) for row in (first, second)]
    assert unstable_lines(few) == ["warm-up at 8x8: 1 run, too few to tell whether run times were stable"]


def test_a_warm_up_of_a_number_of_rounds_is_judged_too_where_it_can_be() -> None:
    for warmup, stable in ((0, None), (1, None), (5, None), (6, False), (8, False), (9, True)):
        clock, log = Clock(), []
        engines = [Settling("a", log, clock, [50, 40, 30, 30, 10])]
        timed = time_interleaved(
            engines, IMAGE, runs=9, warmup=warmup, clock=clock, is_over=never, advance=lambda: None
        )
        assert timed.warmups == {0: Warmup(warmup, stable)}
        assert len(log) == warmup + 9
        told = unstable_lines(latency_rows(["a"], Size(8, 8), timed))
        assert len(told) == (stable is not True)
        assert ["too few to tell" in line for line in told] == [stable is None] * len(told)


def test_what_was_timed_before_an_interrupt_is_there() -> None:
    """In the third timed round, in which one engine has run already."""

    def interrupted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise KeyboardInterrupt

    log: list[str] = []
    engines = [Recorder("a", log), Recorder("b", log)]
    steps = itertools.count(1)

    def advance() -> None:
        if next(steps) == 7:
            for each in engines:
                each.enhance = interrupted  # type: ignore[method-assign]

    turns = Turns(engines, IMAGE, advance=advance, is_over=never)
    with pytest.raises(KeyboardInterrupt):
        turns.take(9, 1)
    rows = latency_rows(["a", "b"], Size(8, 8), turns.timed())
    assert [(row.engine, row.warmup_runs) for row in rows] == [("a", 1), ("b", 1)]
    assert sorted(len(row.times_ms) for row in rows) == [2, 3]


def test_a_failed_engine_keeps_no_other_warming_up() -> None:
    clock, log = Clock(), []
    engines = [Recorder("a", log, clock, 10), Recorder("b", log, clock, 10, fail_at=1)]
    time_interleaved(engines, IMAGE, runs=9, warmup="auto", clock=clock, is_over=never, advance=lambda: None)
    assert (sorted(log[:2]), log[2:]) == (["a", "b"], ["a"] * 14)


def test_no_round_begins_when_the_time_is_over() -> None:
    """What has had timed runs keeps them; what has had none has no row."""
    for rounds, runs in ((5, 3), (3, 1), (2, 0)):
        log: list[str] = []
        engines = [Recorder("a", log), Recorder("b", log)]
        left = iter([False] * rounds + [True] * 9)
        over = partial(next, left)
        timed = time_interleaved(engines, IMAGE, runs=9, warmup=2, advance=lambda: None, is_over=over)
        assert [sorted(each) for each in rounds_of(log, 2)] == [["a", "b"]] * rounds
        assert [len(each) for each in timed.times.values()] == [runs] * (2 if runs else 0)
        rows = latency_rows(["a", "b"], Size(8, 8), timed)
        assert [row.engine for row in rows] == (["a", "b"] if runs else [])


@pytest.mark.parametrize("fail_at", [1, 4])
def test_an_engine_that_fails_drops_out_and_the_others_go_on(fail_at: int) -> None:
    log: list[str] = []
    engines = [Recorder("a", log), Recorder("b", log, fail_at=fail_at), Recorder("c", log)]
    steps = itertools.count()
    times, failures, _ = time_interleaved(engines, IMAGE, runs=3, warmup=2, advance=lambda: next(steps), is_over=never)
    assert set(times) == {0, 2}
    assert failures == {1: "MemoryError: no room for 4 GiB"}
    assert (log.count("a"), log.count("b"), log.count("c")) == (5, fail_at, 5)
    assert next(steps) == 15, "the progress bar still reaches its end"


@pytest.mark.parametrize("count", [1, 2, 10, 101])
def test_percentiles_are_linear_interpolations(count: int) -> None:
    values = np.random.default_rng(count).exponential(10, count)
    for q, value in zip((50, 90, 99), percentiles(list(values)), strict=True):
        ordered = sorted(values)
        index = q / 100 * (count - 1)
        low = int(index)
        high = min(low + 1, count - 1)
        assert value == pytest.approx(ordered[low] + (index - low) * (ordered[high] - ordered[low]))


def test_rows_hold_throughput_and_the_ratio_to_the_first_engine() -> None:
    size = Size(1000, 500)
    first, second = latency_rows(["a", "b"], size, Timed({0: [100, 100, 400], 1: [50, 250, 300]}, {}, {}))
    assert (first.p50_ms, first.ratio) == (100, 1)
    assert (second.p50_ms, second.ratio) == (250, 2.5)
    assert first.images_per_s == pytest.approx(3 / 0.6)
    assert first.megapixels_per_s == pytest.approx(3 / 0.6 * 0.5)
    assert first.times_ms == (100, 100, 400)
    assert first.std_ms == pytest.approx(30000**0.5), "deviations of -100, -100 and 200 over n - 1 = 2"
    assert (first.ratio_interval, second.ratio_interval) == (None, None), "in three rounds"


def test_the_interval_of_a_ratio_stands_from_six_rounds_on() -> None:
    timed = Timed({0: [10, 11, 12, 14, 20, 31], 1: [20, 22, 24, 28, 40, 62]}, {}, {})
    first, second = latency_rows(["a", "b"], Size(8, 8), timed)
    assert first.ratio_interval is None, "to itself there is nothing to be unsure of"
    assert second.ratio_interval == pytest.approx((2, 2))
    (alone,) = latency_rows(["a"], Size(8, 8), Timed({0: [7]}, {}, {}))
    assert alone.std_ms is None


def test_without_the_first_engine_there_are_no_ratios() -> None:
    failed, second = latency_rows(["a", "b"], Size(8, 8), Timed({1: [5, 5]}, {0: "MemoryError: no room"}, {}))
    assert (failed.failure, failed.p50_ms, failed.ratio) == ("MemoryError: no room", None, None)
    assert (second.p50_ms, second.ratio) == (5, None)


@pytest.mark.parametrize("text", ["600x400", "600X400", " 600×400 "])
def test_sizes_are_read(text: str) -> None:
    assert Size.parse(text) == Size(600, 400)
    assert str(Size.parse(text)) == "600x400"


@pytest.mark.parametrize("text", ["600", "600x", "x400", "600x400x3", "-6x4", "6.5x4", "0x4", "", "1e3x4"])
def test_other_texts_are_not_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        Size.parse(text)


@pytest.mark.parametrize("size", [Size(1, 1), Size(100, 300), Size(256, 256), Size(1300, 20)])
def test_the_sample_picture_is_a_photograph_of_the_given_size(size: Size) -> None:
    picture = sample_picture(size)
    assert picture.shape == (size.height, size.width, 3)
    assert picture.dtype == np.uint8
    with files("mirnet_deploy").joinpath("samples/crop_a.png").open("rb") as stream:
        crop = np.asarray(Image.open(stream).convert("RGB"))
    height, width = min(256, size.height), min(256, size.width)
    assert np.array_equal(picture[:height, :width], crop[:height, :width])
    if size.width > 512:
        assert np.array_equal(picture[:, 256:512], picture[:, :256][:, ::-1]), "mirrored, so that there is no seam"


def test_foreign_errors_carry_their_type_and_ours_do_not() -> None:
    assert one_line(ValueError("a\nb")) == "ValueError: a"
    assert one_line(EngineError("no such device")) == "no such device"
    assert len(one_line(ValueError("long " * 1000))) <= 300
