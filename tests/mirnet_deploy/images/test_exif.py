"""EXIF is made true of the upright picture, and counts where nothing else says the same."""

from __future__ import annotations

import struct
from functools import partial

import numpy as np
import pytest
from pictures import USUAL
from small_files import exif, jpeg, noise, orientation, png, smooth

from mirnet_deploy.images.exif import has_maker_notes, resolution_of
from mirnet_deploy.images.ifd import Field, movable_fields, pack_block
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.profiles import adobe_rgb_profile
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import encode_image

decode = partial(decode_image, max_pixels=10**6)
encode = partial(encode_image, **USUAL)
JFIF_72 = (0xE0, b"JFIF\0\1\1\1" + struct.pack(">HH", 72, 72) + b"\0\0")


def dots(across: int, down: int, order: str = "<") -> list[tuple[int, int, int, bytes]]:
    return [(tag, 5, 1, struct.pack(f"{order}II", value, 1)) for tag, value in ((282, across), (283, down))]


def unit(code: int) -> tuple[int, int, int, bytes]:
    return 296, 3, 1, struct.pack("<H", code)


def shot(block: bytes, *segments: tuple[int, bytes], **options: object) -> Picture:
    return decode(jpeg(*segments, (0xE1, b"Exif\0\0" + block), **options), "a.jpg")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turn_exchanges_the_resolutions_of_exif(turn: int) -> None:
    picture = shot(exif(orientation(turn), *dots(300, 150)))
    wanted = (150.0, 300.0) if turn > 4 else (300.0, 150.0)
    assert picture.exif is not None
    assert resolution_of(picture.exif) == picture.resolution == wanted
    assert decode(encode(picture, "tiff"), "a.tif").resolution == wanted


@pytest.mark.parametrize(("code", "factor"), [(2, 1.0), (3, 2.54)])
def test_the_resolution_of_exif_counts_where_no_other_is(code: int, factor: float) -> None:
    block = exif(*dots(118, 118), unit(code))
    for picture in (shot(block), decode(png(smooth(), 2, 8, (b"eXIf", block)), "a.png")):
        assert picture.resolution == pytest.approx((118 * factor,) * 2)
        assert picture.exif == block
    dots_a_metre = round(118 * factor / 0.0254)
    assert struct.unpack_from("<ii", encode(shot(block), "bmp"), 38) == (dots_a_metre, dots_a_metre)
    assert shot(exif(*dots(118, 118), unit(1))).resolution is None
    assert shot(exif(*dots(0, 118))).resolution is None


def test_where_two_resolutions_differ_exif_becomes_what_viewers_use() -> None:
    for code, wanted in ((2, (72.0, 72.0)), (3, (72.0, 72.0))):
        picture = shot(exif(*dots(300, 300), unit(code)), JFIF_72)
        assert picture.exif is not None
        assert picture.resolution == wanted
        assert resolution_of(picture.exif) == pytest.approx(wanted, rel=1e-4)
    rounded = exif(*dots(72, 72))
    near = decode(png(smooth(), 2, 8, (b"eXIf", rounded), (b"pHYs", struct.pack(">IIB", 2800, 2800, 1))), "a.png")
    assert near.exif == rounded


def dcf(index: bytes, space: int, *, note: bytes = b"") -> bytes:
    """A block of a camera, with an interoperability directory."""
    inner = {
        0xA001: Field(3, 1, struct.pack("<H", space)),
        40965: Field(4, 1, {1: Field(2, 4, index)}),
    }
    if note:
        inner[37500] = Field(7, len(note), note)
    return pack_block({271: Field(2, 6, b"Maker\0"), 34665: Field(4, 1, inner)}, "<")


def test_adobe_rgb_that_exif_alone_tells_becomes_a_profile() -> None:
    colours, grey = adobe_rgb_profile(grey=False), adobe_rgb_profile(grey=True)
    block = dcf(b"R03\0", 65535)
    assert shot(block).icc == colours
    assert shot(block, pixels=noise(1)).icc == grey
    assert shot(dcf(b"R98\0", 65535)).icc is None
    assert shot(dcf(b"R03\0", 1)).icc is None
    assert shot(block, icc_profile=grey).icc == grey
    tiff = encode(Picture(smooth(), exif=block), "tiff")
    assert decode(tiff, "a.tif").icc == colours
    assert decode(png(smooth(), 2, 8, (b"eXIf", block)), "a.png").icc is None  # a PNG without a word is sRGB
    fixed = np.frombuffer(
        colours, ">i4", 3, colours.index(b"XYZ \0\0\0\0", colours.index(b"XYZ \0\0\0\0", 200) + 1) + 8
    )
    assert fixed / 65536 == pytest.approx((0.60974, 0.31111, 0.01947), abs=2e-4)  # Adobe's own profile


def test_makers_notes_do_not_move_into_a_tiff() -> None:
    block = dcf(b"R98\0", 1, note=b"offsets from the start")
    assert has_maker_notes(block)
    assert not has_maker_notes(dcf(b"R98\0", 1))
    picture = shot(block)
    assert (picture.exif, picture.lost) == (block, ())
    again = decode(encode(picture, "tiff"), "a.tif")
    assert again.exif is not None
    assert not has_maker_notes(again.exif)
    assert movable_fields(again.exif)[1][271].content == b"Maker\0"
    assert again.lost == ()
