"""ISO media files: their boxes, and the items (pictures, metadata) that the meta box of a HEIC or AVIF lists.

Source: ISO/IEC 14496-12 (boxes, items and their places), 23008-12 (HEIF: properties and references of items).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.integrity import truncated

_CODINGS = frozenset({b"hvc1", b"av01", b"grid", b"iden", b"iovl", b"jpeg", b"avc1", b"vvc1", b"j2k1", b"unci"})
"""Types of items that are pictures."""


@dataclass
class Item:
    """One item of a file: a coded picture, a grid of them, or metadata."""

    kind: bytes
    """Four characters: hvc1, av01, grid, Exif, mime, …"""
    content_type: bytes = b""
    """Of a mime item."""
    hidden: bool = False
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(type, body) of its properties, in the order in which they apply."""
    extents: list[tuple[int, int]] = field(default_factory=list)
    """(first, last + 1) byte of its parts within the file."""

    def of(self, kind: bytes) -> Iterator[bytes]:
        """The bodies of its properties of one type."""
        return (body for name, body in self.properties if name == kind)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, first, last + 1) of the bodies of the boxes in `data[start:end]`, up to one that is not whole.

    `last + 1` lies behind `end` where the last box is cut short, and nothing is yielded where not even its header fits.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield kind, start + head, start + size
        start += size


@dataclass
class Places:
    """Bytes of a file at which something stands, for who wants to change it."""

    primary: tuple[int, int] = (0, 0)
    """(first, last + 1) of the number of the picture that is shown."""
    auxiliary: list[int] = field(default_factory=list)
    """Where the types of references from auxiliary pictures begin."""


class Items:
    """The items in a file's meta box.

    Raises:
        ImageError: the file ends before the box or one of its items does, or the box is damaged.
        IndexError, struct.error: the box ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.items: dict[int, Item] = {}
        """Number -> item."""
        self.primary = 0
        """The number of the picture that is shown."""
        self.places = Places()
        self.has_sequence = False
        """Whether there are tracks, too: a video or a sequence of pictures."""
        self._references: list[tuple[bytes, int, tuple[int, ...]]] = []
        meta = None
        for kind, first, last in boxes(data):
            if kind == b"meta" and meta is None:
                if last > len(data):
                    raise truncated("it ends inside its list of pictures")
                meta = first + 4, last
            self.has_sequence |= kind == b"moov"
        if meta is None:
            raise truncated("it ends before its list of pictures")
        found = {kind: (first, last) for kind, first, last in boxes(data, *meta)}
        if any(last > meta[1] for _, last in found.values()) or not {b"pitm", b"iinf", b"iloc"} <= found.keys():
            raise ImageError("is damaged: its list of pictures is not whole")
        first, _ = found[b"pitm"]
        self.places.primary = first + 4, first + (8 if data[first] else 6)
        self.primary = self._number(first + 4, 4 if data[first] else 2)
        self._read_kinds(*found[b"iinf"])
        self._read_places(*found[b"iloc"], found.get(b"idat", (0, 0))[0])
        if b"iref" in found:
            self._read_references(*found[b"iref"])
        if b"iprp" in found:
            self._read_properties(*found[b"iprp"])

    def _number(self, position: int, size: int) -> int:
        """A big-endian number of `size` bytes; 0 for none."""
        if position + size > len(self._data):
            raise IndexError(position)
        return int.from_bytes(self._data[position : position + size], "big")

    def _read_kinds(self, first: int, last: int) -> None:
        for kind, start, end in boxes(self._data, first + (8 if self._data[first] else 6), last):
            if kind == b"infe" and (version := self._data[start]) >= 2:
                wide = 4 if version > 2 else 2
                place = start + 4 + wide + 2
                rest = self._data[place + 4 : end].split(b"\0")  # name, content type
                item = Item(self._data[place : place + 4], rest[1] if len(rest) > 1 else b"")
                item.hidden = bool(self._data[start + 3] & 1)
                self.items[self._number(start + 4, wide)] = item

    def _read_places(self, first: int, last: int, idat: int) -> None:
        version, sizes = self._data[first], self._number(first + 4, 2)
        offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide, position = (4, first + 10) if version == 2 else (2, first + 8)
        for _ in range(self._number(first + 6, wide)):
            item = self.items.get(self._number(position, wide)) or Item(b"")
            position += wide
            method = 0
            if version:
                method = self._number(position, 2) & 15
                position += 2
            base = self._number(position + 2, base_size) + (idat if method == 1 else 0)
            count = self._number(position + 2 + base_size, 2)
            position += 4 + base_size
            if position + count * max(1, offset_size + length_size) > last:
                raise IndexError(position)
            for _ in range(count):
                position += index_size if version else 0
                start = base + self._number(position, offset_size)
                length = self._number(position + offset_size, length_size)
                position += offset_size + length_size
                if method < 2:
                    item.extents.append((start, start + length if length else len(self._data)))
        if max((end for item in self.items.values() for _, end in item.extents), default=0) > len(self._data):
            raise truncated("it ends before its pictures do")

    def _read_references(self, first: int, last: int) -> None:
        wide = 4 if self._data[first] else 2
        for kind, start, end in boxes(self._data, first + 4, last):
            count = self._number(start + wide, 2)
            if start + wide + 2 + count * wide > end:
                raise IndexError(end)
            places = range(start + wide + 2, start + wide + 2 + count * wide, wide)
            targets = tuple(self._number(place, wide) for place in places)
            self._references.append((kind, self._number(start, wide), targets))
            if kind == b"auxl":
                self.places.auxiliary.append(start - 4)

    def _read_properties(self, first: int, last: int) -> None:
        parts = list(boxes(self._data, first, last))
        shared = [
            (kind, self._data[start:end])
            for name, begin, close in parts
            if name == b"ipco"
            for kind, start, end in boxes(self._data, begin, close)
        ]
        for name, begin, _ in parts:
            if name != b"ipma":
                continue
            wide, step = 4 if self._data[begin] else 2, 2 if self._data[begin + 3] & 1 else 1
            position = begin + 8
            for _ in range(self._number(begin + 4, 4)):
                item = self.items.get(self._number(position, wide)) or Item(b"")
                count = self._number(position + wide, 1)
                position += wide + 1
                for place in range(position, position + count * step, step):
                    index = self._number(place, step) & (0x7FFF if step == 2 else 0x7F)
                    if index:
                        item.properties.append(shared[index - 1])
                position += count * step

    def about(self, number: int, reference: bytes) -> list[int]:
        """The items with a reference of this type to item `number`: cdsc for its metadata, auxl for its alpha, …"""
        return [
            source
            for kind, source, targets in self._references
            if kind == reference and number in targets and source in self.items
        ]

    def used_by(self, number: int, reference: bytes) -> list[int]:
        """The items to which item `number` refers: with dimg, the tiles of a grid."""
        return [
            target
            for kind, source, targets in self._references
            if kind == reference and source == number
            for target in targets
            if target in self.items
        ]

    def pictures(self) -> set[int]:
        """The numbers of the pictures that stand for themselves: not hidden, no tile, thumbnail or auxiliary one."""
        parts = {target for kind, _, targets in self._references if kind == b"dimg" for target in targets}
        helpers = {source for kind, source, _ in self._references if kind in (b"thmb", b"auxl")}
        coded = {number for number, item in self.items.items() if item.kind in _CODINGS and not item.hidden}
        return coded - parts - helpers
