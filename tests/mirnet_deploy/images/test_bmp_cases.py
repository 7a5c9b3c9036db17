"""BMPs of every kind, built byte by byte: the right samples and profile, and none that is sound called damaged."""

from __future__ import annotations

import io
import struct
from functools import partial

import numpy as np
import pytest
from pictures import USUAL
from PIL import Image
from small_files import HEIGHT, WIDTH, bmp, bottom_up, noise

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.profiles import PRIMARIES, SRGB_PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import encode_image

decode = partial(decode_image, max_pixels=10**6)
encode = partial(encode_image, kind="bmp", **USUAL)
RGB, ALPHA = noise(3), noise(1, seed=9)
BGR, BGRA = RGB[..., ::-1], np.dstack([RGB[..., ::-1], ALPHA])
PROFILE = rgb_profile(PRIMARIES[12], [(2.2,)] * 3, "P3")
MASKS_10 = (0x3FF00000, 0xFFC00, 0x3FF)
MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
TABLE = noise(3, seed=8).reshape(-1, 3)[:256]
PALETTE = np.concatenate([TABLE[:, ::-1], np.zeros((256, 1), np.uint8)], axis=1)
INDEX = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 7 % 256).astype(np.uint8)


def packed(masks: tuple[int, ...], *channels: np.ndarray, dtype: str = "<u4") -> tuple[bytes, list[np.ndarray]]:
    """Rows of pixels whose channels are cut to their masks' bits, and these cut channels."""
    values, cut = np.zeros(channels[0].shape, np.uint64), []
    for mask, channel in zip(masks, channels, strict=True):
        shift, bits = (mask & -mask).bit_length() - 1, mask.bit_count()
        cut.append(channel.astype(np.uint64) >> (16 - bits))
        values |= cut[-1] << np.uint64(shift)
    return bottom_up(values.astype(dtype)), cut


def spread(values: np.ndarray, bits: int, dtype: type) -> np.ndarray:
    return np.rint(values * (np.iinfo(dtype).max / (2**bits - 1))).astype(dtype)


def nibbles(rows: np.ndarray, bits: int) -> bytes:
    digits = rows[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return bottom_up(np.packbits(digits.astype(np.uint8).reshape(HEIGHT, -1), axis=1))


@pytest.mark.parametrize("header", [40, 108, 124])
@pytest.mark.parametrize(
    ("masks", "dtype"),
    [
        ((0xF800, 0x7E0, 0x1F), "<u2"),
        ((0x7C00, 0x3E0, 0x1F), "<u2"),
        ((0xF00, 0xF0, 0xF), "<u2"),
        ((0x7C00, 0x3E0, 0x1F, 0x8000), "<u2"),
        ((0xF00, 0xF0, 0xF, 0xF000), "<u2"),
        ((0xE0, 0x1C, 0x3), "<u2"),
        (MASKS, "<u4"),
        ((0xFF, 0xFF00, 0xFF0000, 0xFF000000), "<u4"),
        ((0xFF000000, 0xFF0000, 0xFF00, 0xFF), "<u4"),
        ((0x3FF00000, 0xFFC00, 0x3FF), "<u4"),
        ((0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000), "<u4"),
        ((0xFFE00000, 0x1FFC00, 0x3FF), "<u4"),
    ],
)
def test_any_colour_masks_are_read(header: int, masks: tuple[int, ...], dtype: str) -> None:
    deep = noise(4, 16)
    rows, cut = packed(masks, *(deep[..., channel] for channel in range(len(masks))), dtype=dtype)
    compression = 6 if header == 40 and len(masks) == 4 else 3
    picture = decode(bmp(int(dtype[-1]) * 8, rows, header=header, compression=compression, masks=masks), "a")
    kind = np.uint16 if max(mask.bit_count() for mask in masks[:3]) > 8 else np.uint8
    wanted = [spread(values, mask.bit_count(), kind) for values, mask in zip(cut, masks, strict=True)]
    assert picture.pixels.dtype == kind
    np.testing.assert_array_equal(picture.pixels, np.dstack(wanted[:3]))
    assert (picture.alpha is None) == (len(masks) == 3)
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, wanted[3])


