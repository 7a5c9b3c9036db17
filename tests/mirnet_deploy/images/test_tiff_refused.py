"""A TIFF that is not read is refused for what it is; "damaged" is said of damage alone."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from tiff_cases import ALPHA8, EXTRA, FORMAT, GREY8, PREDICTOR, RGB8, RGB16, RGBA8, few_bits
from tiffs import page, tiff

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import read_image
from mirnet_deploy.images.tiff.bands import BandedTiff

KINDS = {
    "is CMYK; convert it to RGB first": page(RGBA8, 5),
    "is CIELab, a kind that is not read": page(RGB8, 8),
    "is LogLuv, a kind that is not read": page(RGB16, 32845),
    "has colours of kind 77, which is not read": page(RGB8, 77),
    "has 32-bit float samples": page(RGB8.astype(np.float32), more={FORMAT: (3, [3, 3, 3])}),
    "has 32-bit unsigned samples": page(RGB8.astype(np.uint32)),
    "has 8-bit signed samples": page(RGB8, more={FORMAT: (3, [2, 2, 2])}),
    "has channels of 5, 6, 5 bits": page(RGB8, more={258: (3, [5, 6, 5])}),
    "has TIFF predictor 3, which is not read": page(RGB16, compression=8, more={PREDICTOR: (3, [3])}),
    "has horizontal differences of 4-bit samples": few_bits(
        GREY8 >> 4, 4, 1, compression=5, more={PREDICTOR: (3, [2])}
    ),
    "has 4 channels and does not say what they show": page(RGBA8, 1, more={EXTRA: (3, [0, 0, 0])}),
    "has 30 channels; expected grey or RGB": page(np.dstack([RGB8] * 10)),
    "is a YCbCr TIFF in separate planes": page(RGB8, 6, planar=True),
    "is a YCbCr TIFF of 4 channels of 8 bits": page(RGBA8, 6),
    "is a TIFF with JBIG compression, a kind that is not read": page(RGB8, compression=34661),
    "is a TIFF with ThunderScan compression, a kind that is not read": page(GREY8, 1, compression=32809),
    "is a TIFF with method 4711 compression, a kind that is not read": page(RGB8, compression=4711),
    r"is a TIFF with empty strips or tiles \(a sparse one\)": page(RGB8, rows=9, more={279: (4, [0, 100, 78])}),
}
SMALL_WEBP = imagecodecs.webp_encode(RGB8[:4, :4], lossless=True)
SMALL_JPEG_2000 = imagecodecs.jpeg2k_encode(RGB8[:4, :4], reversible=True, level=0)
SHORT_JPEG = imagecodecs.jpeg_encode(RGB8, colorspace="RGB", outcolorspace="RGB")[:-200]
DAMAGED = {
    "is truncated: the JPEG ends before its end": page(RGB8, compression=7, pack=lambda _: SHORT_JPEG),
    "is damaged: the TIFF's colour map has 3 entries, expected 768": page(GREY8, 3, more={320: (3, [1, 2, 3])}),
    "is damaged: the TIFF has 2 channels, and its colours need 3": page(RGB8[..., :2]),
    "is damaged: the TIFF has 3 strips or tiles, expected 10": page(RGB8, rows=9, more={278: (4, [2])}),
    "is damaged: the TIFF does not say where its pixels are": page(RGB8, more={279: (4, [1, 2])}),
    "is damaged: the TIFF does not say how long": page(RGB8, rows=9, compression=5, counts=False),
    "is damaged: the TIFF has strips or tiles of 0x16 pixels": page(RGB8, tile=16, more={322: (4, [0])}),
    "is damaged: the TIFF's tiles are larger": page(RGB8, tile=16, more={322: (4, [9000])}),
    "is damaged: its header says 0x19 pixels": page(RGB8, more={256: (4, [0])}),
    "is truncated: a strip or tile of the TIFF ends too early": page(RGB8, more={257: (4, [20]), 278: (4, [20])}),
    "is truncated: the TIFF ends before its pixels do": page(RGB8, more={279: (4, [10**6])}),
    "is damaged: a WebP in the TIFF is not as large": page(RGB8, compression=50001, pack=lambda _: SMALL_WEBP),
    "is damaged: a JPEG 2000 in the TIFF is not as": page(RGB8, compression=34712, pack=lambda _: SMALL_JPEG_2000),
    "is damaged or cut short: it cannot be decoded": page(RGB8, compression=8, pack=lambda _: b"no Deflate data"),
    "is damaged or cut short": page(RGB8, compression=5, pack=lambda _: bytes(range(200, 250)) * 30),
}


@pytest.mark.parametrize("said", [*KINDS, *DAMAGED])
def test_the_one_line_says_what_it_is(tmp_path: Path, said: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(KINDS[said] if said in KINDS else DAMAGED[said]))
    with pytest.raises(ImageError, match=rf"a\.tif {said}") as in_memory:
        read_image(path)
    assert "\n" not in str(in_memory.value)
    assert ("damaged" in str(in_memory.value) or "truncated" in str(in_memory.value)) == (said in DAMAGED)
    with pytest.raises(ImageError, match=rf"a\.tif {said}"), BandedTiff(path, 10**6) as source:
        source[0:19]


def test_a_strip_beyond_the_limit_of_pillow_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    (tmp_path / "a.tif").write_bytes(tiff(page(RGB8, compression=5, pack=imagecodecs.lzw_encode)))
    with pytest.raises(ImageError, match=r"twice PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(tmp_path / "a.tif")


def test_an_alpha_of_few_bits_is_spread_too(tmp_path: Path) -> None:
    values = np.dstack([GREY8, ALPHA8]) >> 4
    (tmp_path / "a.tif").write_bytes(tiff(few_bits(values, 4, 1, more={EXTRA: (3, [2])})))
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, (GREY8 >> 4) * 17)
    np.testing.assert_array_equal(picture.alpha, (ALPHA8 >> 4) * 17)
