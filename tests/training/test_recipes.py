"""Recipes are validated when they are made, and their schedules have the stated shape."""

from __future__ import annotations

from typing import Any

import pytest

from mirnet_deploy.errors import UsageError
from mirnet_deploy.training.recipes import RECIPES, Recipe


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "mse"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"batch": 0},
        {"crop": 130},
        {"crop": 8},
        {"mixup": 1.5},
        {"ema": 1.0},
        {"clip": -1.0},
        {"clip": float("nan")},
        {"schedule": "cosine"},
        {"optimizer": "sgd"},
        {"small_until": 1.5},
        {"decay": -0.1},
        {"weight_decay": -1.0},
        {"sharing": -1.0},
        {"weight_decay": 0.1, "optimizer": "adam"},
    ],
)
def test_bad_values_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))}.*expected"):
        Recipe(**change)


def test_the_trapezoid_warms_up_holds_and_falls_to_zero() -> None:
    recipe = Recipe(lr=1e-3, warmup=10, decay=0.5)
    rates = [recipe.learning_rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert all(rate == pytest.approx(1e-3) for rate in rates[9:50])
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert 0 < rates[-1] < 2e-6


def test_crops_grow_at_the_end() -> None:
    recipe = Recipe(batch=8, crop=128, small_until=0.5, large_from=0.75)
    assert recipe.crops(49, 100) == (8, 64)
    assert recipe.crops(74, 100) == (8, 128)
    assert recipe.crops(75, 100) == (2, 256)
    assert Recipe(large_from=1.0).crops(99, 100) == (8, 128)


@pytest.mark.parametrize("crop", [16, 20, 36, 128])
def test_small_crops_have_valid_sides(crop: int) -> None:
    """Their size is one that the network takes, and SSIM's window fits into it."""
    _, side = Recipe(crop=crop, small_until=1.0, large_from=1.0).crops(0, 10)
    assert side % 4 == 0
    assert 16 <= side <= max(16, crop // 2)


def test_plateau_is_the_usual_recipe() -> None:
    plateau = RECIPES["plateau"]
    assert (plateau.loss, plateau.optimizer, plateau.lr, plateau.batch) == ("charbonnier", "adam", 1e-3, 8)
    assert (plateau.schedule, plateau.small_until, plateau.large_from) == ("plateau", 0, 1)
    assert plateau.ema == plateau.synthetic == plateau.lamps == plateau.mixup == 0


def test_the_command_line_knows_the_losses_and_the_parts_of_a_recipe() -> None:
    """It has its own lists, since it does not load torch to show its help."""
    from mirnet_deploy.cli.train import command
    from mirnet_deploy.training.losses import LOSSES

    choices = next(parameter.type for parameter in command.params if parameter.name == "loss")
    assert list(getattr(choices, "choices", [])) == list(LOSSES)
    without_option = {"schedule", "warmup"}
    assert set(Recipe().to_dict()) - {parameter.name for parameter in command.params} == without_option
