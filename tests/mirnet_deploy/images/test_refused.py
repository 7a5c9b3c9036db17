"""Files that are not pictures, or not whole ones, are refused in one line that names the file."""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from pictures import USUAL, write_image
from PIL import Image

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import DEFAULT_MAX_PIXELS, Picture, read_image
from mirnet_deploy.images.formats import NAMES, Format
from mirnet_deploy.images.ifd import read_directory
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import check_encodable, encode_image

# Pillow warns of the damage that these tests do.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NOISE = np.random.default_rng(3).integers(0, 256, (40, 46, 3), dtype=np.uint8)
decode = partial(decode_image, max_pixels=DEFAULT_MAX_PIXELS)
SMOOTH = np.asarray(Image.fromarray(NOISE[:5, :5]).resize((46, 40), Image.Resampling.BICUBIC))


def pillow(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SMOOTH).save(file, kind, **options)
    return file.getvalue()


def deep(suffix: str, tmp_path: Path) -> bytes:
    path = tmp_path / f"deep{suffix}"
    write_image(Picture(SMOOTH.astype(np.uint16) * 257), path)
    return path.read_bytes()


def deep_by_others(kind: str) -> bytes:
    if kind == "tifffile":
        file = io.BytesIO()
        tifffile.imwrite(file, SMOOTH.astype(np.uint16) * 257, photometric="rgb")
        return file.getvalue()
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 5] if kind == ".tiff" else []
    return cv2.imencode(kind, SMOOTH.astype(np.uint16) * 257, options)[1].tobytes()


