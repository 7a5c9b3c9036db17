"""EXIF blocks made true of the upright picture. Only the bytes of a value are replaced, and nothing else moves.

Source: CIPA DC-008 (EXIF), sections 4.6 and 4.7; DCF 2.0 (CIPA DC-009), section 3.2.1 (R03, the optional colour space).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction

from mirnet_deploy.images.ifd import EXIF, INTEGERS, INTEROPERABILITY, ORIENTATION, Directory, Field, read_directory

MAKER_NOTES_LOST = "its maker's notes are lost"

_WIDTHS_AND_HEIGHTS = (256, 257, 0xA002, 0xA003)
"""Width, height, width, height: of TIFF's picture, of EXIF's."""
_ACROSS, _DOWN, _UNIT = 282, 283, 296
_INCH, _UNITS = 2, {2: 1.0, 3: 2.54}
"""Code of a unit of resolution -> how many of it make an inch. Another one, "none", states a mere ratio."""
_RATIONAL = 5
_SAME_RESOLUTION = 0.02
"""Part by which resolutions may differ that the whole numbers of JPEG and PNG have rounded: 72 dpi are 28 a cm."""
_MAKER_NOTE = 37500
_COLOUR_SPACE, _UNCALIBRATED, _INTEROPERABILITY_INDEX = 0xA001, 0xFFFF, 1


def reset_orientation(block: bytes) -> tuple[bytes, int]:
    """The block with orientation 1, otherwise byte for byte the same, and the orientation that it had (1 for none).

    Raises:
        ValueError: as `read_directory`.
    """
    directory = read_directory(block)
    orientation = directory.integer(ORIENTATION, 1)
    if orientation == 1:
        return block, 1
    kind, _, position = directory.fields[ORIENTATION]
    patched = bytearray(block)
    struct.pack_into(f"{directory.order}{INTEGERS[kind]}", patched, position, 1)
    return bytes(patched), orientation


def set_pixel_sizes(block: bytes, width: int, height: int) -> bytes:
    """The block with the true width and height wherever it states them, otherwise byte for byte the same.

    They stand in PixelXDimension and PixelYDimension of the EXIF directory (CIPA DC-008, 4.6.5), which are false once
    the picture is turned, and some cameras repeat them as ImageWidth and ImageLength in IFD0. None is added. An EXIF
    directory that cannot be read stays as it is.

    Raises:
        ValueError: as `read_directory`.
    """
    directories = [read_directory(block)]
    if EXIF in directories[0].fields:
        with suppress(ValueError):
            directories.append(read_directory(block, directories[0].integer(EXIF, 0)))
    patched = bytearray(block)
    for directory in directories:
        for tag, pixels in zip(_WIDTHS_AND_HEIGHTS, (width, height) * 2, strict=True):
            kind, count, position = directory.fields.get(tag, (0, 0, 0))
            if count == 1 and kind in (3, 4) and directory.integer(tag, 0) != pixels:
                # As a LONG, whatever it was: it has room for any size, and lies in the field itself as a SHORT does.
                struct.pack_into(f"{directory.order}HII", patched, position - 6, 4, 1, pixels)
    return bytes(patched)


def unlink_next(block: bytes) -> bytes:
    """The block without the link to its second directory. In EXIF, that is a thumbnail of the picture as it was.

    The thumbnail's bytes stay in the block, so that nothing moves.

    Raises:
        ValueError: as `read_directory`.
    """
    directory = read_directory(block)
    if not directory.next:
        return block
    patched = bytearray(block)
    struct.pack_into(f"{directory.order}{directory.form.offset}", patched, directory.next_position, 0)
    return bytes(patched)


def resolution_of(block: bytes) -> tuple[float, float] | None:
    """Pixels per inch, across and down; None where the block does not say, or gives a mere ratio (unit 1).

    Raises:
        ValueError: as `read_directory`.
    """
    directory = read_directory(block)
    factor, places = _UNITS.get(directory.integer(_UNIT, _INCH)), _resolution_places(directory)
    if factor is None or len(places) < 2:
        return None
    values = [struct.unpack_from(f"{directory.order}2I", block, place) for place in places]
    if not all(above and below for above, below in values):
        return None
    across, down = (above / below * factor for above, below in values)
    return across, down


def set_resolution(block: bytes, resolution: tuple[float, float]) -> bytes:
    """The block with this resolution, in pixels per inch, where it states another one. None is added.

    Raises:
        ValueError: as `read_directory`.
    """
    stated = resolution_of(block)
    if not stated or all(abs(a / b - 1) < _SAME_RESOLUTION for a, b in zip(stated, resolution, strict=True)):
        return block
    directory, patched = read_directory(block), bytearray(block)
    factor = _UNITS[directory.integer(_UNIT, _INCH)]
    for place, value in zip(_resolution_places(directory), resolution, strict=True):
        fraction = Fraction(min(max(value / factor, 1e-4), 1e5)).limit_denominator(10_000)
        struct.pack_into(f"{directory.order}2I", patched, place, fraction.numerator, fraction.denominator)
    return bytes(patched)


def exchange_resolutions(block: bytes) -> bytes:
    """The block with XResolution and YResolution exchanged, as a turn by 90 degrees does it.

    Raises:
        ValueError: as `read_directory`.
    """
    places = _resolution_places(read_directory(block))
    if len(places) < 2:
        return block
    across, down = places
    patched = bytearray(block)
    patched[across : across + 8], patched[down : down + 8] = block[down : down + 8], block[across : across + 8]
    return bytes(patched)


def _resolution_places(directory: Directory) -> list[int]:
    """The positions of XResolution and YResolution; fewer where they are absent or of another type."""
    fields = [directory.fields.get(tag, (0, 0, 0)) for tag in (_ACROSS, _DOWN)]
    return [position for kind, count, position in fields if (kind, count) == (_RATIONAL, 1)]


def is_adobe_rgb(block: bytes) -> bool:
    """Whether the block says that the picture is in DCF's optional colour space, Adobe RGB: a colour space that is
    "uncalibrated", and the interoperability index R03. Cameras say so without a profile.
    """
    try:
        first = read_directory(block)
        inner = read_directory(block, first.integer(EXIF, 0))
        index = read_directory(block, inner.integer(INTEROPERABILITY, 0))
    except ValueError:
        return False
    _, count, position = index.fields.get(_INTEROPERABILITY_INDEX, (0, 0, 0))
    text = bytes(index.block[position : position + count])
    return inner.integer(_COLOUR_SPACE, 0) == _UNCALIBRATED and text.startswith(b"R03")


def has_maker_notes(block: bytes) -> bool:
    """Whether an EXIF block holds notes of the camera's maker. They hold offsets from the start of the block, and are
    lost where it is taken apart: in a TIFF.
    """
    with suppress(ValueError):
        inner = read_directory(block, read_directory(block).integer(EXIF, 0))
        return _MAKER_NOTE in inner.fields
    return False


def without_maker_notes(fields: Mapping[int, Field]) -> dict[int, Field]:
    """The fields of a first directory without the notes of the camera's maker inside its EXIF directory."""
    kept, inner = dict(fields), fields.get(EXIF)
    if inner and not isinstance(inner.content, bytes) and _MAKER_NOTE in inner.content:
        rest = {tag: field for tag, field in inner.content.items() if tag != _MAKER_NOTE}
        kept[EXIF] = Field(inner.kind, inner.count, rest)
    return kept
