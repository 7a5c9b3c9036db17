"""Pairs of pictures: found by stem, read as 8-bit RGB, refused where they do not belong together."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import write_image
from PIL import Image
from profiles import ADOBE, D65, P3, PROPHOTO, PROPHOTO_WHITE, SRGB, SRGB_CURVE, decoded, gamma, matrix_profile, to_xyz
from small_files import png

from mirnet_deploy.benchmarks.tiling import read_middle
from mirnet_deploy.errors import DataError, ImageError, MirnetDeployWarning
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.images import Picture
from mirnet_deploy.pairs import find_pairs, read_pair, read_rgb8


def test_pairs_match_by_stem_whatever_the_extension(lol_folder: Path) -> None:
    pairs = find_pairs(lol_folder / "our485")
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4"]
    assert {pair.low.suffix for pair in pairs} == {".bmp"}
    assert {pair.high.suffix for pair in pairs} == {".png"}


def test_missing_partners_are_named(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    (tmp_path / "pairs" / "high" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 pictures have no partner .*\(3\)"):
        find_pairs(tmp_path / "pairs")


def test_pairs_in_folders_below_are_found(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    for side in ("low", "high"):
        shutil.copytree(lol_folder / "eval15" / side, tmp_path / "pairs" / side / "more" / "night")
        shutil.copytree(lol_folder / "our485" / side, tmp_path / "pairs" / side / ".trash")
    pairs = find_pairs(tmp_path / "pairs")
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4", "more/night/5", "more/night/6"]
    assert pairs[5].low == tmp_path / "pairs/low/more/night/5.bmp"
    (tmp_path / "pairs/high/more/night/6.png").rename(tmp_path / "pairs/high/6.png")
    with pytest.raises(DataError, match=r"2 pictures have no partner .*\(6, more/night/6\)"):
        find_pairs(tmp_path / "pairs")


def test_links_to_folders_are_followed_but_not_in_circles(lol_folder: Path, tmp_path: Path) -> None:
    places = [tmp_path / "pairs" / side for side in ("low", "high")]
    for place in places:
        shutil.copytree(lol_folder / "eval15" / place.name, place)
        (place / "more").mkdir()
        (place / "more/night").symlink_to(lol_folder / "our485" / place.name)
        (place / "twice").symlink_to("more")
        (place / "more/circle").symlink_to("..")
        (place / "out").symlink_to(tmp_path)
        (place / "itself").symlink_to(place)
    pairs = find_pairs(tmp_path / "pairs")
    nested = [f"{place}/night/{number}" for place in ("more", "twice") for number in range(5)]
    assert [pair.name for pair in pairs] == ["5", "6", *nested]
    assert pairs[2].low == tmp_path / "pairs/low/more/night/0.bmp"
    (tmp_path / "linked").mkdir()
    for place in places:
        (tmp_path / "linked" / place.name).symlink_to(place)
    assert [pair.name for pair in find_pairs(tmp_path / "linked")] == [pair.name for pair in pairs]


def test_a_linked_folder_that_is_gone_is_named(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    (tmp_path / "pairs/low/night").symlink_to("/not/mounted")
    with pytest.warns(MirnetDeployWarning, match="low/night is a link that leads nowhere"):
        assert len(find_pairs(tmp_path / "pairs")) == 5


def test_a_folder_that_does_not_exist_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name, said in (("none", "does not exist"), ("link", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(DataError, match=f"{name} {said}"):
            find_pairs(tmp_path / name)


def test_two_pictures_of_one_stem_are_refused(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    shutil.copy(tmp_path / "pairs/high/3.png", tmp_path / "pairs/low/3.png")
    with pytest.raises(DataError, match=r"both 3\.bmp and 3\.png"):
        find_pairs(tmp_path / "pairs")


def test_sizes_of_a_pair_must_agree(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    Image.new("RGB", (10, 12)).save(tmp_path / "pairs/high/3.png")
    with pytest.raises(DataError, match="pair 3: low is 56x44 and high is 10x12"):
        read_pair(find_pairs(tmp_path / "pairs")[3])


def test_a_pair_with_a_turned_picture_is_of_one_size(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / "pairs")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.random.default_rng(0).integers(0, 256, (44, 56, 3), dtype=np.uint8)
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "pairs/high/3.png", exif=exif)
    pair = find_pairs(tmp_path / "pairs")[3]
    low, high = read_pair(pair)
    assert low.shape == (44, 56, 3)
    np.testing.assert_array_equal(high, upright)


def test_a_16_bit_grey_picture_becomes_8_bit_rgb(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 129, 65535], [257, 514, 600, 30000]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    pixels = read_rgb8(tmp_path / "grey.png")
    assert pixels.dtype == np.uint8
    expected = [[math.floor(int(value) / 257 + 0.5) for value in row] for row in grey]
    assert pixels.tolist() == [[[value] * 3 for value in row] for row in expected]


def in_space(
    srgb: NDArray[np.uint8], primaries: object, power: float | None, white: object = D65
) -> NDArray[np.uint16]:
    """Numbers of sRGB -> those of another space that stand for the same colours; `power` None is sRGB's curve."""
    light = decoded(srgb / 255) @ (np.linalg.inv(to_xyz(primaries, white)) @ to_xyz(SRGB)).T
    assert light.min() >= 0
    assert light.max() <= 1
    curved = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint((curved if power is None else light ** (1 / power)) * 65535).astype(np.uint16)


