"""What is done to pixels outside the network."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.errors import ImageError
from mirnet_deploy.pixels import check_picture, padded


@pytest.mark.parametrize("shape", [(4, 8), (5, 9), (6, 1), (1, 1), (3, 2)])
def test_padding_fills_up_to_multiples_of_four(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 200, (*shape, 3), dtype=np.uint8)
    filled = padded(image, 4)
    assert filled.shape[0] % 4 == filled.shape[1] % 4 == 0
    assert filled.shape[0] - shape[0] < 4
    assert filled.shape[1] - shape[1] < 4
    assert np.array_equal(filled[: shape[0], : shape[1]], image)
    if shape == (5, 9):
        assert np.array_equal(filled[5], filled[3]), "reflected, the last row not repeated"
    if shape == (1, 1):
        assert (filled == image[0, 0]).all()


def test_the_line_on_values_out_of_range_gives_numbers_that_tell() -> None:
    image = np.ones((4, 4, 3), np.float32)
    image[0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    with pytest.raises(ImageError, match=r"image has float32 values from 1 to 1\.0000001; expected \[0, 1\]"):
        check_picture(image, "float")
