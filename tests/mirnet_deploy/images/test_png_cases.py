"""PNGs of every kind, built byte by byte: the right samples, and none that is sound called damaged."""

from __future__ import annotations

import re
import struct
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
from small_files import HEIGHT, WIDTH, chunk, exif, noise, orientation, png

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.png.metadata import LARGEST_UNPACKED
from mirnet_deploy.images.profiles import SRGB_PRIMARIES, rgb_profile
from mirnet_deploy.images.reading import decode_image

decode = partial(decode_image, max_pixels=10**6)
PALETTE = noise(3, seed=8).reshape(-1, 3)[:256]
INDEX = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 7 % 256).astype(np.uint8)
PLTE = (b"PLTE", PALETTE.tobytes())
SMALL_PLTE = (b"PLTE", PALETTE[:2].tobytes())
CLEAR = np.arange(256)[::-1].astype(np.uint8)
GREY16, LA16, RGB16, RGBA16 = (noise(count, 16) for count in (1, 2, 3, 4))
SHADES = np.full((HEIGHT, WIDTH), 0x1235, np.uint16)  # the same upper bytes as the key
SHADES[5:] = 0x1234
SHADES_ALPHA = np.where(SHADES == 0x1234, 0, 65535)
KEYED = RGB16.copy()
KEYED[:5] = (0x1234, 0x5678, 0x9ABC)
KEYED[5:9] = (0x1234, 0x5678, 0x9ABD)  # the same upper bytes
KEY_ALPHA = np.where(np.arange(HEIGHT)[:, None] < 5, 0, 65535).repeat(WIDTH, 1)
FEW = {bits: INDEX % 2**bits for bits in (1, 2, 4)}

