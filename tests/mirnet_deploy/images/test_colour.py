"""Pictures of any colour space, to sRGB for the network and back."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms
from profiles import (
    P3,
    PROFILES,
    SRGB,
    SRGB_CURVE,
    decoded,
    gamma,
    grey_profile,
    matrix_profile,
    parametric,
    table,
    tables_profile,
)

from mirnet_deploy.images.colour.conversion import Conversion, colour_of

PAL = ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))
U8, U16 = np.dtype(np.uint8), np.dtype(np.uint16)
TABLES = tables_profile(P3, 2.2)
GREY = grey_profile(gamma(1.8))


def conversion(profile: bytes, dtype: Any = U16, **options: Any) -> Conversion:
    found = colour_of(profile, np.dtype(dtype), grey=options.pop("grey", False), **options)
    assert found.problem is None
    assert found.conversion is not None
    return found.conversion


def scene(dtype: Any) -> NDArray[Any]:
    """All colours, black, white and the primaries too, [70,40,3]."""
    values = np.random.default_rng(1).random((70, 40, 3))
    values[::2] /= 20
    values[0, :8] = [[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [U8, U16])
@pytest.mark.parametrize("profile", [*PROFILES.values(), TABLES], ids=[*PROFILES, "tables"])
def test_what_the_network_leaves_as_it_is_comes_back_bit_for_bit(profile: bytes, dtype: Any) -> None:
    pixels = scene(dtype)
    for found in (conversion(profile, dtype), conversion(profile, dtype, wide=False)):
        given = found.there(pixels)
        assert given.dtype == found.network_dtype
        back = found.back(given, pixels)
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, pixels)
    assert conversion(profile, U8, wide=False).network_dtype == U8
    assert conversion(profile, U8).network_dtype == U16


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB", "ProPhoto", "linear"])
def test_a_picture_gets_the_colours_that_it_gets_in_srgb(name: str) -> None:
    """The same scene as sRGB, and in a wide space: what a network makes of either shows the same colours."""
    found = conversion(PROFILES[name])
    srgb = np.random.default_rng(2).integers(2000, 30000, (50, 40, 3)).astype(np.uint16)
    wide = np.rint(found.space.from_srgb(srgb, None)).astype(np.uint16)
    given = found.there(wide)
    near = 40 if name == "linear" else 16  # by the rounding of the wide picture
    assert np.abs(given.astype(int) - srgb).max() <= near
    result = found.back(given * np.uint16(2), wide)
    assert np.abs(found.there(result).astype(int) - 2 * srgb.astype(int)).max() <= 2 * near


def test_a_large_picture_is_converted_in_several_bands_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    found, pixels = conversion(PROFILES["Display P3"]), scene(U16)
    given = found.there(pixels)
    result = found.back(given // 2, pixels)
    monkeypatch.setattr("mirnet_deploy.images.colour.conversion._BAND", 130)
    np.testing.assert_array_equal(found.there(pixels), given)
    np.testing.assert_array_equal(found.back(given // 2, pixels), result)


@pytest.mark.parametrize("name", ["Display P3", "ProPhoto"])
def test_saturated_colours_do_not_collapse(name: str) -> None:
    """A ramp to a primary that sRGB does not hold stays a ramp when it becomes brighter, and at its end a primary."""
    found = conversion(PROFILES[name])
    for channel in (0, 1):
        ramp = np.full((1, 64, 3), 15000, np.uint16)
        others = [each for each in range(3) if each != channel]
        ramp[..., others] = np.linspace(12000, 0, 64).astype(np.uint16)[None, :, None]
        result = found.back(np.minimum(found.there(ramp) * 2.0, 65535).astype(np.uint16), ramp).astype(int)
        saturation = 1 - result[0][:, others].max(axis=1) / result[0][:, channel]
        assert (np.diff(saturation) > -0.002).all()
        assert saturation[-1] > 0.9


OF_1998 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
SRGB_VARIANTS = {
    "parametric": matrix_profile(SRGB, SRGB_CURVE, version=4),
    "1024 points": matrix_profile(SRGB, table(decoded(np.linspace(0, 1, 1024)))),
    "26 points": matrix_profile(SRGB, table(decoded(np.linspace(0, 1, 26)))),
    "of 1998": matrix_profile(OF_1998, table(decoded(np.linspace(0, 1, 1024)))),
    "four digits": matrix_profile(OF_1998.round(4), SRGB_CURVE),
    "primaries a trace off": matrix_profile([(0.6400, 0.3302), (0.3003, 0.5997), (0.1500, 0.0601)], SRGB_CURVE),
    "of LittleCMS": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}


@pytest.mark.parametrize("name", SRGB_VARIANTS)
def test_what_is_srgb_is_left_alone(name: str) -> None:
    for dtype in (U8, U16):
        found = colour_of(SRGB_VARIANTS[name], dtype, grey=False)
        assert (found.conversion, found.problem) == (None, None)
    # An RGB profile does not fit a grey picture; but this one says what is assumed without it.
    assert colour_of(SRGB_VARIANTS[name], U8, grey=True).problem is None


@pytest.mark.parametrize(
    "profile",
    [matrix_profile(SRGB, gamma(2.2)), matrix_profile(PAL, SRGB_CURVE), matrix_profile(P3, SRGB_CURVE)],
)
def test_what_is_only_near_srgb_is_converted(profile: bytes) -> None:
    assert colour_of(profile, U8, grey=False).conversion


@pytest.mark.parametrize("dtype", [U8, U16])
def test_grey_pictures(dtype: Any) -> None:
    found, top = conversion(GREY, dtype, grey=True), np.iinfo(dtype).max
    pixels = np.arange(0, top + 1, top // 255, dtype=dtype)[None]
    given = found.there(pixels)
    assert np.abs(decoded(given / 65535) - (pixels / top) ** (461 / 256)).max() < 1e-4
    np.testing.assert_array_equal(found.back(given, pixels), pixels)
    brighter = np.full_like(given, 50000)
    expected = decoded(50000 / 65535) ** (256 / 461) * top
    assert np.abs(found.back(brighter, pixels) - expected).max() <= 2
    assert colour_of(grey_profile(SRGB_CURVE), dtype, grey=True).conversion is None


def test_profiles_that_do_not_fit_are_told_and_taken_for_srgb() -> None:
    for profile, grey, message in (
        (PROFILES["Display P3"], True, "for RGB pictures, and this one is grey"),
        (GREY, False, "for GRAY pictures, and this one is RGB"),
        (PROFILES["Adobe RGB"][:-30], False, "damaged or cut short"),
        (matrix_profile(P3, parametric(1, 2, 0, 1)), False, "rTRC is no curve"),
    ):
        found = colour_of(profile, U8, grey=grey)
        assert found.conversion is None
        assert found.problem is not None
        assert found.problem.startswith("its colours were taken for sRGB, since its ICC profile ")
        assert message in found.problem
    assert colour_of(None, U8, grey=False).to_dict() == {"profile": None, "converted": False}
    assert colour_of(PROFILES["Display P3"], U8, grey=False).to_dict() == {"profile": "Display P3", "converted": True}


def test_profiles_of_tables_mean_the_same_as_a_matrix() -> None:
    found, same = conversion(TABLES), conversion(matrix_profile(P3, gamma(2.2)))
    pixels = np.random.default_rng(3).integers(10000, 50000, (20, 30, 3)).astype(np.uint16)
    pixels[..., 1:] = pixels[..., :1] + (pixels[..., 1:] - 30000) // 10  # pale colours: here sRGB holds them all
    assert np.abs(found.there(pixels).astype(int) - same.there(pixels)).max() < 100
    result = found.there(pixels) // 4 * 3
    assert np.abs(found.back(result, pixels).astype(int) - same.back(result, pixels)).max() < 100


def test_profiles_of_tables_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    one_way = TABLES.replace(b"B2A0", b"zzzz")
    assert "LittleCMS" in str(colour_of(one_way, U8, grey=False).problem)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert 'pip install "mirnet-deploy[large]"' in str(colour_of(TABLES, U8, grey=False).problem)
    assert ImageCms.ImageCmsProfile(BytesIO(TABLES))  # LittleCMS takes it
