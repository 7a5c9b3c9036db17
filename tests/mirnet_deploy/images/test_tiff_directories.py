"""The full picture of a TIFF is found, wherever its directory stands; reduced copies are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiff_cases import RGB8, RGB16
from tiffs import page, tiff

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.profiles import SRGB_PRIMARIES, rgb_profile
from mirnet_deploy.images.raw.kinds import format_of_content
from mirnet_deploy.images.tiff.bands import BandedTiff, bytes_in_memory
from mirnet_deploy.images.tiff.directories import all_directories, is_camera_raw

NEW, OLD = 254, 255
FULL, REDUCED, MASK = {NEW: (4, [0])}, {NEW: (4, [1])}, {NEW: (4, [4])}
SMALL, MIDDLE = RGB8[::4, ::4], RGB8[::2, ::2]
CFA = {33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2])}

PICTURES = {
    "reduced second page": tiff(page(RGB8, more=FULL), page(SMALL, more=REDUCED)),
    "reduced second page, first says nothing": tiff(page(RGB8), page(SMALL, more=REDUCED)),
    "reduced first page": tiff(page(SMALL, more=REDUCED), page(RGB8)),
    "reduced by the old tag": tiff(page(SMALL, more={OLD: (3, [2])}), page(RGB8, more={OLD: (3, [1])})),
    "reduced, picture in a SubIFD": tiff(page(SMALL, more=REDUCED, subs=[page(RGB8, more=FULL)])),
    "second of two SubIFDs": tiff(page(SMALL, more=REDUCED, subs=[page(MIDDLE, more=REDUCED), page(RGB8, more=FULL)])),
    "SubIFD of a SubIFD": tiff(page(SMALL, more=REDUCED, subs=[page(MIDDLE, more=REDUCED, subs=[page(RGB8)])])),
    "larger SubIFD of a page that says nothing": tiff(page(SMALL, subs=[page(RGB8, more=FULL)])),
    "pyramid in SubIFDs": tiff(page(RGB8, tile=16, subs=[page(MIDDLE, more=REDUCED), page(SMALL, more=REDUCED)])),
    "pyramid of pages": tiff(page(RGB8, tile=16), page(MIDDLE, more=REDUCED), page(SMALL, more=REDUCED)),
    "only picture, called reduced": tiff(page(RGB8, more=REDUCED)),
    "big-endian": tiff(page(SMALL, order=">", more=REDUCED, subs=[page(RGB8, order=">")]), order=">"),
    "BigTIFF": tiff(page(SMALL, more=REDUCED, subs=[page(RGB8)]), big=True),
}

PROFILE = rgb_profile(SRGB_PRIMARIES, [(1.8,)] * 3, "a profile")


def read(data: bytes, folder: Path) -> Picture:
    (folder / "a.tif").write_bytes(data)
    return read_image(folder / "a.tif")


@pytest.mark.parametrize("kind", PICTURES)
def test_the_full_picture_is_read(tmp_path: Path, kind: str) -> None:
    picture = read(PICTURES[kind], tmp_path)
    np.testing.assert_array_equal(picture.pixels, RGB8)
    assert picture.lost == ()
    with BandedTiff(tmp_path / "a.tif", 10**6) as source:
        np.testing.assert_array_equal(source[0:19], RGB8)
    assert bytes_in_memory(tmp_path / "a.tif", toned=False) == len(PICTURES[kind]) + 2 * RGB8.size


def test_the_size_that_is_checked_is_that_of_the_full_picture(tmp_path: Path) -> None:
    read(PICTURES["reduced, picture in a SubIFD"], tmp_path)
    with pytest.raises(ImageError, match="is 26x19"):
        BandedTiff(tmp_path / "a.tif", SMALL.size)


@pytest.mark.parametrize(
    "data",
    [
        tiff(page(RGB8), page(RGB8[::-1])),
        tiff(page(RGB8), page(SMALL)),
        tiff(page(SMALL, more=REDUCED), page(RGB8), page(RGB8)),
        tiff(page(SMALL, more=REDUCED, subs=[page(RGB8), page(RGB8)])),
        tiff(page(RGB8, more={NEW: (4, [2])}), page(RGB8, more={NEW: (4, [2])})),
    ],
    ids=["equal", "one smaller, not called reduced", "two full", "two full SubIFDs", "pages of a document"],
)
def test_several_full_pictures_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ImageError, match="has several pages; expected a single picture"):
        read(data, tmp_path)
    assert bytes_in_memory(tmp_path / "a.tif", toned=False) == 0


def test_what_is_lost_with_other_directories_is_told(tmp_path: Path) -> None:
    masked = read(tiff(page(RGB8), page(RGB8[..., 0], 4, more=MASK)), tmp_path)
    np.testing.assert_array_equal(masked.pixels, RGB8)
    assert masked.lost == ("its transparency mask is lost",)
    more = read(tiff(page(RGB8, subs=[page(RGB8[::-1])])), tmp_path)
    np.testing.assert_array_equal(more.pixels, RGB8)
    assert more.lost == ("1 further picture inside it (SubIFDs) is lost",)


@pytest.mark.parametrize(
    "data",
    [
        tiff(page(SMALL, more=REDUCED, subs=[page(RGB16[..., 1], 32803, more=FULL | CFA)])),
        tiff(page(RGB16[..., 1], 32803, more=FULL | CFA)),
        tiff(page(RGB8, subs=[page(RGB16, 34892)])),
        tiff(page(SMALL, more=REDUCED), page(RGB16[..., 1], 32803, more=FULL)),
        tiff(page(SMALL, more=REDUCED, subs=[page(MIDDLE, more=REDUCED, subs=[page(RGB16[..., 1], 32803)])])),
        tiff(page(SMALL, order=">", subs=[page(RGB16[..., 1], 32803, order=">")]), order=">"),
        b"II*\0\x10\0\0\0CR\2\0\0\0\0\0\0\0\0\0\0\0",
    ],
    ids=["DNG", "without thumbnail", "linear", "next page", "nested", "big-endian", "CR2"],
)
def test_camera_raw_is_recognised_and_not_read_in_bands(tmp_path: Path, data: bytes) -> None:
    assert is_camera_raw(all_directories(data))
    assert format_of_content(data) == "raw"
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.tif is camera RAW"):
        BandedTiff(tmp_path / "a.tif", 10**6)
    assert bytes_in_memory(tmp_path / "a.tif", toned=False) == 0


def test_other_tiffs_are_not_camera_raw() -> None:
    assert not any(is_camera_raw(all_directories(data)) for data in PICTURES.values())


def test_a_subifd_has_the_orientation_and_the_tags_of_its_parent(tmp_path: Path) -> None:
    described = REDUCED | {271: (2, b"Maker\0"), 274: (3, [6]), 34675: (7, PROFILE)}
    picture = read(tiff(page(SMALL, more=described, subs=[page(RGB8)])), tmp_path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(RGB8, -1))
    assert picture.exif is not None
    assert b"Maker\0" in picture.exif
    assert picture.icc == PROFILE
    own = read(tiff(page(SMALL, more=described, subs=[page(RGB8, more={274: (3, [3])})])), tmp_path)
    np.testing.assert_array_equal(own.pixels, RGB8[::-1, ::-1])


def test_directories_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    one = page(RGB8)
    at = len(tiff(one)) - len(tiff(page(RGB8))) + 8 + RGB8.nbytes  # the directory lies behind its samples
    one.fields[330] = (4, [at, at])
    np.testing.assert_array_equal(read(tiff(one), tmp_path).pixels, RGB8)
