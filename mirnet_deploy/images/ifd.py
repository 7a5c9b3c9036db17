"""Directories of a TIFF structure: a TIFF or BigTIFF file, or the EXIF block of any other format.

Where possible, only the bytes of a value are replaced and nothing else moves: maker notes hold offsets from the start
of the block. Where fields must move, to or from a TIFF file, they keep their types and bytes. Pillow does neither: it
decodes strings as Latin-1 and writes them as ASCII, which turns a copyright in UTF-8 into question marks.
Source: TIFF 6.0, section 2; CIPA DC-008 (EXIF), section 4.6; BigTIFF as libtiff defines it, whose counts and offsets
have eight bytes.
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

INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""TIFF type -> its code in `struct`: BYTE, SHORT, LONG, IFD, and BigTIFF's LONG8 and IFD8."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""TIFF type -> bytes of one value."""
_LONG, _LONG8, _SLONG8, _IFD8 = 4, 16, 17, 18
_MOST_FIELDS = 65535
"""What a classic directory can hold; a BigTIFF that claims more is damaged."""


@dataclass(frozen=True)
class _Form:
    """How the numbers of a directory are written, as the codes of `struct`."""

    count: str
    """The number of fields."""
    offset: str
    """An offset, or the number of a field's values."""

    @property
    def room(self) -> int:
        """Bytes of an offset, and of the values that stand in a field itself."""
        return struct.calcsize(self.offset)

    @property
    def entry(self) -> int:
        """Bytes of a field."""
        return 4 + 2 * self.room


_CLASSIC, _BIG = _Form("H", "I"), _Form("Q", "Q")
_HEADERS: Mapping[bytes, tuple[ByteOrder, _Form]] = {
    b"II*\0": ("<", _CLASSIC),
    b"MM\0*": (">", _CLASSIC),
    b"II+\0": ("<", _BIG),
    b"MM\0+": (">", _BIG),
}


@dataclass(frozen=True)
class Directory:
    """One directory of `block`. It holds the positions of the values, which are read when they are asked for."""

    block: Block
    order: ByteOrder
    fields: dict[int, tuple[int, int, int]]
    """Tag -> (TIFF type, number of values, position of the values in the block)."""
    next_position: int
    """Position of the offset of the next directory."""
    start: int
    """Position of the directory itself."""
    form: _Form

    @property
    def next(self) -> int:
        """Offset of the next directory (a page, or EXIF's thumbnail); 0 for none."""
        (offset,) = struct.unpack_from(f"{self.order}{self.form.offset}", self.block, self.next_position)
        return int(offset)

    def integers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The values of `tag`, of any unsigned type; `default` where it is absent or of another type."""
        kind, count, position = self.fields.get(tag, (0, 0, 0))
        if kind not in INTEGERS:
            return default
        return struct.unpack_from(f"{self.order}{count}{INTEGERS[kind]}", self.block, position)

    def integer(self, tag: int, default: int) -> int:
        """The first of the values that `integers` gives; `default` where there is none."""
        return next(iter(self.integers(tag)), default)


def read_directory(block: Block, start: int | None = None) -> Directory:
    """Reads the directory at `start`; None for the first one (IFD0). Fields of unknown types are left out.

    Raises:
        ValueError: `block` is not a TIFF structure, or it ends before the directory or one of its values does.
    """
    order, form = _HEADERS.get(bytes(block[:4]), (None, _CLASSIC))
    if order is None:
        raise ValueError("no TIFF header")
    offset = f"{order}{form.offset}"
    try:
        if start is None:
            (start,) = struct.unpack_from(offset, block, form.room)
        (count,) = struct.unpack_from(f"{order}{form.count}", block, start)
        if count > _MOST_FIELDS:
            raise ValueError(f"its TIFF directory claims {count} fields")
        first = start + struct.calcsize(form.count)
        end = first + form.entry * count
        fields = {}
        for position in range(first, end, form.entry):
            tag, kind, length = struct.unpack_from(f"{order}HH{form.offset}", block, position)
            size, value = _SIZES.get(kind, 0) * length, position + 4 + form.room
            place = value if size <= form.room else struct.unpack_from(offset, block, value)[0]
            if place + size > len(block):
                raise ValueError(f"its TIFF tag {tag} reaches past the end")
            if kind in _SIZES:
                fields[tag] = (kind, length, place)
        whole = block if isinstance(block, mmap.mmap) else bytes(block)
        directory = Directory(whole, order, fields, end, start, form)
        _ = directory.next
    except (struct.error, OverflowError) as error:
        raise ValueError("its TIFF directory reaches past the end") from error
    return directory


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


def movable_fields(block: Block, start: int | None = None) -> tuple[ByteOrder, dict[int, Field]]:
    """The byte order, and the fields of the directory at `start` (None for IFD0) with the EXIF, GPS and
    interoperability directories inside them. The types are those of a classic TIFF, also from a BigTIFF.

    An inner directory that cannot be read is left out.

    Raises:
        ValueError: as `read_directory`.
    """
    directory = read_directory(block, start)
    return directory.order, _movable(directory, {EXIF: {INTEROPERABILITY: {}}, GPS: {}})


def integer_field(order: ByteOrder, size: Literal["H", "I", "Q"], *values: int) -> Field:
    """A field of SHORT (H), LONG (I) or, for a BigTIFF, LONG8 (Q) values."""
    return Field(
        {"H": 3, "I": _LONG, "Q": _LONG8}[size], len(values), struct.pack(f"{order}{len(values)}{size}", *values)
    )


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
            fields[tag] = Field(_LONG, 1, _movable(pointed, inner[tag]))
        elif tag in (EXIF, GPS, INTEROPERABILITY) or kind == _SLONG8:
            continue
        elif kind in (_LONG8, _IFD8):
            values = directory.integers(tag)
            if max(values, default=0) < 1 << 32:
                fields[tag] = integer_field(directory.order, "I", *values)
        else:
            fields[tag] = Field(kind, count, directory.block[position : position + _SIZES[kind] * count])
    return fields


def pack_block(fields: Mapping[int, Field], order: ByteOrder, *, big: bool = False) -> bytes:
    """A TIFF structure of one directory: its header, the directory and all that its fields hold; a BigTIFF if `big`.

    `order` must be the byte order that the contents of the fields have.
    """
    form = _BIG if big else _CLASSIC
    header = next(magic for magic, kind in _HEADERS.items() if kind == (order, form))
    header += struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}I", 8)
    return header + _pack_directory(fields, order, len(header), form)


def _pack_directory(fields: Mapping[int, Field], order: ByteOrder, offset: int, form: _Form) -> bytes:
    """A directory that is to lie at `offset`; behind it the inner directories, and values that do not fit into a field.

    In a BigTIFF, what points to a directory becomes an IFD8.
    """
    entries, contents = b"", b""
    place = offset + struct.calcsize(form.count) + form.entry * len(fields) + form.room
    for tag, field in sorted(fields.items()):
        if isinstance(field.content, bytes):
            content, kind, fits = field.content, field.kind, len(field.content) <= form.room
        else:
            content, fits = _pack_directory(field.content, order, place, form), False
            kind = _IFD8 if form is _BIG else field.kind
        entries += struct.pack(f"{order}HH{form.offset}", tag, kind, field.count)
        if fits:
            entries += content.ljust(form.room, b"\0")
            continue
        entries += struct.pack(f"{order}{form.offset}", place)
        content += b"\0" * (len(content) % 2)
        contents += content
        place += len(content)
    return struct.pack(f"{order}{form.count}", len(fields)) + entries + bytes(form.room) + contents
