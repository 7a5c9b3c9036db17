"""TIFF files of any layout, made byte by byte as the standard says, without the code that is tested."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Values = bytes | Sequence[int]
Order = Literal["<", ">"]
Pack = Callable[[bytes], bytes | bytearray]
SUB_DIRECTORIES = 330
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q"}


@dataclass
class Page:
    """A directory: its fields (tag -> TIFF type and values), its strips or tiles, and its SubIFDs."""

    fields: dict[int, tuple[int, Values]]
    blocks: Sequence[bytes]
    subs: Sequence[Page] = field(default_factory=list)


def page(
    samples: NDArray[Any],
    photometric: int | None = 2,
    *,
    order: Order = "<",
    compression: int = 1,
    pack: Pack = bytes,
    rows: int | None = None,
    tile: int | None = None,
    planar: bool = False,
    counts: bool = True,
    more: dict[int, tuple[int, Values]] | None = None,
    subs: Sequence[Page] = (),
) -> Page:
    """A directory of samples, [h,w] or [h,w,channels]; `more` adds to its fields or replaces them."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    rows = tile or rows or height
    blocks = []
    for plane in np.split(samples, channels, axis=2) if planar else [samples]:
        for top in range(0, height, rows):
            for left in range(0, width, tile or width):
                part = plane[top : top + rows, left : left + (tile or width)]
                if tile:
                    missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
                    part = np.pad(part, missing)
                blocks.append(bytes(pack(part.astype(part.dtype.newbyteorder(order)).tobytes())))
    fields: dict[int, tuple[int, Values]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8 * samples.itemsize] * channels),
        259: (3, [compression]),
        277: (3, [channels]),
        284: (3, [2 if planar else 1]),
    }
    if photometric is not None:
        fields[262] = (3, [photometric])
    fields |= {322: (4, [tile]), 323: (4, [tile]), 324: (4, [])} if tile else {278: (4, [rows]), 273: (4, [])}
    if counts:
        fields[325 if tile else 279] = (4, [len(block) for block in blocks])
    return Page(fields | (more or {}), blocks, subs)


def tiff(*pages: Page, order: Order = "<", big: bool = False) -> bytes:
    """The file of a chain of pages."""
    size = 8 if big else 4
    number, links = f"{order}{'Q' if big else 'I'}", []
    data = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42))
    data += struct.pack(f"{order}HH", 8, 0) if big else b""
    links.append(len(data))
    data += bytes(size)

    def write(one: Page) -> tuple[int, int]:
        """Appends a page; the places of its directory and of its link to the next one."""
        fields, offsets = dict(one.fields), []
        for block in one.blocks:
            offsets.append(len(data))
            data.extend(block + b"\0" * (len(block) % 2))
        for tag in (273, 324):
            if tag in fields:
                fields[tag] = (16 if big else 4, offsets)
        if one.subs:
            fields[SUB_DIRECTORIES] = (16 if big else 4, [write(sub)[0] for sub in one.subs])
        start = len(data)
        head = struct.pack(f"{order}{'Q' if big else 'H'}", len(fields))
        entry = 20 if big else 12
        place = start + len(head) + entry * len(fields) + size
        entries, contents = b"", b""
        for tag, (kind, values) in sorted(fields.items()):
            raw = (
                bytes(values)
                if isinstance(values, bytes)
                else struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            )
            entries += struct.pack(
                f"{order}HH{number[1]}", tag, kind, len(raw) // {3: 2, 4: 4, 5: 8, 16: 8}.get(kind, 1)
            )
            if len(raw) <= size:
                entries += raw.ljust(size, b"\0")
            else:
                entries += struct.pack(number, place + len(contents))
                contents += raw + b"\0" * (len(raw) % 2)
        data.extend(head + entries + bytes(size) + contents)
        return start, start + len(head) + len(entries)

    for one in pages:
        start, link = write(one)
        struct.pack_into(number, data, links[-1], start)
        links.append(link)
    return bytes(data)
