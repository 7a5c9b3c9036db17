"""Engines are compared on the pictures that both have, the worst pictures come first, and gaps are told."""

from __future__ import annotations

import pytest

from mirnet_deploy.benchmarks.comparing import gaps, paired_tests, worst_pictures
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows


def rows(engine: str, *psnrs: float | None, shift: int = 0) -> list[QualityRow]:
    return [
        QualityRow(engine, str(number + shift), psnr=psnr, ssim=0.5, identical=psnr is None, niqe=5.0, brisque=30.0)
        for number, psnr in enumerate(psnrs)
    ]


def test_differences_are_of_the_same_pictures() -> None:
    ours, theirs = rows("ours", 20, 21, 22, 23, 24, 25, 26), rows("theirs", 22, 23, 24, 25, 26, 30, shift=1)
    found = {test.metric: test for test in paired_tests([*ours, *theirs], "ours")}
    psnr = found["psnr"]
    assert (psnr.engine, psnr.against, psnr.pictures) == ("theirs", "ours", 6)
    assert psnr.mean_difference == pytest.approx((5 * 1 + 4) / 6)
    assert psnr.p_value == 2 / 64
    assert psnr.interval is not None
    assert psnr.interval[0] > 0
    assert found["niqe"].p_value == 1
    assert "flip" not in found, "no engine has it"


def test_the_p_values_of_several_engines_are_adjusted() -> None:
    measured = [*rows("a", *[20.0] * 6), *rows("b", 21, 22, 23, 24, 25, 26), *rows("c", 19, 18, 17, 16, 15, 14)]
    found = [test for test in paired_tests(measured, "a") if test.metric == "psnr"]
    assert [test.engine for test in found] == ["b", "c"]
    assert [test.p_value for test in found] == [4 / 64, 4 / 64]
    assert all("Holm over 2 engines" in test.test for test in found)
    assert found[1].mean_difference == pytest.approx(-3.5)


def test_five_pictures_are_too_few_and_that_is_told() -> None:
    measured = [*rows("a", *range(5)), *rows("b", *range(5))]
    assert paired_tests(measured, "a") == []
    (mean, _) = mean_rows(measured, intervals=True)
    assert set(mean.intervals.values()) == {None}
    assert gaps(measured) == ["no intervals and no tests: they take 6 pictures, and there are 5"]


def test_means_have_intervals_when_asked() -> None:
    measured = rows("a", 18, 19, 20, 21, 22, 23)
    (mean,) = mean_rows(measured, intervals=True)
    low, high = mean.intervals["psnr"] or (0, 0)
    assert 18 <= low < 20.5 < high <= 23
    assert mean.intervals["flip"] is None
    assert mean_rows(measured)[0].intervals == {}


def test_the_worst_come_first_and_are_five() -> None:
    measured = rows("a", 25, 21, None, 24, 20, 23, 22, 26)
    assert [(each.picture, each.value) for each in worst_pictures(measured)] == [
        ("4", 20),
        ("1", 21),
        ("6", 22),
        ("5", 23),
        ("3", 24),
    ]


def test_without_a_ground_truth_the_worst_are_the_least_natural() -> None:
    measured = [QualityRow("a", name, niqe=niqe) for name, niqe in (("x", 4.0), ("y", 9.0), ("z", None))]
    assert [(each.picture, each.metric) for each in worst_pictures(measured)] == [("y", "niqe"), ("x", "niqe")]


def test_outputs_without_a_figure_are_counted_once_a_metric() -> None:
    measured = [QualityRow("a", str(number), ssim=0.5, brisque=1.0) for number in range(7)]
    measured.append(QualityRow("a", "bad", failure="no room"))
    (line,) = gaps(measured)
    assert line.startswith("NIQE has no figure for 7 of 7 outputs: it takes sides of at least 192 pixels")
