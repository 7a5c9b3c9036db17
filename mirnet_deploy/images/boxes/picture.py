"""What the boxes of a HEIC or AVIF say of its picture, before any pixel is decoded.

The decoders tell too little: OpenCV gives an AVIF's pixels alone and does not turn them, and neither says which of the
pictures in a file are a gain map or a depth map. Source: ISO/IEC 23008-12 (HEIF), 23000-22 (MIAF), 14496-15 (HEVC),
AV1 Image File Format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mirnet_deploy.errors import ImageError, one_line
from mirnet_deploy.images.boxes.colour_codes import icc_of_codes
from mirnet_deploy.images.boxes.media import Item, Items, Places
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.picture import ANIMATED, Picture, Samples
from mirnet_deploy.images.upright import upright_picture

_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
"""Major brands of files whose content is a sequence of pictures."""
_AUXILIARY = {
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha": "",
    b"urn:mpeg:hevc:2015:auxid:1": "",
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth": "depth map",
    b"urn:mpeg:hevc:2015:auxid:2": "depth map",
    b"urn:com:apple:photo:2020:aux:hdrgainmap": "gain map",
}
"""URN of an auxiliary picture -> what it is called; nothing for alpha, which is read."""

Transforms = tuple[tuple[bytes, bytes], ...]
"""(type, body) of clap, irot and imir properties, in the order in which they apply."""


@dataclass(frozen=True)
class IsoPicture:
    """What a file says of its primary picture."""

    coding: bytes
    """hvc1, av01, …: of the picture, or of a grid's tiles."""
    width: int
    """In pixels, before `transforms`; so is `height`."""
    height: int
    depth: int
    """Bits per sample."""
    grey: bool
    lossless: bool
    """Whether its colours were not transformed (matrix 0), which only lossless encoders do; else this is not known."""
    transforms: Transforms
    icc: bytes | None
    exif: bytes | None
    """From the TIFF header on. Its orientation does not apply: `transforms` says how the picture is turned."""
    xmp: bytes | None
    lost: tuple[str, ...]
    """One line for the user for each picture in the file that is not read, and for colour that is not kept."""
    alpha: int | None
    """The number of the item that holds its alpha."""
    premultiplied: bool
    places: Places

    def picture(self, pixels: Samples, alpha: Samples | None, kind: Format) -> Picture:
        """The picture of decoded samples, which are upright."""
        return upright_picture(
            pixels,
            alpha,
            kind,
            exif=self.exif,
            icc=self.icc,
            xmp=self.xmp,
            lossless=self.lossless,
            depth=self.depth,
            lost=self.lost,
        )


def read_iso_picture(data: bytes) -> IsoPicture:
    """The primary picture of a HEIF or AVIF file.

    Raises:
        ImageError: it is a sequence, an HDR picture, cut short or damaged; the message does not name the file.
    """
    if data[8:12] in _SEQUENCES:
        raise ImageError(ANIMATED)
    try:
        return _primary(Items(data), data)
    except (struct.error, IndexError) as error:
        raise ImageError("is damaged: its list of pictures ends too early") from error


def turned(samples: Samples, transforms: Transforms) -> Samples:
    """[H,W] or [H,W,C], cropped, turned and mirrored as an item's properties ask for; C-contiguous."""
    for kind, body in transforms:
        if kind == b"irot":  # quarter turns, anticlockwise
            samples = np.rot90(samples, body[0] & 3)
        elif kind == b"imir":  # 0: top and bottom change places, 1: left and right
            samples = samples[:, ::-1] if body[0] & 1 else samples[::-1]
        else:
            samples = _cropped(samples, body)
    return np.ascontiguousarray(samples)


def _cropped(samples: Samples, body: bytes) -> Samples:
    """The clean aperture (ISO/IEC 14496-12, 12.1.4): its sides, and how far its centre lies from the picture's."""
    numbers = struct.unpack(">IIIIiIiI", body[:32])
    if 0 in numbers[1::2]:
        raise ImageError("is damaged: its clean aperture has no size")
    spans = []
    for whole, size, offset in zip(samples.shape[1::-1], (0, 2), (4, 6), strict=True):
        length = round(numbers[size] / numbers[size + 1])
        first = round(numbers[offset] / numbers[offset + 1] + (whole - length) / 2)
        if length < 1 or first < 0 or first + length > whole:
            raise ImageError("is damaged: its clean aperture reaches beyond the picture")
        spans.append(slice(first, first + length))
    return samples[spans[1], spans[0]]


