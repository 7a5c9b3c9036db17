"""What is done to pixels outside the network."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.pixels import padded


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
