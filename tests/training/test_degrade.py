"""Darkened photographs: each step by itself."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.training import degrade as module
from mirnet_deploy.training.degrade import degrade, linear_to_srgb, srgb_to_linear


def test_the_srgb_curve_is_that_of_the_standard() -> None:
    """Values from IEC 61966-2-1, and the way back."""
    values = np.array([0.0, 0.04045, 0.5, 1.0], dtype=np.float32)
    np.testing.assert_allclose(srgb_to_linear(values), [0, 0.0031308, 0.21404114, 1], atol=1e-6)
    ramp = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(ramp)), ramp, atol=1e-5)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four stops of underexposure and nothing else; each test turns on the step that it checks."""
    values = {
        "STOPS": (4.0, 4.0),
        "BRIGHTER": (0.0, 0.0),
        "GOOD": 0.0,
        "UNEVEN": 0.0,
        "WHITE_BALANCE": 0.0,
        "SHOT_NOISE": (1e-6, 1e-6),
    }
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)
    return monkeypatch


def test_the_result_lies_on_the_8_bit_grid_and_is_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GOOD", 0.0)
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    for seed in range(20):
        low, target = degrade(image, np.random.default_rng(seed))
        assert low.dtype == target.dtype == np.float32
        levels = low * 255
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert low.mean() < target.mean()
        assert target.min() >= 0
        assert target.max() <= 1


def test_equal_generators_give_equal_pictures() -> None:
    image = np.full((8, 8, 3), 0.5, dtype=np.float32)
    for seed in range(10):
        first, second = (degrade(image, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_without_headroom_the_target_is_the_picture(plain: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    np.testing.assert_allclose(degrade(image, np.random.default_rng(0))[1], image, atol=1e-5)


def test_a_target_is_brightened_until_it_would_clip(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(module, "BRIGHTER", (1.0, 1.0))
    dull, bright = np.full((16, 16, 3), 0.4, dtype=np.float32), np.full((16, 16, 3), 0.9, dtype=np.float32)
    expected = linear_to_srgb(2 * srgb_to_linear(dull))
    np.testing.assert_allclose(degrade(dull, np.random.default_rng(0))[1], expected, atol=1e-5)
    np.testing.assert_allclose(degrade(bright, np.random.default_rng(0))[1], 1.0, atol=1e-5)


def test_a_good_picture_is_bright_and_its_own_target(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(module, "GOOD", 1.0)
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32) * 0.6
    low, target = degrade(image, np.random.default_rng(0))
    np.testing.assert_allclose(low, target, atol=0.02)
    assert target.max() == pytest.approx(1.0)


def test_shot_noise_grows_with_light(plain: pytest.MonkeyPatch) -> None:
    """In linear light, the variance of shot noise grows with the signal."""
    plain.setattr(module, "STOPS", (2.0, 2.0))
    plain.setattr(module, "SHOT_NOISE", (1e-3, 1e-3))
    variances = []
    for level in (0.5, 1.0):
        flat = np.full((200, 200, 3), level, dtype=np.float32)
        light = srgb_to_linear(degrade(flat, np.random.default_rng(1))[0])
        expected = srgb_to_linear(flat).mean() / 4
        assert light.mean() == pytest.approx(expected, rel=0.02)
        variances.append(light.var())
    assert variances[1] / variances[0] == pytest.approx(1 / srgb_to_linear(np.float32([0.5]))[0], rel=0.15)


def test_uneven_light_shows_both_ends_in_every_picture(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(module, "UNEVEN", 1.0)
    flat = np.full((96, 96, 3), 0.7, dtype=np.float32)
    dark = linear_to_srgb(srgb_to_linear(np.float32([0.7])) / 16)[0]
    for seed in range(10):
        low, _ = degrade(flat, np.random.default_rng(seed))
        assert low.max() == pytest.approx(0.7, abs=0.02)
        assert low.min() == pytest.approx(dark, abs=0.02)
        steps = np.abs(np.diff(low.mean(axis=2), axis=1))
        assert steps.max() < 0.2, "the light falls off smoothly"
