"""Directories of a classic TIFF structure: a TIFF file, or the EXIF block of any other format.

Where possible, only the bytes of a value are replaced and nothing else moves: maker notes hold offsets from the start
of the block. Where fields must move, to or from a TIFF file, they keep their types and bytes. Pillow does neither: it
decodes strings as Latin-1 and writes them as ASCII, which turns a copyright in UTF-8 into question marks.
Source: TIFF 6.0, section 2; CIPA DC-008 (EXIF), section 4.6.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ORIENTATION = 274
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965

Block = bytes | mmap.mmap
"""A TIFF structure: in memory, or a mapped file, of which only the parts that are looked at are read."""
ByteOrder = Literal["<", ">"]
"""Little-endian ("<", TIFF's II) or big-endian (">", TIFF's MM), as in the formats of `struct`."""

_INTEGERS = {1: "B", 3: "H", 4: "I"}
"""TIFF type -> its code in `struct`: BYTE, SHORT, LONG."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""TIFF type -> bytes of one value."""


@dataclass(frozen=True)
class Directory:
    """One directory of `block`. It holds the positions of the values, which are read when they are asked for."""

    block: Block
    order: ByteOrder
    fields: dict[int, tuple[int, int, int]]
    """Tag -> (TIFF type, number of values, position of the values in the block)."""
    next_position: int
    """Position of the four bytes that hold the offset of the next directory."""

    @property
    def next(self) -> int:
        """Offset of the next directory (a page, or EXIF's thumbnail); 0 for none."""
        (offset,) = struct.unpack_from(f"{self.order}I", self.block, self.next_position)
        return int(offset)

    def integers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The BYTE, SHORT or LONG values of `tag`; `default` where it is absent or of another type."""
        kind, count, position = self.fields.get(tag, (0, 0, 0))
        if kind not in _INTEGERS:
            return default
        return struct.unpack_from(f"{self.order}{count}{_INTEGERS[kind]}", self.block, position)

    def integer(self, tag: int, default: int) -> int:
        """The first of the values that `integers` gives; `default` where there is none."""
        return next(iter(self.integers(tag)), default)


def read_directory(block: Block, start: int | None = None) -> Directory:
    """Reads the directory at `start`; None for the first one (IFD0). Fields of unknown types are left out.

    Raises:
        ValueError: `block` is not a classic TIFF structure, or it ends before the directory or one of its values does.
    """
    orders: dict[bytes, ByteOrder] = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(bytes(block[:4]))
    if order is None:
        raise ValueError("no TIFF header")
    try:
        if start is None:
            (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        fields = {}
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", block, position)
            size = _SIZES.get(kind, 0) * length
            place = position + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, position + 8)[0]
            if place + size > len(block):
                raise ValueError(f"its TIFF tag {tag} reaches past the end")
            if kind in _SIZES:
                fields[tag] = (kind, length, place)
        directory = Directory(
            block if isinstance(block, mmap.mmap) else bytes(block), order, fields, start + 2 + 12 * count
        )
        _ = directory.next
    except struct.error as error:
        raise ValueError("its TIFF directory reaches past the end") from error
    return directory


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
    struct.pack_into(f"{directory.order}{_INTEGERS[kind]}", patched, position, 1)
    return bytes(patched), orientation


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
    struct.pack_into(f"{directory.order}I", patched, directory.next_position, 0)
    return bytes(patched)


def kept_exif(block: bytes | None) -> bytes | None:
    """An EXIF block with orientation 1 and without its thumbnail; None where there is none or it is damaged."""
    try:
        return unlink_next(reset_orientation(block)[0]) if block else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Field:
    """One field of a directory with its values, independent of where they lie."""

    kind: int
    """The TIFF type."""
    count: int
    """Number of values."""
    content: bytes | Mapping[int, Field]
    """The values in the byte order of the block, or the fields (tag -> field) of the directory that the value points
    to."""


def movable_fields(block: Block) -> tuple[ByteOrder, dict[int, Field]]:
    """The byte order, and the fields of IFD0 with the EXIF, GPS and interoperability directories inside them.

    An inner directory that cannot be read is left out.

    Raises:
        ValueError: as `read_directory`.
    """
    directory = read_directory(block)
    return directory.order, _movable(directory, {EXIF: {INTEROPERABILITY: {}}, GPS: {}})


_Inner = Mapping[int, "_Inner"]


def _movable(directory: Directory, inner: _Inner) -> dict[int, Field]:
    """The fields of `directory`, including those of the directories that it points to.

    Args:
        inner: a tag that points to a directory here -> the same mapping for that directory. Elsewhere the tags of
            directories are left out: they could lead in circles.
    """
    fields: dict[int, Field] = {}
    for tag, (kind, count, position) in directory.fields.items():
        if tag in inner:
            try:
                pointed = read_directory(directory.block, directory.integer(tag, 0))
            except ValueError:
                continue
            fields[tag] = Field(kind, 1, _movable(pointed, inner[tag]))
        elif tag not in (EXIF, GPS, INTEROPERABILITY):
            fields[tag] = Field(kind, count, directory.block[position : position + _SIZES[kind] * count])
    return fields


def pack_block(fields: Mapping[int, Field], order: ByteOrder) -> bytes:
    """A TIFF structure of one directory: its header, the directory and all that its fields hold.

    `order` must be the byte order that the contents of the fields have.
    """
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return header + _pack_directory(fields, order, len(header))


def _pack_directory(fields: Mapping[int, Field], order: ByteOrder, offset: int) -> bytes:
    """A directory that is to lie at `offset`; behind it the inner directories, and values of more than 4 bytes."""
    entries, contents = b"", b""
    place = offset + 2 + 12 * len(fields) + 4
    for tag, field in sorted(fields.items()):
        content = field.content if isinstance(field.content, bytes) else _pack_directory(field.content, order, place)
        entries += struct.pack(f"{order}HHI", tag, field.kind, field.count)
        if isinstance(field.content, bytes) and len(content) <= 4:
            entries += content.ljust(4, b"\0")
            continue
        entries += struct.pack(f"{order}I", place)
        content += b"\0" * (len(content) % 2)
        contents += content
        place += len(content)
    return struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + contents
