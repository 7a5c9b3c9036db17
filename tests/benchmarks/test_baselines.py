"""Baselines do what their names say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mirnet_deploy.benchmarks.baselines import autocontrast, baselines, clahe, equalized, gamma, msrcr


def dark(height: int = 96, width: int = 128) -> np.ndarray:
    """A noisy dark scene: a ramp, a square, a warm cast."""
    light = np.linspace(4, 40, width)[None, :, None] * np.array([1.0, 0.8, 0.6])
    scene = np.repeat(light, height, axis=0)
    scene[30:60, 40:80] *= 1.5
    noise = np.random.default_rng(0).normal(0, 1, scene.shape)
    return np.rint(np.clip(scene + noise, 0, 255)).astype(np.uint8)


def test_gamma_and_autocontrast() -> None:
    image = np.zeros((2, 128, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = np.arange(128), np.arange(128) + 64, 7
    bright = gamma(image)
    expected = [round(255 * (value / 255) ** (1 / 2.2)) for value in range(128)]
    assert bright[0, :, 0].tolist() == expected
    stretched = autocontrast(image)
    assert (stretched[..., 0].min(), stretched[..., 0].max()) == (0, 255)
    assert (stretched[..., 1].min(), stretched[..., 1].max()) == (0, 255)


def test_every_baseline_takes_a_dark_picture_and_leaves_it_unchanged() -> None:
    image = dark()
    before = image.copy()
    for each in baselines():
        result = each.enhance(image)
        assert (result.dtype, result.shape) == (np.uint8, image.shape)
        assert result.mean() > 1.5 * image.mean() or each.name in ("input", "CLAHE")
    assert np.array_equal(image, before)
    assert np.array_equal(baselines()[0].enhance(image), image)


def test_equalized_luma_is_evenly_spread() -> None:
    luma = cv2.cvtColor(equalized(dark()), cv2.COLOR_RGB2YCrCb)[..., 0]
    assert np.quantile(luma, [0.25, 0.5, 0.75]) == pytest.approx([64, 128, 191], abs=16)


def test_clahe_works_locally_and_on_lightness() -> None:
    image = dark()
    before, after = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB).astype(int) for each in (image, clahe(image)))
    gain = [after[:, cols, 0].mean() / before[:, cols, 0].mean() for cols in (slice(0, 32), slice(96, 128))]
    assert gain[0] > 1.2 * gain[1], "the dark side is raised more"
    assert abs(after[..., 1:] - before[..., 1:]).mean() < 2.5, "the colours stay as they were"


def test_retinex_evens_out_the_light() -> None:
    """A white wall under light that falls off: what Retinex is made for."""
    fall = np.exp(-np.linspace(0, 1.5, 256))[None, :, None]
    wall = np.rint(200 * np.broadcast_to(fall, (64, 256, 3))).astype(np.uint8)
    wall[:, ::16] //= 2
    result = msrcr(wall).astype(float)
    right_to_left = [each[:, 192:224].mean() / each[:, 32:64].mean() for each in (wall, result)]
    assert right_to_left[1] > 1.4 * right_to_left[0]
