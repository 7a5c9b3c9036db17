"""The picture formats, and how to tell them from a file's name or its first bytes. Needs no imaging library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mirnet_deploy.errors import ImageError

Format = Literal["png", "jpg", "webp", "tiff", "bmp", "heic", "avif", "jxl", "raw"]
"""raw is what cameras write, of any maker: it is read, and never written."""

SUFFIXES: Mapping[str, Format] = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".dib": "bmp",
}
"""Lower-case suffix -> format."""

SIXTEEN_BIT_FORMATS: frozenset[Format] = frozenset({"png", "tiff"})
ALPHA_FORMATS: frozenset[Format] = frozenset({"png", "webp", "tiff", "bmp"})

HEADER_LENGTH = 16
"""Bytes that `sniff` needs to see."""

_SUPPORTED = "expected PNG, JPEG, WebP, TIFF or BMP"
_FOREIGN = {
    b"GIF8": "is a GIF",
    b"II+\0": "is a BigTIFF",
    b"MM\0+": "is a BigTIFF",
    b"8BPS": "is a Photoshop document",
    b"%PDF": "is a PDF",
    b"\xff\x0a": "is a JPEG XL",
}
"""First bytes of a format that is not read -> what the error says."""
_ISO_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIC"}
"""Major brand of an ISO media file (bytes 8 to 11) -> what the error calls it."""


def sniff(header: bytes) -> Format:
    """The format that the first `HEADER_LENGTH` bytes of a file announce, whatever its name says.

    Raises:
        ImageError: the file is empty or of none of the five formats; the message does not name the file.
    """
    if not header:
        raise ImageError(f"is empty (0 bytes); {_SUPPORTED}")
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if header.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return "webp"
    if header.startswith((b"II*\0", b"MM\0*")):
        return "tiff"
    if header.startswith(b"BM"):
        return "bmp"
    foreign = next((text for magic, text in _FOREIGN.items() if header.startswith(magic)), None)
    if header[4:8] == b"ftyp":
        foreign = f"is {_ISO_BRANDS.get(header[8:12], 'a video or another ISO media file')}"
    raise ImageError(f"{foreign or 'is not a picture of a known kind'}; {_SUPPORTED}")


def format_of_name(path: Path) -> Format:
    """The format that the suffix of `path` stands for.

    >>> format_of_name(Path("night.JPEG"))
    'jpg'

    Raises:
        ImageError: the suffix is unknown.
    """
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise ImageError(f"{path} has suffix {path.suffix!r}; a picture's name ends in one of {known}") from None
