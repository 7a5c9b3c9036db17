"""XMP packets: what they say of the picture is made true of the picture that is written.

A packet is kept byte for byte where nothing in it has to change. Where something has, it is parsed and written again by
xml.dom.minidom, which keeps prefixes and the processing instructions around it; ElementTree loses both.
Source: XMP specification (ISO 16684-1), parts 1 and 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.dom.expatbuilder import ExpatBuilderNS
from xml.dom.minidom import Attr, Document, Element, Text
from xml.parsers.expat import ExpatError

LARGEST_XMP = 16 << 20
"""Bytes of a packet, at most."""
MOST_XMP = 300_000
"""Elements, attributes and declarations of a packet, at most: each takes some hundred bytes and microseconds."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _XMP_NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
_GAIN_MAP, _APPLE_GAIN_MAP = "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_GONE_NAMESPACES = frozenset(
    {
        _GAIN_MAP,
        _APPLE_GAIN_MAP,
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/depthmap/",
        "http://ns.google.com/photos/1.0/image/",
        "http://ns.google.com/photos/dd/1.0/device/",
    }
)
"""Namespaces whose properties describe other pictures in the same file. Results have none, and readers would look for
them at places where something else lies."""
HAS_EXTENSION = (_XMP_NOTE, "HasExtendedXMP")
"""Namespace and name of the property that names the extension in the further segments of a JPEG."""
_GONE = frozenset({(_XMP, "Thumbnails"), HAS_EXTENSION})
"""Single properties of this kind. Google's camera has more, which begin with MotionPhoto or MicroVideo."""

_WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
"""First bytes -> encoding, of packets that are not in UTF-8."""
_LOST = {
    _GAIN_MAP: "its gain map for HDR screens is lost",
    _APPLE_GAIN_MAP: "its gain map for HDR screens is lost",
    _CAMERA: "the film of its motion photo is lost",
    "http://ns.google.com/photos/1.0/depthmap/": "its depth map is lost",
    "http://ns.google.com/photos/1.0/image/": "the unedited picture that it holds beside its own is lost",
    "http://ns.google.com/photos/1.0/container/": "what its XMP says of further pictures in the file is lost",
    "http://ns.google.com/photos/dd/1.0/device/": "what its XMP says of its depth camera is lost",
}
"""Namespace of a property that is taken out -> what the user loses with it."""


def upright_xmp(packet: bytes, width: int, height: int) -> bytes:
    """The packet as it is true of one upright picture of `width` x `height` pixels, with nothing else in its file.

    tiff:Orientation becomes 1; tiff:ImageWidth and ImageLength, exif:PixelXDimension and PixelYDimension become the
    size, where they are. What points to something outside the picture is taken out: gain and depth maps, films;
    so are thumbnails, which show the old picture. Without any of these the packet is returned as it is.

    Raises:
        ValueError: it is not an XMP packet, is damaged, or passes `LARGEST_XMP` or `MOST_XMP`.
    """
    document = parsed(packet)
    changed = False
    sizes = {
        (_TIFF, "Orientation"): 1,
        (_TIFF, "ImageWidth"): width,
        (_TIFF, "ImageLength"): height,
        (_EXIF, "PixelXDimension"): width,
        (_EXIF, "PixelYDimension"): height,
    }
    for node in list(properties(document)):
        if _is_gone(node):
            take_out(node)
            changed = True
        elif (value := sizes.get(name_of(node))) is not None and text_of(node) != str(value):
            _set_text(document, node, str(value))
            changed = True
    if not changed:
        return packet
    return packed(document)


def packed(node: Document | Element) -> bytes:
    """The packet of a document, or the text of an element.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        nodes = node.childNodes if isinstance(node, Document) else [node]
        return "".join(each.toxml() for each in nodes).encode()
    except RecursionError as error:
        raise ValueError("its XMP is damaged") from error


def xmp_orientation(packet: bytes) -> int:
    """The tiff:Orientation of a packet; 1 where it has none.

    Raises:
        ValueError: as `upright_xmp`.
    """
    found = (text_of(node) for node in properties(parsed(packet)) if name_of(node) == (_TIFF, "Orientation"))
    text = next(found, "1")
    return int(text) if re.fullmatch("[1-8]", text) else 1


def lost_with(packet: bytes) -> tuple[str, ...]:
    """One line for everything outside the picture that the packet points to, and that `upright_xmp` takes out.

    Raises:
        ValueError: as `upright_xmp`.
    """
    gone = {name_of(node)[0] for node in properties(parsed(packet)) if _is_gone(node)}
    return tuple(dict.fromkeys(line for namespace, line in _LOST.items() if namespace in gone))


class _TooLargeError(ValueError):
    """A packet is sound, but too large to be parsed."""


def parsed(packet: bytes) -> Document:
    """The document of a packet.

    Raises:
        ValueError: as `upright_xmp`.
    """
    if len(packet) > LARGEST_XMP:
        raise ValueError(f"its XMP has {len(packet)} bytes, and at most {LARGEST_XMP} are read")
    try:
        encoding = next((name for start, name in _WIDE.items() if packet.startswith(start)), "utf-8-sig")
        text = packet.decode(encoding).strip("\ufeff\0 \t\r\n")
        # XMP has no document type, and one could define entities that expand without end.
        if "<!DOCTYPE" in text:
            raise ValueError("it has a document type")
        if text.count("<") + text.count("=") > MOST_XMP:
            raise _TooLargeError(f"its XMP has more than {MOST_XMP} elements and attributes, which is too much to read")
        builder = ExpatBuilderNS()
        builder.getParser().buffer_size = len(text.encode()) or 1  # else a text of n pieces is copied n times
        document: Document = builder.parseString(text)
        if document.getElementsByTagNameNS(RDF, "RDF"):
            return document
    except _TooLargeError:
        raise
    except (ExpatError, ValueError, RecursionError) as error:
        raise ValueError("its XMP is damaged") from error
    raise ValueError("its XMP is damaged")


def properties(document: Document) -> Iterator[Attr | Element]:
    """Yields the properties of the packet's top level: attributes and child elements of each rdf:Description."""
    for rdf in document.getElementsByTagNameNS(RDF, "RDF"):
        for description in rdf.childNodes:
            if isinstance(description, Element):
                yield from list(description.attributes.values())
                yield from [node for node in description.childNodes if isinstance(node, Element)]


def name_of(node: Attr | Element) -> tuple[str, str]:
    """Namespace and local name."""
    return node.namespaceURI or "", node.localName or ""


def _is_gone(node: Attr | Element) -> bool:
    namespace, name = name_of(node)
    films = namespace == _CAMERA and name.startswith(("MotionPhoto", "MicroVideo"))
    return films or namespace in _GONE_NAMESPACES or (namespace, name) in _GONE


def take_out(node: Attr | Element) -> None:
    """Takes a property out of its document."""
    if isinstance(node, Attr):
        if node.ownerElement:
            node.ownerElement.removeAttributeNode(node)
    elif node.parentNode:
        node.parentNode.removeChild(node)


def text_of(node: Attr | Element) -> str:
    """Its value, of a property that has no structure."""
    if isinstance(node, Attr):
        return node.value.strip()
    return "".join(child.data for child in node.childNodes if isinstance(child, Text)).strip()


def _set_text(document: Document, node: Attr | Element, text: str) -> None:
    if isinstance(node, Attr):
        node.value = text
        return
    while node.firstChild:
        node.removeChild(node.firstChild)
    node.appendChild(document.createTextNode(text))