def _primary(items: Items, data: bytes) -> IsoPicture:
    item = items.items.get(items.primary)
    if item is None:
        raise ImageError("is damaged: it does not say which of its pictures is to be shown")
    coded = next((items.items[each] for each in items.used_by(items.primary, b"dimg")), item)  # a grid's first tile
    size = next(item.of(b"ispe"), None) or next(coded.of(b"ispe"), bytes(12))
    depth, grey = _samples_of(coded)
    colours = [*item.of(b"colr"), *coded.of(b"colr")]
    icc, lost = _colour_of(colours, grey)
    described = [items.items[each] for each in items.about(items.primary, b"cdsc")]
    exif = _content(data, [each for each in described if each.kind == b"Exif"])
    auxiliary = {each: _urn(items.items[each]) for each in items.about(items.primary, b"auxl")}
    return IsoPicture(
        coding=coded.kind,
        width=int.from_bytes(size[4:8], "big"),
        height=int.from_bytes(size[8:12], "big"),
        depth=depth,
        grey=grey,
        lossless=any(body[:4] == b"nclx" and body[8:10] == b"\0\0" for body in colours),
        transforms=tuple(each for each in item.properties if each[0] in (b"clap", b"irot", b"imir")),
        icc=icc,
        # The block begins with the distance from behind these four bytes to the TIFF header.
        exif=exif[4 + int.from_bytes(exif[:4], "big") :] or None if exif else None,
        xmp=_content(data, [each for each in described if each.content_type == b"application/rdf+xml"]),
        lost=(*lost, *_not_read(items, set(auxiliary.values()))),
        alpha=next((number for number, urn in auxiliary.items() if _AUXILIARY.get(urn) == ""), None),
        premultiplied=bool(items.used_by(items.primary, b"prem")),
        places=items.places,
    )


def _content(data: bytes, items: list[Item]) -> bytes | None:
    """The bytes of the first of `items`, whose parts may lie apart."""
    return b"".join(data[start:end] for start, end in items[0].extents) if items else None


def _samples_of(coded: Item) -> tuple[int, bool]:
    """Bits per sample, and whether there is only grey, by the decoder's configuration."""
    if body := next(coded.of(b"hvcC"), b""):
        return 8 + (body[17] & 7), body[16] & 3 == 0
    if body := next(coded.of(b"av1C"), b""):
        return (12 if body[2] & 0x20 else 10) if body[2] & 0x40 else 8, bool(body[2] & 0x10)
    body = next(coded.of(b"pixi"), b"\0\0\0\0\3\x08")
    return body[5], body[4] == 1


def _colour_of(bodies: list[bytes], grey: bool) -> tuple[bytes | None, list[str]]:
    """The ICC profile, or one made from codes, and what is lost of the colour, by `colr` properties.

    Raises:
        ImageError: it is an HDR picture.
    """
    icc = next((body[4:] for body in bodies if body[:4] in (b"prof", b"rICC")), None)
    codes = next((struct.unpack_from(">HH", body, 4) for body in bodies if body[:4] == b"nclx"), (2, 2))
    made, lost = icc_of_codes(*codes, grey=grey)
    return (icc, []) if icc else (made, lost)


def _urn(item: Item) -> bytes:
    """What kind of auxiliary picture an item is."""
    return next(item.of(b"auxC"), b"")[4:].split(b"\0")[0]


def _not_read(items: Items, urns: set[bytes]) -> Iterator[str]:
    """One line for each of the file's pictures that is not read, thumbnails aside; `urns` are its auxiliary ones."""
    names = {_AUXILIARY.get(urn, f"auxiliary picture ({one_line(urn.decode('latin-1'))})") for urn in urns}
    if any(each.kind == b"tmap" for each in items.items.values()):
        names.add("gain map")
    yield from (f"its {name} is lost" for name in sorted(names - {""}))
    further = len(items.pictures() - {items.primary})
    if further:
        yield f"{further} more picture{'s are' if further > 1 else ' is'} in the file, and lost"
    if items.has_sequence:
        yield "its sequence of pictures is lost"
