"""BMP: read with any colour masks, palettes and run lengths, and written with its ICC profile.

Pillow knows some masks alone, takes one bit of alpha for colour, and neither reads nor writes a profile.
Source: Microsoft, "Bitmap Header Types" and "Bitmap Compression" (BITMAPINFOHEADER, BITMAPV4HEADER, BITMAPV5HEADER);
OS/2's headers of 12, 16 and 64 bytes: IBM, OS/2 PM Reference, BITMAPINFOHEADER and BITMAPINFOHEADER2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.bmp_runs import unpacked_runs
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.metadata import Metadata
from mirnet_deploy.images.picture import Picture, Samples, check_size
from mirnet_deploy.images.profiles import SRGB_PRIMARIES, Chromaticities, profile_space, rgb_profile

_FILE_HEADER = 14
_CORE, _SIZES = 12, (12, 16, 40, 52, 56, 64, 108, 124)
_OS2 = (16, 64)
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_OTHERS = {4: "a JPEG in a BMP", 5: "a PNG in a BMP", 11: "a BMP in CMYK", 12: "a BMP in CMYK", 13: "a BMP in CMYK"}
_USUAL_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0x00FF00, 0x0000FF, 0)}
_STRAIGHT_BGRA = (0xFF0000, 0x00FF00, 0x0000FF, 0xFF000000)
_V4, _V5, _V5_FOR_ALPHA = 108, 124, 56
_CALIBRATED, _SRGB, _EMBEDDED, _LINKED = 0, 0x73524742, 0x4D424544, 0x4C494E4B
"""Colour spaces in the headers of versions 4 and 5."""
_FOR_PHOTOGRAPHS = 4
"""The rendering intent LCS_GM_IMAGES."""
_INCH = 0.0254


@dataclass(frozen=True)
class _Header:
    data: bytes
    start: int
    """Position of the pixels."""
    size: int
    """Bytes of the information header, which begins at 14."""
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    colours: int

    @property
    def stride(self) -> int:
        """Bytes of a row that is not compressed: a multiple of four."""
        return (self.width * self.bits + 31) // 32 * 4

    def at(self, form: str, position: int) -> tuple[int, ...]:
        """Little-endian values at a position of the information header."""
        return struct.unpack_from(f"<{form}", self.data, _FILE_HEADER + position)


def decode_bmp(data: bytes, max_pixels: int) -> Picture:
    """The picture in a BMP. It has 16 bits where a colour's mask has more than 8, and is grey where its palette is.

    Raises:
        ImageError: it is not whole, of a kind that is not read, or too large; the message does not name the file.
    """
    header = _header(data)
    check_size(header.width, header.height, max_pixels)
    found = Metadata()
    if header.size >= 40 and all(density := header.at("ii", 24)):
        found.resolution = abs(density[0]) * _INCH, abs(density[1]) * _INCH
    _colour(header, found)
    if header.bits <= 8:
        pixels, alpha = _palette_pixels(header, grey=found.icc is None), None
    else:
        pixels, alpha = _mask_pixels(header)
    if (header.bits, header.compression) == (32, _PLAIN) and np.ptp(_rows(header)[:, 3::4]):
        found.lost.append("the fourth byte of its pixels, which the format leaves unused, is lost")
    return found.picture(pixels, alpha, "bmp")


def _header(data: bytes) -> _Header:
    """The header, of a kind that is read."""
    if len(data) < _FILE_HEADER + 4 or len(data) < _FILE_HEADER + (size := int.from_bytes(data[14:18], "little")):
        raise truncated("the BMP ends inside its header")
    start = int.from_bytes(data[10:14], "little")
    if size not in _SIZES:
        raise ImageError(f"is a BMP with a header of {size} bytes, which is not a known one")
    compression = colours = 0
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    if size > _OS2[0]:
        (compression,) = struct.unpack_from("<I", data, 30)
        (colours,) = struct.unpack_from("<I", data, 46)
    kind = _OTHERS.get(compression)
    if size == 64 and compression in (3, 4):
        kind = {3: "an OS/2 BMP with Huffman coding", 4: "an OS/2 BMP with 24-bit run lengths"}[compression]
    allowed = {_PLAIN: (1, 2, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _MASKS: (16, 32), _ALPHA_MASKS: (16, 32)}
    if kind is None and bits not in allowed.get(compression, ()):
        kind = f"a BMP of {bits} bits a pixel with compression {compression}"
    if kind:
        raise ImageError(f"is {kind}, which is not read; save it as PNG")
    header = _Header(data, start, size, width, abs(height), height < 0, bits, compression, colours)
    return replace(header, start=_start(header))


def _start(header: _Header) -> int:
    """Where the pixels begin. A file may give 0, or a place inside its headers, where no pixels can be: they then lie
    behind headers and palette. A place inside the palette is believed where the file has no room behind the whole one:
    some programs cut palettes short.
    """
    behind = {_MASKS: 12, _ALPHA_MASKS: 16}.get(header.compression, 0) if header.size == 40 else 0
    head = _FILE_HEADER + header.size + behind
    most = 1 << header.bits if header.bits <= 8 else header.colours
    whole = head + (3 if header.size == _CORE else 4) * min(header.colours or most, most)
    if header.compression in (_RLE8, _RLE4):
        (content,) = header.at("I", 20)
    else:
        content = header.stride * header.height - 3  # the padding of the last row may be missing
    fits = whole + content <= len(header.data)
    if header.start < head:
        return whole if fits or header.bits <= 8 else head
    return whole if header.start < whole and fits else header.start


def _rows(header: _Header) -> Samples:
    """uint8 [H, bytes of a row's pixels], the top row first. The padding of the last row in the file may be missing."""
    used = (header.width * header.bits + 7) // 8
    content = header.data[header.start : header.start + header.stride * header.height]
    missing = header.stride * header.height - len(content)
    if missing > header.stride - used:
        raise truncated("the BMP ends before its pixels do")
    rows = np.frombuffer(content + bytes(missing) if missing else content, np.uint8)
    rows = rows.reshape(header.height, header.stride)[:, :used]
    return rows if header.top_down else rows[::-1]


def _palette_pixels(header: _Header, *, grey: bool) -> Samples:
    """uint8 HxWx3, or HxW where every colour of the palette is grey and `grey` allows it."""
    entry = 3 if header.size == _CORE else 4
    place = _FILE_HEADER + header.size
    count = min(header.colours or 1 << header.bits, 1 << header.bits, max(0, header.start - place) // entry)
    palette = np.zeros((1 << header.bits, 3), np.uint8)  # what the file does not define is black, as in Windows
    stored = np.frombuffer(header.data[place : place + entry * count], np.uint8)
    stored = stored[: len(stored) // entry * entry].reshape(-1, entry)
    palette[: len(stored)] = stored[:, 2::-1]
    if header.compression == _PLAIN:
        rows = _rows(header)
        if header.bits < 8:
            places = np.arange(8 - header.bits, -1, -header.bits).astype(np.uint8)
            rows = (rows[..., None] >> places).reshape(header.height, -1) & ((1 << header.bits) - 1)
        indices = rows[:, : header.width]
    else:
        coded = memoryview(header.data)[header.start :]
        indices = unpacked_runs(coded, header.width, header.height, nibbles=header.compression == _RLE4)[::-1]
    if grey and (palette == palette[:, :1]).all():
        return np.ascontiguousarray(palette[:, 0][indices])
    return np.ascontiguousarray(palette[indices])


def _mask_pixels(header: _Header) -> tuple[Samples, Samples | None]:
    """Pixels, HxWx3, and alpha, HxW, where its mask is not empty; uint16 where a colour has more than 8 bits."""
    rows = _rows(header)
    if header.bits == 24:
        return np.ascontiguousarray(rows.reshape(header.height, header.width, 3)[..., ::-1]), None
    masks = list(_masks(header))
    if not any(masks[:3]):
        raise ImageError("is damaged: its colour masks are empty")
    values = np.ascontiguousarray(rows).view(f"<u{header.bits // 8}")
    deep = max(mask.bit_count() for mask in masks[:3]) > 8
    dtype = np.uint16 if deep else np.uint8
    pixels = np.empty((header.height, header.width, 3), dtype)
    for channel, mask in enumerate(masks[:3]):
        pixels[..., channel] = _channel(values, mask, dtype)
    return pixels, _channel(values, masks[3], dtype) if masks[3] else None


def _masks(header: _Header) -> tuple[int, ...]:
    """Of red, green, blue and alpha. In the oldest header they lie behind it."""
    if header.compression == _PLAIN:
        return _USUAL_MASKS[header.bits]
    count = 4 if header.size >= _V5_FOR_ALPHA or header.compression == _ALPHA_MASKS else 3
    if len(header.data) < _FILE_HEADER + 40 + 4 * count:
        raise truncated("the BMP ends inside its header")
    return (*header.at(f"{count}I", 40), 0)[:4]


def _channel(values: Samples, mask: int, dtype: type[np.uint8 | np.uint16]) -> Samples:
    """One channel of packed values, its range spread over that of `dtype`; 0 where the mask is empty."""
    if not mask:
        return np.zeros(values.shape, dtype)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    if top & (top + 1):
        raise ImageError(
            f"is a BMP with a colour mask of {mask:#x}, whose bits are not in one piece, which is not read"
        )
    spare = max(0, top.bit_length() - 16)
    shift, top = shift + spare, top >> spare
    scaled = np.rint(np.arange(top + 1) * (np.iinfo(dtype).max / top)).astype(dtype)
    spread: Samples = scaled[values >> np.array(shift, values.dtype) & np.array(top, values.dtype)]
    return spread


def _colour(header: _Header, found: Metadata) -> None:
    """Takes the profile over that versions 4 and 5 hold, or makes one of the colours and gammas that they state."""
    if header.size not in (_V4, _V5):
        return
    (space,) = header.at("I", 56)
    if space == _EMBEDDED and header.size == _V5:
        offset, length = header.at("II", 112)
        icc = header.data[_FILE_HEADER + offset : _FILE_HEADER + offset + length]
        if len(icc) < length:
            raise truncated("the BMP ends before its colour profile does")
        if (space_of := profile_space(icc)) == b"RGB ":
            found.icc = icc
        elif space_of:
            name = space_of.decode("latin-1").strip()
            name = name if name.isascii() and name.isprintable() else "other"
            found.lost.append(f"its colour profile is for {name} pictures, and is left out")
        else:
            found.lost.append("its colour profile is damaged and is left out")
    elif space == _LINKED and header.size == _V5:
        found.lost.append("its colour profile lies in another file, and is lost")
    elif space == _CALIBRATED:
        found.icc = _calibrated(header)


def _calibrated(header: _Header) -> bytes | None:
    """The profile of three colours and gammas; None where they are sRGB's, or left empty as by many programs."""
    colours = [header.at("3i", position) for position in (60, 72, 84)]
    gammas = [value / 65536 for value in header.at("3I", 96)]
    if not all(sum(colour) > 0 for colour in colours) or not all(0.1 < gamma < 100 for gamma in gammas):
        return None
    colours.append(tuple(map(sum, zip(*colours, strict=True))))
    primaries: Chromaticities = tuple((x / (x + y + z), y / (x + y + z)) for x, y, z in colours)
    differences = np.abs(np.array(primaries) - SRGB_PRIMARIES)
    if differences.max() < 0.002 and all(abs(gamma / 2.2 - 1) < 0.05 for gamma in gammas):
        return None
    try:
        return rgb_profile(primaries, [(gamma,) for gamma in gammas], "BMP header")
    except ValueError:
        return None


def encode_bmp(picture: Picture) -> bytes:
    """The bytes of a BMP file of 8-bit samples: grey as a palette; alpha or an RGB profile with a header of version 5.

    Raises:
        ImageError: the file would pass the 4 GB that its header can state.
    """
    icc = picture.icc if picture.icc and profile_space(picture.icc) == b"RGB " else b""
    masks = None
    if picture.alpha is not None:
        samples, masks = np.dstack([picture.rgb()[..., ::-1], picture.alpha]), _STRAIGHT_BGRA
    elif picture.grey and not icc:
        samples = picture.pixels[..., None]
    else:
        samples = picture.rgb()[..., ::-1]
    height, width, channels = samples.shape
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256)) if channels == 1 else b""
    lines = np.zeros((height, (width * channels + 3) // 4 * 4), np.uint8)
    lines[:, : width * channels] = samples[::-1].reshape(height, -1)
    size = _V5 if icc or masks else 40
    start = _FILE_HEADER + size + len(palette)
    if start + lines.nbytes + len(icc) >= 1 << 32:
        raise ImageError("gives a result of more than 4 GB, which a BMP cannot hold")
    density = [round(value / _INCH) for value in picture.resolution or (0, 0)]
    compression = _MASKS if masks else _PLAIN
    header = struct.pack("<IiiHHII", size, width, height, 1, 8 * channels, compression, lines.nbytes)
    header += struct.pack("<iiII", *(min(value, (1 << 31) - 1) for value in density), 256 if palette else 0, 0)
    if size == _V5:
        header += struct.pack("<4II48x", *(masks or (0, 0, 0, 0)), _EMBEDDED if icc else _SRGB)
        header += struct.pack("<IIII", _FOR_PHOTOGRAPHS, start - _FILE_HEADER + lines.nbytes if icc else 0, len(icc), 0)
    head = b"BM" + struct.pack("<IHHI", start + lines.nbytes + len(icc), 0, 0, start) + header + palette
    return head + lines.tobytes() + icc
