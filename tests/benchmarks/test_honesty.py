"""The two traps are found, and errors of brightness are told from all others."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.benchmarks.honesty import RANGE_TRAP, claim_line, explained_lines
from mirnet_deploy.benchmarks.quality import QualityMean, mean_rows, measure_picture
from mirnet_deploy.metrics import psnr


def mean_of(*outputs: np.ndarray, target: np.ndarray) -> QualityMean:
    (mean,) = mean_rows([measure_picture("e", str(number), output, target) for number, output in enumerate(outputs)])
    return mean


@pytest.fixture
def target() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 180, (32, 32, 3), dtype=np.uint8)


def test_an_error_of_brightness_alone_is_reported_as_one(target: np.ndarray) -> None:
    darker = np.rint(target * 0.8).astype(np.uint8)
    mean = mean_of(darker, target=target)
    assert mean.brightness_share == pytest.approx(1, abs=0.01)
    assert mean.brightness_psnr == pytest.approx(mean.psnr, abs=0.1)
    assert explained_lines([mean]) == [
        f"e: 100 % of the squared error behind its plain PSNR is brightness alone; where it is off, a picture "
        f"perfect but for that would have {mean.brightness_psnr:.2f} dB"
    ]


def test_noise_at_the_right_brightness_is_not_an_error_of_brightness(target: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 12, target.shape)
    noisy = np.rint(target + noise - noise.mean()).clip(0, 255).astype(np.uint8)
    mean = mean_of(noisy, target=target)
    assert abs(mean.brightness_share or 0) < 0.02
    assert mean.brightness_psnr is None or mean.brightness_psnr > 45


def test_the_share_is_of_all_pictures_together(target: np.ndarray) -> None:
    """One picture is off in brightness, another has as much squared error in noise: the share is a half."""
    darker = np.rint(target * 0.9).astype(np.uint8)
    wrong = float(((darker.astype(float) - target) ** 2).mean())
    noise = np.random.default_rng(2).normal(0, wrong**0.5, target.shape)
    noisy = np.rint(target + noise - noise.mean()).clip(0, 255).astype(np.uint8)
    assert mean_of(darker, noisy, target=target).brightness_share == pytest.approx(0.5, abs=0.03)


def test_a_data_range_of_255_on_values_in_0_to_1_is_detected(target: np.ndarray) -> None:
    darker = np.rint(target * 0.7).astype(np.uint8)
    mean = mean_of(darker, target=target)
    wrong = 10 * np.log10(255**2 / ((darker / 255 - target / 255) ** 2).mean())
    assert wrong == pytest.approx(psnr(darker, target, data_range=255) + RANGE_TRAP)
    assert "WARNING" in claim_line(wrong, mean)
    assert "a data range of 255 on values in [0, 1]" in claim_line(wrong, mean)
    assert f"plain PSNR of {mean.psnr:.2f} dB" in claim_line(wrong, mean)


@pytest.mark.parametrize(
    ("claimed", "said"),
    [
        (21.79, "it is the plain PSNR"),
        (21.6, "it is the plain PSNR"),
        (26.53, "WARNING: it is the GT-mean PSNR, which uses the target; the plain one is 21.79 dB"),
        (69.92, "WARNING: it is the plain PSNR of 21.79 dB and 48.13 dB more"),
        (74.66, "both traps; the plain one is 21.79 dB"),
        (24.1, "none of the figures"),
    ],
)
def test_a_claimed_figure_is_identified(claimed: float, said: str) -> None:
    mean = QualityMean("lite", 43, 43, 0, 21.79, 0.83, 26.53, 0.87, 22.9, 0.6)
    assert claim_line(claimed, mean).startswith(f"claimed {claimed:.2f} dB for lite: ")
    assert said in claim_line(claimed, mean)


@pytest.mark.parametrize("gt_mean", [25.0, 25.1])
def test_a_claim_near_both_figures_counts_as_the_plain_psnr(gt_mean: float) -> None:
    mean = QualityMean("lite", 43, 43, 0, 25.0, 0.83, gt_mean, 0.87, None, 0.0)
    assert claim_line(25.08, mean) == "claimed 25.08 dB for lite: it is the plain PSNR"


def test_an_engine_without_figures_cannot_be_compared() -> None:
    mean = QualityMean("e", 0, 1, 0, None, None, None, None, None, None)
    assert "no figure" in claim_line(20.0, mean)
    assert explained_lines([mean]) == []
