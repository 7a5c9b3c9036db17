"""Pictures of TIFF cases, how their samples are packed, and the check that they are read right."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tiffs import Page, page, tiff

from mirnet_deploy.images import read_image
from mirnet_deploy.images.tiff.bands import BandedTiff, RawBands, pack_bands

Array = NDArray[Any]
HEIGHT, WIDTH = 19, 26
RNG = np.random.default_rng(22)
RGB8 = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
GREY8, GREY16 = RGB8[..., 1].copy(), RGB16[..., 1].copy()
ALPHA8 = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
ALPHA16 = ALPHA8.astype(np.uint16) * 257
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
EXTRA, PREDICTOR, FILL, FORMAT = 338, 317, 266, 339
Y, X = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([60 + 2 * X, 40 + 3 * Y, 90 + X + Y], axis=2).astype(np.uint8)

RGBA8, RGBA16 = np.dstack([RGB8, ALPHA8]), np.dstack([RGB16, ALPHA16])
BITS = (GREY8 > 99).astype(np.uint8)
PALETTE = RNG.integers(0, 256, (256, 3)).astype(np.uint16)
MAP16 = [int(value) for value in (PALETTE * 257).T.reshape(-1)]
WIDE = RNG.integers(0, 65536, (65536, 3))


@dataclass
class Case:
    data: bytes
    pixels: Array
    alpha: Array | None = None
    lost: str = ""
    """What its one line of loss contains."""
    tolerance: int = 0


def reverse(data: bytes) -> bytes:
    return data.translate(REVERSED)


def differences(width: int, channels: int, code: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        values = np.frombuffer(data, code).reshape(-1, width, channels)
        stored = values.copy()
        stored[:, 1:] -= values[:, :-1]
        return stored.tobytes()

    return pack


def few_bits(values: Array, bits: int, photometric: int, **more: Any) -> Page:
    """A page of samples of few bits, [h,w] or [h,w,channels], packed with the highest bit first."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    wide = values.astype(np.uint16).reshape(len(values), -1)
    digits = (wide[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(digits.astype(np.uint8).reshape(len(values), -1), axis=1)
    fields = {256: (4, [values.shape[1]]), 258: (3, [bits] * channels), 277: (3, [channels])}
    return page(packed, photometric, more=fields | more.pop("more", {}), **more)


def spread(values: Array, bits: int) -> Array:
    top = 255 if bits <= 8 else 65535
    nearest: Array = np.rint(values * (top / (2**bits - 1)))
    return nearest.astype(np.uint8 if bits <= 8 else np.uint16)


def premultiplied(pixels: Array, alpha: Array) -> Array:
    top = np.iinfo(alpha.dtype).max
    nearest: Array = np.rint(pixels * (alpha / top if pixels.ndim == 2 else alpha[..., None] / top))
    return nearest.astype(alpha.dtype)


def straightened(pixels: Array, alpha: Array) -> Array:
    top = np.iinfo(alpha.dtype).max
    weight = np.maximum(alpha, 1).astype(float)
    straight: Array = np.rint((pixels * (top / (weight if pixels.ndim == 2 else weight[..., None]))).clip(0, top))
    return straight.astype(alpha.dtype)


def ycbcr(subsampling: int, **options: Any) -> bytes:
    """An uncompressed file: per block of pixels its Ys, then Cb and Cr (TIFF 6.0, section 21)."""
    full = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr")).astype(int)
    side = subsampling
    high, wide = -(-HEIGHT // side) * side, -(-WIDTH // side) * side
    full = np.pad(full, [(0, high - HEIGHT), (0, wide - WIDTH), (0, 0)], mode="edge")
    blocks = full.reshape(high // side, side, wide // side, side, 3).swapaxes(1, 2)
    lumas = blocks[..., 0].reshape(-1, side * side)
    chromas = np.rint(blocks[..., 1:].mean(axis=(2, 3))).reshape(-1, 2)
    units = np.concatenate([lumas, chromas], axis=1).astype(np.uint8).tobytes()
    one = page(SMOOTH, 6, more={530: (3, [side, side])}, **options)
    pack = options.get("pack", bytes)
    one.blocks = [pack(units)]
    one.fields[279] = (4, [len(one.blocks[0])])
    return tiff(one)


def check(case: Case, folder: Path) -> None:
    """Asserts that a case is read right in memory, and in bands with the same result."""
    path = folder / "a.tif"
    path.write_bytes(case.data)
    picture = read_image(path)
    assert (picture.pixels.dtype, picture.pixels.shape) == (case.pixels.dtype, case.pixels.shape)
    assert np.abs(picture.pixels.astype(int) - case.pixels).max() <= case.tolerance
    if case.alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, case.alpha)
    assert len(picture.lost) == bool(case.lost)
    assert case.lost in "".join(picture.lost)
    with BandedTiff(path, 10**6) as source:
        assert (source.grey, source.alpha, source.lost) == (picture.grey, picture.alpha is not None, picture.lost)
        np.testing.assert_array_equal(source[3:14, 5:20], picture.rgb()[3:14, 5:20])
        result, strips = RawBands(io.BytesIO(), source), io.BytesIO()
        result[0:HEIGHT] = source[0:HEIGHT]
        (folder / "b.tif").write_bytes(pack_bands(result, source, strips) + strips.getvalue())
    again = read_image(folder / "b.tif")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    np.testing.assert_array_equal(again.alpha, picture.alpha)
