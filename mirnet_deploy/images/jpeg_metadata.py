"""The segments of a JPEG that hold metadata: read, and written.

Source: ITU-T T.81, annex B; T.871 (JFIF); CIPA DC-008 (EXIF) and DC-007 (MPF); XMP specification, part 3; ICC.1,
annex B.4; ISO 21496-1 (gain maps).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import read_directory
from mirnet_deploy.images.integrity import JPEG_EOI, JPEG_SOS, jpeg_markers
from mirnet_deploy.images.iptc import PHOTOSHOP, iptc_in, resources_of
from mirnet_deploy.images.metadata import EXIF_NAME, Metadata
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.png.metadata import XMP_NAME
from mirnet_deploy.images.xmp_extension import joined, parted

LARGEST_SEGMENT = 65535 - 2
"""Bytes of a segment, less its length."""
LARGEST_EXIF = LARGEST_SEGMENT - len(EXIF_NAME)
LARGEST_XMP = LARGEST_SEGMENT - len(XMP_NAME)
LARGEST_IPTC = LARGEST_SEGMENT - len(PHOTOSHOP) - 13
"""Less the head of the resource, and its padding."""

COMMENT = b"COM"
"""The type of a JPEG's comments in `Picture.texts`."""

_APP0, _APP1, _APP2, _APP11, _APP13, _COM = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xFE
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
"""Codes of the frame headers: the kinds of JPEG. C4, C8 and CC are tables and a reserve; F7 is JPEG-LS."""
_READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_KINDS = {0xF7: "a JPEG-LS", 0xCB: "a lossless JPEG with arithmetic coding"}
_ICC_NAME = b"ICC_PROFILE\0"
_EXTENSION_NAME = b"http://ns.adobe.com/xmp/extension/\0"
_PARTS = (
    (_APP1, EXIF_NAME),
    (_APP1, XMP_NAME),
    (_APP1, _EXTENSION_NAME),
    (_APP2, _ICC_NAME),
    (_APP13, PHOTOSHOP),
)
"""Marker and name of the segments whose contents are joined."""
_LARGEST_PART = LARGEST_SEGMENT - len(_ICC_NAME) - 2
LARGEST_ICC = 255 * _LARGEST_PART
"""As many parts as can be numbered."""
_INCH, _CENTIMETRE = 1, 2
_MPF_ENTRIES, _PRIMARY_OR_PREVIEW = 0xB002, frozenset({0x030000, 0x010001, 0x010002, 0x010003, 0x010004, 0x010005})
"""Types of the pictures in a multi-picture file that are the picture itself, or made from it."""
_FURTHER = "the further pictures in its file (a gain map for HDR screens, for example) are lost"


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields marker code and body of each segment before the first scan."""
    for code, start, end in jpeg_markers(data):
        if code in (JPEG_SOS, JPEG_EOI) or end > len(data):
            return
        if end >= start + 2:
            yield code, data[start + 2 : end]


@dataclass(frozen=True)
class Frame:
    """What a frame header says of the samples (ITU-T T.81, B.2.2)."""

    bits: int
    height: int
    width: int
    channels: int


def jpeg_frame(data: bytes) -> Frame | None:
    """The frame header of a JPEG of a kind that is read: not hierarchical, not JPEG-LS. None where there is none.

    Raises:
        ImageError: it is of another kind; the message does not name the file.
    """
    found = None
    for code, body in jpeg_segments(data):
        if code in _FRAMES:
            if code not in _READ_FRAMES:
                raise ImageError(
                    f"is {_KINDS.get(code, 'a hierarchical JPEG')}, which is not read; save it as PNG or TIFF"
                )
            if len(body) < 6:
                continue
            found = found or Frame(*struct.unpack_from(">BHHB", body))
            if 2 <= body[0] < 8:
                raise ImageError(f"is a JPEG of {body[0]} bits a sample, which is not read; save it as PNG or TIFF")
            if body[5] not in (1, 3, 4):
                raise ImageError(f"is a JPEG of {body[5]} channels; expected 1 or 3")
    return found


def jpeg_metadata(data: bytes, end: int) -> Metadata:
    """What the segments say; `end` is the position behind the picture."""
    found = Metadata()
    parts: dict[bytes, list[bytes]] = {name: [] for _, name in _PARTS}
    for code, body in jpeg_segments(data):
        name = next((name for at, name in _PARTS if at == code and body.startswith(name)), None)
        if name is not None:
            parts[name].append(body[len(name) :])
        elif code == _APP0 and body.startswith(b"JFIF\0"):
            _resolution(found, body)
        elif code == _APP2 and body.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
            found.lost.append("its gain map for HDR screens is lost")
        elif code == _APP2 and body.startswith(b"MPF\0") and _has_other_pictures(body[4:]):
            found.lost.append(_FURTHER)
        elif code == _APP11 and body.startswith(b"JP"):
            found.lost.append("its JUMBF boxes (content credentials, for example) are lost")
        elif code == _COM:
            found.texts.append((COMMENT, body))
    found.exif = _exif(parts[EXIF_NAME])
    _take_xmp(found, parts[XMP_NAME], parts[_EXTENSION_NAME])
    _take_icc(found, parts[_ICC_NAME])
    found.iptc, lost = iptc_in(b"".join(parts[PHOTOSHOP]))
    found.lost += lost + _behind(data[end:], found.lost)
    return found


def _take_xmp(found: Metadata, packets: list[bytes], extension: list[bytes]) -> None:
    """Takes the first packet over, with its extension."""
    found.xmp = packets[0] if packets else None
    if extension:
        try:
            found.xmp = joined(found.xmp or b"", extension)
        except ValueError as error:
            found.lost.append(f"the part of its XMP that does not fit into one segment is lost: {error}")


def _take_icc(found: Metadata, parts: list[bytes]) -> None:
    """Takes the profile over. Each part begins with its number and how many there are (ICC.1, B.4)."""
    parts.sort()
    if all(part[:2] == bytes([number, len(parts)]) for number, part in enumerate(parts, 1)):
        found.icc = b"".join(part[2:] for part in parts) or None
    else:
        found.lost.append("its colour profile is damaged and is left out")


def _behind(rest: bytes, lost: list[str]) -> list[str]:
    """A line on what follows the picture, unless it is one of the further pictures in `lost`."""
    rest = rest.strip(b"\0\xff\r\n ")
    if b"ftyp" in rest[:16]:
        return ["the film of its motion photo is lost"]
    return [f"{len(rest)} bytes behind its end are lost"] if rest and _FURTHER not in lost else []


def _exif(parts: list[bytes]) -> bytes | None:
    """The EXIF block: the first part, and those behind it as long as each fills its segment."""
    if not parts:
        return None
    count = 1
    while count < len(parts) and len(parts[count - 1]) == LARGEST_EXIF and parts[count][:2] not in (b"II", b"MM"):
        count += 1
    return b"".join(parts[:count])


def _resolution(found: Metadata, body: bytes) -> None:
    """Takes the density over that JFIF's segment holds."""
    if len(body) < 12 or found.resolution:
        return
    unit, across, down = struct.unpack_from(">BHH", body, 7)
    if unit in (_INCH, _CENTIMETRE) and across and down:
        scale = 1 if unit == _INCH else 2.54
        found.resolution = across * scale, down * scale
    elif across != down and across and down:
        found.lost.append(f"its pixel aspect ratio of {across}:{down} is lost")


