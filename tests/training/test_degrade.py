"""Darkened photographs: the stated steps in the stated order."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.training import degrade as module
from mirnet_deploy.training.degrade import degrade, linear_to_srgb, srgb_to_linear


def test_srgb_curve_is_the_standards() -> None:
    """Anchors of IEC 61966-2-1, and the way back."""
    values = np.array([0.0, 0.04045, 0.5, 1.0], dtype=np.float32)
    np.testing.assert_allclose(srgb_to_linear(values), [0, 0.0031308, 0.21404114, 1], atol=1e-6)
    ramp = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(ramp)), ramp, atol=1e-5)


def test_the_result_lies_on_the_8_bit_grid_and_is_dark() -> None:
    image = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    for seed in range(10):
        low = degrade(image, np.random.default_rng(seed))
        assert low.dtype == np.float32
        levels = low * 255
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert low.mean() < image.mean()


def test_same_generator_same_picture() -> None:
    image = np.full((8, 8, 3), 0.5, dtype=np.float32)
    a, b = (degrade(image, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_noise_follows_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shot noise: in linear light its variance grows with the signal."""
    monkeypatch.setattr(module, "STOPS", (2.0, 2.0))
    monkeypatch.setattr(module, "WHITE_BALANCE", 0.0)
    monkeypatch.setattr(module, "UNEVEN", 0.0)
    monkeypatch.setattr(module, "SHOT_NOISE", (1e-3, 1e-3))
    variances = []
    for level in (0.5, 1.0):
        flat = np.full((200, 200, 3), level, dtype=np.float32)
        light = srgb_to_linear(degrade(flat, np.random.default_rng(1)))
        expected = srgb_to_linear(flat).mean() / 4
        assert light.mean() == pytest.approx(expected, rel=0.02)
        variances.append(light.var())
    assert variances[1] / variances[0] == pytest.approx(1 / srgb_to_linear(np.float32([0.5]))[0], rel=0.15)


def test_uneven_light_leaves_lit_places_as_they_are_and_darkens_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNEVEN", 1.0)
    monkeypatch.setattr(module, "STOPS", (5.0, 5.0))
    monkeypatch.setattr(module, "WHITE_BALANCE", 0.0)
    monkeypatch.setattr(module, "SHOT_NOISE", (1e-6, 1e-6))
    flat = np.full((96, 96, 3), 0.7, dtype=np.float32)
    for seed in range(5):
        low = degrade(flat, np.random.default_rng(seed))
        assert low.max() > 0.65
        assert low.min() < 0.25
        steps = np.abs(np.diff(low.mean(axis=2), axis=1))
        assert steps.max() < 0.2, "the light must fall off smoothly"