def test_a_bmp_of_10_bits_is_written_with_16_or_refused_in_its_own_words() -> None:
    rows, _ = packed(MASKS_10, *(noise(3, 16)[..., channel] for channel in range(3)))
    picture = decode(bmp(32, rows, compression=3, masks=MASKS_10), "a")
    again = decode(encode_image(picture, "png", **USUAL), "a")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    with pytest.raises(ImageError, match="has more than 8 bits a sample and a BMP holds 8; write PNG or TIFF"):
        encode(picture)


@pytest.mark.parametrize("header", [52, 56])
def test_headers_that_grew_by_masks_are_read(header: int) -> None:
    masks = MASKS[: (header - 40) // 4]
    picture = decode(bmp(32, bottom_up(BGRA), header=header, compression=3, masks=masks), "a")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert (picture.alpha is None) == (header == 52)


def five_bits() -> np.ndarray:
    return (RGB[..., 0] >> 3).astype("<u2") << 10 | (RGB[..., 1] >> 3).astype("<u2") << 5 | RGB[..., 2] >> 3


ONE, FOUR = INDEX % 2, INDEX % 16
BLACK_WHITE = bytes([0, 0, 0, 0, 255, 255, 255, 0])
WHITE_BLACK = bytes([255, 255, 255, 0, 0, 0, 0, 0])
CASES = {
    "24": (bmp(24, bottom_up(BGR)), RGB),
    "24, top down": (bmp(24, bottom_up(BGR[::-1]), size=(WIDTH, -HEIGHT)), RGB),
    "24, OS/2": (bmp(24, bottom_up(BGR), header=12), RGB),
    "32": (bmp(32, bottom_up(np.dstack([BGR, np.full_like(ALPHA, 255)]))), RGB),
    "16": (bmp(16, bottom_up(five_bits())), spread(RGB >> 3, 5, np.uint8)),
    "8": (bmp(8, bottom_up(INDEX), palette=PALETTE.tobytes()), TABLE[INDEX]),
    "8, OS/2": (bmp(8, bottom_up(INDEX), header=12, palette=PALETTE[:, :3].tobytes()), TABLE[INDEX]),
    "8, short palette": (
        bmp(8, bottom_up(INDEX), palette=PALETTE[:99].tobytes()),
        np.where(INDEX[..., None] < 99, TABLE[INDEX], 0),
    ),
    "4": (bmp(4, nibbles(FOUR, 4), palette=PALETTE[:16].tobytes()), TABLE[FOUR]),
    "2": (bmp(2, nibbles(INDEX % 4, 2), palette=PALETTE[:4].tobytes()), TABLE[INDEX % 4]),
    "1, grey": (bmp(1, nibbles(ONE, 1), palette=BLACK_WHITE), ONE * 255),
    "1, white first": (bmp(1, nibbles(ONE, 1), palette=WHITE_BLACK), 255 - ONE * 255),
    "1, colours": (bmp(1, nibbles(ONE, 1), palette=PALETTE[:2].tobytes()), TABLE[ONE]),
}


@pytest.mark.parametrize("case", CASES)
def test_samples_are_as_stored(case: str) -> None:
    data, pixels = CASES[case]
    picture = decode(data, "a")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha, picture.lost) == (None, ())


def test_a_fourth_byte_that_the_format_does_not_use_is_told() -> None:
    picture = decode(bmp(32, bottom_up(BGRA)), "a")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.alpha is None
    assert picture.lost == ("the fourth byte of its pixels, which the format leaves unused, is lost",)


def test_the_padding_of_the_last_row_may_be_missing_and_no_more() -> None:
    odd = BGR[:, :29]  # 87 bytes and one of padding
    data = bmp(24, bottom_up(odd), size=(29, HEIGHT))
    np.testing.assert_array_equal(decode(data[:-1], "a").pixels, RGB[:, :29])
    with pytest.raises(ImageError, match=r"^a is truncated: the BMP ends before its pixels do"):
        decode(data[:-2], "a")


@pytest.mark.parametrize("case", [case for case in CASES if "short" not in case])
@pytest.mark.parametrize("start", [0, 14, 15, "palette"])
def test_pixels_do_not_begin_inside_headers_or_palette(case: str, start: int | str) -> None:
    data, pixels = CASES[case]
    if start == "palette":
        start = int.from_bytes(data[10:14], "little") - 4
    np.testing.assert_array_equal(decode(data[:10] + struct.pack("<I", int(start)) + data[14:], "a").pixels, pixels)