CASES = {
    **{f"grey {bits}": (png(FEW[bits], 0, bits), FEW[bits] * (255 // (2**bits - 1)), None) for bits in FEW},
    "grey 1, interlaced": (png(FEW[1], 0, 1, interlaced=True), FEW[1] * 255, None),
    "grey 8": (png(INDEX, 0, 8), INDEX, None),
    "grey 16": (png(GREY16, 0, 16), GREY16, None),
    "grey and alpha 8": (png(noise(2), 4, 8), noise(2)[..., 0], noise(2)[..., 1]),
    "grey and alpha 16": (png(noise(2, 16), 4, 16), noise(2, 16)[..., 0], noise(2, 16)[..., 1]),
    "grey 16, interlaced": (png(GREY16, 0, 16, interlaced=True), GREY16, None),
    "grey 16 with a key": (png(SHADES, 0, 16, (b"tRNS", b"\x12\x34")), SHADES, SHADES_ALPHA),
    "grey and alpha 16, interlaced": (png(LA16, 4, 16, interlaced=True), LA16[..., 0], LA16[..., 1]),
    "rgb 16": (png(RGB16, 2, 16), RGB16, None),
    "rgb 8, interlaced": (png(noise(3), 2, 8, interlaced=True), noise(3), None),
    "rgba 16, interlaced": (png(RGBA16, 6, 16, interlaced=True), RGBA16[..., :3], RGBA16[..., 3]),
    "rgb 16 with a key": (png(KEYED, 2, 16, (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))), KEYED, KEY_ALPHA),
    "rgb 8 with a palette": (png(noise(3), 2, 8, PLTE), noise(3), None),
    "palette 8": (png(INDEX, 3, 8, PLTE), PALETTE[INDEX], None),
    "palette 8 with alpha": (png(INDEX, 3, 8, PLTE, (b"tRNS", CLEAR.tobytes())), PALETTE[INDEX], CLEAR[INDEX]),
    "palette 1": (png(FEW[1], 3, 1, SMALL_PLTE), PALETTE[FEW[1]], None),
    "palette 4, interlaced": (png(FEW[4], 3, 4, PLTE, interlaced=True), PALETTE[FEW[4]], None),
    "turned": (png(noise(3), 2, 8, (b"eXIf", exif(orientation(6)))), np.rot90(noise(3), -1), None),
    "turned, behind the pixels": (
        png(noise(3), 2, 8, tail=chunk(b"eXIf", exif(orientation(8)))),
        np.rot90(noise(3)),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_samples_are_as_stored(case: str) -> None:
    data, pixels, alpha = CASES[case]
    picture = decode(data, "a")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(picture.alpha, alpha)
    assert picture.lost == ()


def broken(kind: bytes, body: bytes) -> bytes:
    return chunk(kind, body)[:-4] + b"\0\0\0\0"


BIG_TEXT = (b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 2_000_000))
PROFILE = rgb_profile(SRGB_PRIMARIES, [(1.8,)] * 3, "")
BIG_PROFILE = PROFILE + np.random.default_rng(1).bytes(1_400_000)


@pytest.mark.parametrize("bits", [8, 16])
def test_much_metadata_is_no_damage(bits: int) -> None:
    chunks = [
        BIG_TEXT,
        (b"iCCP", b"big\0\0" + zlib.compress(BIG_PROFILE, 1)),
        (b"iTXt", b"workflow" + bytes(5) + b"{}" * 999),
    ]
    picture = decode(png(noise(3, bits), 2, bits, *chunks), "a")
    np.testing.assert_array_equal(picture.pixels, noise(3, bits))
    assert picture.icc == BIG_PROFILE
    assert picture.texts == (chunks[0], chunks[2])


@pytest.mark.parametrize(
    "kind", [b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"pHYs", b"gAMA", b"iCCP", b"cICP", b"acTL", b"abCd"]
)
def test_a_wrong_checksum_costs_the_chunk_and_no_pixel(kind: bytes) -> None:
    picture = decode(png(noise(3), 2, 8, tail=broken(kind, b"Title\0Night")), "a")
    np.testing.assert_array_equal(picture.pixels, noise(3))
    assert picture.lost == (f"its {kind.decode()} chunk does not match its checksum, and is left out",)
    assert (picture.exif, picture.icc, picture.texts) == (None, None, ())


@pytest.mark.parametrize("kind", [b"tRNS", b"IDAT"])
def test_a_wrong_checksum_of_what_makes_the_pixels_is_damage(kind: bytes) -> None:
    data = png(noise(3), 2, 8, (b"tRNS", bytes(6)))
    place = data.index(kind)
    length = int.from_bytes(data[place - 4 : place], "big")
    damaged = data[: place + 4 + length] + b"\0\0\0\0" + data[place + 8 + length :]
    with pytest.raises(ImageError, match=f"is damaged: the PNG's {kind.decode()} chunk does not match its checksum"):
        decode(damaged, "a")


@pytest.mark.parametrize(
    ("chunk_of", "line"),
    [
        (lambda bomb: (b"zTXt", b"Comment\0\0" + bomb), "its text Comment unpacks to more than 64 MB and is left out"),
        (
            lambda bomb: (b"iTXt", b"Comment\0\1\0\0\0" + bomb),
            "its text Comment unpacks to more than 64 MB and is left out",
        ),
        (lambda bomb: (b"iCCP", b"p\0\0" + bomb), "its colour profile unpacks to more than 64 MB and is left out"),
    ],
)
def test_what_unpacks_without_bound_is_left_out(chunk_of: object, line: str) -> None:
    bomb = zlib.compress(bytes(LARGEST_UNPACKED + 1), 1)
    picture = decode(png(noise(3), 2, 8, chunk_of(bomb)), "a")
    np.testing.assert_array_equal(picture.pixels, noise(3))
    assert picture.lost == (line,)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"Title\0\0no zlib"),
        (b"zTXt", b"Title\0\0" + zlib.compress(b"cut")[:-2]),
        (b"tEXt", b"no zero"),
        (b"tEXt", b" Title\0text"),
        (b"tEXt", b"Title\0text\0text"),
        (b"iTXt", b"Title\0\0\0\0\0\xff"),
        (b"iTXt", b"Title\0\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 3\nxyz")),
    ],
)
def test_a_text_that_is_not_valid_is_left_out_and_told(kind: bytes, body: bytes) -> None:
    """What strict readers complain of is not written again."""
    picture = decode(png(noise(3), 2, 8, (kind, body)), "a")
    assert picture.texts == ()
    (line,) = picture.lost
    assert re.fullmatch("its text .* is (not valid|damaged) and is left out", line)


