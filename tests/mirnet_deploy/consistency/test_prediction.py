"""The predicted error: its formula, and when it is small enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mirnet_deploy.consistency.prediction import MAX_ABS_FACTOR, PSNR_MARGIN, Prediction, predict
from mirnet_deploy.tiling import BORDER_ERROR


def test_the_limit_of_one_pixel_follows_the_tolerance_down_to_what_passes_can_reach() -> None:
    off = [BORDER_ERROR, 1.9 * BORDER_ERROR, 0.9 / 255, 9 / 255]
    kept = {t: [Prediction(150, each).within(t) for each in off] for t in (40, 60, 80, 120)}
    assert kept[40] == [True, True, True, True]
    assert kept[60] == [True, True, True, False]
    assert kept[80] == kept[120] == [True, True, False, False]
    assert not Prediction(59.9, 0).within(60)


def test_a_prediction_follows_its_formula() -> None:
    used = np.full((4, 4, 3), 0.5, np.float32)
    assert predict(used, used, 0).psnr == pytest.approx(150 - PSNR_MARGIN)
    seen = predict(used, used + np.float32(0.001), 0)
    assert seen.psnr == pytest.approx(60 - PSNR_MARGIN, abs=0.01)
    assert seen.max_abs == pytest.approx(0.001 * MAX_ABS_FACTOR + BORDER_ERROR, rel=1e-3)
    assert replace(seen, psnr=61.0).within(60)
    assert not replace(seen, psnr=61.0, max_abs=1 / 254).within(60)
    assert replace(seen, psnr=61.0, max_abs=1 / 26).within(40)
    assert replace(seen, psnr=61.0, max_abs=3.9 / 256, step=1 / 256).within(60)
    assert not replace(seen, psnr=61.0, max_abs=4.1 / 256, step=1 / 256).within(60)
    assert replace(seen, psnr=57.0, step=1 / 256).within(60), "rounding to the step alone is as much"
    assert not replace(seen, psnr=56.0, step=1 / 256).within(60)
