"""Where a scene begins: at the first frame, another size or dtype, or a change that is large for the mean light."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from artifacts import FIXTURES

from mirnet_deploy.video.scene_cuts import CUT, SceneCuts

NIGHT = cv2.imread(str(FIXTURES.parents[1] / "examples" / "night.jpg"))


def cuts(*frames: Any) -> list[bool]:
    found = SceneCuts()
    return [found.before(frame) for frame in frames]


def test_a_camera_that_moves_stays_in_its_scene() -> None:
    moved = [np.roll(NIGHT, 6 * step, axis=1) for step in range(5)]
    assert cuts(*moved) == [True, False, False, False, False]


def test_another_place_is_another_scene_in_the_dark_too() -> None:
    for dark in (1, 8):
        here, there = NIGHT // dark, NIGHT[::-1, ::-1] // dark
        assert cuts(here, here, there, there, here) == [True, False, True, False, True]


def test_another_size_or_dtype_is_another_scene() -> None:
    assert cuts(NIGHT, NIGHT[1:], NIGHT[1:], NIGHT[1:].astype(np.uint16)) == [True, True, False, True]


@pytest.mark.parametrize("part", [0.9, 1.1])
def test_the_change_counts_as_a_share_of_the_mean_light(part: float) -> None:
    """From v to v (1 + s) / (1 - s), the change is 2 s times the mean of the two."""
    share = CUT * part / 2
    first = np.full((32, 32, 3), 0.2, np.float32)
    second = first * np.float32((1 + share) / (1 - share))
    assert cuts(first, second) == [True, part > 1]


def test_black_frames_are_one_scene() -> None:
    black = np.zeros((40, 50, 3), np.uint8)
    assert cuts(black, black) == [True, False]