def test_pixels_do_not_begin_inside_masks_or_the_palette_of_runs() -> None:
    rows, _ = packed(MASKS[:3], *noise(3, 16).transpose(2, 0, 1))
    data = bmp(32, rows, compression=3, masks=MASKS[:3])
    np.testing.assert_array_equal(decode(data[:10] + bytes(4) + data[14:], "a").pixels, decode(data, "a").pixels)
    runs = bmp(8, runs8(INDEX), compression=1, palette=PALETTE.tobytes())
    for start in (0, 60, 1000):
        np.testing.assert_array_equal(
            decode(runs[:10] + struct.pack("<I", start) + runs[14:], "a").pixels, TABLE[INDEX]
        )


def runs8(rows: np.ndarray) -> bytes:
    """Each row as one run of a pixel, an absolute stretch, and single pixels."""
    out = b""
    for row in rows[::-1]:
        values = row.tobytes()
        out += bytes([1, values[0], 0, 5]) + values[1:6] + b"\0"
        out += b"".join(bytes([1, value]) for value in values[6:]) + b"\0\0"
    return out + b"\0\1"


def runs4(rows: np.ndarray) -> bytes:
    """Each row as a run of two pixels in turn, an absolute stretch of five, and single pixels."""
    out = b""
    for row in rows[::-1]:
        v = row.tolist()
        out += bytes([2, v[0] << 4 | v[1], 0, 5, v[2] << 4 | v[3], v[4] << 4 | v[5], v[6] << 4, 0])
        out += b"".join(bytes([1, value << 4]) for value in v[7:]) + b"\0\0"
    return out + b"\0\1"


def test_run_lengths_are_read() -> None:
    palette = PALETTE.tobytes()
    for data, wanted in (
        (bmp(8, runs8(INDEX), compression=1, palette=palette), TABLE[INDEX]),
        (bmp(8, runs8(INDEX)[:-4], compression=1, palette=palette), TABLE[INDEX]),  # no mark of the end
        (bmp(4, runs4(FOUR), compression=2, palette=PALETTE[:16].tobytes()), TABLE[FOUR]),
    ):
        np.testing.assert_array_equal(decode(data, "a").pixels, wanted)
    # Two pixels, a step of 3 to the right and 1 up, a pixel, the end: the rest is the first colour.
    sparse = np.zeros((HEIGHT, WIDTH), int)
    sparse[-1, :2], sparse[-2, 5] = 9, 7
    data = bmp(8, bytes([2, 9, 0, 2, 3, 1, 1, 7, 0, 1]), compression=1, palette=palette)
    np.testing.assert_array_equal(decode(data, "a").pixels, TABLE[sparse])
    for length in (1, 7, 12, 60):
        cut = bmp(8, runs8(INDEX)[: -length - 4], compression=1, palette=palette)
        with pytest.raises(ImageError, match="is truncated: the BMP ends before its pixels do"):
            decode(cut, "a")


@pytest.mark.parametrize(
    ("bits", "compression", "header", "line"),
    [
        (24, 4, 40, "is a JPEG in a BMP, which is not read"),
        (24, 5, 40, "is a PNG in a BMP, which is not read"),
        (32, 11, 40, "is a BMP in CMYK, which is not read"),
        (64, 0, 40, "is a BMP of 64 bits a pixel with compression 0, which is not read"),
        (1, 3, 64, "is an OS/2 BMP with Huffman coding, which is not read"),
        (24, 4, 64, "is an OS/2 BMP with 24-bit run lengths, which is not read"),
        (24, 0, 41, "is a BMP with a header of 41 bytes, which is not a known one"),
    ],
)
def test_kinds_that_are_not_read_are_called_that(bits: int, compression: int, header: int, line: str) -> None:
    data = bytearray(bmp(bits, bytes(WIDTH * HEIGHT * 8), compression=compression, palette=bytes(24)))
    data[14] = header
    with pytest.raises(ImageError, match=f"^a {line}"):
        decode(bytes(data), "a")


def test_masks_that_are_in_pieces_are_a_kind_and_empty_ones_damage() -> None:
    rows = bytes(WIDTH * HEIGHT * 4)
    with pytest.raises(
        ImageError, match=r"^a is a BMP with a colour mask of 0xff00ff, whose bits are not in one piece"
    ):
        decode(bmp(32, rows, compression=3, masks=(0xFF00FF, 0xFF00, 0xFF000000)), "a")
    with pytest.raises(ImageError, match=r"^a is damaged: its colour masks are empty"):
        decode(bmp(32, rows, compression=3, masks=(0, 0, 0)), "a")


