"""The record behind an output's pixels: it says that mirnet-deploy made the file, from what and how.

An output file is the picture as any program writes it, then a line of JSON, its length and a magic word. Decoders of
all formats stop at the picture's end and never see them; in formats that are made of boxes they lie in one of type
"free", since some readers follow the boxes to the end of the file. Other places would be worse:
- a metadata field (EXIF Software, a PNG text) would change the user's own metadata, BMP has none, and editors keep such
  fields when they save, so a picture that was retouched by hand would still claim to be ours and be overwritten;
- a state file litters the folder and loses its outputs when they are moved.
The record holds the SHA-256 of the bytes before it. So a file is ours as long as it is untouched; after any edit it is
the user's. The record holds nothing secret and proves nothing: whoever can write the file can write the record.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

MAGIC = b"mirnet-deploy\x00\x01\n"
_TAIL = struct.Struct(f">I{len(MAGIC)}s")
"""What follows the JSON: its length in bytes, and `MAGIC`."""
_LONGEST = 1 << 16
"""Bytes of JSON, at most; a record that claims more counts as damaged."""


@dataclass(frozen=True)
class Record:
    """All that decides an output: where records are equal, so are the pictures, but for what `backend` rounds."""

    input: str
    """SHA-256 of the input file."""
    model: str
    """SHA-256 of the model file."""
    settings: Mapping[str, str | int | float | None]
    version: str
    """Of mirnet-deploy."""
    backend: str = field(default="", compare=False)
    """What computed it, as `PictureInfo.backend` says, so that it can be made again bit for bit. That another one would
    compute it now, as close to FP32 as `engines.choice` asks, is no reason to."""


@dataclass(frozen=True)
class Stamp:
    """What was found at the end of a file that carries a record."""

    record: Record | None
    """None where it cannot be read: it is damaged, and `intact` is False; or another version wrote other fields."""
    intact: bool
    """Whether the bytes before the record are those that were written with it."""


def stamped(data: bytes, record: Record) -> bytes:
    """The bytes of a file, `data`, with `record` behind them."""
    if data[4:8] in (b"ftyp", b"JXL "):  # ISO/IEC 14496-12, 8.1.2; 18181-2
        data += struct.pack(">I4s", 8 + len(_tail(record, hashlib.sha256().hexdigest())), b"free")
    return data + _tail(record, hashlib.sha256(data).hexdigest())


def stamp_file(path: Path, record: Record) -> None:
    """Appends `record` to a file, which may be larger than memory.

    Raises:
        OSError: the file cannot be read or written.
    """
    with path.open("r+b") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.write(_tail(record, digest))


def _tail(record: Record, sha256: str) -> bytes:
    """The bytes that are appended to a file; `sha256` is that of the file without them, as hex digits."""
    text = json.dumps(asdict(record) | {"sha256": sha256}, sort_keys=True).encode()
    return text + _TAIL.pack(len(text), MAGIC)


def has_stamp(path: Path) -> bool:
    """Whether the file ends in a record, whether or not the file was changed since. Reads a few bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(-min(len(MAGIC), path.stat().st_size), 2)
        return stream.read() == MAGIC


def read_stamp(path: Path) -> Stamp | None:
    """What a file's record says; None where the file has none. Reads the whole file for its hash.

    Raises:
        OSError: the file cannot be read.
    """
    if not has_stamp(path):
        return None
    size = path.stat().st_size
    if size < _TAIL.size:
        return Stamp(None, intact=False)
    with path.open("rb") as stream:
        stream.seek(size - _TAIL.size)
        length, _ = _TAIL.unpack(stream.read())
        start = size - _TAIL.size - length
        if length > _LONGEST or start < 0:
            return Stamp(None, intact=False)
        stream.seek(start)
        text = stream.read(length)
        try:
            values = json.loads(text)
            intact = values.pop("sha256") == _digest_of(stream, start)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Stamp(None, intact=False)
    try:
        return Stamp(Record(**values), intact)
    except TypeError:
        return Stamp(None, intact)


def _digest_of(stream: BinaryIO, length: int) -> str:
    """SHA-256 of the first `length` bytes, as hex digits. Reads a piece at a time: a file may be larger than memory."""
    stream.seek(0)
    digest = hashlib.sha256()
    while length and (piece := stream.read(min(length, 1 << 20))):
        digest.update(piece)
        length -= len(piece)
    return digest.hexdigest()