WHOLE = {
    "png": lambda _: pillow("PNG"),
    "png, palette": lambda _: (f := io.BytesIO(), Image.fromarray(SMOOTH).quantize(9).save(f, "PNG"))[0].getvalue(),
    "png, 16 bit": lambda tmp: deep(".png", tmp),
    "png, 16 bit by cv2": lambda _: deep_by_others(".png"),
    "jpeg": lambda _: pillow("JPEG", quality=95),
    "jpeg, progressive": lambda _: pillow("JPEG", progressive=True),
    "jpeg, restart markers": lambda _: pillow("JPEG", restart_marker_rows=1),
    "webp": lambda _: pillow("WEBP"),
    "webp, lossless": lambda _: pillow("WEBP", lossless=True),
    "webp, EXIF": lambda _: pillow("WEBP", exif=Image.Exif().tobytes()),
    "tiff": lambda _: pillow("TIFF"),
    "tiff, deflate": lambda _: pillow("TIFF", compression="tiff_deflate"),
    "tiff, LZW": lambda _: pillow("TIFF", compression="tiff_lzw"),
    "tiff, 16 bit": lambda tmp: deep(".tiff", tmp),
    "tiff, 16 bit by tifffile": lambda _: deep_by_others("tifffile"),
    "tiff, 16 bit LZW by cv2": lambda _: deep_by_others(".tiff"),
    "bmp": lambda _: pillow("BMP"),
    "bmp, RGBA": lambda _: cv2.imencode(".bmp", np.dstack([SMOOTH, SMOOTH[..., 0]]))[1].tobytes(),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_anywhere_is_refused_unless_all_pixels_are_there(tmp_path: Path, kind: str) -> None:
    """As in a JPEG without its last two bytes, the mark of the end, or in a BMP without the padding of its last row."""
    data = WHOLE[kind](tmp_path)
    whole = decode(data, "whole")
    spare = {"jpeg": 2, "bmp": 2}.get(kind, 0)
    lengths = {
        *range(1, 60),
        *range(len(data) - 60, len(data)),
        *np.linspace(60, len(data) - 1, 60, dtype=int).tolist(),
    }
    for length in sorted(length for length in lengths if 0 < length < len(data)):
        if len(data) - length <= spare:
            np.testing.assert_array_equal(decode(data[:length], "cut.x").pixels, whole.pixels)
            continue
        with pytest.raises(ImageError, match=r"^cut\.x ") as caught:
            decode(data[:length], "cut.x")
        assert "\n" not in str(caught.value)


def test_bytes_behind_the_end_are_ignored(tmp_path: Path) -> None:
    for make in WHOLE.values():
        data = make(tmp_path)
        np.testing.assert_array_equal(
            decode(data + b"behind the end\xff\xd8", "a").pixels,
            decode(data, "b").pixels,
        )


def test_the_first_picture_of_a_telephones_jpeg_is_read() -> None:
    file = io.BytesIO()
    first, second = Image.fromarray(SMOOTH), Image.fromarray(NOISE)
    first.save(file, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(
        decode(file.getvalue(), "a").pixels,
        np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")),
    )


def test_animations_pages_and_cmyk_are_refused(tmp_path: Path) -> None:
    pictures = [Image.fromarray(SMOOTH), Image.fromarray(NOISE)]
    for suffix in (".png", ".webp", ".tiff"):
        pictures[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pictures[1:])
        with pytest.raises(ImageError, match="animated or has several pages"):
            read_image(tmp_path / f"a{suffix}")
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    with pytest.raises(ImageError, match=r"a\.gif is a GIF; expected PNG"):
        read_image(tmp_path / "a.gif")
    for suffix in (".jpg", ".tiff"):
        pictures[0].convert("CMYK").save(tmp_path / f"c{suffix}")
        with pytest.raises(ImageError, match="is CMYK"):
            read_image(tmp_path / f"c{suffix}")


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16, np.float16])
def test_samples_of_other_types_are_refused(tmp_path: Path, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "a.tif", NOISE.astype(dtype), photometric="rgb")
    with pytest.raises(ImageError, match="expected unsigned ones of at most 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "kind", ["png", "png, 16 bit", "jpeg", "webp", "webp, lossless", "tiff", "tiff, 16 bit", "bmp"]
)
def test_the_size_is_checked_before_decoding(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = WHOLE[kind](tmp_path)
    decode_image(data, "fits", max_pixels=40 * 46)

    def no_decoding(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    monkeypatch.setattr(cv2, "imdecode", no_decoding)
    with pytest.raises(ImageError, match=r"big is 46x40, .* \(--max-pixels\)"):
        decode_image(data, "big", max_pixels=40 * 46 - 1)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    data = bytearray(pillow("PNG"))
    data[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageError, match="megapixels"):
        decode(bytes(data), "bomb")
    big = pillow("BMP")
    with pytest.raises(ImageError, match="megapixels"):
        decode(big[:18] + struct.pack("<ii", 2**30, 2**30) + big[26:], "bomb")


def test_a_tiff_with_a_giant_tile_is_refused() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, NOISE.astype(np.uint16), photometric="rgb", tile=(48, 48), compression="zlib")
    data = bytearray(file.getvalue())
    kind, _, position = read_directory(bytes(data)).fields[322]
    struct.pack_into("<H" if kind == 3 else "<I", data, position, 60000)
    with pytest.raises(ImageError, match="tiles are larger than the picture"):
        decode(bytes(data), "a")


@pytest.mark.parametrize("kind", WHOLE)
def test_damage_anywhere_gives_a_picture_or_one_line(tmp_path: Path, kind: str) -> None:
    data, rng = WHOLE[kind](tmp_path), np.random.default_rng(11)
    errors = []
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            decode_image(bytes(damaged), "a", max_pixels=1_000_000)
        except ImageError as error:
            errors.append(str(error))
    assert errors
    assert not [error for error in errors if "\n" in error]


def test_files_that_are_not_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {
        "empty.png": "is empty",
        "text.jpg": "not a picture of a known kind",
        "folder.png": "is a folder",
        "pipe.png": "not a regular file",
        "gone.png": "cannot be read: No such file",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(pillow("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: raise what other users get

        def refuse(*_: object) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match=r"secret\.png cannot be read: Permission denied"):
        read_image(path)


def test_a_damaged_chunk_is_refused() -> None:
    data = bytearray(pillow("PNG"))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(ImageError, match="does not match its checksum"):
        decode(bytes(data), "a")


def test_the_content_decides_the_format_and_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pillow("PNG"))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.format == "png"
    np.testing.assert_array_equal(picture.pixels, SMOOTH)


def test_damaged_exif_is_dropped_and_the_picture_is_read(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(tmp_path / "a.jpg").exif is None


@pytest.mark.parametrize(("kind", "side"), [("webp", 16384), ("jpg", 65501)])
def test_a_picture_that_is_too_large_for_its_format_is_refused_before_the_work(kind: Format, side: int) -> None:
    wide = Picture(np.zeros((1, side, 3), np.uint8))
    with pytest.raises(ImageError, match=f"is {side}x1 and {NAMES[kind]} holds at most {side - 1} pixels a side"):
        check_encodable(wide, kind, allow_8_bit=False)
    assert encode_image(Picture(np.ascontiguousarray(wide.pixels[:, 1:])), kind, **USUAL)


@pytest.mark.parametrize(
    ("source", "depth", "what"), [("heic", 10, "10"), ("png", None, "16"), ("raw", None, "more than 8")]
)
def test_the_depth_of_the_file_is_told_where_a_format_holds_8(source: Format, depth: int | None, what: str) -> None:
    deep = Picture(np.zeros((1, 1, 3), np.uint16), format=source, depth=depth)
    with pytest.raises(
        ImageError, match=f"^has {what} bits a sample and a JPEG holds 8; write PNG or TIFF, or say --f"
    ):
        check_encodable(deep, "jpg", allow_8_bit=False)
