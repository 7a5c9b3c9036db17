"""Camera RAW: pictures developed from files of known content, held against the scenes that these show."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_pictures import dng

from mirnet_deploy.errors import ImageError, MissingDependencyError
from mirnet_deploy.images import Picture
from mirnet_deploy.images.formats import sniff
from mirnet_deploy.images.ifd import ORIENTATION, read_directory
from mirnet_deploy.images.raw.kinds import format_of_content
from mirnet_deploy.images.raw.metadata import metadata_of_raw
from mirnet_deploy.images.reading import decode_image, read_image
from mirnet_deploy.images.samples import from_linear, to_linear
from mirnet_deploy.images.tiff.writing import encode_tiff

rawpy = pytest.importorskip("rawpy", reason="the extra raw is not installed")

HEIGHT, WIDTH = 96, 128
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
SCENE = np.dstack(
    [0.02 + 0.3 * COLUMNS / WIDTH, 0.05 + 0.5 * ROWS / HEIGHT, 0.03 + 0.2 * (COLUMNS + ROWS) / (WIDTH + HEIGHT)]
)
"""Linear sRGB, smooth, so that filling in the mosaic makes no error to speak of."""
INSIDE = (slice(4, -4), slice(4, -4))
"""Without the margin, where the mosaic has no neighbours."""
TOLERANCE = 70
"""Of 65535: a quarter of a level of 8 bits."""


def decode(data: bytes, name: str = "a") -> Picture:
    return decode_image(data, name, max_pixels=10**6)


def differences(pixels: np.ndarray, light: np.ndarray) -> int:
    return int(np.abs(pixels[INSIDE].astype(int) - from_linear(light)[INSIDE]).max())


@pytest.mark.parametrize("pattern", ["BGGR", "RGGB", "GRBG", "GBRG"])
@pytest.mark.parametrize("neutral", [(0.5, 1.0, 0.625), (1.0, 0.8, 0.4)])
def test_a_developed_picture_is_the_scene(pattern: str, neutral: tuple[float, float, float]) -> None:
    picture = decode(dng(SCENE, pattern=pattern, neutral=neutral, bits=14, black=512))
    assert picture.pixels.dtype == np.uint16
    # Grey is white where it reaches the white level in the channel that sees most of it.
    assert differences(picture.pixels, SCENE * max(neutral)) <= TOLERANCE
    assert (picture.format, picture.alpha, picture.icc, picture.lost) == ("raw", None, None, ())


def test_the_darkest_values_are_there() -> None:
    """A scene whose white is 2 levels of 8 bits: in an 8-bit picture little of it would be left."""
    scene = SCENE / 60
    picture = decode(dng(scene))
    assert picture.pixels.max() < 0.1 * 65535  # it is not made brighter
    light = to_linear(picture.pixels)[INSIDE]
    step = 1 / ((2**14 - 1 - 512) * 0.5)  # of light, in the channel of which the sensor sees least: an eighth of 1/255
    assert np.abs(light - scene[INSIDE]).max() < 2 * step  # its own rounding, and that of its neighbours
    np.testing.assert_allclose(light.mean((0, 1)), scene[INSIDE].mean((0, 1)), rtol=0.02)


def test_a_colour_that_white_balance_would_clip_is_kept() -> None:
    scene = SCENE * 0.5
    scene[40:60, 40:80, 0] = 0.6 + 0.03 * np.arange(40)  # up to 1.77 of white; the sensor clips red at 2
    picture = decode(dng(scene, neutral=(0.5, 1.0, 0.625)))
    lamp = (slice(44, 56), slice(44, 76))
    assert (np.diff(picture.pixels[lamp][..., 0].astype(int), axis=1) > 0).all()  # not clipped
    light = to_linear(picture.pixels)
    gain = light[70:90].sum() / scene[70:90].sum()  # it is a little darker for that, all of it alike
    assert 0.56 < gain < 0.95
    np.testing.assert_allclose(light[70:90, 4:-4], scene[70:90, 4:-4] * gain, rtol=0.03, atol=2e-4)
    # Above what green can be, red loses colour, and no light.
    np.testing.assert_allclose(light[lamp].sum(2), scene[lamp].sum(2) * gain, rtol=0.03)


def test_what_the_sensor_clipped_is_white_and_not_magenta() -> None:
    scene = SCENE * 0.5
    scene[40:60, 40:80] = 3.0
    lamp = decode(dng(scene)).pixels[46:54, 46:74].reshape(-1, 3).astype(int)
    assert lamp.min() > 0.85 * 65535
    assert (lamp.max(1) - lamp.min(1)).max() < 400


def test_a_hot_pixel_does_not_decide_on_the_exposure() -> None:
    scene = np.tile(SCENE * 0.5, (4, 4, 1))
    hot = scene.copy()
    hot[101, 101] = 2  # the place of a red one
    ours, without = (decode(dng(light)).pixels for light in (hot, scene))
    np.testing.assert_array_equal(ours[200:], without[200:])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_is_turned_once(orientation: int) -> None:
    picture = decode(dng(SCENE, orientation=orientation))
    upright = Picture(from_linear(SCENE)).upright(orientation).pixels
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels[INSIDE].astype(int) - upright[INSIDE]).max() <= TOLERANCE
    assert picture.exif
    assert read_directory(picture.exif).integer(ORIENTATION, 0) == 1


def test_the_sensor_is_read_and_not_the_preview(tmp_path: Path) -> None:
    data = dng(SCENE, preview=np.full((15, 23, 3), 200, np.uint8))
    for name in ("a.dng", "a.nef", "a.tif"):  # the content decides
        (tmp_path / name).write_bytes(data)
        assert differences(read_image(tmp_path / name).pixels, SCENE) <= TOLERANCE


def test_exif_is_kept_but_for_what_belongs_to_the_sensor() -> None:
    exif = decode(dng(SCENE)).exif
    assert exif
    assert set(read_directory(exif).fields) == {271, 272, 274, 282, 283, 296}
    assert b"Camera & Sons\0" in exif
    assert b"Known 1\0" in exif


def test_what_is_no_raw_stays_a_tiff() -> None:
    tiff = encode_tiff(Picture(from_linear(SCENE)))
    assert format_of_content(tiff) == "tiff"
    assert format_of_content(dng(SCENE)) == "raw"
    assert format_of_content(b"II*\0" + b"\xff" * 60) == "tiff"  # damaged: the TIFF reader says so


@pytest.mark.parametrize(
    "head",
    [
        b"FUJIFILMCCD-RAW 0201",
        b"IIU\0\x18\0\0\0",
        b"IIRO\x08\0\0\0",
        b"IIRS\x08\0\0\0",
        b"MMOR\0\0\0\x08",
        b"FOVb\0\0\2\0",
        b"\0MRM\0\0\0\0",
        b"II*\0\x10\0\0\0CR\2\0",
        b"II\x1a\0\0\0HEAPCCDR",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
)
def test_the_makers_own_files_are_known_by_their_first_bytes(head: bytes) -> None:
    assert sniff(head.ljust(64, b"\0")) == "raw"
    with pytest.raises(ImageError, match=r"^a\.x ") as caught:  # and nothing else is in them
        decode(head.ljust(2000, b"\0"), "a.x")
    assert "\n" not in str(caught.value)


def test_the_exif_of_a_cr3_and_of_an_orf_is_found() -> None:
    def block(tag: int, value: int) -> bytes:
        return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, tag, 3, 1, value, 0)

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    inner = box(b"CMT1", block(ORIENTATION, 6)) + box(b"CMT2", block(34855, 6400))
    identifier = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    cr3 = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", identifier + inner))
    exif, lost = metadata_of_raw(cr3)
    assert exif
    directory = read_directory(exif)
    assert directory.integer(ORIENTATION, 0) == 6
    assert read_directory(exif, directory.integer(34665, 0)).integer(34855, 0) == 6400
    assert lost == []
    exif, _ = metadata_of_raw(b"IIRO" + block(ORIENTATION, 8)[4:])
    assert exif
    assert read_directory(exif).integer(ORIENTATION, 0) == 8
    assert metadata_of_raw(b"FOVb" + bytes(100)) == (None, ["its EXIF is not read"])


def test_cut_files_give_one_line() -> None:
    data = dng(SCENE, preview=np.full((15, 23, 3), 200, np.uint8))
    for length in sorted({*range(1, 60), *np.linspace(60, len(data) - 1, 60, dtype=int).tolist()}):
        with pytest.raises(ImageError, match=r"^cut\.x ") as caught:
            decode(data[:length], "cut.x")
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"^a is truncated: the RAW ends before"):
        decode(data[:-2])


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_decoding(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    data = dng(SCENE)
    monkeypatch.setattr("mirnet_deploy.images.raw.developing._developed", no_decoding)
    with pytest.raises(ImageError, match=r"big is 128x96, .* \(--max-pixels\)"):
        decode_image(data, "big", max_pixels=HEIGHT * WIDTH - 1)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dng(SCENE)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingDependencyError, match=r'^a\.dng: .* rawpy \(.*\): pip install "mirnet-deploy\[raw\]"$'):
        decode(data, "a.dng")
