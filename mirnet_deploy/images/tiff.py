"""TIFF: decodes 16-bit samples, and encodes every TIFF.

Pillow silently reads 16-bit RGB as 8-bit and cannot read 16-bit grey with alpha; cv2 returns uint8 for the latter and
scrambles separate planes. So uncompressed and Deflate data are unpacked here. Other compressions (LZW, PackBits, …) are
left to cv2, in the layouts that it reads correctly. Only Deflate is written.
Source: TIFF 6.0; Deflate is Adobe's TIFF technical note 3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Block, ByteOrder, Directory, Field, movable_fields, pack_block
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.picture import Picture, Samples

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_COUNTS, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, ICC_PROFILE = 338, 339, 34675

_PLAIN, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_SEPARATE_PLANES, _DIFFERENCES = 2, 2
_PREMULTIPLIED, _STRAIGHT = 1, 2
_STRIP_BYTES = 1 << 20
"""Bytes of samples per written strip, before compression, at most; but a strip has at least one row."""

_STRUCTURE = frozenset(
    {254, 255, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 263, 264, 265, 266, STRIP_OFFSETS, SAMPLES, STRIP_ROWS}
    | {STRIP_COUNTS, 280, 281, PLANAR, 288, 289, 290, 291, 292, 293, 297, 301, PREDICTOR, 318, 319, 320, 321}
    | {TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, 330, 332, 333, 334, 336, 337, EXTRA_SAMPLES, SAMPLE_FORMAT}
    | {340, 341, 342, 343, 344, 345, 346, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
    | {700, 34377, ICC_PROFILE, 37724}
)
"""Tags that are not carried over: those that say how the pixels are stored, the ICC profile, which is kept separately,
and XMP and Photoshop blocks, which repeat the old picture's state."""


def decode_tiff16(directory: Directory) -> tuple[Samples, Samples | None]:
    """Pixels and alpha of a 16-bit TIFF whose orientation is 1.

    Returns:
        Pixels, uint16 HxWx3 RGB or HxW grey, not premultiplied, and alpha, uint16 HxW, or None where there is none;
        C-contiguous. Black is 0, also where white is 0 in the file.

    Raises:
        ImageError: a layout or a colour space that cannot be read, or damaged data; the message does not name the file.
    """
    photometric = directory.integer(PHOTOMETRIC, -1)
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(photometric)
    if colours is None:
        raise ImageError(f"has photometric interpretation {photometric}; a 16-bit TIFF must be grey or RGB")
    count = directory.integer(SAMPLES, 1)
    if count not in (colours, colours + 1):
        raise ImageError(f"has {count} channels; a 16-bit TIFF must have {colours} or, with alpha, {colours + 1}")
    if directory.integer(COMPRESSION, _PLAIN) in (_PLAIN, _DEFLATE, _OLD_DEFLATE):
        samples = _unpack(directory, count)
    else:
        samples = _unpack_by_cv2(directory, count)
    pixels, alpha = samples[..., :colours], samples[..., colours] if count > colours else None
    if photometric == _WHITE_IS_ZERO:
        pixels = 65535 - pixels
    if alpha is not None and directory.integer(EXTRA_SAMPLES, _STRAIGHT) == _PREMULTIPLIED:
        straight = pixels.astype(np.float64) * 65535 / np.maximum(alpha, 1)[..., None]
        pixels = np.rint(straight.clip(0, 65535)).astype(np.uint16)
    pixels = np.ascontiguousarray(pixels if colours == 3 else pixels[..., 0])
    return pixels, None if alpha is None else np.ascontiguousarray(alpha)


