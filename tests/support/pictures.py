"""Writes pictures to files as a job does, without the record; and damages them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.formats import format_of_name
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.writing import encode_image

USUAL: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4", "allow_8_bit": False}
"""Options of `encode_image` for tests that do not depend on them."""


def write_image(picture: Picture, path: Path, **options: Any) -> None:
    """Writes a picture in the format that the suffix of `path` names."""
    path.write_bytes(encode_image(picture, format_of_name(path), **{**USUAL, **options}))


def errors_of_damaged(
    decode: Callable[[bytes], object], data: bytes, places: tuple[int, int], changes: int
) -> list[str]:
    """The errors of 150 copies of a file in which as many bytes as `changes` are others, somewhere from the first of
    `places` to before the second."""
    rng, errors = np.random.default_rng(3), []
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(*places, changes):
            damaged[place] = rng.integers(0, 256)
        try:
            decode(bytes(damaged))
        except ImageError as error:
            errors.append(str(error))
    return errors
