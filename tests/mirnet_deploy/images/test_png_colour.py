"""What a PNG says of its colours becomes a profile that LittleCMS takes for the same colours."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageCms
from small_files import jpeg, noise, png, smooth

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.profiles import CURVES, PRIMARIES, SRGB_CURVE, SRGB_PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image

decode = partial(decode_image, max_pixels=10**6)
P3 = PRIMARIES[12]
PROFILE = rgb_profile(P3, [(1.8,)] * 3, "a profile")


def chromaticities(points: tuple[tuple[float, float], ...]) -> bytes:
    """The body of a cHRM chunk: white first."""
    values = [round(value * 100000) for x_y in (points[3], *points[:3]) for value in x_y]
    return struct.pack(">8I", *values)


GAMMA = {value: (b"gAMA", struct.pack(">I", value)) for value in (45455, 45000, 100000, 55556, 0)}
P3_CHRM, SRGB_CHRM = (b"cHRM", chromaticities(P3)), (b"cHRM", chromaticities(SRGB_PRIMARIES))
ICCP, SRGB = (b"iCCP", b"name\0\0" + zlib.compress(PROFILE)), (b"sRGB", b"\0")


def cicp(*values: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes(values)


def light(values: np.ndarray, curve: tuple[float, ...]) -> np.ndarray:
    """Encoded values in [0, 1] -> light."""
    g, a, b, c, d = curve if len(curve) == 5 else (*curve, 1.0, 0.0, 0.0, 0.0)
    return np.where(values >= d, (a * values + b).clip(0) ** g, c * values)


def matrix(points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear RGB to XYZ (IEC 61966-2-1's way)."""
    mixed = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
    return mixed[:, :3] * np.linalg.solve(mixed[:, :3], mixed[:, 3])


def as_srgb(pixels: np.ndarray, points: tuple[tuple[float, float], ...], curve: tuple[float, ...]) -> np.ndarray:
    """What a screen shows, as sRGB in 0 to 255, worked out without profiles."""
    linear = light(pixels / 255, curve) @ (np.linalg.inv(matrix(SRGB_PRIMARIES)) @ matrix(points)).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def by_littlecms(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """Pixels of a profile as sRGB."""
    image = Image.fromarray(pixels)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    assert ImageCms.getProfileDescription(profile).strip()
    return np.asarray(
        ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB", renderingIntent=1)
    )


@pytest.mark.parametrize(
    ("chunks", "points", "curve"),
    [
        ([GAMMA[100000]], SRGB_PRIMARIES, (1.0,)),
        ([GAMMA[55556]], SRGB_PRIMARIES, (1.8,)),
        ([GAMMA[100000], P3_CHRM], P3, (1.0,)),
        ([P3_CHRM], P3, SRGB_CURVE),
        ([GAMMA[45455], P3_CHRM], P3, SRGB_CURVE),
        ([cicp(12, 13, 0, 1)], P3, SRGB_CURVE),
        ([cicp(9, 1, 0, 1)], PRIMARIES[9], SRGB_CURVE),
        ([cicp(1, 8, 0, 1)], SRGB_PRIMARIES, (1.0,)),
        ([cicp(1, 4, 0, 1)], SRGB_PRIMARIES, (2.2,)),
        ([cicp(12, 13, 0, 1), ICCP, SRGB, GAMMA[100000]], P3, SRGB_CURVE),
        ([cicp(2, 2, 0, 1), GAMMA[100000]], SRGB_PRIMARIES, (1.0,)),
    ],
)
def test_the_profile_shows_the_colours_that_the_chunks_mean(
    chunks: list[tuple[bytes, bytes]], points: tuple[tuple[float, float], ...], curve: tuple[float, ...]
) -> None:
    pixels = (smooth() // 2 + 60).astype(np.uint8)  # without the darkest, where an 8-bit table is coarse
    picture = decode(png(pixels, 2, 8, *chunks), "a")
    np.testing.assert_array_equal(picture.pixels, pixels)
    shown = by_littlecms(pixels, picture.icc)
    assert np.abs(shown - as_srgb(pixels, points, curve)).max() < 2
    assert np.abs(shown.astype(int) - pixels).max() > 2  # so that a picture without a profile would not pass


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [GAMMA[45455]],
        [GAMMA[45000]],
        [GAMMA[45455], SRGB_CHRM],
        [SRGB],
        [SRGB, GAMMA[100000], P3_CHRM],
        [cicp(1, 13, 0, 1)],
        *([cicp(1, television, 0, 1)] for television in (1, 6, 14, 15)),
        [cicp(1, 13, 0, 1), ICCP],
    ],
)
def test_srgb_needs_no_profile(chunks: list[tuple[bytes, bytes]]) -> None:
    picture = decode(png(noise(3), 2, 8, *chunks), "a")
    assert (picture.icc, picture.lost) == (None, ())


