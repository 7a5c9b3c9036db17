"""TIFFs of every layout, depth, colour and kind of channel are read with the right values, in memory and in bands."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiff_cases import (
    ALPHA8,
    ALPHA16,
    BITS,
    EXTRA,
    FILL,
    FORMAT,
    GREY8,
    GREY16,
    MAP16,
    PALETTE,
    PREDICTOR,
    RGB8,
    RGB16,
    RGBA8,
    RGBA16,
    RNG,
    WIDE,
    Case,
    check,
    few_bits,
    premultiplied,
    reverse,
    spread,
    straightened,
)
from tiffs import page, tiff

from mirnet_deploy.images import read_image
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.tiff.bands import BandedTiff

CASES: dict[str, Callable[[], Case]] = {
    "planes 8": lambda: Case(tiff(page(RGB8, planar=True, rows=5)), RGB8),
    "planes RGBA 8": lambda: Case(tiff(page(RGBA8, planar=True, rows=5, more={EXTRA: (3, [2])})), RGB8, ALPHA8),
    "planes RGBX 8": lambda: Case(
        tiff(page(RGBA8, planar=True, rows=5, more={EXTRA: (3, [0])})), RGB8, lost="channel 4 (of unspecified"
    ),
    "planes 16 big-endian": lambda: Case(tiff(page(RGB16, planar=True, rows=5, order=">"), order=">"), RGB16),
    "8 big-endian": lambda: Case(tiff(page(RGB8, rows=7, order=">"), order=">"), RGB8),
    "tiles 8": lambda: Case(tiff(page(RGB8, tile=16)), RGB8),
    "white is 0": lambda: Case(tiff(page(255 - GREY8, 0)), GREY8),
    "white is 0, 16": lambda: Case(tiff(page(65535 - GREY16, 0)), GREY16),
    "1 bit, white is 0": lambda: Case(tiff(few_bits(BITS, 1, 0)), (1 - BITS) * 255),
    "1 bit, black is 0, reversed": lambda: Case(
        tiff(few_bits(BITS, 1, 1, pack=reverse, more={FILL: (3, [2])})), BITS * 255
    ),
    "RGBX 8": lambda: Case(tiff(page(RGBA8, more={EXTRA: (3, [0])})), RGB8, lost="channel 4 (of unspecified"),
    "RGBX 16": lambda: Case(tiff(page(RGBA16, more={EXTRA: (3, [0])})), RGB16, lost="channel 4 (of unspecified"),
    "grey and unspecified 8": lambda: Case(
        tiff(page(RGB8[..., 1:], 1, more={EXTRA: (3, [0])})), GREY8, lost="channel 2 (of unspecified"
    ),
    "grey and unspecified 16": lambda: Case(
        tiff(page(RGB16[..., 1:], 1, more={EXTRA: (3, [0])})), GREY16, lost="channel 2 (of unspecified"
    ),
    "four channels, nothing said, 8": lambda: Case(tiff(page(RGBA8)), RGB8, ALPHA8),
    "four channels, nothing said, 16": lambda: Case(tiff(page(RGBA16)), RGB16, ALPHA16),
    "RGBA and a spot colour 8": lambda: Case(
        tiff(page(np.dstack([RGBA8, GREY8]), more={EXTRA: (3, [2, 0])})), RGB8, ALPHA8, "channel 5 (of unspecified"
    ),
    "spot colour before alpha 16": lambda: Case(
        tiff(page(np.dstack([RGB16, GREY16, ALPHA16]), more={EXTRA: (3, [0, 2])})),
        RGB16, ALPHA16, "channel 4 (of unspecified",
    ),
    "two alphas": lambda: Case(
        tiff(page(np.dstack([RGBA8, GREY8]), more={EXTRA: (3, [2, 2])})), RGB8, ALPHA8, "channel 5 (beyond its colours"
    ),
    "two more channels": lambda: Case(
        tiff(page(np.dstack([RGBA8, GREY8]), more={EXTRA: (3, [0, 0])})), RGB8, lost="channels 4, 5 (of unspecified"
    ),
    "grey with alpha 8": lambda: Case(
        tiff(page(np.dstack([GREY8, ALPHA8]), 1, more={EXTRA: (3, [2])})), GREY8, ALPHA8
    ),
    "Corel's alpha": lambda: Case(tiff(page(RGBA8, more={EXTRA: (3, [999])})), RGB8, ALPHA8),
    "premultiplied grey 8": lambda: Case(
        tiff(page(np.dstack([premultiplied(GREY8, ALPHA8), ALPHA8]), 1, more={EXTRA: (3, [1])})),
        straightened(premultiplied(GREY8, ALPHA8), ALPHA8), ALPHA8,
    ),
    "premultiplied RGB 8": lambda: Case(
        tiff(page(np.dstack([premultiplied(RGB8, ALPHA8), ALPHA8]), more={EXTRA: (3, [1])})),
        straightened(premultiplied(RGB8, ALPHA8), ALPHA8), ALPHA8,
    ),
    "premultiplied RGB 16 in planes": lambda: Case(
        tiff(page(np.dstack([premultiplied(RGB16, ALPHA16), ALPHA16]), planar=True, more={EXTRA: (3, [1])})),
        straightened(premultiplied(RGB16, ALPHA16), ALPHA16), ALPHA16,
    ),
    "palette": lambda: Case(tiff(page(GREY8, 3, more={320: (3, MAP16)})), PALETTE[GREY8].astype(np.uint8)),
    "palette of 0 to 255": lambda: Case(
        tiff(page(GREY8, 3, more={320: (3, [int(value) for value in PALETTE.T.reshape(-1)])})),
        PALETTE[GREY8].astype(np.uint8),
    ),
    "palette of 4 bits": lambda: Case(
        tiff(few_bits(GREY8 >> 4, 4, 3, more={320: (3, [int(value) for value in (PALETTE[:16] * 257).T.reshape(-1)])})),
        PALETTE[GREY8 >> 4].astype(np.uint8),
    ),
    "palette of 16 bits": lambda: Case(
        tiff(page(GREY16, 3, more={320: (3, [int(value) for value in WIDE.T.reshape(-1)])})),
        (WIDE >> 8)[GREY16].astype(np.uint8),
    ),
    "palette with alpha": lambda: Case(
        tiff(page(np.dstack([GREY8, ALPHA8]), 3, more={320: (3, MAP16), EXTRA: (3, [2])})),
        PALETTE[GREY8].astype(np.uint8), ALPHA8,
    ),
    "no photometric": lambda: Case(tiff(page(RGB8, None)), RGB8),
    "no photometric, grey 16": lambda: Case(tiff(page(GREY16, None)), GREY16),
    "no byte counts": lambda: Case(tiff(page(RGB8, counts=False)), RGB8),
    "no byte counts, strips": lambda: Case(tiff(page(RGB16, rows=4, counts=False)), RGB16),
    "all rows in a strip": lambda: Case(tiff(page(RGB8, more={278: (4, [0xFFFFFFFF])})), RGB8),
    "bits once 8": lambda: Case(tiff(page(RGB8, more={258: (3, [8])})), RGB8),
    "bits once 16": lambda: Case(tiff(page(RGB16, more={258: (3, [16])})), RGB16),
    "undefined sample format": lambda: Case(tiff(page(RGB8, more={FORMAT: (3, [4, 4, 4])})), RGB8),
    "reversed 8": lambda: Case(tiff(page(RGB8, rows=4, pack=reverse, more={FILL: (3, [2])})), RGB8),
    "reversed 16": lambda: Case(tiff(page(RGB16, rows=4, pack=reverse, more={FILL: (3, [2])})), RGB16),
    "reversed 16 big-endian": lambda: Case(
        tiff(page(RGB16, pack=reverse, order=">", more={FILL: (3, [2])}), order=">"), RGB16
    ),
    "predictor without compression 8": lambda: Case(tiff(page(RGB8, more={PREDICTOR: (3, [2])})), RGB8),
    "predictor without compression 16": lambda: Case(tiff(page(RGB16, more={PREDICTOR: (3, [2])})), RGB16),
}  # fmt: skip
for depth in (2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 15):
    for kind, pattern in (("grey", GREY16 >> (16 - depth)), ("RGB", RGB16 >> (16 - depth))):
        make = partial(few_bits, pattern, depth, 1 if kind == "grey" else 2, rows=4)
        CASES[f"{depth} bits {kind}"] = lambda make=make, pattern=pattern, depth=depth: Case(
            tiff(make()), spread(pattern, depth)
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CASES)
def test_the_values_are_right_in_memory_and_in_bands(tmp_path: Path, name: str) -> None:
    check(CASES[name](), tmp_path)


def test_the_orientation_turns_all_kinds(tmp_path: Path) -> None:
    for one in (page(RGB8, more={274: (3, [6])}), page(RGB8, planar=True, tile=16, more={274: (3, [6])})):
        (tmp_path / "a.tif").write_bytes(tiff(one))
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(RGB8, -1))


def test_a_single_plain_strip_is_read_in_parts(tmp_path: Path) -> None:
    """Of a giant picture, it is all of it."""
    tall = RNG.integers(0, 256, (3000, 600, 3), dtype=np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(page(tall)))
    with BandedTiff(tmp_path / "a.tif", 10**7) as source:
        np.testing.assert_array_equal(source[1000:1010], tall[1000:1010])
        assert sum(part.nbytes for part, _ in source._kept.values()) <= 2 << 20
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, tall)


def test_every_premultiplied_pair_of_8_bits_is_divided_exactly() -> None:
    """Ties go to the even level; to multiply by 255 / alpha, which is rounded already, misses some of them."""
    alpha, pixels = np.indices((256, 256)).astype(np.uint8)
    picture = decode_image(tiff(page(np.dstack([pixels, alpha]), 1, more={EXTRA: (3, [1])})), "a", max_pixels=10**6)
    expected = [
        [min(255, round(Fraction(value * 255, max(weight, 1)))) for value in range(256)] for weight in range(256)
    ]
    np.testing.assert_array_equal(picture.pixels, expected)
