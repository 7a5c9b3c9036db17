"""Every format, depth and kind of channel comes back unchanged, compared with Pillow, cv2, tifffile and numpy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from pictures import write_image
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.ifd import movable_fields, pack_block
from mirnet_deploy.images.picture import Samples

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION, COPYRIGHT, EXIF_IFD, GPS_IFD, ISO, LENS, MAKER_NOTE = (
    271,
    274,
    33432,
    34665,
    34853,
    34855,
    42036,
    37500,
)
SUFFIXES = (".png", ".jpg", ".webp", ".tiff", ".bmp")
KINDS = ("grey", "grey+alpha", "rgb", "rgb+alpha")


def samples(kind: str, bits: int, height: int = 13, width: int = 21) -> tuple[Samples, Samples | None]:
    rng = np.random.default_rng(7)
    dtype = np.uint8 if bits == 8 else np.uint16
    noise = rng.integers(0, 2**bits, (height, width, 4), dtype=dtype)
    pixels = noise[..., 0] if kind.startswith("grey") else noise[..., :3]
    return np.ascontiguousarray(pixels), noise[..., 3].copy() if kind.endswith("alpha") else None


def exif_block(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = "Camera & Sons"
    exif[COPYRIGHT] = "the user's own"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD).update({ISO: 6400, LENS: "a lens", MAKER_NOTE: b"\x01\x02maker note\xff" * 3})
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (52.0, 31.0, 12.5)})
    return exif


def tags(file: Path) -> dict[object, object]:
    with Image.open(file) as image:
        exif = image.getexif()
        main = {tag: exif[tag] for tag in (MAKE, COPYRIGHT) if tag in exif}
        inner = {(EXIF_IFD, tag): exif.get_ifd(EXIF_IFD).get(tag) for tag in (ISO, LENS, MAKER_NOTE)}
        gps = {(GPS_IFD, tag): exif.get_ifd(GPS_IFD).get(tag) for tag in (1, 2)}
        return main | inner | gps


WANTED = {
    MAKE: "Camera & Sons",
    COPYRIGHT: "the user's own",
    (EXIF_IFD, ISO): 6400,
    (EXIF_IFD, LENS): "a lens",
    (EXIF_IFD, MAKER_NOTE): b"\x01\x02maker note\xff" * 3,
    (GPS_IFD, 1): "N",
    (GPS_IFD, 2): (52.0, 31.0, 12.5),
}
IN_TIFF = WANTED | {(EXIF_IFD, MAKER_NOTE): None}
"""A maker's notes do not outlive that their place in the block changes."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("suffix", "bits"), [(".png", 8), (".png", 16), (".tiff", 8), (".tiff", 16), (".bmp", 8)])
def test_lossless_formats_return_every_bit(tmp_path: Path, suffix: str, bits: int, kind: str) -> None:
    pixels, alpha = samples(kind, bits)
    write_image(Picture(pixels, alpha, icc=ICC), tmp_path / f"a{suffix}")
    again = read_image(tmp_path / f"a{suffix}")
    if suffix == ".bmp" and kind.startswith("grey"):  # a BMP with alpha or a profile has three colours
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (alpha is None) == (again.alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(again.alpha, alpha)
    assert again.icc == ICC


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_other_libraries_read_our_16_bit_files(tmp_path: Path, suffix: str, kind: str) -> None:
    pixels, alpha = samples(kind, 16, 300, 400)  # several strips
    write_image(Picture(pixels, alpha, icc=ICC), tmp_path / f"a{suffix}")
    ours = pixels if alpha is None else np.dstack([pixels, alpha])
    if suffix == ".tiff":
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tiff"), ours)
        if kind == "grey+alpha":
            return  # cv2 reads this layout as 8 bit
    theirs = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
    assert theirs.dtype == np.uint16
    if kind == "grey+alpha":
        theirs = theirs[..., [0, 3]]
    elif theirs.ndim == 3:
        theirs = theirs[..., [2, 1, 0, 3][: theirs.shape[2]]]
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (suffix, mode)
        for suffix in SUFFIXES
        for mode in ("L", "LA", "RGB", "RGBA")
        if not (suffix in (".jpg", ".bmp") and mode.endswith("A"))  # Pillow cannot write such a file
    ],
)
def test_8_bit_files_are_read_as_pillow_reads_them(tmp_path: Path, suffix: str, mode: str) -> None:
    bands = {"L": (0,), "LA": (0, 3), "RGB": (0, 1, 2), "RGBA": (0, 1, 2, 3)}[mode]
    noise = np.random.default_rng(1).integers(0, 256, (17, 23, 4), dtype=np.uint8)
    Image.fromarray(noise[..., bands[0]] if mode == "L" else noise[..., bands], mode).save(tmp_path / f"a{suffix}")
    picture = read_image(tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as image:
        theirs = np.asarray(image)
    joined = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    np.testing.assert_array_equal(joined, theirs)
    assert picture.grey == (mode in ("L", "LA") and suffix != ".webp")


def test_lossless_webp_stays_lossless_and_lossy_stays_close(tmp_path: Path) -> None:
    pixels, alpha = samples("rgb+alpha", 8)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "exact.webp", lossless=True, exact=True)
    source = read_image(tmp_path / "exact.webp")
    assert source.lossless
    write_image(source, tmp_path / "again.webp")
    again = read_image(tmp_path / "again.webp")
    np.testing.assert_array_equal(again.pixels, pixels)
    np.testing.assert_array_equal(again.alpha, alpha)

    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "lossy.webp", quality=80)
    lossy = read_image(tmp_path / "lossy.webp")
    assert not lossy.lossless
    write_image(lossy, tmp_path / "lossy2.webp")
    np.testing.assert_array_equal(read_image(tmp_path / "lossy2.webp").alpha, lossy.alpha)


