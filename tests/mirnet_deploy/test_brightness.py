"""Brightness and strength: the result is what was asked for, and nothing clips."""

from __future__ import annotations

import numpy as np
import pytest
from artifacts import make_onnx

from mirnet_deploy import MIRNetRuntime, RuntimeSettings
from mirnet_deploy.brightness import finish, gain_for
from mirnet_deploy.errors import UsageError
from mirnet_deploy.pixels import MOST_GAIN, toned, unit


def dusk(dtype=np.uint8, shape=(90, 120)):
    """A smooth dark picture with a white spot and a blue cast."""
    light = np.linspace(0.02, 0.32, shape[1], dtype=np.float32) * np.ones((shape[0], 1), np.float32)
    light[10:14, 10:14] = 1.0
    values = np.stack([0.6 * light, 0.8 * light, light], axis=-1)
    if dtype == np.float32:
        return values.astype(np.float32)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return make_onnx(tmp_path_factory.mktemp("models") / "identity.onnx", "identity")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("brightness", [0.05, 0.3, 0.8])
def test_the_result_has_the_mean_that_was_asked_for(dtype, brightness, identity):
    with MIRNetRuntime(identity, brightness=brightness) as runtime:
        result = runtime.enhance_with_info(dusk(dtype))
    assert result.pixels.dtype == dtype
    assert unit(result.pixels).mean() == pytest.approx(brightness, abs=2e-3)
    assert (result.info.gain > 1) == (brightness > unit(dusk(dtype)).mean())


def test_highlights_roll_off_and_nothing_clips():
    values = np.array([[[0.1, 0.2, 0.4], [0.3, 0.6, 0.9], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]], np.float32)
    for gain in (0.2, 3.0, MOST_GAIN):
        result = toned(values, gain)
        np.testing.assert_allclose(result[0, 2:], values[0, 2:], atol=1e-6)  # black and white
        np.testing.assert_allclose(toned(result, 1 / gain), values, atol=1e-4)  # the way back
    # In the shadows the curve is the gain itself, so a colour stays; in the highlights it does next to nothing.
    np.testing.assert_allclose(toned(np.array([1e-4, 2e-4, 4e-4], np.float32), 3.0), [3e-4, 6e-4, 12e-4], rtol=1e-3)
    assert toned(np.array([0.98], np.float32), 3.0)[0] == pytest.approx(0.9932, abs=1e-3)


def test_the_curve_keeps_the_order_of_brightness():
    ramp = np.linspace(0, 1, 300, dtype=np.float32)
    for gain in (0.1, 0.5, 2.0, 30.0):
        assert (np.diff(toned(ramp, gain)) > 0).all()


def test_eight_bits_are_toned_before_they_are_rounded(identity):
    """If it were brightened after rounding, a dark ramp would keep its number of levels."""
    ramp = np.rint(np.linspace(4, 24, 400)).astype(np.uint8)[None, :, None].repeat(40, axis=0).repeat(3, axis=2)
    blurred = make_onnx(identity.parent / "blur.onnx", "blur")
    with MIRNetRuntime(blurred) as plain, MIRNetRuntime(blurred, brightness=0.4) as bright:
        dark, light = plain.enhance(ramp), bright.enhance(ramp)
    assert len(np.unique(light)) > 1.5 * len(np.unique(dark))


def test_strength_blends_with_the_input(identity):
    bright = make_onnx(identity.parent / "brighter.onnx", "brighter")
    picture = dusk()
    with MIRNetRuntime(bright) as whole, MIRNetRuntime(bright, strength=0.25) as quarter:
        full, some = whole.enhance(picture).astype(int), quarter.enhance(picture).astype(int)
    np.testing.assert_allclose(some, picture + 0.25 * (full - picture.astype(int)), atol=0.51)
    with MIRNetRuntime(bright, strength=0.0) as none:
        np.testing.assert_array_equal(none.enhance(picture), picture)


def test_brightness_and_strength_work_in_place_in_bgr_and_in_videos(identity):
    settings = {"brightness": 0.5, "strength": 0.5}
    picture = dusk()
    with MIRNetRuntime(identity, **settings) as rgb, MIRNetRuntime(identity, channel_order="bgr", **settings) as bgr:
        expected = rgb.enhance(picture)
        turned = np.ascontiguousarray(picture[..., ::-1])
        np.testing.assert_array_equal(bgr.enhance(turned, out=turned), expected[..., ::-1])
        frames = [frame.pixels for frame in rgb.frames([picture, picture])]
    for frame in frames:
        np.testing.assert_array_equal(frame, expected)
    assert unit(expected).mean() == pytest.approx(0.5 * 0.5 + 0.5 * unit(picture).mean(), abs=3e-3)


def test_black_stays_black_and_the_gain_is_bounded():
    black = np.zeros((8, 8, 3), np.uint8)
    assert gain_for(0.5, black) == pytest.approx(MOST_GAIN)
    assert finish(RuntimeSettings(brightness=0.5), black, black, black) == pytest.approx(MOST_GAIN)
    assert not black.any()


def test_the_histogram_is_fine_enough():
    rng = np.random.default_rng(0)
    picture = (rng.random((64, 64, 3), dtype=np.float32) ** 2).astype(np.float32)
    for brightness in (0.1, 0.5, 0.9):
        assert toned(picture, gain_for(brightness, picture)).mean() == pytest.approx(brightness, abs=1e-3)


def test_sinks_that_cannot_be_read_are_refused(identity):
    class Forgetful:
        shape = (90, 120, 3)

        def __setitem__(self, rows, pixels):
            pytest.fail("refused before anything is written")

    with MIRNetRuntime(identity, brightness=0.5) as runtime, pytest.raises(UsageError, match="read again"):
        runtime.enhance_into(dusk(np.uint16), Forgetful())
