"""JPEGs and WebPs of every kind: the right pixels, and what is lost with them is told."""

from __future__ import annotations

import io
import struct
import sys
import time
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pictures import errors_of_damaged
from PIL import Image
from small_files import (
    HEIGHT,
    IPTC,
    WIDTH,
    decoded,
    exif,
    jpeg,
    noise,
    orientation,
    pillow,
    png,
    resources,
    smooth,
    with_segments,
    xmp,
)

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images.profiles import PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image

decode = partial(decode_image, max_pixels=10**6)
APP0, APP1, APP2, APP11, APP13, COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xFE
EXIF, XMP, EXTENDED = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PROFILE = rgb_profile(PRIMARIES[12], [(2.2,)] * 3, "P3") + np.random.default_rng(2).bytes(200_000)
PARTS = [PROFILE[start : start + 65519] for start in range(0, len(PROFILE), 65519)]
SEGMENTS = [(APP2, b"ICC_PROFILE\0" + bytes([n, len(PARTS)]) + part) for n, part in enumerate(PARTS, 1)]
PLAIN = jpeg()
PIXELS = decoded(PLAIN)
TURNED = np.rot90(PIXELS, -1)
FULL = exif(orientation(6), (37500, 7, 65000, bytes(65000)))
JFIF = (APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0")

CASES = {
    "4:2:0": jpeg(subsampling=2),
    "progressive": jpeg(progressive=True),
    "restart markers": jpeg(restart_marker_blocks=2),
    "grey": jpeg(pixels=smooth()[..., 0], subsampling=-1),
    "red, green and blue": jpeg(keep_rgb=True),
    "1x1": jpeg(pixels=smooth()[:1, :1]),
    "1x20": jpeg(pixels=np.ascontiguousarray(smooth()[:, :1])),
    "a stray byte between segments": PLAIN.replace(b"\xff\xda", b"\0\xff\xda", 1),
    "orientation 0": jpeg((APP1, EXIF + exif(orientation(0)))),
    "no end": PLAIN[:-2],
    "half an end": PLAIN[:-1],
    "grey without end": jpeg(pixels=smooth()[..., 0], subsampling=-1)[:-2],
}


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_libjpeg(case: str) -> None:
    data = CASES[case]
    picture = decode(data, "a")
    wanted = decoded(data + b"\xff\xd9" if "end" in case else data)
    np.testing.assert_array_equal(picture.rgb(), wanted)
    assert picture.grey == ("grey" in case)
    assert picture.lost == ()


@pytest.mark.parametrize("lost", [3, 4, 9, 60])
@pytest.mark.parametrize("options", [{}, {"quality": 60}, {"subsampling": 2}])
def test_a_jpeg_without_end_and_without_all_pixels_is_refused(lost: int, options: dict[str, int]) -> None:
    for pixels in (smooth(), noise(3)):
        with pytest.raises(ImageError, match=r"^a is truncated: the JPEG ends before its end-of-image marker"):
            decode(jpeg(pixels=pixels, **options)[:-lost], "a")


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 2}])
def test_where_missing_pixels_would_not_show_no_end_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ImageError, match=r"^a is truncated"):
        decode(jpeg(**options)[:-2], "a")


@pytest.mark.parametrize(
    "data",
    [
        jpeg((APP1, EXIF + exif(orientation(6)))),
        jpeg(JFIF, (APP1, EXIF + exif(orientation(6))), JFIF, (APP1, EXIF + exif(orientation(3)))),
        jpeg((APP1, EXIF + FULL)),
    ],
    ids=["EXIF", "between two JFIFs, and one more", "a full segment"],
)
def test_orientation_is_applied(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data, "a").pixels, TURNED)


def test_exif_that_goes_on_in_a_second_segment_is_joined() -> None:
    block = exif(orientation(6), (37500, 7, 90000, bytes(range(250)) * 360))
    room = 65533 - len(EXIF)
    picture = decode(jpeg((APP1, EXIF + block[:room]), (APP1, EXIF + block[room:])), "a")
    assert picture.exif is not None
    assert len(picture.exif) == len(block)
    assert picture.exif[-90000:] == block[-90000:]