def test_jpegs_have_quality_95_and_444_by_default(tmp_path: Path) -> None:
    pixels, _ = samples("rgb", 8)
    write_image(Picture(pixels), tmp_path / "ours.jpg")
    Image.fromarray(pixels).save(tmp_path / "theirs.jpg", quality=95, subsampling="4:4:4")
    assert (tmp_path / "ours.jpg").read_bytes() == (tmp_path / "theirs.jpg").read_bytes()
    write_image(Picture(pixels), tmp_path / "small.jpg", quality=60, subsampling="4:2:0")
    Image.fromarray(pixels).save(tmp_path / "theirs.jpg", quality=60, subsampling="4:2:0")
    assert (tmp_path / "small.jpg").read_bytes() == (tmp_path / "theirs.jpg").read_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_orientation_is_applied_as_pillow_applies_it_and_the_rest_is_kept(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    pixels, _ = samples("rgb", 8)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(pixels).save(
        tmp_path / f"a{suffix}", exif=exif_block(orientation).tobytes(), icc_profile=ICC, **options
    )
    with Image.open(tmp_path / f"a{suffix}") as image:
        theirs = np.asarray(ImageOps.exif_transpose(image))
    picture = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, theirs)
    for target in (".png", ".jpg", ".webp", ".tiff"):
        out = tmp_path / f"out{target}"
        write_image(picture, out)
        assert tags(out) == (IN_TIFF if ".tiff" in (suffix, target) else WANTED)
        with Image.open(out) as image:
            assert image.getexif().get(ORIENTATION, 1) == 1
            assert image.info["icc_profile"] == ICC
            assert image.size == (picture.width, picture.height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_orientation_is_applied_to_16_bit_files(tmp_path: Path, kind: str, orientation: int) -> None:
    """A 16-bit file turns like the 8-bit file of its high bytes."""
    pixels, alpha = samples(kind, 16)
    write_image(Picture(pixels, alpha, exif=exif_block(orientation).tobytes()[6:], icc=ICC), tmp_path / "a.png")
    joined = pixels if alpha is None else np.dstack([pixels, alpha])
    extra = [] if alpha is None else ["unassalpha"]
    tifffile.imwrite(
        tmp_path / "a.tiff",
        joined,
        photometric="minisblack" if kind.startswith("grey") else "rgb",
        planarconfig="contig" if joined.ndim == 3 else None,
        extrasamples=extra,
        extratags=[(ORIENTATION, 3, 1, orientation, True)],
    )
    high = Image.fromarray((pixels >> 8).astype(np.uint8))
    high.getexif()[ORIENTATION] = orientation
    for suffix in (".png", ".tiff"):
        picture = read_image(tmp_path / f"a{suffix}")
        assert picture.bits == 16
        np.testing.assert_array_equal(picture.pixels >> 8, np.asarray(ImageOps.exif_transpose(high)))
        if alpha is not None:
            other = Image.fromarray((alpha >> 8).astype(np.uint8))
            other.getexif()[ORIENTATION] = orientation
            np.testing.assert_array_equal(picture.alpha >> 8, np.asarray(ImageOps.exif_transpose(other)))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_metadata_of_16_bit_files_is_kept(tmp_path: Path, suffix: str) -> None:
    pixels, _ = samples("rgb", 16)
    write_image(Picture(pixels, exif=exif_block(1).tobytes()[6:], icc=ICC), tmp_path / f"a{suffix}")
    picture = read_image(tmp_path / f"a{suffix}")
    write_image(picture, tmp_path / f"b{suffix}")
    assert picture.icc == ICC
    assert tags(tmp_path / f"a{suffix}") == tags(tmp_path / f"b{suffix}") == (IN_TIFF if suffix == ".tiff" else WANTED)


def test_the_exif_of_a_jpeg_changes_only_in_its_orientation(tmp_path: Path) -> None:
    block = exif_block(6).tobytes()
    Image.fromarray(samples("rgb", 8)[0]).save(tmp_path / "a.jpg", exif=block)
    changed = read_image(tmp_path / "a.jpg").exif
    assert changed is not None
    assert sum(a != b for a, b in zip(block[6:], changed, strict=True)) == 1


@pytest.mark.parametrize(
    "layout",
    [
        {"photometric": "rgb", "byteorder": ">"},
        {"photometric": "rgb", "compression": "zlib"},
        {"photometric": "rgb", "compression": "zlib", "predictor": True, "byteorder": ">"},
        {"photometric": "rgb", "tile": (16, 16), "compression": "zlib", "predictor": True},
        {"photometric": "rgb", "rowsperstrip": 5},
        {"photometric": "rgb", "planarconfig": "separate"},
    ],
    ids=str,
)
def test_16_bit_tiff_layouts_of_other_programs_are_read(tmp_path: Path, layout: dict[str, object]) -> None:
    pixels, _ = samples("rgb", 16, 37, 41)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, **layout)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_16_bit_tiffs_with_lzw_white_is_zero_or_premultiplied_alpha_are_read(tmp_path: Path) -> None:
    pixels, alpha = samples("rgb+alpha", 16)
    cv2.imwrite(str(tmp_path / "lzw.tif"), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert tifffile.TiffFile(tmp_path / "lzw.tif").pages[0].compression == 5
    np.testing.assert_array_equal(read_image(tmp_path / "lzw.tif").pixels, pixels)

    tifffile.imwrite(tmp_path / "white.tif", 65535 - pixels[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif").pixels, pixels[..., 0])

    alpha = np.maximum(alpha, 20000)
    premultiplied = np.rint(pixels * (alpha[..., None] / 65535)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "pre.tif", np.dstack([premultiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"]
    )
    picture = read_image(tmp_path / "pre.tif")
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels.astype(int) - pixels).max() <= 2


def test_palettes_become_rgb_and_one_bit_becomes_grey(tmp_path: Path) -> None:
    pixels, _ = samples("rgb", 8)
    palette = Image.fromarray(pixels).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").pixels, np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "t.png", transparency=3)
    picture = read_image(tmp_path / "t.png")
    np.testing.assert_array_equal(picture.alpha, np.where(np.asarray(palette) == 3, 0, 255))
    palette.save(tmp_path / "p.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "p.bmp").pixels, np.asarray(palette.convert("RGB")))
    for suffix in (".png", ".bmp", ".tiff"):
        one_bit = Image.fromarray(pixels[..., 0] > 127)
        one_bit.save(tmp_path / f"one{suffix}")
        np.testing.assert_array_equal(
            read_image(tmp_path / f"one{suffix}").pixels, np.where(pixels[..., 0] > 127, 255, 0)
        )


def test_a_transparent_colour_becomes_alpha_in_16_bit_too(tmp_path: Path) -> None:
    for kind, key_format in (("grey", ">H"), ("rgb", ">3H")):
        pixels, _ = samples(kind, 16)
        write_image(Picture(pixels), tmp_path / "plain.png")
        data = (tmp_path / "plain.png").read_bytes()
        body = b"tRNS" + struct.pack(key_format, *np.atleast_1d(pixels[4, 5]).tolist())
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        (tmp_path / "key.png").write_bytes(data[:33] + chunk + data[33:])
        picture = read_image(tmp_path / "key.png")
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert picture.alpha is not None
        assert picture.alpha[4, 5] == 0
        assert (picture.alpha == 0).sum() == 1


def test_grey_as_rgb_and_back_and_16_bit_to_8() -> None:
    grey = Picture(samples("grey", 16)[0])
    np.testing.assert_array_equal(grey.with_rgb(grey.rgb()).pixels, grey.pixels)
    rgb = np.array([[[10, 20, 31]]], np.uint8)
    assert Picture(np.zeros((1, 1), np.uint8)).with_rgb(rgb).pixels[0, 0] == 20
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(Picture(values).to_8_bit().pixels, np.rint(values / 257))


def test_what_a_format_cannot_hold_is_an_error(tmp_path: Path) -> None:
    deep, alpha = samples("rgb+alpha", 16)
    with pytest.raises(ImageError, match="has transparency"):
        write_image(Picture(deep, alpha), tmp_path / "a.jpg")
    for suffix in (".jpg", ".webp", ".bmp"):
        with pytest.raises(ImageError, match="has 16 bits a sample"):
            write_image(Picture(deep), tmp_path / f"a{suffix}")
        write_image(Picture(deep), tmp_path / f"b{suffix}", allow_8_bit=True)
        assert read_image(tmp_path / f"b{suffix}").bits == 8
    with pytest.raises(ImageError, match="suffix"):
        write_image(Picture(deep), tmp_path / "a.gif")
    wide = Picture(np.zeros((1, 17000, 3), np.uint8))
    with pytest.raises(ImageError, match="a WebP holds at most 16383 pixels a side"):
        write_image(wide, tmp_path / "wide.webp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.bmp", "b.jpg", "b.webp"]


def test_a_stale_thumbnail_is_dropped(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    # IFD0 with one entry, then IFD1 with the thumbnail's offset and length.
    jpeg = thumbnail.getvalue()
    block = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHIHH", ORIENTATION, 3, 1, 1, 0)
    block += (
        struct.pack("<IH", 26, 2) + struct.pack("<HHII", 513, 4, 1, 56) + struct.pack("<HHII", 514, 4, 1, len(jpeg))
    )
    block += struct.pack("<I", 0) + jpeg
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)
    write_image(read_image(tmp_path / "a.jpg"), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert not image.getexif().get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_of_a_tiff_keep_their_types_and_bytes(tmp_path: Path, order: str) -> None:
    extra = [
        (33432, 2, 0, "© Åse Ødegård".encode(), True),
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 7), True),
        (42113, 2, 0, "-9999", True),
        (50000, 7, 5, b"\x00\xff\x01\xfe\x02", True),
    ]
    pixels, _ = samples("rgb", 16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", byteorder=order, extratags=extra, resolution=(300, 200))
    write_image(read_image(path), tmp_path / "b.tif")
    own = {258, 259, 273, 277, 278, 279, 284, 317, 339}

    def raw(file: Path) -> dict[int, bytes]:
        data = file.read_bytes()
        found = movable_fields(data)[1]
        assert all(isinstance(field.content, bytes) for field in found.values())
        return {tag: bytes(field.content) for tag, field in found.items() if tag not in own}

    assert raw(tmp_path / "b.tif") == raw(path)
    assert "© Åse Ødegård".encode() in raw(path)[33432]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels)


def test_utf_8_in_exif_reaches_a_tiff_and_comes_back(tmp_path: Path) -> None:
    text = "© Åse Ødegård".encode()
    exif = exif_block().tobytes().replace(b"the user's own", text.ljust(14)[:14])
    assert len(text.ljust(14)[:14]) == 14
    Image.fromarray(samples("rgb", 8)[0]).save(tmp_path / "a.jpg", exif=exif)
    write_image(read_image(tmp_path / "a.jpg"), tmp_path / "b.tiff")
    write_image(read_image(tmp_path / "b.tiff"), tmp_path / "c.jpg")
    for name in ("b.tiff", "c.jpg"):
        assert text[:14] in (tmp_path / name).read_bytes()
        assert tags(tmp_path / name)[(EXIF_IFD, LENS)] == "a lens"


def test_circular_directories_come_to_an_end() -> None:
    # An IFD0 whose EXIF and GPS directories are IFD0 itself.
    block = struct.pack("<2sHIH", b"II", 42, 8, 2)
    block += struct.pack("<HHII", EXIF_IFD, 4, 1, 8) + struct.pack("<HHII", GPS_IFD, 4, 1, 8) + bytes(4)
    order, fields = movable_fields(block)
    assert len(pack_block(fields, order)) < 200


def test_transparent_grey_of_few_bits_is_read(tmp_path: Path) -> None:
    """Four levels, of which the second is transparent; written by hand, since Pillow cannot write such a file."""
    lines = b"".join(b"\0" + bytes([0b00011011]) for _ in range(3))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 2, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 1))]
    parts += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels[0], [0, 85, 170, 255])
    np.testing.assert_array_equal(picture.alpha[0], [255, 0, 255, 255])


