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
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",
    ".avif": "avif",
    ".jxl": "jxl",
}
"""Lower-case suffix -> format, of pictures that are read and written."""
RAW_SUFFIXES = frozenset(
    f".{maker}"
    for maker in "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf"
    " srw x3f".split()
)
"""Lower-case suffixes by which camera RAW, which is only read, is found. `raw.kinds` knows it by its content."""

SIXTEEN_BIT_FORMATS: frozenset[Format] = frozenset({"png", "tiff", "heic", "avif", "jxl"})
"""Formats that hold more than 8 bits; `depth_in` says how many."""
ALPHA_FORMATS: frozenset[Format] = frozenset({"png", "webp", "tiff", "bmp", "heic", "avif", "jxl"})

DEFLATE_LEVEL = 2
"""zlib's level for pixels (PNG, TIFF). With its default, 6, a result of 12 megapixels took 4.7 s as PNG instead of 0.9,
and the file was as large; those of 37 results of 600x400 were 7 % smaller (benchmarks/CPU.md)."""

NAMES: Mapping[Format, str] = {
    "png": "a PNG",
    "jpg": "a JPEG",
    "webp": "a WebP",
    "tiff": "a TIFF",
    "bmp": "a BMP",
    "heic": "a HEIC",
    "avif": "an AVIF",
    "jxl": "a JPEG XL",
    "raw": "a camera RAW",
}
"""Format -> what a file of it is called in lines for the user."""

JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
"""What a JPEG XL file of boxes begins with; a bare codestream begins with FF 0A."""
HEADER_LENGTH = 64
"""Bytes that `sniff` needs to see."""

_SUPPORTED = "expected PNG, JPEG, WebP, TIFF, BMP, HEIC, AVIF, JPEG XL or camera RAW"
_MAGICS: Mapping[bytes, Format] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",  # BigTIFF
    b"MM\0+": "tiff",
    b"BM": "bmp",
    b"\xff\x0a": "jxl",  # a bare codestream
    JXL_SIGNATURE: "jxl",
    b"FUJIFILMCCD-RAW": "raw",
    b"IIU\0": "raw",  # Panasonic, Leica
    b"IIRO": "raw",  # Olympus
    b"IIRS": "raw",
    b"MMOR": "raw",
    b"FOVb": "raw",  # Sigma
    b"\0MRM": "raw",  # Minolta
}
"""First bytes -> format, where they are enough."""
_FOREIGN = {
    b"GIF8": "is a GIF",
    b"8BPS": "is a Photoshop document",
    b"%PDF": "is a PDF",
}
"""First bytes of a format that is not read -> what the error says."""
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_PICTURE_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
"""Brands that stand for pictures of any coding."""


def sniff(header: bytes) -> Format:
    """The format that the first `HEADER_LENGTH` bytes of a file announce, whatever its name says.

    Much of camera RAW is TIFF: `raw.kinds.format_of_content` tells them apart.

    Raises:
        ImageError: the file is empty or of none of these formats; the message does not name the file.
    """
    if not header:
        raise ImageError(f"is empty (0 bytes); {_SUPPORTED}")
    found = next((kind for magic, kind in _MAGICS.items() if header.startswith(magic)), None)
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        found = "webp"
    if header[:4] + header[8:10] == b"II*\0CR" or header[6:14] == b"HEAPCCDR":  # Canon's CR2 and CRW
        found = "raw"
    if header[4:8] == b"ftyp":
        found = _iso_format(header)
    if found:
        return found
    foreign = next((text for magic, text in _FOREIGN.items() if header.startswith(magic)), None)
    if header[4:8] == b"ftyp":
        foreign = "is a video or another ISO media file"
    raise ImageError(f"{foreign or 'is not a picture of a known kind'}; {_SUPPORTED}")


def _iso_format(header: bytes) -> Format | None:
    """The format that the brands of an ISO media file (ISO/IEC 14496-12, 4.3) stand for; None for no picture."""
    major, length = header[8:12], int.from_bytes(header[:4], "big")
    others = {header[place : place + 4] for place in range(16, min(length, len(header)) - 3, 4)}
    if major == b"crx ":
        return "raw"
    if major in _AVIF_BRANDS or (major in _ANY_PICTURE_BRANDS and others & _AVIF_BRANDS):
        return "avif"
    return "heic" if major in _HEIF_BRANDS | _ANY_PICTURE_BRANDS else None


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


def depth_in(kind: Format, bits: int, depth: int | None) -> int:
    """Bits per sample in a file of format `kind` for a picture of `bits` bits that had `depth` in its own file.

    >>> depth_in("avif", 16, 10), depth_in("avif", 16, None), depth_in("png", 16, 10)
    (10, 12, 16)
    """
    if bits == 8 or kind not in SIXTEEN_BIT_FORMATS:
        return 8
    if kind in ("heic", "avif"):
        return depth if depth in (10, 12) else 12
    return depth or 16 if kind == "jxl" else 16
