"""Camera RAW told from other TIFFs, by content. Needs no imaging library.

Source: DNG 1.7.1 and TIFF/EP (ISO 12234-2): the photometric interpretation of what a sensor saw.
"""

from __future__ import annotations

import struct

from mirnet_deploy.images.formats import HEADER_LENGTH, Format, sniff
from mirnet_deploy.images.ifd import Block, Directory, read_directory

_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
_SENSOR = (32803, 34892)
"""Photometric interpretations: a mosaic of colour filters, and linear light of the camera's own colours."""
_MOST = 32
"""Directories of a file that are looked at."""


def format_of_content(block: Block) -> Format:
    """The format of a whole file, in memory or mapped, whatever its name says.

    Raises:
        ImageError: as `sniff`.
    """
    kind = sniff(bytes(block[:HEADER_LENGTH]))
    return "raw" if kind == "tiff" and is_camera_raw(block) else kind


def is_camera_raw(block: Block) -> bool:
    """Whether one of a TIFF's directories, or of those below them, holds what a sensor saw. False for damaged ones."""
    return any(map(sees_sensor, directories(block)))


def sees_sensor(directory: Directory) -> bool:
    """Whether a directory is that of a sensor's data."""
    return directory.integer(_PHOTOMETRIC, -1) in _SENSOR


def directories(block: Block) -> list[Directory]:
    """The directories of a TIFF and those below them, as far as they can be read, each once."""
    found: list[Directory] = []
    starts: list[int | None] = [None]
    seen: set[int | None] = {0}
    while starts and len(found) < _MOST:
        start = starts.pop(0)
        if start in seen:
            continue
        seen.add(start)
        try:
            directory = read_directory(block, start)
        except ValueError:
            continue
        found.append(directory)
        kind, count, position = directory.fields.get(_SUB_DIRECTORIES, (0, 0, 0))
        if kind in (4, 13):  # LONG, IFD
            starts += struct.unpack_from(f"{directory.order}{min(count, _MOST)}I", block, position)
        starts.append(directory.next)
    return found
