"""Which directory of a TIFF holds the picture: the first one may be a thumbnail, with the picture in a SubIFD.

Source: TIFF 6.0, section 8 (NewSubfileType, SubfileType); Adobe's TIFF technical note 1 (SubIFDs); DNG 1.7, chapter 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Block, Directory, read_directory
from mirnet_deploy.images.picture import ANIMATED
from mirnet_deploy.images.tiff import tags

CAMERA_RAW = "is camera RAW (DNG/NEF: a colour filter array), which is not read in bands"
"""What the error says of a file for which `is_camera_raw` is true."""

_MOST_DIRECTORIES = 1000
"""A file with more is not a single picture; they are not all read."""
_CR2 = b"II*\0\x10\0\0\0CR\2"
"""How Canon's raw files begin, whose directories do not name a colour filter array."""
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_OLD_REDUCED = 2
"""A value of SubfileType."""


@dataclass(frozen=True)
class Found:
    """A directory, and where it was found."""

    directory: Directory
    parent: Directory | None = None
    """The directory that names it as a SubIFD; None for those of the main chain."""

    @property
    def area(self) -> int:
        """Width times height in pixels; 0 for a directory without pixels."""
        tells = tags.STRIP_OFFSETS, tags.TILE_OFFSETS, tags.OLD_JPEG_START
        if not any(tag in self.directory.fields for tag in tells):
            return 0
        return self.directory.integer(tags.WIDTH, 0) * self.directory.integer(tags.HEIGHT, 0)

    @property
    def reduced(self) -> bool:
        """Whether the file calls it a smaller copy of another picture."""
        if tags.NEW_SUBFILE_TYPE in self.directory.fields:
            return bool(self.directory.integer(tags.NEW_SUBFILE_TYPE, 0) & _REDUCED)
        return self.directory.integer(tags.SUBFILE_TYPE, 0) == _OLD_REDUCED

    @property
    def mask(self) -> bool:
        """Whether it is the transparency mask of another picture."""
        kind = self.directory.integer(tags.NEW_SUBFILE_TYPE, 0)
        return bool(kind & _MASK) or self.directory.integer(tags.PHOTOMETRIC, -1) == tags.MASK


def all_directories(block: Block) -> list[Found]:
    """The directories of the main chain, each followed by its SubIFDs; every one once.

    Raises:
        ValueError: as `read_directory`.
    """
    first = read_directory(block)
    seen = {first.start}
    found: list[Found] = []
    waiting = [Found(first)]
    while waiting and len(found) < _MOST_DIRECTORIES:
        one = waiting.pop()
        found.append(one)
        places = [(one.directory.next, one.parent)]
        places += [(place, one.directory) for place in one.directory.integers(tags.SUB_DIRECTORIES)][::-1]
        for place, parent in places:
            if place and place not in seen:
                seen.add(place)
                waiting.append(Found(read_directory(block, place), parent))
    return found


def is_camera_raw(directories: Sequence[Found]) -> bool:
    """Whether any of the directories holds a camera's raw data: a colour filter array, DNG's linear raw, or a CR2."""
    raw = {tags.COLOUR_FILTER_ARRAY, tags.LINEAR_RAW}
    return directories[0].directory.block[:11] == _CR2 or any(
        found.directory.integer(tags.PHOTOMETRIC, -1) in raw for found in directories
    )


def main_picture(directories: Sequence[Found]) -> tuple[Found, tuple[str, ...]]:
    """The one full picture of a file, and a line for each thing that is lost with the other directories.

    It is the one page that is not a reduced copy. A SubIFD takes its place if the pages are all reduced, or if it is
    larger than its page and not called reduced.

    Raises:
        ImageError: there are several full pictures; the message does not name the file.
    """
    with_pixels = [found for found in directories if found.area and not found.mask]
    full = [found for found in with_pixels if not found.reduced]
    pages = [found for found in full if not found.parent] or full or with_pixels or [directories[0]]
    if len(pages) > 1:
        raise ImageError(ANIMATED)
    chosen = max([pages[0], *(found for found in full if found.parent)], key=lambda found: found.area)
    lost = ["its transparency mask is lost"] if any(found.mask and found is not chosen for found in directories) else []
    # A thumbnail that is not called one is smaller than the SubIFD that it is the thumbnail of.
    more = sum(found is not chosen and found.directory is not chosen.parent for found in full)
    if more:
        lost.append(f"{more} further picture{'s' * (more > 1)} inside it (SubIFDs) {'are' if more > 1 else 'is'} lost")
    return chosen, tuple(lost)
