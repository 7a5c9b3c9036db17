"""Camera RAW as a file: whether it is whole, and its EXIF, without LibRaw.

Source: TIFF/EP (ISO 12234-2), on which DNG, NEF, CR2, ARW, PEF, ORF and RW2 are built; ISO/IEC 14496-12 for CR3. RAF is
Fujifilm's own: a JPEG, metadata and the sensor's data, at the places that its header gives.
"""

from __future__ import annotations

import io
import struct

from PIL import JpegImagePlugin

from mirnet_deploy.images.boxes.media import boxes
from mirnet_deploy.images.exif import MAKER_NOTES_LOST, without_maker_notes
from mirnet_deploy.images.ifd import EXIF, GPS, ORIENTATION, ByteOrder, Field, movable_fields, pack_block
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.tiff.directories import all_directories, is_camera_raw

_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
_XMP = 700
_KEPT = frozenset({270, 271, 272, ORIENTATION, 282, 283, 296, 305, 306, 315, 33432, EXIF, GPS})
"""Tags of the first directory that say something of the picture: description, camera, orientation, resolution,
software, time, artist, copyright. The others say how the sensor's data are stored and to be developed."""
_RAF = b"FUJIFILMCCD-RAW"
_CR3_METADATA = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
"""The identifier of the box in a CR3 that holds blocks of EXIF: CMT1 for the first directory, CMT2 EXIF's, CMT4 GPS."""


def check_whole(data: bytes) -> None:
    """Checks that the file is as long as it says, where its maker is one of the larger ones.

    Raises:
        ImageError: it is not; the message does not name it.
    """
    if max(_ends(data), default=0) > len(data):
        raise truncated("the RAW ends before its picture does")


def _ends(data: bytes) -> list[int]:
    """The bytes at which the parts of the file end, as far as it says so."""
    if data.startswith(_RAF):
        places = struct.unpack_from(">6I", data.ljust(108, b"\xff"), 84)
        return [start + length for start, length in zip(places[::2], places[1::2], strict=True)]
    if data[4:8] == b"ftyp":
        return [end for _, _, end in boxes(data)]
    found = []
    for one in all_directories(data):
        directory = one.directory
        if is_camera_raw([one]):
            offsets = directory.integers(_STRIP_OFFSETS) or directory.integers(_TILE_OFFSETS)
            counts = directory.integers(_STRIP_COUNTS) or directory.integers(_TILE_COUNTS)
            found += [start + count for start, count in zip(offsets, counts, strict=False)]
    return found


def metadata_of_raw(data: bytes) -> tuple[bytes | None, list[str]]:
    """The EXIF block, and a line for the user on everything that is not kept."""
    try:
        if data.startswith(_RAF):
            return _exif_of_raf(data), []
        order, fields = _fields_of_cr3(data) if data[4:8] == b"ftyp" else _fields_of_tiff(data)
    except (ValueError, struct.error, OSError, SyntaxError):
        return None, ["its EXIF is not read"]
    lost = []
    if _XMP in fields:
        lost.append("its XMP, with settings for its development, is lost")
    bare = without_maker_notes(fields)
    if bare != fields:
        lost.append(MAKER_NOTES_LOST)
    kept = {tag: field for tag, field in bare.items() if tag in _KEPT}
    return (pack_block(kept, order) if kept else None), lost


def _fields_of_tiff(data: bytes) -> tuple[ByteOrder, dict[int, Field]]:
    """The fields of the first directory; the makers of ORF and RW2 only put other signatures before theirs."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return movable_fields(data)
    if data[:2] in (b"II", b"MM"):
        return movable_fields((b"II*\0" if data[:2] == b"II" else b"MM\0*") + data[4:])
    raise ValueError("not built on TIFF")


def _fields_of_cr3(data: bytes) -> tuple[ByteOrder, dict[int, Field]]:
    """The blocks of a CR3 as if they were one."""
    blocks = {}
    for kind, first, last in boxes(data):
        for inner, start, end in boxes(data, first, min(last, len(data))) if kind == b"moov" else ():
            if inner == b"uuid" and data[start : start + 16] == _CR3_METADATA:
                blocks = {name: data[begin:close] for name, begin, close in boxes(data, start + 16, end)}
    if b"CMT1" not in blocks:
        raise ValueError("no EXIF")
    order, fields = movable_fields(blocks[b"CMT1"])
    for tag, name in ((EXIF, b"CMT2"), (GPS, b"CMT4")):
        if name in blocks:
            same, inner_fields = movable_fields(blocks[name])
            if same == order and inner_fields:
                fields[tag] = Field(4, 1, inner_fields)
    return order, fields


def _exif_of_raf(data: bytes) -> bytes | None:
    """The EXIF of the JPEG that the camera made beside the RAW."""
    start, length = struct.unpack_from(">II", data, 84)
    exif: bytes | None = JpegImagePlugin.JpegImageFile(io.BytesIO(data[start : start + length])).info.get("exif")
    return exif
