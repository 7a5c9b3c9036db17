"""PSNR, SSIM and GT-mean against computations without scikit-image; FLIP where its definition says what it is."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError, MissingDependencyError, UsageError
from mirnet_deploy.metrics import PIXELS_PER_DEGREE, flip, gt_mean, psnr, ssim


def noisy_pair(
    seed: int, height: int = 40, width: int = 56, noise: float = 12
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0:height, 0:width]
    base = np.stack([rows * 4 % 200, cols * 3 % 220, (rows + cols) * 2 % 180], axis=2) + 20
    target = np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8)
    output = np.clip(target + rng.normal(3, noise, base.shape), 0, 255).astype(np.uint8)
    return output, target


def ssim_by_torch(output: NDArray[np.uint8], target: NDArray[np.uint8], data_range: float) -> float:
    """SSIM of Wang et al., as a valid 11x11 convolution in float64."""
    import torch

    offsets = torch.arange(11, dtype=torch.float64) - 5
    row = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = torch.outer(row, row)[None, None] / row.sum() ** 2
    x, y = (torch.from_numpy(a).double().permute(2, 0, 1)[:, None] for a in (output, target))

    def mean(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(z, window)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return float((((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("data_range", [255, 1.0])
def test_psnr_follows_its_formula(seed: int, data_range: float) -> None:
    output, target = noisy_pair(seed)
    mse = sum((int(a) - int(b)) ** 2 for a, b in zip(output.flat, target.flat, strict=True)) / output.size
    assert psnr(output, target, data_range=data_range) == pytest.approx(10 * math.log10(data_range**2 / mse), abs=1e-6)


def test_psnr_of_one_level_everywhere_is_48_dot_13_db() -> None:
    target = np.full((5, 7, 3), 100, np.uint8)
    assert psnr(target + np.uint8(1), target, data_range=255) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_does_not_wrap_around_in_8_bits() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white, data_range=255) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [2, 40])
def test_ssim_is_that_of_wang_et_al_with_an_11x11_window(seed: int, noise: float) -> None:
    output, target = noisy_pair(seed, noise=noise)
    assert ssim(output, target, data_range=255) == pytest.approx(ssim_by_torch(output, target, 255), abs=1e-9)


def test_ssim_at_the_size_of_its_window() -> None:
    output, target = noisy_pair(1, height=11, width=11)
    assert ssim(output, target, data_range=255) == pytest.approx(ssim_by_torch(output, target, 255), abs=1e-9)


def test_ssim_of_two_constants_is_the_luminance_term() -> None:
    target, output = np.full((16, 16, 3), 200, np.uint8), np.full((16, 16, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 200 * 100 + c1) / (200**2 + 100**2 + c1)
    assert ssim(output, target, data_range=255) == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_equal_pictures() -> None:
    picture, _ = noisy_pair(0)
    assert psnr(picture, picture.copy(), data_range=255) == math.inf
    assert ssim(picture, picture.copy(), data_range=255) == pytest.approx(1.0)
    assert np.array_equal(gt_mean(picture, picture), picture)


def test_gt_mean_scales_all_channels_by_one_factor_clips_and_rounds() -> None:
    output = np.zeros((2, 2, 3), np.uint8)
    output[0, 0], output[1, 1] = (10, 20, 30), (100, 0, 200)  # mean 30
    target = np.full((2, 2, 3), 75, np.uint8)  # factor 2.5
    expected = np.zeros((2, 2, 3), np.uint8)
    expected[0, 0], expected[1, 1] = (25, 50, 75), (250, 0, 255)
    result = gt_mean(output, target)
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected)


def test_gt_mean_of_a_darker_copy_is_the_target_to_rounding() -> None:
    _, target = noisy_pair(2)
    dark = (target // 4 * 2).astype(np.uint8)
    assert abs(float(gt_mean(dark, target).mean()) - float(target.mean())) < 0.5
    assert psnr(gt_mean(dark, target), target, data_range=255) > psnr(dark, target, data_range=255) + 20


@pytest.mark.filterwarnings("error")
def test_gt_mean_of_black_stays_black() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    assert not gt_mean(black, np.full_like(black, 90)).any()


BAD_PAIRS = {
    "shapes": (np.zeros((12, 12, 3), np.uint8), np.zeros((12, 13, 3), np.uint8)),
    "dtype": (np.zeros((12, 12, 3), np.float32), np.zeros((12, 12, 3), np.uint8)),
    "grey": (np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)),
    "alpha": (np.zeros((12, 12, 4), np.uint8), np.zeros((12, 12, 4), np.uint8)),
    "empty": (np.zeros((0, 12, 3), np.uint8), np.zeros((0, 12, 3), np.uint8)),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_pictures_of_another_kind_are_refused_with_their_shape(name: str) -> None:
    output, target = BAD_PAIRS[name]
    for call in (lambda: psnr(output, target, data_range=255), lambda: gt_mean(output, target)):
        with pytest.raises(ImageError, match=r"12.*metrics take"):
            call()
    with pytest.raises(ImageError, match="metrics take"):
        ssim(output, target, data_range=255)


def test_a_picture_smaller_than_the_window_has_psnr_but_no_ssim() -> None:
    output, target = noisy_pair(0, height=10, width=30)
    assert math.isfinite(psnr(output, target, data_range=255))
    with pytest.raises(ImageError, match=r"30x10 has no SSIM: its window is 11x11"):
        ssim(output, target, data_range=255)


def test_data_range_is_never_guessed() -> None:
    output, target = noisy_pair(0)
    for metric in (psnr, ssim):
        with pytest.raises(TypeError, match="data_range"):
            metric(output, target)  # type: ignore[call-arg]
        with pytest.raises(UsageError, match="data_range is 0"):
            metric(output, target, data_range=0)


def test_without_scikit_image_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    output, target = noisy_pair(0)
    with pytest.raises(MissingDependencyError, match=r"mirnet-deploy\[bench\]"):
        psnr(output, target, data_range=255)


def of_one_colour(*colour: int) -> NDArray[np.uint8]:
    return np.full((24, 32, 3), colour, np.uint8)


def test_flip_is_0_for_equal_pictures_and_1_between_blue_and_green() -> None:
    """The largest difference of two colours of sRGB is that of blue and green, by which the paper scales."""
    blue, green = of_one_colour(0, 0, 255), of_one_colour(0, 255, 0)
    assert flip(blue, blue) == 0
    assert flip(blue, green) == pytest.approx(1, abs=1e-5)
    assert flip(of_one_colour(0, 0, 0), of_one_colour(255, 255, 255)) == pytest.approx(0.9674, abs=1e-3)


def test_flip_is_that_of_the_package_on_the_same_pictures() -> None:
    import flip_evaluator

    output, target = noisy_pair(1)
    parameters = {"ppd": PIXELS_PER_DEGREE}
    test, reference = (picture.astype(np.float32) / 255 for picture in (output, target))
    _, expected, _ = flip_evaluator.evaluate(reference, test, "LDR", parameters=parameters)
    assert 0.01 < expected < 0.5
    assert flip(output, target) == pytest.approx(expected, rel=1e-4)


def test_flip_sees_less_where_pixels_are_small() -> None:
    """A pattern that the eye cannot resolve at 67 pixels per degree counts less than a grey of the same PSNR."""
    rng = np.random.default_rng(0)
    target = of_one_colour(128, 128, 128)
    signs = rng.integers(0, 2, (24, 32, 1)) * 2 - 1
    fine = (target.astype(int) + 12 * signs).astype(np.uint8)
    plain = (target + 12).astype(np.uint8)
    assert psnr(fine, target, data_range=255) == pytest.approx(psnr(plain, target, data_range=255))
    assert flip(fine, target) < flip(plain, target)


def test_flip_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    picture = of_one_colour(1, 2, 3)
    with pytest.raises(MissingDependencyError, match=r'flip-evaluator.*pip install "mirnet-deploy\[bench\]"'):
        flip(picture, picture)
