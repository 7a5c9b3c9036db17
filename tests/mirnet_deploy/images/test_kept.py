"""Metadata goes from any format into any other that can hold it, and a note tells where one cannot."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from pictures import USUAL
from PIL import Image, ImageCms
from small_files import (
    IPTC,
    bmp,
    bottom_up,
    chunk,
    exif,
    jpeg,
    noise,
    orientation,
    pillow,
    png,
    png_chunks,
    smooth,
    xmp,
)

from mirnet_deploy.images.colour.conversion import Colour
from mirnet_deploy.images.formats import NAMES, Format
from mirnet_deploy.images.jpeg_metadata import LARGEST_EXIF, LARGEST_ICC, LARGEST_IPTC, LARGEST_XMP
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.profiles import PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import check_encodable, encode_image, unkept
from mirnet_deploy.jobs.making import _notes

decode = partial(decode_image, max_pixels=10**6)
encode = partial(encode_image, **USUAL)
PROFILE = rgb_profile(PRIMARIES[12], [(2.2,)] * 3, "P3")
PACKET = xmp('xmp:Rating="5" tiff:Make="Straße"')
EXIF = exif((271, 2, 6, b"Maker\0"))
FULL = Picture(smooth(), None, EXIF, PROFILE, xmp=PACKET, iptc=IPTC, resolution=(300.0, 150.0))
HOLDS = {
    "png": {"exif", "icc", "xmp", "iptc", "resolution"},
    "jpg": {"exif", "icc", "xmp", "iptc", "resolution"},
    "webp": {"exif", "icc", "xmp"},
    "bmp": {"icc", "resolution"},
}
RAW_IPTC = "\niptc\n      36\n" + (b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(IPTC)) + IPTC + b"\0").hex() + "\n"
PS_IPTC = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(IPTC)) + IPTC + b"\0"
JFIF_300 = (0xE0, b"JFIF\0\1\1\1" + struct.pack(">HH", 300, 150) + b"\0\0")
JPEG_EXIF, JPEG_XMP = (0xE1, b"Exif\0\0" + EXIF), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET)
FILES = {
    "png": png(
        smooth(),
        2,
        8,
        (b"iCCP", b"P3\0\0" + zlib.compress(PROFILE)),
        (b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
        (b"eXIf", EXIF),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET)),
        (b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(RAW_IPTC.encode())),
    ),
    "png of ImageMagick": png(
        smooth(),
        2,
        8,
        (b"iCCP", b"P3\0\0" + zlib.compress(PROFILE)),
        (b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 99\n" + EXIF.hex().encode()),
        (b"tEXt", b"Raw profile type xmp\0\nxmp\n 99\n" + PACKET.hex().encode()),
        (b"tEXt", b"Raw profile type 8bim\0" + RAW_IPTC.encode()),
    ),
    "jpg": jpeg(JFIF_300, JPEG_EXIF, JPEG_XMP, (0xED, PS_IPTC), icc_profile=PROFILE),
    "webp": pillow(smooth(), "WEBP", lossless=True, exif=b"Exif\0\0" + EXIF, xmp=PACKET, icc_profile=PROFILE),
    "bmp": bmp(24, bottom_up(smooth()[..., ::-1]), header=124, profile=PROFILE, colour=b"DEBM", dots=11811),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_holds_is_read(name: str) -> None:
    picture = decode(FILES[name], "a")
    holds = HOLDS[name.split(" ", maxsplit=1)[0]]
    assert picture.exif == (EXIF if "exif" in holds else None)
    assert picture.icc == PROFILE
    assert picture.xmp == (PACKET if "xmp" in holds else None)
    assert picture.iptc == (IPTC if "iptc" in holds else None)
    assert picture.resolution == (
        pytest.approx((300, 300 if name == "bmp" else 150), rel=1e-3) if "resolution" in holds else None
    )
    assert (picture.lost, picture.texts) == ((), ())


@pytest.mark.parametrize("kind", HOLDS)
def test_what_is_written_is_what_is_read_again_and_the_rest_is_told(kind: Format) -> None:
    again = decode(encode(FULL, kind), "a")
    for name in ("exif", "icc", "xmp", "iptc"):
        assert getattr(again, name) == (getattr(FULL, name) if name in HOLDS[kind] else None), name
    assert again.resolution == (pytest.approx((300, 150), rel=1e-4) if "resolution" in HOLDS[kind] else None)
    lost = {
        "webp": [
            "its IPTC is lost, since a WebP holds none",
            "its resolution (300 x 150 dpi) is lost, since a WebP holds none",
        ],
        "bmp": ["its EXIF, XMP and IPTC are lost, since a BMP holds none"],
    }
    assert unkept(FULL, kind) == lost.get(kind, [])
    assert _notes(FULL, Colour(), kind) == lost.get(kind, [])
    if kind != "jpg":
        np.testing.assert_array_equal(encode_and_open(FULL, kind), smooth() if kind != "webp" else again.pixels)


def encode_and_open(picture: Picture, kind: Format) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(picture, kind))).convert("RGB"))


def test_pillow_finds_what_is_written() -> None:
    for kind in ("png", "jpg"):
        info = Image.open(io.BytesIO(encode(FULL, kind))).info
        assert info["icc_profile"] == PROFILE
        assert info["xmp"] == PACKET
        assert info["dpi"] == pytest.approx((300, 150), rel=1e-4)
        assert info["exif"].removeprefix(b"Exif\0\0") == EXIF
    jpeg_info = Image.open(io.BytesIO(encode(FULL, "jpg"))).info
    assert jpeg_info["photoshop"][0x0404] == IPTC
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(FULL.icc))).strip() == "P3"


def test_16_bit_pngs_hold_the_same() -> None:
    deep = Picture(noise(3, 16), None, EXIF, PROFILE, xmp=PACKET, iptc=IPTC, resolution=(300.0, 150.0))
    again = decode(encode(deep, "png"), "a")
    assert (again.exif, again.icc, again.xmp, again.iptc) == (EXIF, PROFILE, PACKET, IPTC)
    np.testing.assert_array_equal(again.pixels, noise(3, 16))


def test_chunks_stand_where_the_standard_wants_them() -> None:
    """Profile and resolution before the pixels, each kind of chunk once, nothing behind the end."""
    kinds = [kind for kind, _ in png_chunks(encode(FULL, "png"))]
    assert kinds == [b"IHDR", b"iCCP", b"pHYs", b"eXIf", b"iTXt", b"zTXt", b"IDAT", b"IEND"]


def test_sizes_are_true_after_a_turn() -> None:
    block = exif(orientation(6), (256, 3, 1, struct.pack("<H", 30)), (257, 3, 1, struct.pack("<H", 20)))
    packet = xmp('tiff:Orientation="6" exif:PixelXDimension="30" exif:PixelYDimension="20"')
    data = jpeg((0xE1, b"Exif\0\0" + block), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    picture = decode(data, "a")
    assert (picture.width, picture.height) == (20, 30)
    with Image.open(io.BytesIO(encode(picture, "jpg"))) as image:
        assert [image.getexif()[tag] for tag in (274, 256, 257)] == [1, 20, 30]
        assert b'tiff:Orientation="1"' in image.info["xmp"]
        assert b'exif:PixelXDimension="20" exif:PixelYDimension="30"' in image.info["xmp"]


TEXTS = (
    (b"tEXt", b"Software\0GIMP"),
    (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps: 20")),
    (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Straße".encode()),
)


def test_texts_stay_in_their_own_format_and_are_told_elsewhere() -> None:
    picture = decode(png(smooth(), 2, 8, *TEXTS, TEXTS[0]), "a")
    assert picture.texts == (*TEXTS, TEXTS[0])
    written = encode(picture, "png")
    assert [each for each in png_chunks(written) if each[0][1:] in (b"EXt", b"TXt")] == [*TEXTS, TEXTS[0]]
    assert unkept(picture, "png") == []
    line = "its text (Software, parameters, Title) is lost, since it cannot be kept in {}"
    for kind in ("jpg", "webp", "bmp", "tiff"):
        assert unkept(picture, kind) == [line.format(NAMES[kind])]

    commented = decode(jpeg((0xFE, b"shot by A"), (0xFE, b"\xff\xfe")), "a")
    assert (
        decode(encode(commented, "jpg"), "a").texts
        == commented.texts
        == ((b"COM", b"shot by A"), (b"COM", b"\xff\xfe"))
    )
    assert unkept(commented, "png") == ["its text (comment) is lost, since it cannot be kept in a PNG"]
    assert chunk(b"COM ", b"shot by A") not in encode(commented, "png")


def test_what_is_too_long_for_a_jpeg_is_told_and_what_just_fits_is_kept() -> None:
    def picture(block: int, profile: int, packet: int, iptc: int) -> Picture:
        filled = xmp('tiff:Make="x"')
        filled = filled.replace(b'"x"', b'"' + b"x" * (packet - len(filled) + 1) + b'"')
        filling = exif((271, 2, block - 28, b"M".ljust(block - 28, b"\0")))
        icc, iptc_block = PROFILE.ljust(profile, b"\0"), b"\x1c\x02\x78" + bytes(iptc - 3)
        return Picture(smooth(), exif=filling.ljust(block, b"\0"), icc=icc, xmp=filled, iptc=iptc_block)

    most = {"ICC profile": LARGEST_ICC, "EXIF": LARGEST_EXIF, "XMP": LARGEST_XMP, "IPTC": LARGEST_IPTC}
    fits = picture(LARGEST_EXIF, LARGEST_ICC, LARGEST_XMP, LARGEST_IPTC)
    again = decode(encode(fits, "jpg"), "a")
    assert (again.exif, again.icc, again.xmp, again.iptc) == (fits.exif, fits.icc, fits.xmp, fits.iptc)
    assert unkept(fits, "jpg") == []
    long = picture(LARGEST_EXIF + 1, LARGEST_ICC + 1, LARGEST_XMP, LARGEST_IPTC + 1)
    long = replace(long, xmp=bytes(LARGEST_XMP + 1))  # no XMP that could be parted
    check_encodable(long, "jpg", allow_8_bit=False)
    again = decode(encode(long, "jpg"), "a")
    assert (again.exif, again.icc, again.xmp, again.iptc) == (None, None, None, None)
    assert unkept(long, "jpg") == [
        f"its {name} of {size + 1} bytes is lost, since a JPEG holds {size}" for name, size in most.items()
    ]


def test_a_grey_profile_where_there_are_always_three_channels_is_told() -> None:
    grey = Picture(noise(1), icc=grey_profile((2.2,), "grey"))
    for kind in ("webp", "bmp"):
        assert unkept(grey, kind) == [f"its grey ICC profile is lost, since {NAMES[kind]} holds those of RGB alone"]
    assert unkept(grey, "png") == []
    damaged = Picture(smooth(), icc=PROFILE[:36] + bytes(4) + PROFILE[40:])  # without a profile's signature
    assert unkept(damaged, "bmp") == ["its ICC profile is lost, since a BMP holds those of RGB alone"]
    assert unkept(damaged, "webp") == []


def test_a_resolution_that_exif_states_too_is_not_lost_in_a_webp() -> None:
    block = exif((282, 5, 1, struct.pack("<II", 300, 1)))
    assert unkept(Picture(smooth(), exif=block, resolution=(300.0, 300.0)), "webp") == []


@pytest.mark.parametrize(
    ("resolution", "unit", "dots"),
    [((300.0, 300.0), 1, (300, 300)), ((299.72, 299.72), 2, (118, 118)), ((72.009, 72.009), 1, (72, 72))],
)
def test_a_jpegs_density_is_in_the_unit_that_fits(
    resolution: tuple[float, float], unit: int, dots: tuple[int, int]
) -> None:
    data = encode(Picture(smooth(), resolution=resolution), "jpg")
    assert struct.unpack_from(">BHH", data, 13) == (unit, *dots)


@pytest.mark.parametrize("dots", [11811, 2835, 1, 99999])
def test_a_resolution_in_dots_per_metre_is_kept_exactly(dots: int) -> None:
    picture = decode(png(smooth(), 2, 8, (b"pHYs", struct.pack(">IIB", dots, dots + 1, 1))), "a")
    assert (b"pHYs", struct.pack(">IIB", dots, dots + 1, 1)) in png_chunks(encode(picture, "png"))
    assert struct.unpack_from("<ii", encode(picture, "bmp"), 38) == (dots, dots + 1)