@pytest.mark.parametrize("segments", [SEGMENTS, SEGMENTS[::-1]], ids=["in order", "reversed"])
def test_a_profile_of_several_segments_is_joined(segments: list[tuple[int, bytes]]) -> None:
    picture = decode(jpeg(*segments), "a")
    assert picture.icc == PROFILE
    np.testing.assert_array_equal(picture.pixels, PIXELS)


def test_a_grey_profile_of_a_grey_jpeg_is_kept() -> None:
    icc = grey_profile((2.2,), "grey")
    data = jpeg(pixels=smooth()[..., 0], subsampling=-1, icc_profile=icc)
    assert decode(data, "a").icc == icc


@pytest.mark.parametrize(
    ("behind", "lost"),
    [
        (b"\0\0\0\x18ftypmp42" + bytes(999), ("the film of its motion photo is lost",)),
        (b"SEFH" * 9, ("36 bytes behind its end are lost",)),
        (b"\0" * 99, ()),
    ],
)
def test_what_lies_behind_the_end_is_told(behind: bytes, lost: tuple[str, ...]) -> None:
    picture = decode(PLAIN + behind, "a")
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.lost == lost


def with_frame(code: int, **changes: int) -> bytes:
    """A JPEG whose frame header has another code, or other values."""
    data = bytearray(PLAIN)
    place = data.index(b"\xff\xc0")
    data[place + 1] = code
    for name, value in changes.items():
        data[place + {"bits": 4, "channels": 9}[name]] = value
    return bytes(data)


def in_mode(mode: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth()).convert(mode).save(file, "JPEG")
    return file.getvalue()


def ramps(bits: int, channels: int = 3) -> np.ndarray[Any, Any]:
    """uint16 [40,60,C] or [40,60] over most of the range of `bits` bits."""
    y, x = np.mgrid[0:40, 0:60]
    planes = np.stack([x * 60, y * 90, (x + y) * 40], -1) * ((1 << bits) - 1) // 4095
    return np.ascontiguousarray((planes if channels == 3 else planes[..., 0]).astype(np.uint16))


def deep(bits: int, channels: int = 3, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(ramps(bits, channels), bitspersample=bits, **options))


def test_red_green_and_blue_are_not_taken_for_ycbcr() -> None:
    data = jpeg(keep_rgb=True, quality=100)
    assert b"Adobe\0\x64\0\0\0\0\0" in data  # transform 0 (Adobe's technical note 5116)
    assert np.abs(decode(data, "a").pixels.astype(int) - smooth()).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits_are_read_in_full(channels: int) -> None:
    told = [(APP1, EXIF + exif(orientation(6))), (APP1, XMP + xmp('tiff:Orientation="6"')), *SEGMENTS]
    data = deep(12, channels, level=100, subsampling="444" if channels == 3 else None)
    picture = decode(with_segments(data, *told), "a")
    assert (picture.pixels.dtype, picture.depth, picture.format) == (np.uint16, 12, "jpg")
    assert (picture.icc, picture.lost) == (PROFILE, ())
    assert b'tiff:Orientation="1"' in picture.xmp
    upright = np.rot90(ramps(12, channels), -1)
    off = np.abs(picture.pixels / 65535 - upright / 4095) * 4095
    assert off.max() <= 4  # of 4095; upper 8 bits alone would be off by up to 15
    assert off.mean() < 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_lossless_ones_of_more_than_8_bits_are_read(bits: int) -> None:
    picture = decode(deep(bits, lossless=True), "a")
    np.testing.assert_array_equal(picture.pixels, np.rint(ramps(bits) * (65535 / ((1 << bits) - 1))))
    assert picture.depth == (bits if bits < 16 else None)


def test_without_imagecodecs_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = deep(12)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingDependencyError) as caught:
        decode(data, "a.jpg")
    assert str(caught.value).startswith("a.jpg: a JPEG of 12 bits a sample needs imagecodecs")
    assert str(caught.value).endswith('pip install "mirnet-deploy[large]"')


