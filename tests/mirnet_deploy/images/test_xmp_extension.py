"""XMP that does not fit into one segment of a JPEG: read whole, and written in two parts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import md5
from xml.etree import ElementTree

import numpy as np
import pytest
from pictures import USUAL
from small_files import jpeg, smooth, xmp

from mirnet_deploy.images import Picture
from mirnet_deploy.images.formats import Format
from mirnet_deploy.images.jpeg_metadata import LARGEST_XMP, jpeg_segments
from mirnet_deploy.images.reading import decode_image
from mirnet_deploy.images.writing import encode_image, unkept
from mirnet_deploy.images.xmp import LARGEST_XMP as MOST_BYTES

APP1, NAME, EXTENSION = 0xE1, b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
HISTORY = "<our:History xml:lang='x'>" + "a step, " * 20_000 + "</our:History>"
FAR = (
    '<m:xmpmeta xmlns:m="adobe:ns:meta/" xmlns:our="http://a.b/c/"><R:RDF '
    'xmlns:R="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><R:Description R:about="">'
    f"{HISTORY}<our:Places><R:Seq><R:li>Ulm</R:li></R:Seq></our:Places></R:Description></R:RDF></m:xmpmeta>"
).encode()


def segments_of(extension: bytes, guid: bytes, size: int = 60_000) -> list[tuple[int, bytes]]:
    """By the specification: GUID, length, place, piece."""
    return [
        (APP1, EXTENSION + guid + struct.pack(">II", len(extension), place) + extension[place : place + size])
        for place in range(0, len(extension), size)
    ]


def facts(packet: bytes) -> set[tuple[str, str]]:
    """Every attribute and text, with its name, of the descriptions of a packet."""
    found = set()
    root = ElementTree.fromstring(packet.decode().strip("\ufeff"))
    for description in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        found |= {(name, value) for name, value in description.items() if "rdf-syntax" not in name}
        found |= {(child.tag, "".join(child.itertext())) for child in description}
    return found


def jpeg_with(segments: Sequence[tuple[int, bytes]], guid: bytes) -> bytes:
    packet = xmp(f'tiff:Make="x" xmpNote:HasExtendedXMP="{guid.decode()}"', "<dc:format>image/jpeg</dc:format>")
    return jpeg((APP1, NAME + packet), *segments)


GUID = md5(FAR).hexdigest().upper().encode()
WHOLE = {
    ("{http://ns.adobe.com/tiff/1.0/}Make", "x"),
    ("{http://purl.org/dc/elements/1.1/}format", "image/jpeg"),
    ("{http://a.b/c/}History", "a step, " * 20_000),
    ("{http://a.b/c/}Places", "Ulm"),
}


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp"])
def test_an_extension_is_read_whole_and_kept(kind: Format) -> None:
    segments = segments_of(FAR, GUID)
    others = segments_of(b"of another picture", b"0" * 32)
    picture = decode_image(jpeg_with([*segments[::-1], *others], GUID), "a", max_pixels=10**6)
    assert picture.xmp is not None
    assert facts(picture.xmp) == WHOLE
    assert picture.lost == ()
    assert unkept(picture, kind) == []
    again = decode_image(encode_image(picture, kind, **USUAL), "b", max_pixels=10**6)
    assert again.xmp is not None
    assert facts(again.xmp) == WHOLE
    assert again.lost == ()


def test_what_is_written_follows_the_specification() -> None:
    history = "<dc:description>" + "long " * 30_000 + "</dc:description><dc:format>image/jpeg</dc:format>"
    packet = xmp('tiff:Make="x"', history)
    data = encode_image(Picture(smooth(), xmp=packet), "jpg", **USUAL)
    bodies = [body for code, body in jpeg_segments(data) if code == APP1]
    (standard,) = [body.removeprefix(NAME) for body in bodies if body.startswith(NAME)]
    pieces = [body.removeprefix(EXTENSION) for body in bodies if body.startswith(EXTENSION)]
    assert len(standard) <= LARGEST_XMP
    extension = b"".join(piece[40:] for piece in pieces)
    places = np.cumsum([0, *[len(piece) - 40 for piece in pieces]])
    guid = md5(extension).hexdigest().upper()
    for piece, place in zip(pieces, places[:-1].tolist(), strict=True):
        assert piece[:40] == guid.encode() + struct.pack(">II", len(extension), place)
    assert len(pieces) == 3
    assert facts(extension) == {("{http://purl.org/dc/elements/1.1/}description", "long " * 30_000)}
    assert facts(standard) == {
        ("{http://ns.adobe.com/tiff/1.0/}Make", "x"),
        ("{http://purl.org/dc/elements/1.1/}format", "image/jpeg"),
        ("{http://ns.adobe.com/xmp/note/}HasExtendedXMP", guid),
    }


def test_an_attribute_may_be_what_is_large() -> None:
    packet = xmp(f'tiff:Make="{"x" * 70_000}" tiff:Model="&lt;&quot;"')
    data = encode_image(Picture(smooth(), xmp=packet), "jpg", **USUAL)
    found = decode_image(data, "a", max_pixels=10**6).xmp
    assert found is not None
    assert facts(found) == facts(packet)


def test_many_small_properties_are_parted_without_growing() -> None:
    """Each in a description of its own with all namespaces, they were four times as large, in quadratic time."""
    packet = xmp("", "".join(f"<dc:p{number}>{'step ' * 9}</dc:p{number}>" for number in range(2400)))
    data = encode_image(Picture(smooth(), xmp=packet), "jpg", **USUAL)
    extension = b"".join(
        body.removeprefix(EXTENSION)[40:]
        for code, body in jpeg_segments(data)
        if code == APP1 and body.startswith(EXTENSION)
    )
    assert len(packet) - LARGEST_XMP < len(extension) < len(packet)
    found = decode_image(data, "a", max_pixels=10**6).xmp
    assert found is not None
    assert facts(found) == facts(packet)


@pytest.mark.parametrize(
    "segments",
    [
        [*segments_of(FAR, GUID), segments_of(FAR, GUID)[1]],
        segments_of(FAR, GUID.lower()),
    ],
    ids=["a piece twice", "lower case"],
)
def test_an_extension_that_is_whole_is_read_whatever_its_form(segments: list[tuple[int, bytes]]) -> None:
    picture = decode_image(jpeg_with(segments, GUID), "a", max_pixels=10**6)
    assert picture.xmp is not None
    assert facts(picture.xmp) == WHOLE
    assert picture.lost == ()


@pytest.mark.parametrize(
    ("segments", "why"),
    [
        (segments_of(FAR, GUID)[:-1], "the extension of its XMP is not whole"),
        (segments_of(FAR, GUID)[1:], "the extension of its XMP is not whole"),
        (segments_of(FAR, GUID[::-1]), "the extension of its XMP is not whole"),
        (segments_of(FAR[:-9], GUID), "its XMP is damaged"),
        (segments_of(b"<!DOCTYPE a>" + FAR, GUID), "its XMP is damaged"),
    ],
)
def test_a_damaged_extension_costs_nothing_of_the_packet(segments: list[tuple[int, bytes]], why: str) -> None:
    picture = decode_image(jpeg_with(segments, GUID), "a", max_pixels=10**6)
    assert picture.xmp is not None
    assert facts(picture.xmp) == {fact for fact in WHOLE if "a.b" not in fact[0]}
    assert picture.lost == (f"the part of its XMP that does not fit into one segment is lost: {why}",)


def test_an_extension_that_is_too_much_costs_nothing_of_the_packet() -> None:
    large = FAR.replace(b"a step", b"a" * MOST_BYTES, 1)
    picture = decode_image(jpeg_with(segments_of(large, GUID), GUID), "a", max_pixels=10**6)
    assert picture.xmp is not None
    assert facts(picture.xmp) == {fact for fact in WHOLE if "a.b" not in fact[0]}
    assert "bytes, and at most 16777216 are read" in picture.lost[0]
