"""BigTIFF is read like any TIFF, and written where a classic one ends, at 4 GB."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiff_cases import RGB16
from tiffs import page, tiff

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.ifd import movable_fields, read_directory
from mirnet_deploy.images.tiff.bands import BandedTiff, bytes_in_memory
from mirnet_deploy.images.tiff.writing import TiffLayout

LONG = b"a text of more than eight bytes\0"


@pytest.mark.parametrize("order", "<>")
def test_it_is_read_with_its_metadata(tmp_path: Path, order: str) -> None:
    more = {274: (3, [8]), 270: (2, LONG), 271: (2, b"Maker\0"), 282: (5, [300, 1]), 283: (5, [200, 1])}
    data = tiff(page(RGB16, order=order, rows=5, more=more), order=order, big=True)  # type: ignore[arg-type]
    (tmp_path / "a.tif").write_bytes(data)
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, np.rot90(RGB16))
    assert picture.resolution == (200.0, 300.0)
    assert picture.exif is not None
    fields = movable_fields(picture.exif)[1]
    assert (fields[270].content, fields[271].content) == (LONG, b"Maker\0")
    assert bytes_in_memory(tmp_path / "a.tif", toned=False) == len(data) + 4 * RGB16.size


@pytest.mark.parametrize("layout", [{"rowsperstrip": 3}, {"tile": (16, 16), "compression": "lzw", "byteorder": ">"}])
def test_those_of_other_programs_are_read_in_memory_and_in_bands(tmp_path: Path, layout: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB16, photometric="rgb", bigtiff=True, **layout)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, RGB16)
    with BandedTiff(tmp_path / "a.tif", 10**6) as source:
        np.testing.assert_array_equal(source[2:13], RGB16[2:13])


@pytest.mark.parametrize("order", "<>")
def test_a_result_of_more_than_4_gb_becomes_one(tmp_path: Path, order: str) -> None:
    """Only its head is made: the strips are claimed to be long."""
    exif = read_exif(order, tmp_path)
    layout = TiffLayout((500, 5000, 4), np.dtype(np.uint16), Picture(RGB16, exif=exif, icc=b"profile"), alpha=True)
    strips = len(list(layout.strips(lambda top, bottom: np.zeros((bottom - top, 5000, 4), np.uint16))))
    small, large = layout.head([1000] * strips), layout.head([300_000_000] * strips)
    assert small[:4] == (b"II*\0" if order == "<" else b"MM\0*")
    assert large[:4] == (b"II+\0" if order == "<" else b"MM\0+")
    directory = read_directory(large)
    offsets = directory.integers(273)
    assert offsets[0] == len(large)
    assert {after - before for before, after in pairwise(offsets)} == {300_000_000}
    assert (directory.integer(256, 0), directory.integer(257, 0), directory.integers(258)) == (5000, 500, (16,) * 4)
    (tmp_path / "head.tif").write_bytes(large)
    with tifffile.TiffFile(tmp_path / "head.tif") as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}  # type: ignore[union-attr]
    assert (tags[270], tags[34675], tags[273]) == (LONG[:-1].decode(), b"profile", offsets)
    assert tags[34665] == {"ISOSpeedRatings": 6400, "LensModel": "a lens of some name"}


def read_exif(order: str, folder: Path) -> bytes | None:
    """The EXIF block, in a byte order, of a description and an EXIF directory with two fields."""
    inner = page(RGB16, order=order, more={34665: (4, [0]), 270: (2, LONG)})  # type: ignore[arg-type]
    data = bytearray(tiff(inner, order=order))
    data += b"\0" * (len(data) % 2)
    at = len(data)
    data += struct.pack(f"{order}H", 2) + struct.pack(f"{order}HHIHH", 34855, 3, 1, 6400, 0)
    data += struct.pack(f"{order}HHIII", 42036, 2, 20, at + 30, 0) + b"a lens of some name\0"
    place = data.index(struct.pack(f"{order}HHI", 34665, 4, 1)) + 8
    struct.pack_into(f"{order}I", data, place, at)
    (folder / "exif.tif").write_bytes(data)
    return read_image(folder / "exif.tif").exif


@pytest.mark.parametrize("cut", [6, 12, 17, 40, -60])
def test_a_short_one_is_damaged(tmp_path: Path, cut: int) -> None:
    data = tiff(page(RGB16), big=True)
    (tmp_path / "a.tif").write_bytes(data[:cut])
    with pytest.raises(ImageError, match=r"a\.tif is (damaged|truncated|not a picture)"):
        read_image(tmp_path / "a.tif")


def test_a_directory_of_countless_fields_is_damaged(tmp_path: Path) -> None:
    data = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60) + bytes(200)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageError, match="claims 1152921504606846976 fields"):
        read_image(tmp_path / "a.tif")
