"""JPEG XL: samples of every depth come back, and the header of the codestream is followed."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from pictures import USUAL, errors_of_damaged
from PIL import Image, ImageCms

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import Picture
from mirnet_deploy.images.boxes.jxl import codestream_of
from mirnet_deploy.images.boxes.jxl_header import read_jxl_header
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.profiles import CURVES, PRIMARIES, SRGB_PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.samples import to_16_bit
from mirnet_deploy.images.writing import check_encodable, encode_image, holds_profile, unkept

imagecodecs = pytest.importorskip("imagecodecs", reason="the extra jxl is not installed")
pylibjxl = pytest.importorskip("pylibjxl", reason="the extra jxl is not installed")

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
GREY_ICC = grey_profile((2.2,), "grey")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\0\0\0\0"
NOISE = np.random.default_rng(5).integers(0, 1 << 16, (38, 46, 4), dtype=np.uint16)
EIGHT = (NOISE >> 8).astype(np.uint8)


def decode(data: bytes, name: str = "a") -> Picture:
    return decode_image(data, name, max_pixels=10**6)


def samples(bits: int, *, grey: bool, alpha: bool) -> tuple[Samples, Samples | None]:
    values = EIGHT if bits == 8 else to_16_bit(NOISE >> (16 - bits), bits)
    pixels = values[..., 0] if grey else values[..., :3]
    return np.ascontiguousarray(pixels), values[..., 3].copy() if alpha else None


def bare(values: Samples = EIGHT[..., :3], bits: int = 8) -> bytes:
    return codestream_of(imagecodecs.jpegxl_encode(np.ascontiguousarray(values), lossless=True, bitspersample=bits))


def with_header(codestream: bytes, colour: str | None = None, extra: str | None = None) -> bytes:
    """The codestream with other bits, first bit first, for its colour, or with a block of unusual fields."""
    places = read_jxl_header(codestream).places
    size = -(-places.end // 8)
    bits = "".join(f"{byte:08b}"[::-1] for byte in codestream[:size])
    first, last = places.colour
    written = bits[: places.depth[0] - 1] + ("0" if extra is None else "1" + extra)
    written += bits[places.depth[0] : first] + (bits[first:last] if colour is None else colour)
    written += ("" if extra is None else "1") + bits[last : places.end]  # the tone mapping is the usual one
    written += "0" * (-len(written) % 8)
    head = bytes(int(written[place : place + 8][::-1], 2) for place in range(0, len(written), 8))
    return head + codestream[size:]


def number(value: int, count: int) -> str:
    return f"{value:0{count}b}"[::-1]


def enum(value: int) -> str:
    if value < 2:
        return number(value, 2)
    return number(2, 2) + number(value - 2, 4) if value < 18 else number(3, 2) + number(value - 18, 6)


def colour_bits(primaries: int, transfer: str) -> str:
    """RGB with white D65, by codes."""
    return "00" + enum(0) + enum(1) + enum(primaries) + transfer + enum(1)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_returns_every_bit_of_every_depth(bits: int, grey: bool, alpha: bool) -> None:
    pixels, transparency = samples(bits, grey=grey, alpha=alpha)
    depth = bits if 8 < bits < 16 else None
    picture = Picture(pixels, transparency, EXIF, None, "jxl", xmp=XMP, depth=depth)
    data = encode_image(picture, "jxl", **USUAL)
    again = decode(data)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(again.alpha, transparency)
    assert (again.exif, again.icc, again.xmp, again.depth) == (EXIF, None, XMP, depth)
    assert again.lossless
    assert again.lost == ()
    header = read_jxl_header(codestream_of(data))
    assert (header.depth, header.floating, header.transfer) == (bits, False, 13)  # imagecodecs alone writes 8, linear


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("grey", [False, True])
def test_lossy_stays_close(bits: int, grey: bool) -> None:
    values = np.asarray(Image.fromarray(EIGHT[:5, :5, :3]).resize((160, 120), Image.Resampling.BICUBIC))
    values = values[..., 0].copy() if grey else values
    deep = values if bits == 8 else values.astype(np.uint16) * 257
    data = {
        quality: encode_image(Picture(deep, depth=bits if bits == 10 else None), "jxl", **{**USUAL, "quality": quality})
        for quality in (30, 95)
    }
    assert len(data[30]) < len(data[95])
    again = decode(data[95])
    assert not again.lossless
    assert again.pixels.dtype == deep.dtype
    assert np.sqrt(np.mean((again.to_8_bit().pixels - values.astype(float)) ** 2)) < 4
    theirs = imagecodecs.jpegxl_decode(data[95])  # what other programs see
    scale = {8: 1, 10: 1023 / 255, 16: 257}[bits]
    assert np.sqrt(np.mean((theirs / scale - values) ** 2)) < 4


def test_a_profile_is_kept_and_makes_it_lossless() -> None:
    picture = Picture(EIGHT[..., :3].copy(), EIGHT[..., 3].copy(), icc=ICC)
    again = decode(encode_image(picture, "jxl", **USUAL))
    assert again.icc == ICC
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    np.testing.assert_array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Picture(NOISE[..., :3].copy(), icc=ICC), "a JPEG XL of more than 8 bits is written without one"),
        (Picture(NOISE[..., 0].copy(), icc=GREY_ICC), "a JPEG XL of more than 8 bits is written without one"),
        (
            Picture(EIGHT[..., 0].copy(), EIGHT[..., 1].copy(), icc=GREY_ICC),
            "a JPEG XL of grey with transparency is written without one",
        ),
        (Picture(EIGHT[..., 0].copy(), icc=ICC), "libjxl does not take it for grey"),
        (Picture(EIGHT[..., :3].copy(), icc=GREY_ICC), "libjxl does not take it for RGB"),
        (Picture(EIGHT[..., :3].copy(), icc=ICC[:-30]), "libjxl does not take it for RGB"),
        (Picture(EIGHT[..., :3].copy(), EIGHT[..., 3].copy(), icc=LAB_ICC), "libjxl does not take it for RGB"),
    ],
)
def test_a_profile_that_cannot_be_written_is_told_before_the_work_and_left_out(picture: Picture, reason: str) -> None:
    check_encodable(picture, "jxl", allow_8_bit=False)
    assert not holds_profile(picture, "jxl")
    assert unkept(picture, "jxl") == [f"its ICC profile is lost, since {reason}"]
    again = decode(encode_image(replace(picture, format="jxl"), "jxl", **USUAL))
    assert again.icc is None
    np.testing.assert_array_equal(again.pixels, picture.pixels)


def test_a_grey_profile_is_kept() -> None:
    picture = Picture(EIGHT[..., 0].copy(), icc=GREY_ICC)
    again = decode(encode_image(picture, "jxl", **USUAL))
    assert (again.icc, unkept(picture, "jxl")) == (GREY_ICC, [])
    np.testing.assert_array_equal(again.pixels, picture.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_files_own_orientation_is_followed_once(orientation: int) -> None:
    data = with_header(bare(), extra=number(orientation - 1, 3) + "000")
    turned_exif = EXIF[:19] + bytes([orientation]) + EXIF[20:]
    box = struct.pack(">I4s", 8 + 4 + len(turned_exif), b"Exif") + bytes(4) + turned_exif
    head = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
    data = head + box + struct.pack(">I4s", 8 + len(data), b"jxlc") + data
    picture = decode(data)
    np.testing.assert_array_equal(picture.pixels, Picture(EIGHT[..., :3].copy()).upright(orientation).pixels)
    assert picture.exif == EXIF


def test_hdr_animations_and_floats_are_refused() -> None:
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(ImageError, match=rf"^a\.x is an HDR picture \({name}\)"):
            decode(with_header(bare(), colour=colour_bits(9, "0" + enum(transfer))), "a.x")
    animated = "000" + "00" + "1" + "00" * 3 + "0"  # 100 ticks a second, for ever
    with pytest.raises(ImageError, match=r"^a\.x is animated"):
        decode(with_header(bare(), extra=animated), "a.x")
    with pytest.raises(ImageError, match=r"^a\.x has 32-bit float"):
        decode(imagecodecs.jpegxl_encode(EIGHT[..., :3].astype(np.float32) / 255, lossless=True), "a.x")


def test_colours_by_code_become_a_profile() -> None:
    p3 = decode(with_header(bare(), colour=colour_bits(11, "0" + enum(13))))
    assert p3.icc == rgb_profile(PRIMARIES[12], [CURVES[13]] * 3, "H.273 12/13")
    np.testing.assert_array_equal(p3.pixels, EIGHT[..., :3])
    linear = decode(imagecodecs.jpegxl_encode(np.ascontiguousarray(NOISE[..., :3]), lossless=True))
    assert linear.icc == rgb_profile(SRGB_PRIMARIES, [(1.0,)] * 3, "H.273 1/8")
    np.testing.assert_array_equal(linear.pixels, NOISE[..., :3])
    gamma = decode(with_header(bare(), colour=colour_bits(1, "1" + number(5_000_000, 24))))
    assert gamma.icc == rgb_profile(SRGB_PRIMARIES, [(2.0,)] * 3, "H.273 1/gamma 2")


def test_packed_metadata_is_read() -> None:
    data = encode_image(Picture(EIGHT[..., :3].copy()), "jxl", **USUAL)
    packed = b"xml " + imagecodecs.brotli_encode(XMP)
    picture = decode(data + struct.pack(">I4s", 8 + len(packed), b"brob") + packed)
    assert picture.xmp == XMP
    told = decode(data + struct.pack(">I4s", 12, b"jhgm") + b"maps")
    assert told.lost == ("its gain map is lost",)


def test_a_codestream_in_parts_is_read_and_its_last_part_must_be_there() -> None:
    codestream, head = bare(), b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
    pieces = [codestream[:100], codestream[100:1000], codestream[1000:]]
    parts = [
        struct.pack(">I4sI", 12 + len(piece), b"jxlp", index | (0x80000000 if index == 2 else 0)) + piece
        for index, piece in enumerate(pieces)
    ]
    np.testing.assert_array_equal(decode(head + b"".join(parts)).pixels, EIGHT[..., :3])
    with pytest.raises(ImageError, match="is truncated"):
        decode(head + b"".join(parts[:2]))


@pytest.mark.parametrize("boxed", [False, True])
def test_cut_and_damaged_files_give_one_line(boxed: bool) -> None:
    data = encode_image(Picture(EIGHT[..., :3].copy(), format="jxl"), "jxl", **USUAL) if boxed else bare()
    decode(data + b"behind the end")
    for length in sorted({*range(1, 60), *np.linspace(60, len(data) - 1, 60, dtype=int).tolist()}):
        with pytest.raises(ImageError, match=r"^cut\.x ") as caught:
            decode(data[:length], "cut.x")
        assert "\n" not in str(caught.value)
    errors = errors_of_damaged(decode, data, (2, 100), 2)
    assert errors
    assert not [error for error in errors if "\n" in error]


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bare()

    def no_decoding(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(imagecodecs, "jpegxl_decode", no_decoding)
    with pytest.raises(ImageError, match=r"big is 46x38, .* \(--max-pixels\)"):
        decode_image(data, "big", max_pixels=46 * 38 - 1)


def test_a_missing_library_is_named_for_reading_and_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, with_profile = bare(), encode_image(Picture(EIGHT[..., :3].copy(), icc=ICC), "jxl", **USUAL)
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    assert decode(data).icc is None  # it takes imagecodecs alone
    with pytest.raises(MissingDependencyError, match=r'^a\.x: .* needs pylibjxl \(.*\): pip install .*\[jxl\]"$'):
        decode(with_profile, "a.x")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(
        MissingDependencyError, match=r'^a\.x: .* needs imagecodecs \(.*\): pip install "mirnet-deploy\[jxl\]"$'
    ):
        decode(data, "a.x")
    with pytest.raises(MissingDependencyError, match="needs imagecodecs"):
        check_encodable(Picture(EIGHT[..., :3].copy()), "jxl", allow_8_bit=False)


def test_a_profile_is_shown_to_libjxl_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []

    def encode(samples: Samples, *, lossless: bool, icc: bytes) -> bytes:
        shown.append(icc)
        return b""

    monkeypatch.setattr(pylibjxl, "encode", encode)
    picture = Picture(EIGHT[..., :3].copy(), icc=rgb_profile(SRGB_PRIMARIES, [(1.7,)] * 3, "of this test alone"))
    for _ in range(3):
        assert holds_profile(picture, "jxl")
        assert unkept(picture, "jxl") == []
    assert shown == [picture.icc]
