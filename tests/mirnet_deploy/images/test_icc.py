"""Profiles: curves and matrices as LittleCMS has them, and nothing but one kind of error for what is damaged."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from profiles import (
    P3,
    PROFILES,
    SRGB,
    SRGB_CURVE,
    decoded,
    described,
    fixed,
    gamma,
    grey_profile,
    matrix_profile,
    pack,
    parametric,
    table,
    tables_profile,
    to_xyz,
)

from mirnet_deploy.images.colour.icc import ProfileError, read_profile
from mirnet_deploy.images.colour.spaces import space_of

CODES = np.arange(65536) / 65535
SRGB_PROFILE = imagecodecs.cms_profile("srgb")


def scene(dtype: Any = np.uint16) -> NDArray[Any]:
    """Colours of all the range, half of them in the shadows, [60,50,3]."""
    values = np.random.default_rng(0).random((60, 50, 3))
    values[::2] /= 30
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def by_littlecms(pixels: NDArray[Any], source: bytes, target: bytes) -> NDArray[np.float64]:
    """In 16 bits, relative to white."""
    how = {"intent": 1, "flags": imagecodecs.CMS.FLAGS.NOOPTIMIZE, "colorspace": "rgb", "outcolorspace": "rgb"}
    return np.asarray(imagecodecs.cms_transform(pixels, source, target, **how), np.float64)


def in_srgb(pixels: NDArray[Any], profile: bytes) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The pixels as `Space.to_srgb` has them, and which of them were left as they are by it."""
    space = space_of(read_profile(profile, grey=False), profile, int(np.iinfo(pixels.dtype).max))
    srgb, outside = space.to_srgb(pixels)
    return srgb.astype(np.float64), np.ones(pixels.shape[:2], bool) if outside is None else ~outside.where


@pytest.mark.parametrize("name", PROFILES)
def test_colours_become_srgb_as_in_littlecms(name: str) -> None:
    pixels, profile = scene(), PROFILES[name]
    srgb, inside = in_srgb(pixels, profile)
    assert inside.mean() > 0.4
    # LittleCMS rounds what lies between two points of a curve to 16 bits of linear light.
    near = 12 if name == "three curves" else 3
    assert np.abs(srgb - by_littlecms(pixels, profile, SRGB_PROFILE))[inside].max() <= near
    space = space_of(read_profile(profile, grey=False), profile, 65535)
    difference = np.abs(space.from_srgb(pixels, None) - by_littlecms(pixels, SRGB_PROFILE, profile))
    # And it undoes such a curve by a table that is coarse in the shadows.
    assert difference[pixels > (10000 if name == "three curves" else 0)].max() <= near + 1


@pytest.mark.parametrize("name", PROFILES)
def test_8_bit_colours_become_srgb_as_in_pillow(name: str) -> None:
    pixels, profile = scene(np.uint8), PROFILES[name]
    srgb, inside = in_srgb(pixels, profile)
    into = ImageCms.createProfile("sRGB")
    relative = ImageCms.Intent.RELATIVE_COLORIMETRIC
    expected = ImageCms.profileToProfile(Image.fromarray(pixels), BytesIO(profile), into, relative)
    assert np.abs(srgb / 257 - np.asarray(expected, np.float64))[inside].max() <= 1.5  # Pillow rounds to 8 bits


