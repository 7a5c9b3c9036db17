"""XMP that is too large for one segment of a JPEG: joined from its two parts, and parted again.

Source: XMP specification, part 3, 1.1.3.1: the standard packet names its extension by a GUID, the MD5 sum of it, and
each further segment holds the GUID, the length of the whole extension, the place of its own piece, and the piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from hashlib import md5
from itertools import accumulate
from xml.dom.minidom import Attr, Document, Element, Node

from mirnet_deploy.images.xmp import HAS_EXTENSION, RDF, name_of, packed, parsed, properties, take_out, text_of

_GUID, _HEAD = 32, 40
"""Bytes of a GUID, and of what comes before the piece."""
_NOTE = 400
"""Bytes that the description takes, at most, that names the extension."""
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta>'.encode()


def joined(packet: bytes, segments: Sequence[bytes]) -> bytes:
    """The packet with its extension, whose pieces lie in `segments`, in any order.

    Raises:
        ValueError: one of the two is damaged, or the segments hold no whole extension of this packet.
    """
    document = parsed(packet)
    guid = next((text_of(node) for node in properties(document) if name_of(node) == HAS_EXTENSION), "").encode()
    pieces = sorted(set(_pieces(segments, guid.upper())))
    extension = b"".join(piece for _, _, piece in pieces)
    places = accumulate([0, *(len(piece) for _, _, piece in pieces)])
    if not pieces or any(
        (place, length) != (here, len(extension)) for (place, length, _), here in zip(pieces, places, strict=False)
    ):
        raise ValueError("the extension of its XMP is not whole")
    for rdf in parsed(extension).getElementsByTagNameNS(RDF, "RDF"):
        for description in [node for node in rdf.childNodes if isinstance(node, Element)]:
            _append(document, description)
    whole = packed(document)
    parsed(whole)  # the two together may be more than is read
    return whole


def _pieces(segments: Sequence[bytes], guid: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields place, length of the whole, and bytes of each piece of the extension with this GUID."""
    for segment in segments:
        if len(segment) > _HEAD and segment[:_GUID].upper() == guid:
            length, place = struct.unpack_from(">II", segment, _GUID)
            yield place, length, segment[_HEAD:]


def parted(packet: bytes, room: int, segment: int) -> tuple[bytes, list[bytes]]:
    """The packet without its largest properties, in at most `room` bytes, and segments of at most `segment` bytes with
    the extension that holds those. A packet that fits as it is has none.

    Raises:
        ValueError: it is damaged, or cannot be made so small.
    """
    if len(packet) <= room:
        return packet, []
    document, extension = parsed(packet), parsed(_EMPTY)
    moved: dict[int, Element] = {}
    movable = [node for node in properties(document) if name_of(node)[0] not in (RDF, "http://www.w3.org/2000/xmlns/")]
    movable.sort(key=lambda node: len(_xml(node)))
    excess = len(packed(document)) + _NOTE - room
    while excess > 0 and movable:
        node = movable.pop()
        excess -= len(_xml(node))
        _move(node, extension, moved)
    content = packed(extension)
    parsed(content)  # a reader of ours must take it
    guid = md5(content, usedforsecurity=False).hexdigest().upper()
    note = _described(document)
    note.setAttribute("xmlns:xmpNote", HAS_EXTENSION[0])
    note.setAttribute("xmpNote:HasExtendedXMP", guid)
    _append(document, note)
    if len(standard := packed(document)) > room:
        raise ValueError("its XMP cannot be parted")
    head, step = guid.encode() + struct.pack(">I", len(content)), segment - _HEAD
    places = range(0, len(content), step)
    return standard, [head + struct.pack(">I", place) + content[place : place + step] for place in places]


def _xml(node: Attr | Element) -> bytes:
    return f'{node.name}="{node.value}"'.encode() if isinstance(node, Attr) else packed(node)


def _move(node: Attr | Element, extension: Document, moved: dict[int, Element]) -> None:
    """Moves a property to the extension, into the description there that stands for its own.

    Args:
        moved: id of a description -> what stands for it; is filled in.
    """
    owner = node.ownerElement if isinstance(node, Attr) else node.parentNode
    assert isinstance(owner, Element)
    if id(owner) not in moved:
        description = _described(extension, owner.getAttributeNS(RDF, "about"))
        _declare(owner, description)
        moved[id(owner)] = _append(extension, description)
    description = moved[id(owner)]
    take_out(node)
    if isinstance(node, Attr):
        description.setAttribute(node.name, node.value)
    else:
        description.appendChild(_copied(node, extension))


def _described(document: Document, about: str = "") -> Element:
    """A new rdf:Description."""
    description = document.createElement("rdf:Description")
    description.setAttribute("xmlns:rdf", RDF)
    description.setAttribute("rdf:about", about)
    return description


def _append(document: Document, description: Element) -> Element:
    """Puts a copy of a description, from this document or another, at the end of the packet's, and returns it."""
    copy = _copied(description, document)
    _declare(description, copy)
    document.getElementsByTagNameNS(RDF, "RDF")[0].appendChild(copy)
    return copy


def _copied(node: Element, document: Document) -> Element:
    try:
        return document.importNode(node, True)
    except RecursionError as error:
        raise ValueError("its XMP is damaged") from error


def _declare(source: Element, target: Element) -> None:
    """Gives an element the namespaces that are declared at another and above it, unless it has others so named."""
    place: Node | None = source
    while isinstance(place, Element):
        for name, value in place.attributes.items():
            if (name == "xmlns" or name.startswith("xmlns:")) and not target.hasAttribute(name):
                target.setAttribute(name, value)
        place = place.parentNode