def test_damage_of_12_bits_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    data = deep(12)
    lines = errors_of_damaged(lambda damaged: decode(damaged, "a"), data, (150, len(data) - 2), 3)
    assert lines
    assert not any("\n" in line for line in lines)
    with pytest.raises(ImageError, match=r"^a is truncated: the JPEG ends"):
        decode(data[: len(data) // 2], "a")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (with_frame(0xC3, bits=4), "is a JPEG of 4 bits a sample, which is not read"),
        (with_frame(0xC1, bits=12, channels=4), "is CMYK; convert it to RGB first"),
        (
            with_segments(deep(12, lossless=True), JFIF),
            "is a lossless JPEG of YCbCr colours, which is not read",
        ),
        (with_frame(0xC5), "is a hierarchical JPEG, which is not read"),
        (with_frame(0xCB), "is a lossless JPEG with arithmetic coding, which is not read"),
        (with_frame(0xF7), "is a JPEG-LS, which is not read"),
        (with_frame(0xC0, channels=2), "is a JPEG of 2 channels"),
        (in_mode("CMYK"), "is CMYK; convert it to RGB first"),
    ],
)
def test_kinds_that_are_not_read_are_called_that(data: bytes, line: str) -> None:
    with pytest.raises(ImageError, match=f"^a {line}") as caught:
        decode(data, "a")
    assert "damaged" not in str(caught.value)


def mpf(*kinds: int) -> bytes:
    """The index of a multi-picture file (CIPA DC-007): one entry a picture."""
    entries = b"".join(struct.pack("<IIIHH", kind, 99, 0, 0, 0) for kind in kinds)
    return b"MPF\0" + exif(
        (0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack("<I", len(kinds))), (0xB002, 7, len(entries), entries)
    )


FURTHER = "the further pictures in its file (a gain map for HDR screens, for example) are lost"
GAIN = "its gain map for HDR screens is lost"