def test_exif_in_a_text_chunk_of_imagemagick_is_read(tmp_path: Path) -> None:
    block = exif_block(6).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
    Image.fromarray(samples("rgb", 8)[0]).save(tmp_path / "a.png", pnginfo=text)
    picture = read_image(tmp_path / "a.png")
    assert (picture.width, picture.height) == (13, 21)
    write_image(picture, tmp_path / "b.png")
    assert tags(tmp_path / "b.png") == WANTED


def test_damaged_exif_in_a_text_chunk_leaves_the_pixels_intact(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n      12\nno hexadecimal\n")
    pixels = samples("rgb", 8)[0]
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=text)
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.exif is None


@pytest.mark.parametrize("damage", ["a value past the end", "no end of the directory"])
def test_damaged_exif_still_turns_the_picture(tmp_path: Path, damage: str) -> None:
    turned = struct.pack("<HHIHH", 274, 3, 1, 6, 0)
    if damage == "a value past the end":
        block = struct.pack("<IH", 8, 2) + struct.pack("<HHII", 271, 2, 40, 9999) + turned + bytes(4)
    else:
        block = struct.pack("<IH", 8, 1) + turned
    Image.fromarray(samples("rgb", 8)[0]).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + block)
    with pytest.warns(UserWarning, match="larger than file|Corrupt EXIF"):
        picture = read_image(tmp_path / "a.jpg")
    assert (picture.width, picture.height) == (13, 21)
    assert picture.exif is None


def test_a_grey_profile_does_not_go_into_a_webp(tmp_path: Path) -> None:
    grey_icc = ICC[:16] + b"GRAY" + ICC[20:]
    write_image(Picture(samples("grey", 8)[0], icc=grey_icc), tmp_path / "a.webp")
    assert read_image(tmp_path / "a.webp").icc is None
    write_image(Picture(samples("grey", 8)[0], icc=ICC), tmp_path / "a.webp")
    assert read_image(tmp_path / "a.webp").icc == ICC


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_are_packed_at_a_fast_level(tmp_path: Path, kind: type) -> None:
    """A stream of zlib begins with the byte 78, and the next one, 5E, says that its level is 2 to 5; 9C would be 6."""
    picture = Picture(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(kind))
    for name in ("a.png", "a.tif"):
        write_image(picture, tmp_path / name)
    png, tiff = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as opened:
        strip = opened.pages[0].dataoffsets[0]
    assert png[png.index(b"IDAT") + 4 :][:2] == b"\x78\x5e"
    assert tiff[strip:][:2] == b"\x78\x5e"
