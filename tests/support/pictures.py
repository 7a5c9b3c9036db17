"""Writes pictures to files as a job does, without the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mirnet_deploy.images.formats import format_of_name
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.writing import encode_image

USUAL: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4", "allow_8_bit": False}
"""Options of `encode_image` for tests that do not depend on them."""


def write_image(picture: Picture, path: Path, **options: Any) -> None:
    """Writes a picture in the format that the suffix of `path` names."""
    path.write_bytes(encode_image(picture, format_of_name(path), **{**USUAL, **options}))
