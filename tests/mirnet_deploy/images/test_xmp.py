"""XMP packets and EXIF blocks: what they say of the picture becomes true, and nothing else changes."""

from __future__ import annotations

import struct
from xml.dom.minidom import parseString

import pytest
from small_files import exif, orientation, xmp

from mirnet_deploy.images.exif import set_pixel_sizes
from mirnet_deploy.images.ifd import read_directory
from mirnet_deploy.images.xmp import _GONE_NAMESPACES, LARGEST_XMP, MOST_XMP, lost_with, upright_xmp, xmp_orientation

KEPT = 'xmp:Rating="5" tiff:Make="Straße &amp; &lt;Söhne&gt; &quot;A&quot;"'
TITLE = '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Nacht</rdf:li></rdf:Alt></dc:title>'


def properties(packet: bytes) -> dict[str, str]:
    """Attributes and child elements of the description, without declarations."""
    (description,) = parseString(packet).getElementsByTagName("rdf:Description")
    found = {name: value for name, value in description.attributes.items() if not name.startswith("xmlns")}
    return found | {node.nodeName: node.toxml() for node in description.childNodes}


def test_a_packet_that_is_true_is_kept_byte_for_byte() -> None:
    for packet in (
        xmp(KEPT, TITLE),
        xmp(f'{KEPT} tiff:Orientation="1" tiff:ImageWidth="30" exif:PixelYDimension="20"', TITLE),
        xmp("", "<tiff:Orientation> 1 </tiff:Orientation>"),
    ):
        assert upright_xmp(packet, 30, 20) == packet


def test_orientation_and_sizes_become_true_and_the_rest_stays() -> None:
    sizes = 'tiff:ImageWidth="20" tiff:ImageLength="30" exif:PixelXDimension="20" exif:PixelYDimension="30"'
    packet = xmp(f'{KEPT} tiff:Orientation="8" {sizes}', TITLE)
    changed = upright_xmp(packet, 30, 20)
    wanted = {"tiff:Orientation": "1", "tiff:ImageWidth": "30", "tiff:ImageLength": "20"}
    wanted |= {"exif:PixelXDimension": "30", "exif:PixelYDimension": "20"}
    assert properties(changed) == properties(packet) | wanted
    assert changed.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode())
    assert changed.endswith(b'<?xpacket end="w"?>')
    assert "Straße".encode() in changed
    assert upright_xmp(changed, 30, 20) == changed


def test_properties_as_elements_become_true() -> None:
    packet = xmp("", "<tiff:Orientation>6</tiff:Orientation><exif:PixelXDimension>9</exif:PixelXDimension>" + TITLE)
    changed = upright_xmp(packet, 30, 20)
    assert b"<tiff:Orientation>1</tiff:Orientation><exif:PixelXDimension>30</exif:PixelXDimension>" in changed
    assert TITLE.encode() in changed


@pytest.mark.parametrize(
    ("attributes", "inside", "lost"),
    [
        ('hdrgm:Version="1.0" hdrgm:GainMapMax="2"', "", ("its gain map for HDR screens is lost",)),
        ("", "<hdrgm:OffsetSDR>0</hdrgm:OffsetSDR>", ("its gain map for HDR screens is lost",)),
        ('Camera:MicroVideo="1" Camera:MicroVideoOffset="99"', "", ("the film of its motion photo is lost",)),
        ('xmpNote:HasExtendedXMP="0123"', "", ()),
        ("", "<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails>", ()),
    ],
)
def test_what_points_outside_the_picture_is_taken_out(attributes: str, inside: str, lost: tuple[str, ...]) -> None:
    packet = xmp(f"{KEPT} {attributes}", inside + TITLE)
    assert properties(upright_xmp(packet, 30, 20)) == properties(xmp(KEPT, TITLE))
    assert lost_with(packet) == lost


