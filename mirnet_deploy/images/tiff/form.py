"""How a TIFF's directory says that its pixels are stored, checked before any of them is decoded.

What is not read is refused here in one line that says what it is. Source: TIFF 6.0; where it is silent, libtiff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.ifd import Directory
from mirnet_deploy.images.integrity import truncated
from mirnet_deploy.images.picture import CMYK
from mirnet_deploy.images.tiff import tags

_COLOURS: Mapping[int, int] = {
    tags.WHITE_IS_ZERO: 1,
    tags.BLACK_IS_ZERO: 1,
    tags.PALETTE: 1,
    tags.RGB: 3,
    tags.YCBCR: 3,
}
"""Photometric interpretation -> how many channels make the colour."""
_CCITT = frozenset({tags.CCITT_RLE, tags.GROUP_3, tags.GROUP_4, tags.CCITT_RLE_WORDS})
_PREDICTED = frozenset({tags.LZW, tags.DEFLATE, tags.OLD_DEFLATE, tags.LZMA, tags.ZSTD})
"""Compressions in which a predictor counts. In others, libtiff does not look at it."""
_MOST_EXTRA = 16
"""Channels beside the colours; more are no photograph, and would take memory without bound."""
_TILE_MARGIN = 4096
"""Pixels by which a tile may be wider or higher than the picture: a tile must not claim memory without bound."""
_PLAIN_STRIP = 1 << 20
"""Bytes to which a single uncompressed strip is cut, so that a band of it does not take all of it into memory."""


@dataclass(frozen=True)
class Form:
    """How a picture is stored: in strips or tiles (here called segments), whose samples are packed and compressed."""

    width: int
    height: int
    bits: int
    """Of each sample, 1 to 16."""
    samples: int
    """Channels, with all extra ones."""
    photometric: int
    colours: int
    """1 or 3: the channels before the extra ones."""
    alpha: int | None
    """The channel that holds alpha."""
    premultiplied: bool
    compression: int
    predicted: bool
    """Whether each sample is stored as its difference from the one to its left."""
    reversed_bits: bool
    """Whether the bits of every byte lie in reverse order (FillOrder 2)."""
    planes: int
    """`samples` where every channel has segments of its own, else 1."""
    columns: int
    rows: int
    """Of a segment; the last strip may have fewer."""
    tiled: bool
    places: tuple[tuple[int, int], ...]
    """Offset and length of each segment, row by row; with several planes, one plane after the other."""
    lost: tuple[str, ...]
    """A line for each channel that is not read."""

    @property
    def across(self) -> int:
        """Segments side by side."""
        return -(-self.width // self.columns)

    @property
    def segments(self) -> int:
        """Of one plane."""
        return self.across * -(-self.height // self.rows)

    @property
    def depth(self) -> int:
        """Channels in one segment."""
        return self.samples // self.planes

    def rows_of(self, index: int) -> int:
        """Rows that are stored in segment `index` of a plane."""
        return self.rows if self.tiled else min(self.rows, self.height - index // self.across * self.rows)

    def row_bytes(self) -> int:
        """Bytes of one row of a segment, before compression."""
        return (self.columns * self.depth * self.bits + 7) // 8


def read_form(directory: Directory) -> Form:
    """How the pixels of a directory are stored.

    Raises:
        ImageError: it is of a kind that is not read, or is damaged or cut short; the message does not name the file.
    """
    width, height = directory.integer(tags.WIDTH, 0), directory.integer(tags.HEIGHT, 0)
    compression = directory.integer(tags.COMPRESSION, tags.PLAIN)
    bits = _bits(directory)
    photometric, colours = _photometric(directory, compression)
    samples = directory.integer(tags.SAMPLES, 1)
    if samples < colours:
        raise ImageError(f"is damaged: the TIFF has {samples} channels, and its colours need {colours}")
    alpha, premultiplied, lost = _extra(directory, samples, colours)
    if photometric == tags.YCBCR and compression != tags.JPEG and (bits != 8 or samples > 3):
        raise ImageError(f"is a YCbCr TIFF of {samples} channels of {bits} bits; only three of 8 bits are read")
    planes = samples if directory.integer(tags.PLANAR, 1) == tags.SEPARATE_PLANES else 1
    if photometric == tags.YCBCR and planes > 1:
        raise ImageError("is a YCbCr TIFF in separate planes, a kind that is not read; convert it to RGB first")
    tiled = tags.TILE_OFFSETS in directory.fields
    columns = directory.integer(tags.TILE_WIDTH, 0) if tiled else width
    rows = directory.integer(tags.TILE_HEIGHT, 0) if tiled else min(directory.integer(tags.STRIP_ROWS, height), height)
    if columns < 1 or rows < 1:
        raise ImageError(f"is damaged: the TIFF has strips or tiles of {columns}x{rows} pixels")
    if columns > width + _TILE_MARGIN or rows > height + _TILE_MARGIN:
        raise ImageError("is damaged: the TIFF's tiles are larger than the picture")
    form = Form(
        width, height, bits, samples, photometric, colours, alpha, premultiplied, compression,
        _predicted(directory, compression, bits), directory.integer(tags.FILL_ORDER, 1) == tags.REVERSED_BITS,
        planes, columns, rows, tiled, (), lost,
    )  # fmt: skip
    return _placed(form, directory)


def _bits(directory: Directory) -> int:
    samples = directory.integer(tags.SAMPLES, 1)
    depths = directory.integers(tags.BITS, (1,))[:samples]
    kinds = set(directory.integers(tags.SAMPLE_FORMAT, (1,))[:samples])
    if len(set(depths)) > 1:
        raise ImageError(f"has channels of {', '.join(map(str, depths))} bits; expected as many in each")
    bits = next(iter(depths), 0)
    if not kinds <= {1, 4} or not 1 <= bits <= 16:
        kind = " and ".join(tags.SAMPLE_KINDS.get(number, "unknown") for number in sorted(kinds))
        raise ImageError(f"has {bits}-bit {kind} samples; expected unsigned ones of at most 16 bits")
    return bits


def _photometric(directory: Directory, compression: int) -> tuple[int, int]:
    """The photometric interpretation, one of `_COLOURS`, and its number of channels."""
    photometric = directory.integer(tags.PHOTOMETRIC, -1)
    if photometric == -1:  # required, but some writers leave it out; taken as libtiff takes it
        white = compression in _CCITT
        grey = tags.WHITE_IS_ZERO if white else tags.BLACK_IS_ZERO
        photometric = tags.RGB if directory.integer(tags.SAMPLES, 1) >= 3 else grey
    if photometric == tags.CMYK:
        raise ImageError(CMYK)
    if photometric in tags.FOREIGN_COLOURS:
        raise ImageError(f"is {tags.FOREIGN_COLOURS[photometric]}, a kind that is not read; convert it to RGB first")
    if photometric not in _COLOURS:
        raise ImageError(
            f"has colours of kind {photometric}, which is not read; expected grey, RGB, YCbCr or a palette"
        )
    return photometric, _COLOURS[photometric]


def _extra(directory: Directory, samples: int, colours: int) -> tuple[int | None, bool, tuple[str, ...]]:
    """The channel that holds alpha (or None), whether the colours are multiplied by it, and what is lost."""
    count = samples - colours
    if count > _MOST_EXTRA:
        raise ImageError(f"has {samples} channels; expected grey or RGB with at most {_MOST_EXTRA} more")
    # One more channel, of which the file says nothing at all, is alpha: OpenCV writes so.
    kinds = directory.integers(tags.EXTRA_SAMPLES, (tags.STRAIGHT,) if count == 1 else ())
    kinds = (*kinds, *[tags.UNSPECIFIED] * count)[:count]
    found = [
        index for index, kind in enumerate(kinds) if kind in (tags.PREMULTIPLIED, tags.STRAIGHT, tags.COREL_STRAIGHT)
    ]
    rest = [colours + index + 1 for index in range(count) if index not in found[:1]]
    if colours == 1 and len(rest) > 1:
        raise ImageError(f"has {samples} channels and does not say what they show; expected grey or RGB, and alpha")
    lost: tuple[str, ...] = ()
    if rest:
        meaning = "beyond its colours and alpha" if found[1:] else "of unspecified meaning"
        which = f"channel {rest[0]}" if len(rest) == 1 else f"channels {', '.join(map(str, rest))}"
        lost = (f"its {which} ({meaning}) {'is' if len(rest) == 1 else 'are'} lost",)
    return (colours + found[0] if found else None), bool(found) and kinds[found[0]] == tags.PREMULTIPLIED, lost


def _predicted(directory: Directory, compression: int, bits: int) -> bool:
    predictor = directory.integer(tags.PREDICTOR, 1)
    if compression not in _PREDICTED or predictor == 1:
        return False
    if predictor != tags.DIFFERENCES:
        raise ImageError(f"has TIFF predictor {predictor}, which is not read; expected none or horizontal differences")
    if bits not in (8, 16):
        raise ImageError(f"has horizontal differences of {bits}-bit samples, a kind of TIFF that is not read")
    return True


def _placed(form: Form, directory: Directory) -> Form:
    """The form with the places of its segments, all of which lie within the file."""
    offsets = directory.integers(tags.TILE_OFFSETS if form.tiled else tags.STRIP_OFFSETS)
    counts = directory.integers(tags.TILE_COUNTS if form.tiled else tags.STRIP_COUNTS)
    expected, plain = form.segments * form.planes, form.compression == tags.PLAIN
    if not offsets or (counts and len(counts) != len(offsets)):
        raise ImageError("is damaged: the TIFF does not say where its pixels are")
    if len(offsets) < expected:
        raise ImageError(f"is damaged: the TIFF has {len(offsets)} strips or tiles, expected {expected}")
    ycbcr = form.photometric == tags.YCBCR  # whose chroma may be subsampled
    sizes = [form.row_bytes() * form.rows_of(index % form.segments) for index in range(expected)]
    if not counts:  # old writers leave them out
        if expected > 1 and not plain:
            raise ImageError("is damaged: the TIFF does not say how long its compressed strips are")
        counts = tuple(sizes) if plain and not ycbcr else (len(directory.block) - offsets[0],) * expected
    places = list(zip(offsets, counts, strict=False))[:expected]
    if any(count == 0 for _, count in places):
        raise ImageError("is a TIFF with empty strips or tiles (a sparse one), a kind that is not read")
    if max(start + count for start, count in places) > len(directory.block):
        raise truncated("the TIFF ends before its pixels do")
    if plain and not ycbcr and any(count < size for (_, count), size in zip(places, sizes, strict=True)):
        raise truncated("a strip or tile of the TIFF ends too early")
    if plain and not ycbcr and not form.tiled and form.segments == 1:
        return _cut(form, [start for start, _ in places])
    return replace(form, places=tuple(places))


def _cut(form: Form, starts: list[int]) -> Form:
    """The form with its single uncompressed strip (of each plane) cut into several."""
    row = form.row_bytes()
    rows = min(form.rows, max(1, _PLAIN_STRIP // row))
    tops = range(0, form.height, rows)
    places = [(at + top * row, min(rows, form.height - top) * row) for at in starts for top in tops]
    return replace(form, rows=rows, places=tuple(places))