def _has_other_pictures(index: bytes) -> bool:
    """Whether a multi-picture file's index lists pictures that are neither the main one nor a preview of it."""
    try:
        directory = read_directory(index)
    except ValueError:
        return False
    _, count, position = directory.fields.get(_MPF_ENTRIES, (7, 0, 0))
    kinds = [
        struct.unpack_from(f"{directory.order}I", index, place)[0] & 0xFFFFFF
        for place in range(position, position + count - 15, 16)
    ]
    # The first is the picture itself, whatever its type says. Type 0, "undefined", is that of gain maps.
    return any(kind not in _PRIMARY_OR_PREVIEW for kind in kinds[1:])


def with_jpeg_metadata(data: bytes, picture: Picture) -> bytes:
    """A JPEG as Pillow writes it, without metadata, and with that of `picture` where a segment holds it."""
    end = data.index(b"\xff\xe0") + 2
    end += int.from_bytes(data[end : end + 2], "big")
    head, rest = bytearray(data[:end]), data[end:]
    if picture.resolution:
        struct.pack_into(">BHH", head, 13, *_density(picture.resolution))
    parts = [bytes(head)]
    if picture.exif and len(picture.exif) <= LARGEST_EXIF:
        parts.append(_segment(_APP1, EXIF_NAME + picture.exif))
    if picture.xmp and (xmp := parts_of_xmp(picture.xmp)):
        parts.append(_segment(_APP1, XMP_NAME + xmp[0]))
        parts += [_segment(_APP1, _EXTENSION_NAME + part) for part in xmp[1]]
    if picture.icc and len(picture.icc) <= LARGEST_ICC:
        icc = [picture.icc[start : start + _LARGEST_PART] for start in range(0, len(picture.icc), _LARGEST_PART)]
        parts += [_segment(_APP2, _ICC_NAME + bytes([n, len(icc)]) + part) for n, part in enumerate(icc, 1)]
    if picture.iptc and len(picture.iptc) <= LARGEST_IPTC:
        parts.append(_segment(_APP13, PHOTOSHOP + resources_of(picture.iptc)))
    parts += [_segment(_COM, text) for kind, text in picture.texts if kind == COMMENT]
    return b"".join([*parts, rest])


@lru_cache(maxsize=2)  # what is lost is asked first, and then it is written
def parts_of_xmp(packet: bytes) -> tuple[bytes, list[bytes]] | None:
    """A packet, and segments with its extension where it has more than `LARGEST_XMP` bytes; None where it cannot be
    parted."""
    try:
        return parted(packet, LARGEST_XMP, LARGEST_SEGMENT - len(_EXTENSION_NAME))
    except ValueError:
        return None


def _density(resolution: tuple[float, float]) -> tuple[int, int, int]:
    """JFIF's unit and whole numbers, in the unit in which rounding changes less."""
    choices = []
    for unit, scale in ((_INCH, 1.0), (_CENTIMETRE, 2.54)):
        across, down = (min(max(round(value / scale), 1), 65535) for value in resolution)
        change = max(abs(across * scale / resolution[0] - 1), abs(down * scale / resolution[1] - 1))
        choices.append((change, (unit, across, down)))
    return min(choices)[1]


def _segment(code: int, body: bytes) -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body