def test_a_profile_counts_before_srgb_and_gamma() -> None:
    assert decode(png(noise(3, 16), 2, 16, GAMMA[100000], SRGB, ICCP), "a").icc == PROFILE


def test_grey_has_a_grey_profile() -> None:
    grey = np.arange(100, 200, dtype=np.uint8).reshape(10, 10)
    for data in (png(grey, 0, 8, GAMMA[55556], P3_CHRM), png(np.dstack([grey, grey]), 4, 8, cicp(9, 8, 0, 1))):
        picture = decode(data, "a")
        assert picture.icc[16:20] == b"GRAY"
    shown = by_littlecms(grey, decode(png(grey, 0, 8, GAMMA[55556], P3_CHRM), "a").icc)
    assert np.abs(shown - as_srgb(grey[..., None].repeat(3, 2), SRGB_PRIMARIES, (1.8,))).max() < 2
    assert decode(png(grey, 0, 8, P3_CHRM), "a").icc is None  # primaries do not change greys


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("bits", [8, 16])
def test_hdr_is_refused(code: int, name: str, bits: int) -> None:
    line = rf"^a is an HDR picture \({name}\), which is not read"
    with pytest.raises(ImageError, match=line):
        decode(png(noise(3, bits), 2, bits, cicp(9, code, 0, 1)), "a")
    tag = b"cicp\0\0\0\0" + bytes([9, code, 0, 1])
    icc = PROFILE[:128] + (1).to_bytes(4, "big") + b"cicp" + struct.pack(">II", 144, 12) + tag
    with pytest.raises(ImageError, match=line):
        decode(png(noise(3, bits), 2, bits, (b"iCCP", b"name\0\0" + zlib.compress(icc))), "a")
    with pytest.raises(ImageError, match=line):
        decode(jpeg(icc_profile=icc), "a")


def test_a_profile_by_the_name_of_pq_is_refused() -> None:
    named = (b"iCCP", b"ITUR_2100_PQ_FULL\0\0" + zlib.compress(PROFILE))
    with pytest.raises(ImageError, match="is an HDR picture"):
        decode(png(noise(3), 2, 8, named), "a")


def test_what_a_profile_cannot_tell_is_refused() -> None:
    with pytest.raises(ImageError, match="has narrow-range samples"):
        decode(png(noise(3), 2, 8, cicp(1, 13, 0, 0)), "a")


def test_codes_that_are_not_known_are_told_and_the_next_chunk_counts() -> None:
    picture = decode(png(noise(3), 2, 8, cicp(9, 10, 0, 1), ICCP), "a")
    assert picture.icc == PROFILE
    assert picture.lost == ("its cICP chunk (colour primaries 9, transfer 10) is not known here, and is left out",)


@pytest.mark.parametrize(
    "chunk",
    [GAMMA[0], (b"gAMA", b"\0"), (b"cHRM", bytes(32)), (b"cHRM", b"\1"), cicp(1, 13, 6, 1), (b"cICP", b"\1\15")],
)
def test_colour_chunks_that_are_not_valid_are_left_out_and_told(chunk: tuple[bytes, bytes]) -> None:
    picture = decode(png(noise(3), 2, 8, chunk), "a")
    assert picture.icc is None
    assert picture.lost == (f"its {chunk[0].decode()} chunk is not valid and is left out",)


@pytest.mark.parametrize("code", PRIMARIES)
def test_white_stays_white_and_profiles_are_well_formed(code: int) -> None:
    for curve in dict.fromkeys(CURVES.values()):
        icc = rgb_profile(PRIMARIES[code], [curve] * 3, "name")
        assert len(icc) == int.from_bytes(icc[:4], "big")
        assert len(icc) % 4 == 0
        white = by_littlecms(np.full((1, 1, 3), 255, np.uint8), icc)
        assert white.min() >= 254
    grey = grey_profile((1.0,), "name")
    assert len(grey) == int.from_bytes(grey[:4], "big")
    assert Picture(noise(1), icc=grey).grey


def test_primaries_that_do_not_mix_to_white_are_an_error() -> None:
    for points in (((0.3, 0.3),) * 4, ((0.6, 0.3), (0.6, 0.3), (0.1, 0.1), (0.3, 0.3)), (*P3[:3], (0.3, 0.0))):
        with pytest.raises(ValueError, match="do not mix to white"):
            rgb_profile(points, [(1.0,)] * 3, "name")