def test_other_chunks_are_told_unless_they_say_nothing_of_the_picture() -> None:
    quiet = (b"bKGD", bytes(6)), (b"vpAg", bytes(9)), (b"tIME", bytes(7)), (b"sBIT", b"\5\5\5")
    picture = decode(png(noise(3), 2, 8, *quiet, (b"oFFs", bytes(9))), "a")
    assert picture.lost == ("its oFFs chunk is lost",)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("bits", "channels", "colour"), [(8, 3, 2), (16, 3, 2), (8, 1, 0), (16, 4, 6)])
def test_data_with_fewer_rows_than_the_header_says_is_damage(
    bits: int, channels: int, colour: int, interlaced: bool
) -> None:
    """Pillow leaves the rest black."""
    data = bytearray(png(noise(channels, bits), colour, bits, interlaced=interlaced))
    struct.pack_into(">I", data, 20, HEIGHT + 1)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    with pytest.raises(ImageError, match=r"^a is damaged: the PNG's pixels unpack to \d+ bytes; expected \d+"):
        decode(bytes(data), "a")


def test_the_lines_on_what_is_lost_have_a_bound() -> None:
    chunks = [(b"tEXt", f" {number}\0".encode()) for number in range(30)]
    picture = decode(png(noise(3), 2, 8, *chunks), "a")
    assert len(picture.lost) == 13
    assert picture.lost[-1] == "18 more parts of it are lost"


def test_kinds_that_are_not_read_are_called_that() -> None:
    with pytest.raises(ImageError, match=r"^a has the PNG chunk CgBI, which is not known"):
        decode(png(noise(3), 2, 8).replace(b"\x1a\n", b"\x1a\n" + chunk(b"CgBI", bytes(4)), 1), "a")
    frames = (b"acTL", struct.pack(">II", 2, 0))
    with pytest.raises(ImageError, match="animated"):
        decode(png(noise(3), 2, 8, frames), "a")


def test_the_line_on_too_many_pixels_gives_numbers_that_differ() -> None:
    with pytest.raises(ImageError, match=r"is 30x20, 0\.0006 megapixels; at most 0\.000599 are allowed"):
        decode_image(png(noise(3), 2, 8), "a", max_pixels=599)


def test_a_profile_that_is_damaged_is_left_out_and_told() -> None:
    for body in (b"p\0\0no zlib", b"p\0\0" + zlib.compress(b"no profile")):
        picture = decode(png(noise(3), 2, 8, (b"iCCP", body)), "a")
        assert picture.icc is None
        assert picture.lost == ("its colour profile is damaged and is left out",)


@pytest.mark.parametrize("place", [10, 11, 12])
def test_a_header_with_an_unknown_method_is_damage(place: int) -> None:
    data = bytearray(png(noise(3, 16), 2, 16))
    data[16 + place] = 2
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageError, match="is damaged: its header names no compression, filter and interlace method"):
        decode_image(bytes(data), "a", max_pixels=10**6)


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("predictor", ["SUB", "UP", "AVG", "PAETH"])
def test_every_filter_of_16_bit_is_undone(count: int, predictor: str) -> None:
    stored = noise(count, 16)
    made, data = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{predictor}")])
    assert made
    picture = decode(data.tobytes(), "a")
    found = picture.pixels if picture.grey else picture.pixels[..., ::-1]
    np.testing.assert_array_equal(found, stored if stored.ndim == 2 else stored[..., :3])


def test_pixels_whose_data_has_all_rows_but_no_end_are_read_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """libpng printed "Not enough image data"."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in RGB16)
    compressor = zlib.compressobj()
    body = compressor.compress(lines) + compressor.flush(zlib.Z_FULL_FLUSH)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(data, "a").pixels, RGB16)
    assert capfd.readouterr() == ("", "")