def _unpack(directory: Directory, count: int) -> Samples:
    """uint16 [H,W,count] from uncompressed or Deflate strips or tiles, interleaved or in separate planes.

    Samples are as stored: no photometric interpretation is applied.
    """
    height, width = directory.integer(HEIGHT, 0), directory.integer(WIDTH, 0)
    predictor = directory.integer(PREDICTOR, 1)
    if predictor not in (1, _DIFFERENCES):
        raise ImageError(f"has TIFF predictor {predictor}; expected none or horizontal differences")
    planes = count if directory.integer(PLANAR, 1) == _SEPARATE_PLANES else 1
    depth = count // planes
    tiled = TILE_OFFSETS in directory.fields
    columns = directory.integer(TILE_WIDTH, width) if tiled else width
    rows = directory.integer(TILE_HEIGHT, height) if tiled else min(directory.integer(STRIP_ROWS, height), height)
    across, down = -(-width // columns), -(-height // rows)
    offsets = directory.integers(TILE_OFFSETS if tiled else STRIP_OFFSETS)
    if len(offsets) != across * down * planes:
        raise ImageError(f"is damaged: the TIFF has {len(offsets)} strips or tiles, expected {across * down * planes}")
    samples = np.empty((height, width, count), np.uint16)
    for index, block in enumerate(_blocks(directory, offsets, rows * columns * depth * 2)):
        plane, (row, column) = index // (across * down), divmod(index % (across * down), across)
        top, left = row * rows, column * columns
        lines = rows if tiled else min(rows, height - top)
        if len(block) < lines * columns * depth * 2:
            raise truncated("a strip or tile of the TIFF ends too early")
        values = np.frombuffer(block, f"{directory.order}u2", lines * columns * depth).reshape(lines, columns, depth)
        if predictor == _DIFFERENCES:
            values = np.cumsum(values, axis=1, dtype=np.uint16)
        target = samples[top : top + rows, left : left + columns, plane * depth : (plane + 1) * depth]
        target[...] = values[: target.shape[0], : target.shape[1]]
    return samples


def _blocks(directory: Directory, offsets: tuple[int, ...], limit: int) -> Iterator[bytes]:
    """Yields each strip or tile in the file's order; Deflate data is unpacked to at most `limit` bytes."""
    counts = directory.integers(TILE_COUNTS if TILE_OFFSETS in directory.fields else STRIP_COUNTS)
    compressed = directory.integer(COMPRESSION, _PLAIN) != _PLAIN
    for offset, length in zip(offsets, counts, strict=True):
        block = directory.block[offset : offset + length]
        yield zlib.decompressobj().decompress(block, limit) if compressed else block


def _unpack_by_cv2(directory: Directory, count: int) -> Samples:
    """uint16 [H,W,count] from compressions that cv2 knows; RGB or RGBA in this order."""
    import cv2

    if count == 2 or directory.integer(PLANAR, 1) == _SEPARATE_PLANES:
        raise ImageError("is a 16-bit TIFF in separate planes or grey with alpha, compressed; save it with ZIP or none")
    samples = cv2.imdecode(np.frombuffer(directory.block, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or (samples.shape[2] if samples.ndim == 3 else 1) != count:
        raise ImageError("is damaged, or its 16-bit TIFF compression is not known")
    if count == 1:
        return samples[..., None]
    return samples[..., [2, 1, 0, 3][:count]]


def exif_of_tiff(data: Block) -> bytes | None:
    """The file's descriptive tags, with its EXIF and GPS directories, as an EXIF block; None where it has none.

    Raises:
        ValueError: as `read_directory`.
    """
    order, fields = movable_fields(data)
    kept = {tag: field for tag, field in fields.items() if tag not in _STRUCTURE}
    return pack_block(kept, order) if kept else None


def icc_of_tiff(directory: Directory) -> bytes | None:
    """The ICC profile, if there is one."""
    _, count, position = directory.fields.get(ICC_PROFILE, (7, 0, 0))
    return directory.block[position : position + count] or None


def encode_tiff(picture: Picture) -> bytes:
    """The bytes of a TIFF file: Deflate, horizontal differences, straight alpha, EXIF as tags, and the ICC profile.

    Raises:
        ImageError: the file would pass the 4 GB of a classic TIFF.
    """
    samples = picture.pixels[..., None] if picture.grey else picture.pixels
    if picture.alpha is not None:
        samples = np.dstack([samples, picture.alpha])
    layout = TiffLayout(samples.shape, samples.dtype, picture.exif, picture.icc, alpha=picture.alpha is not None)
    strips = list(layout.strips(lambda top, bottom: samples[top:bottom]))
    return layout.head([len(strip) for strip in strips]) + b"".join(strips)


class TiffLayout:
    """How a TIFF that is written holds its samples: header and directory, then one compressed strip after another.

    The byte order is that of the EXIF block, whose fields are taken over as they are; little-endian without one.

    Args:
        shape: [H,W,C] of the samples, which are interleaved; 1 or 3 colours, and one more channel with `alpha`.
        dtype: uint8 or uint16.
        alpha: whether the last channel is straight alpha.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        exif: bytes | None,
        icc: bytes | None,
        *,
        alpha: bool = False,
    ) -> None:
        self._height, self._width, self._count = shape
        self._dtype = dtype
        self._order, fields = movable_fields(exif) if exif else ("<", {})
        self._fields = {tag: field for tag, field in fields.items() if tag not in _STRUCTURE}
        if icc:
            self._fields[ICC_PROFILE] = Field(7, len(icc), icc)
        if alpha:
            self._fields[EXTRA_SAMPLES] = _integers(self._order, "H", _STRAIGHT)
        self._rows = max(1, _STRIP_BYTES // (self._width * self._count * dtype.itemsize))

    def strips(self, band: Callable[[int, int], Samples]) -> Iterator[bytes]:
        """Yields the compressed strips; `band(top, bottom)` gives these rows of the samples, [bottom - top,W,C]."""
        for top in range(0, self._height, self._rows):
            samples = band(top, min(top + self._rows, self._height))
            differences = samples.astype(samples.dtype.newbyteorder(self._order))
            differences[:, 1:] -= samples[:, :-1]
            yield zlib.compress(differences.tobytes(), 6)

    def head(self, lengths: Sequence[int]) -> bytes:
        """The bytes before the strips: header and directory, for strips of these `lengths` in bytes.

        Raises:
            ImageError: the file would pass the 4 GB of a classic TIFF.
        """
        order, count, depth = self._order, self._count, 8 * self._dtype.itemsize
        alpha = EXTRA_SAMPLES in self._fields
        fields = self._fields | {
            WIDTH: _integers(order, "I", self._width),
            HEIGHT: _integers(order, "I", self._height),
            BITS: _integers(order, "H", *[depth] * count),
            COMPRESSION: _integers(order, "H", _DEFLATE),
            PHOTOMETRIC: _integers(order, "H", _BLACK_IS_ZERO if count - alpha == 1 else _RGB),
            SAMPLES: _integers(order, "H", count),
            STRIP_ROWS: _integers(order, "I", self._rows),
            STRIP_OFFSETS: _integers(order, "I", *lengths),  # stand in for the offsets
            STRIP_COUNTS: _integers(order, "I", *lengths),
            PLANAR: _integers(order, "H", 1),
            PREDICTOR: _integers(order, "H", _DIFFERENCES),
            SAMPLE_FORMAT: _integers(order, "H", *[1] * count),
        }
        # The size of the directory depends on how many offsets there are, not on their values.
        offsets = list(accumulate([len(pack_block(fields, order)), *lengths[:-1]]))
        if offsets[-1] + lengths[-1] >= 1 << 32:
            raise ImageError("gives a result of more than 4 GB, which a TIFF cannot hold")
        fields[STRIP_OFFSETS] = _integers(order, "I", *offsets)
        return pack_block(fields, order)


def _integers(order: ByteOrder, size: Literal["H", "I"], *values: int) -> Field:
    """A field of SHORT (H) or LONG (I) values."""
    return Field({"H": 3, "I": 4}[size], len(values), struct.pack(f"{order}{len(values)}{size}", *values))