@pytest.mark.parametrize(
    ("segments", "lost"),
    [
        ([(APP2, mpf(0x030000, 0))], (FURTHER,)),
        ([(APP2, mpf(0x030000, 0x020002))], (FURTHER,)),
        ([(APP2, mpf(0x030000, 0x010001))], ()),  # a preview of the old picture, as EXIF's thumbnail
        ([(APP1, XMP + xmp('hdrgm:Version="1.0"'))], (GAIN,)),
        ([(APP2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")], (GAIN,)),
        ([(APP2, mpf(0x030000, 0)), (APP1, XMP + xmp('hdrgm:Version="1.0"'))], (FURTHER, GAIN)),
        ([(APP1, XMP + xmp('Camera:MotionPhoto="1"'))], ("the film of its motion photo is lost",)),
        (
            [(APP1, XMP + xmp('xmpNote:HasExtendedXMP="0123"'))] + [(APP1, EXTENDED + bytes(60000))] * 2,
            ("the part of its XMP that does not fit into one segment is lost: the extension of its XMP is not whole",),
        ),
        ([(APP11, b"JP\0\1")], ("its JUMBF boxes (content credentials, for example) are lost",)),
        (
            [(APP13, b"Photoshop 3.0\0" + resources((0x0404, IPTC), (0x07D0, b"path")))],
            ("its Photoshop paths are lost",),
        ),
        ([(APP1, EXIF + b"II*\0\xff\xff\xff\x7f")], ("its EXIF is damaged and is left out",)),
        (SEGMENTS[:2], ("its colour profile is damaged and is left out",)),
        ([(APP2, b"ICC_PROFILE\0\1\1no profile")], ("its colour profile is damaged and is left out",)),
        ([(APP1, XMP + b"<x:xmpmeta")], ("its XMP is damaged, and is left out",)),
        ([(APP0, b"JFIF\0\1\1\0\0\2\0\1\0\0")], ("its pixel aspect ratio of 2:1 is lost",)),
    ],
)
def test_what_is_lost_is_told(segments: list[tuple[int, bytes]], lost: tuple[str, ...]) -> None:
    picture = decode(jpeg(*segments), "a")
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    assert picture.lost == lost


def test_iptc_in_several_segments_and_among_other_resources_is_found() -> None:
    block = resources((0x03ED, bytes(16)), (0x040C, b"thumbnail"), (0x0404, IPTC), (0x0425, bytes(16)))
    parts = [(APP13, b"Photoshop 3.0\0" + part) for part in (block[:60], block[60:])]
    assert decode(jpeg(*parts), "a").iptc == IPTC
    assert decode(jpeg((APP13, b"Photoshop 3.0\0" + block[:70])), "a").iptc is None
    assert decode(jpeg((APP13, b"Photoshop 3.0\0" + IPTC)), "a").iptc == IPTC


def test_a_motion_photo_is_not_told_of_as_one_any_more() -> None:
    picture = decode(jpeg((APP1, XMP + xmp('Camera:MotionPhoto="1" xmp:Rating="4"'))), "a")
    assert b"MotionPhoto" not in picture.xmp
    assert b'xmp:Rating="4"' in picture.xmp


@pytest.mark.parametrize(("unit", "dots", "wanted"), [(1, 300, 300), (2, 118, 299.72)])
def test_density_is_read(unit: int, dots: int, wanted: float) -> None:
    segment = (APP0, b"JFIF\0\1\1" + struct.pack(">BHH", unit, dots, dots * 2) + b"\0\0")
    assert decode(jpeg(segment), "a").resolution == pytest.approx((wanted, wanted * 2))
    turned = jpeg(segment, (APP1, EXIF + exif(orientation(6))))
    assert decode(turned, "a").resolution == pytest.approx((wanted * 2, wanted))


WEBP_PIXELS = noise(4)


@pytest.mark.parametrize("turn", [1, 6])
def test_a_lossless_webp_with_all_it_holds(turn: int) -> None:
    packet = xmp('xmp:Rating="5"')
    options = {"exif": EXIF + exif(orientation(turn)), "icc_profile": PROFILE, "xmp": packet}
    picture = decode(pillow(WEBP_PIXELS, "WEBP", lossless=True, exact=True, **options), "a")
    wanted = np.rot90(WEBP_PIXELS, -1) if turn == 6 else WEBP_PIXELS
    np.testing.assert_array_equal(np.dstack([picture.pixels, picture.alpha]), wanted)
    assert (picture.icc, picture.xmp, picture.lossless, picture.lost) == (PROFILE, packet, True, ())


def test_a_lossy_webp_is_decoded_as_by_libwebp() -> None:
    data = pillow(smooth(), "WEBP", quality=80)
    np.testing.assert_array_equal(decode(data, "a").pixels, decoded(data))


def test_an_animated_webp_is_refused() -> None:
    file = io.BytesIO()
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1].copy())]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"^a is animated"):
        decode(file.getvalue(), "a")


def test_an_orientation_in_xmp_alone_turns_nothing_and_is_told() -> None:
    """As in browsers; EXIF's, where there is one, is applied and XMP's copy of it is not told of."""
    packet = xmp('tiff:Orientation="6"')
    picture = decode(png(noise(3), 2, 8, (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet)), "a")
    np.testing.assert_array_equal(picture.pixels, noise(3))
    assert b'tiff:Orientation="1"' in picture.xmp
    assert picture.lost == ("orientation 6 stands in its XMP alone, and is not applied; it becomes 1",)
    both = decode(jpeg((APP1, EXIF + exif(orientation(6))), (APP1, XMP + packet)), "a")
    np.testing.assert_array_equal(both.pixels, TURNED)
    assert both.lost == ()
    assert (both.height, both.width) == (WIDTH, HEIGHT)


def test_fill_bytes_before_a_marker_cost_no_time() -> None:
    """They used to cost their number squared: 20 KB took 5 seconds."""
    begin = time.process_time()
    filled = PLAIN[:2] + b"\xff" * 40_000 + PLAIN[2:]
    np.testing.assert_array_equal(decode(filled, "a").pixels, PIXELS)
    with pytest.raises(ImageError, match=r"^a is (damaged|truncated)"):
        decode(PLAIN[:-2] + b"\xff" * 40_000, "a")
    assert time.process_time() - begin < 2
