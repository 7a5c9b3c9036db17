"""The pixels of PNG, where Pillow does not do: 16 bits per sample, which it silently reads as 8 and cannot write, and
data that ends early.

Source: PNG (third edition), W3C.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from PIL import PngImagePlugin

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.formats import DEFLATE_LEVEL
from mirnet_deploy.images.picture import Picture, Samples
from mirnet_deploy.images.png.metadata import metadata_chunks, png_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_GREY, _RGB, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 4, 6
"""Colour types, as IHDR holds them."""
_CHANNELS = {_GREY: 1, _RGB: 3, 3: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced PNG: first column, first row, and the steps to the next ones."""
_PIECE = 1 << 16
GREY_TYPES = frozenset({_GREY, _GREY_ALPHA})


def pixels_alone(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a PNG file of those of `chunks`, (type, body), that make the pixels."""
    return SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks if kind in _PIXEL_CHUNKS)


def check_rows(chunks: Sequence[tuple[bytes, bytes]]) -> None:
    """Checks that the data of a PNG unpacks to as many bytes as its header asks for. Takes no memory for them.

    Pillow takes a picture whose data ends early for a whole one, and leaves the rest black.

    Raises:
        ImageError: they are fewer, or damaged; the message does not name the file.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    needed = 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * _CHANNELS.get(colour, 0) * depth // 8))
    stream, found = zlib.decompressobj(), 0
    try:
        for body in (body for kind, body in chunks if kind == b"IDAT"):
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                while piece and found < needed:
                    found += len(stream.decompress(piece, 16 * _PIECE))
                    piece = stream.unconsumed_tail
    except zlib.error as error:
        raise ImageError("is damaged: the PNG's pixels cannot be unpacked") from error
    if found < needed:
        raise ImageError(f"is damaged: the PNG's pixels unpack to {found} bytes; expected {needed}")


def decode_png16(chunks: Sequence[tuple[bytes, bytes]]) -> tuple[Samples, Samples | None]:
    """Pixels and alpha of a 16-bit PNG of these chunks, (type, body).

    Pillow has no pictures of 16 bits a channel but grey ones; but its samples are two bytes, and those of grey, with
    alpha or without, are those of a PNG of 8 bits that has twice as many channels. Of colours it can be had to give the
    upper bytes or the lower ones. (cv2, which reads them at once, prints lines of libpng's about damage.)

    Returns:
        Pixels, uint16 HxWx3 RGB or HxW grey, and alpha, uint16 HxW, or None where there is none; C-contiguous. A
        transparent colour (tRNS) becomes an alpha of 0, and of 65535 everywhere else.

    Raises:
        ImageError: the data is damaged; the message does not name the file.
        Exception: what Pillow says of damaged bytes.
    """
    bodies = dict(chunks)
    header, colour = bodies[b"IHDR"], bodies[b"IHDR"][9]
    if colour in GREY_TYPES:
        header = header[:8] + bytes([8, _GREY_ALPHA if colour == _GREY else _RGB_ALPHA]) + header[10:]
    elif colour not in (_RGB, _RGB_ALPHA):
        raise ImageError("is damaged: its header says 16 bits of a kind that has no such")
    kept = [(b"IHDR", header), *(chunk for chunk in chunks if chunk[0] in (b"IDAT", b"IEND"))]
    file = pixels_alone(kept)
    if colour in GREY_TYPES:
        samples: Samples = np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(file))).view(">u2").astype(np.uint16)
    else:
        samples = _bytes_of(file, "B").astype(np.uint16) << 8
        samples |= _bytes_of(file, "L")
    count = 1 if colour in GREY_TYPES else 3
    pixels = np.ascontiguousarray(samples[..., 0] if count == 1 else samples[..., :3])
    if colour in (_GREY_ALPHA, _RGB_ALPHA):
        return pixels, np.ascontiguousarray(samples[..., count])
    if b"tRNS" not in bodies:
        return pixels, None
    clear = struct.unpack_from(f">{count}H", bodies[b"tRNS"])
    return pixels, np.where((samples == clear).all(axis=2), 0, 65535).astype(np.uint16)


def _bytes_of(file: bytes, order: Literal["B", "L"]) -> Samples:
    """uint8 [H,W,C]: the upper byte ("B") of each sample of an RGB or RGBA PNG of 16 bits, or the lower one ("L", by
    taking it for little-endian)."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(file))
    tiles: list[Any] = image.tile
    codec, extents, offset, rawmode = tiles[0]
    tiles[0] = (codec, extents, offset, rawmode[:-1] + order)
    return np.asarray(image)


def encode_png16(picture: Picture) -> bytes:
    """The bytes of a PNG file that holds a 16-bit picture with its metadata."""
    if picture.alpha is None:
        samples, colour = picture.pixels, _GREY if picture.grey else _RGB
    else:
        samples, colour = np.dstack([picture.pixels, picture.alpha]), _GREY_ALPHA if picture.grey else _RGB_ALPHA
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 16, colour, 0, 0, 0)
    parts = [SIGNATURE, png_chunk(b"IHDR", header), metadata_chunks(picture)]
    parts += [png_chunk(b"IDAT", zlib.compress(_filtered(samples), DEFLATE_LEVEL)), png_chunk(b"IEND", b"")]
    return b"".join(parts)


def with_png_metadata(data: bytes, picture: Picture) -> bytes:
    """A PNG as Pillow writes it, without metadata, and with that of `picture` behind its header."""
    header = len(SIGNATURE) + 25
    return data[:header] + metadata_chunks(picture) + data[header:]


def _filtered(samples: Samples) -> bytes:
    """Scan lines of uint16 samples, [H,W] or [H,W,C], as they are compressed: each begins with its filter's number.

    The filter is 1 (Sub: each byte less the one a pixel to the left), which halves a photograph's size.
    """
    height, width = samples.shape[:2]
    pixel = samples.astype(">u2").view(np.uint8).reshape(height, width, -1)
    lines = np.ones((height, 1 + width * pixel.shape[2]), np.uint8)
    differences = pixel.copy()
    differences[:, 1:] -= pixel[:, :-1]
    lines[:, 1:] = differences.reshape(height, -1)
    return lines.tobytes()
