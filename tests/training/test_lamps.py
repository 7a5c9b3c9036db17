"""Painted lamps: as bright in the target as in the dark picture, and no larger."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.training import lamps as module
from mirnet_deploy.training.lamps import lamp_light, paint_lamps


def scene(level: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (np.rint(np.clip(level + rng.normal(0, 0.03, (96, 128, 3)), 0, 0.8) * 255) / 255).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_white_in_the_target_that_was_not_white_before(seed: int) -> None:
    low, target = paint_lamps(scene(0.1), scene(0.6), np.random.default_rng(seed))
    assert low.dtype == target.dtype == np.float32
    assert (low[target > 254 / 255] > 0.98).all()
    assert target.min() >= 0
    assert target.max() <= 1


def test_lamps_only_add_light() -> None:
    dark, bright = scene(0.1), scene(0.6)
    for seed in range(10):
        low, target = paint_lamps(dark, bright, np.random.default_rng(seed))
        assert (low >= dark - 1e-6).all()
        assert (target >= bright - 1e-5).all()
        assert low.max() > dark.max()


def test_the_dark_picture_has_8_bit_levels() -> None:
    low, _ = paint_lamps(scene(0.1), scene(0.6), np.random.default_rng(0))
    np.testing.assert_allclose(low * 255, np.rint(low * 255), atol=1e-3)


def test_a_lamp_has_a_third_of_its_light_at_its_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    """(1 + 1) ** -1.5 of the centre's light, measured along the row through the brightest pixel."""
    for name, value in {"LIGHT": (2.0, 2.0), "RADIUS": (0.1, 0.1), "SHAPE": (2.0, 2.0), "MOST": 1}.items():
        monkeypatch.setattr(module, name, value)
    for seed in range(10):
        light = lamp_light(400, 400, np.random.default_rng(seed))[..., 1]
        top, left = np.unravel_index(light.argmax(), light.shape)
        step = 40 if left < 200 else -40
        assert light[top, left + step] / light[top, left] == pytest.approx(2**-1.5, rel=0.03)


def test_equal_generators_give_equal_lamps() -> None:
    first, second = (lamp_light(32, 48, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