SPACES = {
    "Display P3": (P3, SRGB_CURVE, None, D65),
    "Adobe RGB": (ADOBE, gamma(563 / 256), 563 / 256, D65),
    "ProPhoto": (PROPHOTO, gamma(461 / 256), 461 / 256, PROPHOTO_WHITE),
    "linear": (SRGB, gamma(1.0), 1.0, D65),
}


@pytest.mark.parametrize("name", SPACES)
def test_pictures_of_other_spaces_become_srgb_for_every_reader(name: str, tmp_path: Path) -> None:
    """`train`, `export` and `bench` learn and measure on the colours that the picture shows, as `enhance` does."""
    primaries, curve, power, white = SPACES[name]
    srgb = np.random.default_rng(7).integers(30, 200, (16, 20, 3), dtype=np.uint8)
    pixels = in_space(srgb, primaries, power, white)
    assert np.abs(pixels // 257 - srgb.astype(int)).mean() > 2  # taken for sRGB they are others
    write_image(Picture(pixels, icc=matrix_profile(primaries, curve, white=white)), path := tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb8(path), srgb)
    np.testing.assert_array_equal(read_crops(tmp_path)[0], srgb)
    np.testing.assert_array_equal(read_middle(path, None), srgb.astype(np.float32) / np.float32(255))


def test_pictures_that_say_srgb_are_read_as_they_are(tmp_path: Path) -> None:
    srgb = np.random.default_rng(7).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    write_image(Picture(srgb, icc=matrix_profile(SRGB, SRGB_CURVE)), tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.png"), srgb)


def test_hdr_pictures_and_profiles_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    srgb = np.random.default_rng(7).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    write_image(Picture(srgb, icc=matrix_profile(P3, SRGB_CURVE)[:-30]), path := tmp_path / "a.png")
    with pytest.warns(MirnetDeployWarning, match=r"a\.png: its colours were taken for sRGB, since its ICC"):
        np.testing.assert_array_equal(read_rgb8(path), srgb)
    path.write_bytes(png(srgb, 2, 8, (b"iCCP", b"P3\0\0" + b"no zlib")))
    with pytest.warns(MirnetDeployWarning, match=r"a\.png: its colour profile is damaged and is left out"):
        np.testing.assert_array_equal(read_rgb8(path), srgb)
    path.write_bytes(png(srgb, 2, 8, (b"cICP", bytes([9, 16, 0, 1]))))
    with pytest.raises(ImageError, match=r"a\.png is an HDR picture \(PQ\), which is not read"):
        read_rgb8(path)