@pytest.mark.parametrize("name", ["Display P3", "ProPhoto"])
def test_colours_beyond_srgb_keep_their_luminance_and_come_back(name: str) -> None:
    profile = PROFILES[name]
    space = space_of(read_profile(profile, grey=False), profile, 65535)
    reds = np.zeros((1, 3, 3), np.uint16)
    reds[0, [0, 1, 2], [0, 1, 2]] = 30000
    srgb, outside = space.to_srgb(reds)
    assert outside is not None
    assert outside.where[0, :2].all()
    curve = decoded if name == "Display P3" else (lambda values: values**1.8)
    before = curve(reds / 65535) @ read_profile(profile, grey=False).to_xyz.T
    after = decoded(srgb / 65535) @ to_xyz(SRGB).T
    # All but ProPhoto's blue, which has next to no luminance
    np.testing.assert_allclose(after[0, :2, 1], before[0, :2, 1], rtol=0.002)
    np.testing.assert_allclose(space.from_srgb(srgb, outside)[0, :2], reds[0, :2], atol=60)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (table([]), CODES),
        (gamma(1.8), CODES**1.80078125),
        (table([0, 0.25, 1]), np.where(CODES < 0.5, CODES / 2, 0.25 + (CODES - 0.5) * 1.5)),
        (parametric(0, 2.5), CODES**2.5),
        (parametric(1, 2, 1.25, -0.25), np.maximum(1.25 * CODES - 0.25, 0) ** 2),
        (parametric(2, 2, 0.875, -0.125, 0.25), np.maximum(0.875 * CODES - 0.125, 0) ** 2 + 0.25),
        (SRGB_CURVE, decoded(CODES)),
        (parametric(4, 2, 0.75, 0.25, 0.5, 0.25, -0.0625, 0), np.where(CODES < 0.25, CODES / 2, np.nan)),
    ],
)
def test_curves_of_every_type(curve: bytes, expected: NDArray[np.float64]) -> None:
    if np.isnan(expected).any():
        expected = np.where(np.isnan(expected), (0.75 * CODES + 0.25) ** 2 - 0.0625, expected)
    read = read_profile(matrix_profile(SRGB, curve), grey=False).curves
    np.testing.assert_allclose(read, np.stack([expected] * 3), atol=1e-4)
    assert read_profile(grey_profile(curve), grey=True).curves.shape == (1, 65536)


@pytest.mark.parametrize("version", [2, 4])
def test_what_a_profile_calls_itself(version: int) -> None:
    assert read_profile(matrix_profile(P3, gamma(2), name="Köln", version=version), grey=False).description == (
        "Köln" if version == 4 else "KÃ¶ln"  # version 2 is ASCII
    )


def _changed(profile: bytes, place: int, value: bytes) -> bytes:
    return profile[:place] + value + profile[place + len(value) :]


P3_PROFILE = PROFILES["Display P3"]
RED, GREEN, _ = to_xyz(P3).T


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (b"", "damaged: it has no header"),
        (b"profile" * 30, "damaged: it has no header"),
        (_changed(P3_PROFILE, 8, b"\5"), "version 5"),
        (_changed(P3_PROFILE, 12, b"link"), "link"),
        (_changed(P3_PROFILE, 16, b"CMYK"), "for CMYK pictures, and this one is RGB"),
        (_changed(P3_PROFILE, 128, b"\xff\xff\xff\xff"), "table of tags is longer"),
        (P3_PROFILE[:-40], "cut short"),
        (pack(b"RGB ", described("x")), "it has no rXYZ"),
        (matrix_profile(P3, parametric(1, 2, 0, 1)), "rTRC is no curve"),
        (matrix_profile(P3, gamma(2), gamma(2), b"curv\0\0\0\0\xff\xff\xff\xff"), "bTRC is no curve"),
        (matrix_profile(P3, table([1, 0])), "rTRC does not rise"),
        (matrix_profile(P3, gamma(0)), "rTRC does not rise"),
        (P3_PROFILE.replace(fixed(*RED), fixed(*GREEN)), "primaries are no three colours"),
        (grey_profile(gamma(2)), "for GRAY pictures, and this one is RGB"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(profile: bytes, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        read_profile(profile, grey=False)


def test_damage_anywhere_is_an_error_or_another_profile() -> None:
    rng = np.random.default_rng(0)
    for profile in (P3_PROFILE, PROFILES["three curves"], tables_profile(P3, 2.2)[:2000]):
        for _ in range(150):
            data = bytearray(profile[: rng.integers(120, len(profile) + 1)])
            for place in rng.integers(0, min(len(data), 700), 4):
                data[place] = rng.integers(0, 256)
            try:
                found = read_profile(bytes(data), grey=False)
            except ProfileError:
                continue
            assert found.tables or np.isfinite(found.curves).all()