@pytest.mark.parametrize("namespace", sorted(_GONE_NAMESPACES))
def test_nothing_is_taken_out_without_a_word(namespace: str) -> None:
    packet = xmp(f'{KEPT} xmlns:far="{namespace}" far:Data="{"QUJD" * 99}"', TITLE)
    assert properties(upright_xmp(packet, 30, 20)) == properties(xmp(KEPT, TITLE))
    assert len(lost_with(packet)) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_of_xmp_is_read(encoding: str) -> None:
    packet = xmp('tiff:Orientation="6"').decode().encode(encoding)
    assert xmp_orientation(packet) == 6
    assert b'tiff:Orientation="1"' in upright_xmp(packet, 30, 20)
    assert xmp_orientation(xmp('tiff:Orientation="none"').decode().encode(encoding)) == 1


ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"no XML",
        b"<a/>",
        xmp("")[:-60],
        ENTITIES + xmp("", "&b;"),
        (ENTITIES + xmp("", "&b;")).decode().encode("utf-16"),
        b"<a>" * 3_000 + b"</a>" * 3_000,
        xmp("", "<dc:a>" * 3_000 + "</dc:a>" * 3_000),
    ],
    ids=["empty", "text", "no RDF", "cut", "entities", "entities in UTF-16", "deep", "deep inside"],
)
def test_damaged_packets_are_errors_of_one_kind(packet: bytes) -> None:
    for function in (xmp_orientation, lost_with, lambda block: upright_xmp(block, 30, 20)):
        with pytest.raises(ValueError, match="its XMP is damaged"):
            function(packet)


def test_a_packet_without_bound_is_not_parsed() -> None:
    with pytest.raises(ValueError, match=f"its XMP has {LARGEST_XMP + 1} bytes, and at most {LARGEST_XMP} are read"):
        upright_xmp(b" " * (LARGEST_XMP + 1), 30, 20)


def test_a_packet_of_too_many_parts_is_not_parsed() -> None:
    with pytest.raises(ValueError, match=f"its XMP has more than {MOST_XMP} elements and attributes"):
        upright_xmp(xmp("", "<dc:a/>" * MOST_XMP), 30, 20)


def block_with_sizes(order: str, kind: int, width: int, height: int) -> bytes:
    """An EXIF block with sizes in IFD0 and in the EXIF directory, which lies at its end."""
    size = "H" if kind == 3 else "I"

    def fields(first: int) -> list[tuple[int, int, int, bytes]]:
        values = ((first, width), (first + 1, height))
        return [(tag, kind, 1, struct.pack(order + size, value)) for tag, value in values]

    inner = exif(*fields(0xA002), (37500, 7, 9, b"the maker"), order=order)
    head = exif(*fields(256), (34665, 4, 1, bytes(4)), order=order)
    # The offset inside `inner` counts from the start of its own block: move its directory behind `head`.
    directory = bytearray(inner[8:])
    place = directory.index(struct.pack(order + "HHI", 37500, 7, 9)) + 8
    offset = struct.unpack_from(order + "I", directory, place)[0]
    struct.pack_into(order + "I", directory, place, offset - 8 + len(head))
    pointer = head.index(struct.pack(order + "HHI", 34665, 4, 1)) + 8
    return head[:pointer] + struct.pack(order + "I", len(head)) + head[pointer + 4 :] + bytes(directory)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_pixel_sizes_in_exif_become_true(order: str, kind: int) -> None:
    block = block_with_sizes(order, kind, 4000, 3000)
    assert set_pixel_sizes(block, 4000, 3000) == block
    changed = set_pixel_sizes(block, 3000, 70_000)  # more than a SHORT holds
    assert len(changed) == len(block)
    first = read_directory(changed)
    inner = read_directory(changed, first.integer(34665, 0))
    assert (first.integer(256, 0), first.integer(257, 0)) == (3000, 70_000)
    assert (inner.integer(0xA002, 0), inner.integer(0xA003, 0)) == (3000, 70_000)
    _, count, place = inner.fields[37500]
    assert changed[place : place + count] == b"the maker"


def test_sizes_are_not_added_and_damage_inside_leaves_the_rest() -> None:
    plain = exif(orientation(1))
    assert set_pixel_sizes(plain, 1, 2) == plain
    bad = exif((256, 3, 1, b"\1\0"), (34665, 4, 1, struct.pack("<I", 9999)))
    assert read_directory(set_pixel_sizes(bad, 7, 8)).integer(256, 0) == 7
    with pytest.raises(ValueError, match="no TIFF header"):
        set_pixel_sizes(b"", 1, 2)
