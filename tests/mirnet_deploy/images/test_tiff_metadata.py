"""XMP, IPTC and resolution of a TIFF are kept, in memory and in bands, as those of the upright picture."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiff_cases import RGB8
from tiffs import Order, page, tiff

from mirnet_deploy.images import Picture, read_image
from mirnet_deploy.images.colour.icc import read_profile
from mirnet_deploy.images.ifd import read_directory
from mirnet_deploy.images.profiles import PRIMARIES, SRGB_CURVE, SRGB_PRIMARIES, grey_profile, rgb_profile
from mirnet_deploy.images.tiff.bands import BandedTiff, RawBands, pack_bands, profile_of_tiff
from mirnet_deploy.images.tiff.writing import encode_tiff

IPTC = b"\x1c\x02\x78\0\x05Night\x1c\x02\x74\0\x06(c) AB"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmp:Rating="5" tiff:Orientation="%d" tiff:ImageWidth="%d" tiff:ImageLength="%d"/></rdf:RDF></x:xmpmeta>'
)
PROFILE = rgb_profile(PRIMARIES[12], [(2.2,)] * 3, "P3")
RESOLUTION = {282: (5, [300, 1]), 283: (5, [150, 1]), 296: (3, [2])}
ALL = RESOLUTION | {700: (1, XMP % (6, 26, 19)), 33723: (7, IPTC), 34675: (7, PROFILE), 315: (2, b"A. B.\0")}


def read(data: bytes, folder: Path) -> Picture:
    (folder / "a.tif").write_bytes(data)
    return read_image(folder / "a.tif")


def test_all_of_it_is_read_upright_and_written_again(tmp_path: Path) -> None:
    picture = read(tiff(page(RGB8, more=ALL | {274: (3, [6])})), tmp_path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(RGB8, -1))
    assert (picture.resolution, picture.iptc, picture.icc) == ((150.0, 300.0), IPTC, PROFILE)
    assert picture.xmp == XMP % (1, 19, 26)
    assert picture.lost == ()
    again = read(encode_tiff(picture), tmp_path)
    for name in ("resolution", "iptc", "icc", "xmp", "exif"):
        assert getattr(again, name) == getattr(picture, name), name
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}  # type: ignore[union-attr]
    assert tags[282] == (150, 1)
    assert tags[283] == (300, 1)
    assert tags[274] == 1
    assert tags[315] == "A. B."
    assert tags[700] == picture.xmp


def test_bands_write_what_memory_writes(tmp_path: Path) -> None:
    data = tiff(page(RGB8, rows=4, more=ALL | {700: (1, XMP % (1, 26, 19))}))
    picture = read(data, tmp_path)
    with BandedTiff(tmp_path / "a.tif", 10**6) as source:
        result, strips = RawBands(io.BytesIO(), source), io.BytesIO()
        result[0:19] = source[0:19]
        assert pack_bands(result, source, strips) + strips.getvalue() == encode_tiff(picture)


@pytest.mark.parametrize(
    ("fields", "resolution"),
    [
        ({282: (5, [118, 1]), 283: (5, [59, 1]), 296: (3, [3])}, (118 * 2.54, 59 * 2.54)),
        ({282: (5, [3000, 10]), 283: (5, [3000, 10])}, (300.0, 300.0)),
        ({282: (5, [300, 1]), 283: (5, [300, 1]), 296: (3, [1])}, None),
        ({282: (5, [300, 0]), 283: (5, [300, 1]), 296: (3, [2])}, None),
        ({282: (5, [300, 1]), 296: (3, [2])}, None),
        ({282: (3, [300]), 283: (3, [300]), 296: (3, [2])}, None),
    ],
    ids=["centimetres", "inches without a unit", "a ratio", "by zero", "across alone", "of another type"],
)
def test_resolutions(tmp_path: Path, fields: dict[int, tuple[int, list[int]]], resolution: object) -> None:
    for order in "<>":
        picture = read(tiff(page(RGB8, order=order, more=fields), order=order), tmp_path)  # type: ignore[arg-type]
        assert picture.resolution == resolution
        kept = read_directory(encode_tiff(picture)).fields
        assert {tag: kept[tag][:2] for tag in fields} == {
            tag: (kind, len(values) // (2 if kind == 5 else 1)) for tag, (kind, values) in fields.items()
        }


def test_a_resolution_of_another_format_is_written(tmp_path: Path) -> None:
    for resolution in ((72.0, 72.0), (299.9994, 300.0), (96.012, 96.012)):
        again = read(encode_tiff(Picture(RGB8, resolution=resolution)), tmp_path)
        assert again.resolution == pytest.approx(resolution, rel=1e-6)
    changed = replace(read(tiff(page(RGB8, more=RESOLUTION)), tmp_path), resolution=(96.0, 96.0))
    assert read(encode_tiff(changed), tmp_path).resolution == (96.0, 96.0)


def test_iptc_is_found_where_programs_put_it(tmp_path: Path) -> None:
    padded = IPTC.ljust(-(-len(IPTC) // 4) * 4, b"\0")
    words = list(struct.unpack(f"<{len(padded) // 4}I", padded))
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
    other = b"8BIM\x03\xed\x03abc" + struct.pack(">I", 3) + b"xyz\0"
    assert read(tiff(page(RGB8, more={33723: (4, words)})), tmp_path).iptc == padded
    assert read(tiff(page(RGB8, order=">", more={33723: (4, words)}), order=">"), tmp_path).iptc == padded
    assert read(tiff(page(RGB8, more={34377: (1, other + resource)})), tmp_path).iptc == IPTC
    assert read(tiff(page(RGB8, more={34377: (1, (other + resource)[:-9])})), tmp_path).lost == ()


def test_what_photoshop_alone_can_use_is_told(tmp_path: Path) -> None:
    path = b"8BIM" + struct.pack(">H", 2000) + b"\x05Path \0"[:6] + struct.pack(">I", 4) + b"1234"
    lost = read(tiff(page(RGB8, more={34377: (1, path), 37724: (7, b"Adobe Photoshop Document Data Block")})), tmp_path)
    assert lost.lost == ("its Photoshop layers are lost", "its Photoshop paths are lost")


def test_what_is_damaged_or_stands_in_xmp_alone_is_told_as_in_other_formats(tmp_path: Path) -> None:
    picture = read(tiff(page(RGB8, more={34675: (7, b"no profile"), 700: (1, XMP % (6, 26, 19))})), tmp_path)
    assert (picture.icc, picture.xmp) == (None, XMP % (1, 26, 19))
    np.testing.assert_array_equal(picture.pixels, RGB8)
    assert picture.lost == (
        "its colour profile is damaged and is left out",
        "orientation 6 stands in its XMP alone, and is not applied; it becomes 1",
    )
    with BandedTiff(tmp_path / "a.tif", 10**6) as source:
        assert (source.icc, source.xmp, source.lost) == (None, picture.xmp, picture.lost)


def points(chromaticities: tuple[tuple[float, float], ...]) -> dict[int, tuple[int, list[int]]]:
    """WhitePoint and PrimaryChromaticities."""
    values = [[part for x in xy for part in (round(x * 10000), 10000)] for xy in chromaticities]
    return {318: (5, values[3]), 319: (5, [*values[0], *values[1], *values[2]])}


@pytest.mark.parametrize("order", ["<", ">"])
def test_colorimetry_without_a_profile_becomes_one(tmp_path: Path, order: Order) -> None:
    def found(more: dict[int, tuple[int, list[int]]], pixels: np.ndarray = RGB8) -> tuple[bytes | None, object]:
        data = tiff(page(pixels, 2 if pixels.ndim == 3 else 1, order=order, more=more), order=order)
        picture = read(data, tmp_path)
        assert profile_of_tiff(tmp_path / "a.tif")[0] == picture.icc
        return picture.icc, picture.lost

    gamma = (np.linspace(0, 1, 256) ** 1.8 * 65535).round().astype(int).tolist()
    table, name = tuple(value / 65535 for value in gamma), "TIFF colorimetry"
    p3 = rgb_profile(PRIMARIES[12], [SRGB_CURVE] * 3, name)
    assert found(points(PRIMARIES[12])) == (p3, ())
    assert found(points(SRGB_PRIMARIES)) == (None, ())
    assert found({301: (3, gamma)}) == (rgb_profile(SRGB_PRIMARIES, [table] * 3, name), ())
    assert found({301: (3, gamma * 3)} | points(PRIMARIES[12])) == (rgb_profile(PRIMARIES[12], [table] * 3, name), ())
    assert found({301: (3, gamma)}, RGB8[..., 0]) == (grey_profile(table, name), ())
    usual = (np.linspace(0, 1, 256) ** 2.2 * 65535).round().astype(int).tolist()
    assert found({301: (3, usual)}) == (None, ())
    assert found(points(PRIMARIES[12]) | {34675: (7, PROFILE)}) == (PROFILE, ())  # type: ignore[dict-item]
    line = "its colorimetry is lost: its colours were taken for sRGB"
    for more in ({318: points(SRGB_PRIMARIES)[318]}, {301: (3, gamma[:9])}, points(((0.3, 0.3),) * 4)):
        assert found(more) == (None, (line,))


def test_a_curve_by_points_is_read_as_the_light_that_it_gives() -> None:
    table = tuple((np.arange(256) / 255) ** 1.8)
    curve = read_profile(grey_profile(table, "points"), grey=True).curves[0]
    np.testing.assert_allclose(curve[::257], table, atol=1e-4)
