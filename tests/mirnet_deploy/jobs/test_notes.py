"""What a result cannot hold is told in a note."""

from __future__ import annotations

import numpy as np
import pytest

from mirnet_deploy.images import Picture
from mirnet_deploy.images.colour.conversion import Colour
from mirnet_deploy.images.formats import Format
from mirnet_deploy.jobs.making import _notes

HALF = "its colours have half the resolution (4:2:0), as OpenCV writes AVIF of more than 8 bit"


@pytest.mark.parametrize(
    ("source", "depth", "target", "notes"),
    [
        ("png", None, "heic", ["16 bit became 12, since a HEIC holds no more"]),
        ("heic", 12, "heic", []),
        ("heic", 10, "png", []),
        ("jxl", 14, "jxl", []),
        ("jxl", 14, "heic", ["14 bit became 12, since a HEIC holds no more"]),
        ("png", None, "jxl", []),
        ("png", None, "avif", ["16 bit became 12, since an AVIF holds no more", HALF]),
        ("avif", 10, "avif", []),  # lossless
        ("raw", None, "jpg", ["more than 8 bit became 8, since a JPEG holds no more"]),
        ("bmp", None, "heic", ["more than 8 bit became 12, since a HEIC holds no more"]),
        ("avif", 10, "webp", ["10 bit became 8, since a WebP holds no more"]),
    ],
)
def test_depths_and_colours(source: Format, depth: int | None, target: Format, notes: list[str]) -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint16), format=source, depth=depth)
    assert _notes(picture, Colour(), target) == notes


def test_what_was_lost_in_reading_comes_first() -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), exif=b"II*\0", format="heic", lost=("its gain map is lost",))
    assert _notes(picture, Colour(), "heic") == ["its gain map is lost"]
    assert _notes(picture, Colour(), "bmp")[0] == "its gain map is lost"
