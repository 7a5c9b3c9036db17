"""The first directory (IFD0) of a classic TIFF structure: a TIFF file, or the EXIF block of any other format.

Only what must be exact is done here: reading integers, and changing them in place so that nothing else moves (maker
notes hold offsets from the start of the block, so a block that is written anew loses them).
Source: TIFF 6.0, section 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ORIENTATION = 274

_INTEGERS = {1: "B", 3: "H", 4: "I"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True)
class Directory:
    """Where the values of IFD0 lie in `block`."""

    block: bytes
    order: str
    """"<" or ">", for `struct`."""
    fields: dict[int, tuple[int, int, int]]
    """Tag -> (type, count, position of the values in the block)."""
    next_position: int
    """Where the offset of the next directory stands."""

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
        """The first of `integers`."""
        return next(iter(self.integers(tag)), default)


def read_directory(block: bytes) -> Directory:
    """Reads IFD0.

    Raises:
        ValueError: not a TIFF structure, or one that ends before its directory does.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        raise ValueError("no TIFF header")
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        fields = {}
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", block, position)
            size = _SIZES.get(kind, 1) * length
            place = position + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, position + 8)[0]
            if place + size > len(block):
                raise ValueError(f"tag {tag} reaches past the end")
            fields[tag] = (kind, length, place)
        directory = Directory(bytes(block), order, fields, start + 2 + 12 * count)
        _ = directory.next
    except struct.error as error:
        raise ValueError(f"the directory reaches past the end ({error})") from error
    return directory


def reset_orientation(block: bytes) -> tuple[bytes, int]:
    """The block with orientation 1, otherwise byte for byte the same, and the orientation that it had (1 for none)."""
    directory = read_directory(block)
    orientation = directory.integer(ORIENTATION, 1)
    if orientation == 1:
        return block, 1
    kind, _, position = directory.fields[ORIENTATION]
    patched = bytearray(block)
    struct.pack_into(f"{directory.order}{_INTEGERS[kind]}", patched, position, 1)
    return bytes(patched), orientation


def unlink_next(block: bytes) -> bytes:
    """The block without a way to its second directory: in EXIF, the thumbnail of the picture as it was."""
    directory = read_directory(block)
    if not directory.next:
        return block
    patched = bytearray(block)
    struct.pack_into(f"{directory.order}I", patched, directory.next_position, 0)
    return bytes(patched)
