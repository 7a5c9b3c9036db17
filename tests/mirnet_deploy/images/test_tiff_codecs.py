"""TIFFs of every compression are read with the right values, in memory and in bands."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from tiff_cases import (
    ALPHA16,
    BITS,
    EXTRA,
    FILL,
    GREY8,
    MAP16,
    PALETTE,
    PREDICTOR,
    RGB8,
    RGB16,
    RGBA16,
    SMOOTH,
    WIDTH,
    Array,
    Case,
    check,
    differences,
    reverse,
    spread,
    ycbcr,
)
from tiffs import page, tiff

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images import read_image
from mirnet_deploy.images.tiff.bands import BandedTiff

LZW, LEVEL = imagecodecs.lzw_encode, partial(zlib.compress, level=9)


def by_pillow(samples: Array, compression: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "TIFF", compression=compression, **options)
    return file.getvalue()


CASES: dict[str, Callable[[], Case]] = {
    "planes 16 LZW": lambda: Case(tiff(page(RGB16, planar=True, rows=5, compression=5, pack=LZW)), RGB16),
    "tiles 16 Deflate": lambda: Case(tiff(page(RGB16, tile=16, compression=8, pack=LEVEL)), RGB16),
    "tiles 16 LZW": lambda: Case(tiff(page(RGB16, tile=16, compression=5, pack=LZW)), RGB16),
    "LZW 8 differences": lambda: Case(
        tiff(
            page(
                RGB8,
                rows=6,
                compression=5,
                pack=lambda data: LZW(differences(WIDTH, 3, "u1")(data)),
                more={PREDICTOR: (3, [2])},
            )
        ),
        RGB8,
    ),
    "LZW 16 differences, big-endian": lambda: Case(
        tiff(
            page(
                RGB16,
                rows=6,
                order=">",
                compression=5,
                pack=lambda data: LZW(differences(WIDTH, 3, ">u2")(data)),
                more={PREDICTOR: (3, [2])},
            ),
            order=">",
        ),
        RGB16,
    ),
    "LZW 16 RGBA": lambda: Case(
        tiff(page(RGBA16, rows=6, compression=5, pack=LZW, more={EXTRA: (3, [2])})), RGB16, ALPHA16
    ),
    "PackBits 16": lambda: Case(
        tiff(page(RGB16, rows=6, compression=32773, pack=imagecodecs.packbits_encode)), RGB16
    ),
    "LZMA 16": lambda: Case(tiff(page(RGB16, compression=34925, pack=lzma.compress)), RGB16),
    "ZSTD 16": lambda: Case(tiff(page(RGB16, compression=50000, pack=imagecodecs.zstd_encode)), RGB16),
    "ZSTD 8 grey": lambda: Case(tiff(page(GREY8, 1, compression=50000, pack=imagecodecs.zstd_encode)), GREY8),
    "Group 4": lambda: Case(by_pillow(BITS.astype(bool), "group4"), BITS * 255),
    "Group 3": lambda: Case(by_pillow(BITS.astype(bool), "group3"), BITS * 255),
    "CCITT RLE": lambda: Case(by_pillow(BITS.astype(bool), "tiff_ccitt"), BITS * 255),
    "RGBX 16 LZW": lambda: Case(
        tiff(page(RGBA16, compression=5, pack=LZW, more={EXTRA: (3, [0])})), RGB16, lost="channel 4 (of unspecified"
    ),
    "palette LZW": lambda: Case(
        tiff(page(GREY8, 3, compression=5, pack=LZW, more={320: (3, MAP16)})), PALETTE[GREY8].astype(np.uint8)
    ),
    "no byte counts, LZW": lambda: Case(tiff(page(RGB8, compression=5, pack=LZW, counts=False)), RGB8),
    "reversed 16 Deflate": lambda: Case(
        tiff(page(RGB16, compression=8, pack=lambda data: reverse(zlib.compress(data)), more={FILL: (3, [2])})), RGB16
    ),
    "reversed 8 LZW": lambda: Case(
        tiff(page(RGB8, compression=5, pack=lambda data: reverse(LZW(data)), more={FILL: (3, [2])})), RGB8
    ),
    "YCbCr 4:4:4": lambda: Case(ycbcr(1), SMOOTH, tolerance=4),
    "YCbCr 4:2:0": lambda: Case(ycbcr(2), SMOOTH, tolerance=8),
    "YCbCr 4:2:0 LZW": lambda: Case(ycbcr(2, compression=5, pack=LZW), SMOOTH, tolerance=8),
    "JPEG, YCbCr": lambda: Case(by_pillow(SMOOTH, "jpeg", quality=98), SMOOTH, tolerance=8),
    "JPEG, grey": lambda: Case(by_pillow(SMOOTH[..., 0], "jpeg", quality=98), SMOOTH[..., 0], tolerance=4),
    "JPEG, RGB": lambda: Case(
        tiff(page(SMOOTH, compression=7, pack=lambda data: imagecodecs.jpeg_encode(
            np.frombuffer(data, np.uint8).reshape(-1, WIDTH, 3), level=98, colorspace="RGB", outcolorspace="RGB"))),
        SMOOTH, tolerance=4,
    ),
    "JPEG of 12 bits": lambda: Case(
        tiff(page(SMOOTH.astype(np.uint16) * 16, compression=7, more={258: (3, [12] * 3)},
                  pack=lambda data: imagecodecs.jpeg_encode(np.frombuffer(data, np.uint16).reshape(-1, WIDTH, 3),
                      level=98, bitspersample=12, colorspace="RGB", outcolorspace="RGB"))),
        spread(SMOOTH.astype(np.uint16) * 16, 12), tolerance=600,
    ),
    "JPEG 2000 16": lambda: Case(
        tiff(page(RGB16, rows=8, compression=34712, pack=lambda data: imagecodecs.jpeg2k_encode(
            np.frombuffer(data, np.uint16).reshape(-1, WIDTH, 3), reversible=True, level=0))), RGB16,
    ),
    "JPEG 2000 8 grey": lambda: Case(
        tiff(page(GREY8, 1, compression=34712, pack=lambda data: imagecodecs.jpeg2k_encode(
            np.frombuffer(data, np.uint8).reshape(-1, WIDTH), reversible=True, level=0))), GREY8,
    ),
    "WebP": lambda: Case(
        tiff(page(RGB8, rows=8, compression=50001, pack=lambda data: imagecodecs.webp_encode(
            np.frombuffer(data, np.uint8).reshape(-1, WIDTH, 3), lossless=True))), RGB8,
    ),
    "JPEG XL": lambda: Case(
        tiff(page(RGB16, compression=50002, pack=lambda data: imagecodecs.jpegxl_encode(
            np.frombuffer(data, np.uint16).reshape(-1, WIDTH, 3), lossless=True))), RGB16,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CASES)
def test_compressed_values_are_right_in_memory_and_in_bands(tmp_path: Path, name: str) -> None:
    check(CASES[name](), tmp_path)


def test_old_style_jpeg_is_read_in_memory_alone(tmp_path: Path) -> None:
    """Compression 6 with one JPEG stream, which JPEGInterchangeFormat points to."""
    stream = imagecodecs.jpeg_encode(SMOOTH, level=98, subsampling=(1, 1))
    one = page(SMOOTH, 6, compression=6, pack=lambda _: stream, more={530: (3, [1, 1])})
    at = tiff(one).index(stream)
    one.fields |= {513: (4, [at]), 514: (4, [len(stream)]), 274: (3, [3])}
    (tmp_path / "a.tif").write_bytes(tiff(one))
    assert np.abs(read_image(tmp_path / "a.tif").pixels.astype(int) - SMOOTH[::-1, ::-1]).max() <= 6
    one.fields[274] = (3, [1])
    (tmp_path / "a.tif").write_bytes(tiff(one))
    with pytest.raises(ImageError, match="old-style JPEG is not read in bands"):
        BandedTiff(tmp_path / "a.tif", 10**6)