def test_an_embedded_profile_is_kept_and_a_linked_one_told() -> None:
    picture = decode(bmp(24, bottom_up(BGR), header=124, profile=PROFILE, colour=b"DEBM"), "a")
    assert (picture.icc, picture.lost) == (PROFILE, ())
    np.testing.assert_array_equal(picture.pixels, RGB)
    linked = decode(bmp(24, bottom_up(BGR), header=124, profile=b"C:\\p3.icc\0", colour=b"KNIL"), "a")
    assert (linked.icc, linked.lost) == (None, ("its colour profile lies in another file, and is lost",))
    damaged = decode(bmp(24, bottom_up(BGR), header=124, profile=b"no profile", colour=b"DEBM"), "a")
    assert (damaged.icc, damaged.lost) == (None, ("its colour profile is damaged and is left out",))
    grey = grey_profile((2.2,), "grey")
    other = decode(bmp(24, bottom_up(BGR), header=124, profile=grey, colour=b"DEBM"), "a")
    assert (other.icc, other.lost) == (None, ("its colour profile is for GRAY pictures, and is left out",))
    whole = bmp(24, bottom_up(BGR), header=124, profile=PROFILE, colour=b"DEBM")
    with pytest.raises(ImageError, match="is truncated: the BMP ends before its colour profile does"):
        decode(whole[:-1], "a")


def calibrated(points: tuple[tuple[float, float], ...], *gammas: float) -> bytes:
    """Colour space 0 with end points in XYZ, whose sum is white, and gammas."""
    mixed = np.array([[x, y, 1 - x - y] for x, y in points]).T
    ends = mixed[:, :3] * np.linalg.solve(mixed[:, :3], mixed[:, 3] / mixed[1, 3])
    fixed = [round(value * 2**30) for value in ends.T.ravel()]
    return bytes(4) + struct.pack("<9i3I", *fixed, *(round(gamma * 65536) for gamma in gammas))


@pytest.mark.parametrize("header", [108, 124])
def test_calibrated_colours_become_a_profile(header: int) -> None:
    def icc(colour: bytes) -> bytes | None:
        return decode(bmp(24, bottom_up(BGR), header=header, colour=colour), "a").icc

    found = icc(calibrated(PRIMARIES[12], 1.8, 1.8, 1.8))
    wanted = rgb_profile(PRIMARIES[12], [(1.8,)] * 3, "BMP header")
    numbers = [np.frombuffer(profile[-300:], ">i4") for profile in (found, wanted)]
    assert len(found) == len(wanted)
    assert np.abs(numbers[0].astype(int) - numbers[1]).max() <= 2
    assert icc(calibrated(SRGB_PRIMARIES, 2.2, 2.2, 2.2)) is None
    assert icc(bytes(52)) is None  # left empty, as many programs do
    assert icc(b"BGRs") is None
    assert icc(calibrated(SRGB_PRIMARIES, 1.0, 1.0, 1.0)) is not None


@pytest.mark.parametrize("icc", [None, PROFILE])
@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("pixels", [RGB, noise(1)], ids=["rgb", "grey"])
def test_what_is_written_is_read_here_and_by_pillow(
    pixels: np.ndarray, alpha: np.ndarray | None, icc: bytes | None
) -> None:
    data = encode(Picture(pixels, alpha, icc=icc, resolution=(300.0, 150.0)))
    picture = decode(data, "a")
    np.testing.assert_array_equal(picture.rgb(), Picture(pixels).rgb())
    assert picture.grey == (pixels.ndim == 2 and alpha is None and icc is None)
    assert picture.icc == icc
    assert picture.resolution == pytest.approx((300, 150), rel=1e-4)
    image = Image.open(io.BytesIO(data))
    assert image.info["dpi"] == pytest.approx((300, 150), rel=1e-4)
    theirs = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(theirs[..., :3], picture.rgb())
    np.testing.assert_array_equal(theirs[..., 3], 255 if alpha is None else alpha)
    if alpha is not None:
        np.testing.assert_array_equal(picture.alpha, alpha)


def test_a_grey_profile_does_not_go_into_a_bmp() -> None:
    assert decode(encode(Picture(noise(1), icc=grey_profile((2.2,), "grey"))), "a").icc is None
