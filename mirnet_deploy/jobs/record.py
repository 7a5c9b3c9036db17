"""The record behind an output's pixels: it says that mirnet-deploy made the file, from what and how.

An output file is the picture as any program writes it, then a line of JSON, its length and a magic word:
- in a PNG as the last chunk before IEND, since strict readers refuse what follows it. Its type, `miRD`, says that it is
  ancillary, private and unsafe to copy, so that an editor that does not know it drops it (PNG, third edition, 5.4);
- in a WebP as the last chunk of the RIFF, which readers have to skip (RFC 9649, 2.7.1.6); behind it, libwebp's muxer
  refuses the file;
- in HEIC, AVIF and JPEG XL, which are made of boxes, in a box of type "free", since some readers follow the boxes to
  the end of the file;
- in JPEG, TIFF and BMP, and in all files of version 0.1.0, behind the picture. There decoders stop before it.
Other places would be worse:
- a metadata field (EXIF Software, a PNG text) would change the user's own metadata, BMP has none, and editors keep such
  fields when they save, so a picture that was retouched by hand would still claim to be ours and be overwritten;
- a state file litters the folder and loses its outputs when they are moved.
The record holds the SHA-256 of the rest of the file. So a file is ours as long as it is untouched; after any edit it is
the user's. The record holds nothing secret and proves nothing: whoever can write the file can write the record.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from mirnet_deploy.images.png.png16 import SIGNATURE

MAGIC = b"mirnet-deploy\x00\x01\n"
_TAIL = struct.Struct(f">I{len(MAGIC)}s")
"""What follows the JSON: its length in bytes, and `MAGIC`."""
_CHUNK = b"miRD"
"""Type of the chunk that holds the record, in PNG and in WebP."""
_CHUNK_HEAD = 8
"""Bytes of a chunk before its content: its length and its type."""
_IEND = 12
"""Bytes of a PNG's last chunk, which is empty."""
_BEHIND = 4 + _IEND
"""Bytes behind a record in a PNG: the checksum of its chunk, and IEND."""
_LONGEST = 1 << 16
"""Bytes of JSON, at most; a record that claims more counts as damaged."""


@dataclass(frozen=True)
class Record:
    """What a result was made from, and how. Where records are equal, so are the pictures, but for rounding and an error
    within the tolerance, which `backend`, `tile_size`, the processor and the number of threads decide."""

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
    tile_size: str = field(default="", compare=False)
    """Height and width of the tiles that it was made in ("512x512"), "whole" where it ran whole: with the tile "auto"
    that depends on the memory that was free."""


@dataclass(frozen=True)
class Stamp:
    """What was found at the end of a file that carries a record."""

    record: Record | None
    """None where it cannot be read: it is damaged, and `intact` is False; or another version wrote other fields."""
    intact: bool
    """Whether the bytes before the record are those that were written with it."""


def stamped(data: bytes, record: Record) -> bytes:
    """The bytes of a file, `data`, with `record`."""
    if data.startswith(SIGNATURE):
        return data[:-_IEND] + _png_chunk(_tail(record, _sha256(data))) + data[-_IEND:]
    if data.startswith(b"RIFF"):
        # What is hashed states the size that the file will have.
        size = len(data) + len(_riff_chunk(_tail(record, _sha256(data)))) - 8
        data = data[:4] + struct.pack("<I", size) + data[8:]
        return data + _riff_chunk(_tail(record, _sha256(data)))
    if data[4:8] in (b"ftyp", b"JXL "):  # ISO/IEC 14496-12, 8.1.2; 18181-2
        data += struct.pack(">I4s", 8 + len(_tail(record, _sha256(b""))), b"free")
    return data + _tail(record, _sha256(data))


def stamp_file(path: Path, record: Record) -> None:
    """Appends `record` to a TIFF, which may be larger than memory.

    Raises:
        OSError: the file cannot be read or written.
    """
    with path.open("r+b") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.write(_tail(record, digest))


def _tail(record: Record, sha256: str) -> bytes:
    """The record as it lies in a file; `sha256` is that of the rest of the file, as hex digits."""
    text = json.dumps(asdict(record) | {"sha256": sha256}, sort_keys=True).encode()
    text += b" " * ((len(text) + _TAIL.size) % 2)  # a chunk of odd length would need a byte more in a RIFF
    return text + _TAIL.pack(len(text), MAGIC)


def _png_chunk(tail: bytes) -> bytes:
    content = _CHUNK + tail
    return struct.pack(">I", len(tail)) + content + struct.pack(">I", zlib.crc32(content))


def _riff_chunk(tail: bytes) -> bytes:
    return _CHUNK + struct.pack("<I", len(tail)) + tail


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _behind(path: Path) -> int | None:
    """How many bytes follow the record of a file; None where it has none. Reads a few bytes."""
    with path.open("rb") as stream:
        stream.seek(-min(len(MAGIC) + _BEHIND, path.stat().st_size), 2)
        end = stream.read()
    return next((behind for behind in (0, _BEHIND) if end[: len(end) - behind].endswith(MAGIC)), None)


def has_stamp(path: Path) -> bool:
    """Whether the file has a record at its end, whether or not the file was changed since. Reads a few bytes.

    Raises:
        OSError: the file cannot be read.
    """
    return _behind(path) is not None


def read_stamp(path: Path) -> Stamp | None:
    """What a file's record says; None where the file has none. Reads the whole file for its hash.

    Raises:
        OSError: the file cannot be read.
    """
    behind = _behind(path)
    if behind is None:
        return None
    end = path.stat().st_size - behind
    if end < _TAIL.size:
        return Stamp(None, intact=False)
    with path.open("rb") as stream:
        stream.seek(end - _TAIL.size)
        length, _ = _TAIL.unpack(stream.read(_TAIL.size))
        start = end - _TAIL.size - length
        if length > _LONGEST or start < 0:
            return Stamp(None, intact=False)
        stream.seek(start)
        text = stream.read(length)
        try:
            values = json.loads(text)
            sha256 = values.pop("sha256")
            before = _bytes_before(stream, start, end, behind)
            intact = before is not None and sha256 == _digest_of(stream, before, iend=behind > 0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Stamp(None, intact=False)
    try:
        return Stamp(Record(**values), intact)
    except TypeError:
        return Stamp(None, intact)


def _bytes_before(stream: BinaryIO, start: int, end: int, behind: int) -> int | None:
    """How many bytes lie before a record and the head of its chunk, where it has one; None if that is damaged.

    Args:
        start, end: where the record lies in the file.
        behind: how many bytes follow it.
    """
    stream.seek(start)
    tail = stream.read(end - start)
    chunk = _png_chunk(tail) if behind else _riff_chunk(tail)
    head = max(0, start - _CHUNK_HEAD)
    stream.seek(head)
    if stream.read(len(chunk)) == chunk:
        return head
    return None if behind else start


def _digest_of(stream: BinaryIO, length: int, iend: bool) -> str:
    """SHA-256 of the first `length` bytes, and of the last chunk of a PNG, as hex digits. Reads a piece at a time: a
    file may be larger than memory."""
    stream.seek(0)
    digest = hashlib.sha256()
    while length and (piece := stream.read(min(length, 1 << 20))):
        digest.update(piece)
        length -= len(piece)
    if iend:
        stream.seek(-_IEND, 2)
        digest.update(stream.read())
    return digest.hexdigest()
