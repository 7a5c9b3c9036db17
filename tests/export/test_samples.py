"""The pixels on which an export is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirnet_deploy.errors import DataError, ImageError
from mirnet_deploy.export.samples import MAX_CROPS, read_crops


def test_the_packaged_crops_are_two_photographs() -> None:
    crops = read_crops(None)
    assert [(crop.shape, crop.dtype) for crop in crops] == [((256, 256, 3), np.uint8)] * 2
    assert all(crop.std() > 5 for crop in crops)


def test_the_middle_is_taken_with_sides_that_are_multiples_of_four(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (301, 22, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "tall.PNG")
    (crop,) = read_crops(tmp_path)
    np.testing.assert_array_equal(crop, pixels[22:278, 1:21])


def test_16_bit_and_grey_pictures_become_8_bit_rgb(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 257
    Image.fromarray(grey).save(tmp_path / "grey16.png")
    (crop,) = read_crops(tmp_path)
    np.testing.assert_array_equal(crop, np.repeat(np.arange(64).reshape(8, 8, 1), 3, axis=2))


def test_only_the_first_pictures_are_taken(tmp_path: Path) -> None:
    for index in range(MAX_CROPS + 2):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / f"{index:02}.png")
    assert [int(crop[0, 0, 0]) for crop in read_crops(tmp_path)] == list(range(MAX_CROPS))


def test_pictures_that_cannot_be_samples_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        read_crops(tmp_path)
    Image.new("RGB", (3, 9)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match="3x9 pixels; expected at least 4x4"):
        read_crops(tmp_path)
    (tmp_path / "thin.png").write_bytes(b"damaged")
    with pytest.raises(ImageError, match=r"thin\.png"):
        read_crops(tmp_path)
