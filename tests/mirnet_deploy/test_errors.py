"""Warnings point at the user's line, wherever that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mirnet_deploy.errors import ImageError, MirnetDeployWarning, warn
from mirnet_deploy.pixels import check_picture


@pytest.mark.parametrize("names", [{}, {"__name__": "theirs"}])
def test_code_without_a_module_is_warned_too(names: dict[str, Any]) -> None:
    """As it is in an embedded interpreter, and in `exec`."""
    with pytest.warns(MirnetDeployWarning, match="hello"):
        exec("warn('hello')", names | {"warn": warn})


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nextafter(np.float32(1), np.float32(2)), "0 to 1.0000001"), (1.5, "0 to 1.5"), (-1e-9, "-1e-09 to 0")],
)
def test_a_value_just_beyond_its_range_is_told_from_the_range(value: float, said: str) -> None:
    picture = np.zeros((2, 2, 3), np.float32)
    picture[0, 0, 0] = value
    with pytest.raises(ImageError, match=f"float32 values from {said}; expected"):
        check_picture(picture, "float")
