"""The header of a JPEG XL codestream: size, depth, channels and colour, before any pixel is decoded.

No library tells all of it: not whether the colour is PQ's or HLG's, nor whether alpha is premultiplied.
Source: ISO/IEC 18181-1, annexes B (fields), D (image header) and E (colour).
"""

from __future__ import annotations

from dataclasses import dataclass

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Code of an aspect ratio -> width, height."""
_ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
_ALPHA, _SPOT, _BLACK, _CFA = 0, 2, 4, 5
_GREY, _XYB = 1, 2
"""Colour spaces."""
_CUSTOM = 2
SRGB = 13
"""Code of a transfer function, as in ITU-T H.273."""
_PRIMARIES = {(1, 1): 1, (9, 1): 9, (11, 1): 12, (11, 11): 11}
"""Codes of primaries and white point -> code of H.273: sRGB's, BT.2020's, Display P3's and DCI-P3's."""

_Colour = tuple[bool, int | None, int | None, float | None]
"""`JxlHeader.profile`, `primaries`, `transfer` and `gamma`."""


@dataclass(frozen=True)
class Places:
    """Bits of a codestream, (first, last + 1), at which parts of the header stand."""

    depth: tuple[int, int] = (0, 0)
    colour: tuple[int, int] = (0, 0)
    end: int = 0
    """Where the header ends; 0 where that is not known."""


@dataclass(frozen=True)
class JxlHeader:
    """What a codestream says of its picture."""

    width: int
    """In pixels, before the picture is turned."""
    height: int
    orientation: int
    """As in EXIF; the decoder applies it."""
    depth: int
    """Bits per sample."""
    floating: bool
    """Whether samples are floating-point numbers."""
    animated: bool
    grey: bool
    alphas: int
    """Alpha channels."""
    premultiplied: bool
    others: int
    """Channels that are neither colour nor alpha: depth, spot colours, thermal, …"""
    black: bool
    """Whether one of these is the black of CMYK."""
    xyb: bool
    """Whether colours are stored as XYB, which is lossy. The decoder makes them what the codes say, else sRGB."""
    profile: bool
    """Whether an ICC profile says what the colours are; else the next two do."""
    primaries: int | None
    """As in ITU-T H.273; None for others, and where there are no colours."""
    transfer: int | None
    """As in ITU-T H.273; None for a gamma."""
    gamma: float | None
    """The exponent that makes values from light; None for a transfer function by code."""
    lossless: bool
    """Whether it is neither XYB nor in blocks of cosines. False also where a profile hides it."""
    places: Places


class _Bits:
    """Reads fields of bits, the lowest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self._length = 8 * len(data)
        self.position = 0

    def take(self, count: int) -> int:
        """The next `count` bits.

        Raises:
            ValueError: there are no more.
        """
        self.position += count
        if self.position > self._length:
            raise ValueError("the codestream ends inside its header")
        return self._number >> (self.position - count) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.take(1))

    def choice(self, *cases: tuple[int, int]) -> int:
        """U32 (B.2.3): one of four cases (offset, bits)."""
        offset, bits = cases[self.take(2)]
        return offset + self.take(bits)

    def enum(self) -> int:
        return self.choice(*_ENUM)


_LONGEST = 4096
"""Bytes of a header, at most, without the names of extra channels that nobody gives."""


def read_jxl_header(codestream: bytes) -> JxlHeader:
    """The header of a codestream, from its signature FF 0A on.

    Raises:
        ValueError: it ends too early, or is damaged.
    """
    if codestream[:2] != b"\xff\x0a":
        raise ValueError("the codestream does not begin as one")
    bits = _Bits(codestream[:_LONGEST])
    bits.take(16)
    width, height = _size(bits)
    orientation, animated, grey, xyb, more = 1, False, False, True, False
    depth, floating = 8, False
    channels: list[tuple[int, bool]] = []
    colour: _Colour = (False, 1, SRGB, None)
    places = [0, 0, 0, 0]
    if not bits.flag():
        if more := bits.flag():
            orientation = 1 + bits.take(3)
            if bits.flag():
                _size(bits)  # of the display
            if bits.flag():
                _preview(bits)
            if animated := bits.flag():
                _animation(bits)
        places[0] = bits.position
        depth, floating = _depth(bits)
        places[1] = bits.position
        bits.flag()
        channels = [_extra_channel(bits) for _ in range(bits.choice((0, 0), (1, 0), (2, 4), (1, 12)))]
        xyb = bits.flag()
        places[2] = bits.position
        grey, colour = _colour(bits)
        places[3] = bits.position
    alphas = [premultiplied for kind, premultiplied in channels if kind == _ALPHA]
    black, others = sum(kind == _BLACK for kind, _ in channels), len(channels) - len(alphas)
    end = 0 if places[3] == 0 or colour[0] else _end(bits, more)
    return JxlHeader(
        *(width, height, orientation, depth, floating, animated, grey, len(alphas), any(alphas), others, bool(black)),
        *(
            xyb,
            *colour,
            not xyb and _is_modular(bits, end),
            Places((places[0], places[1]), (places[2], places[3]), end),
        ),
    )


def _end(bits: _Bits, more: bool) -> int:
    """The bit at which the header ends, from the colour on (D.3, L.4); 0 where it holds what is not read here.

    Args:
        more: whether there are the fields which most pictures do without.
    """
    if more and not bits.flag():
        bits.take(3 * 16 + 1)  # tone mapping
    extensions = bits.take(2)
    return bits.position if not extensions and bits.flag() else 0


def _is_modular(bits: _Bits, end: int) -> bool:
    """Whether the first frame (annex F) has no blocks of cosines; False where the header's end is not known."""
    if not end:
        return False
    bits.position = -(-end // 8) * 8
    return not bits.flag() and (bits.take(2), bits.take(1))[1] == 1


def _size(bits: _Bits) -> tuple[int, int]:
    """SizeHeader (D.2)."""
    small = bits.flag()
    sides = ((1, 9), (1, 13), (1, 18), (1, 30))
    height = 8 * (1 + bits.take(5)) if small else bits.choice(*sides)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return 8 * (1 + bits.take(5)) if small else bits.choice(*sides), height


def _preview(bits: _Bits) -> None:
    """PreviewHeader (D.3.3)."""
    cases = ((16, 0), (32, 0), (1, 5), (33, 9)) if bits.flag() else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choice(*cases)
    if not bits.take(3):
        bits.choice(*cases)


def _animation(bits: _Bits) -> None:
    """AnimationHeader (D.3.4)."""
    bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
    bits.flag()


def _depth(bits: _Bits) -> tuple[int, bool]:
    """BitDepth (D.3.5): bits per sample, and whether they are floating-point numbers."""
    if not bits.flag():
        return bits.choice((8, 0), (10, 0), (12, 0), (1, 6)), False
    depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    bits.take(4)
    return depth, True


def _extra_channel(bits: _Bits) -> tuple[int, bool]:
    """ExtraChannelInfo (D.3.6): its type, and whether colours are premultiplied by it."""
    if bits.flag():
        return _ALPHA, False
    kind = bits.enum()
    _depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == _SPOT:
        bits.take(4 * 16)
    elif kind == _CFA:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, kind == _ALPHA and bits.flag()


def _colour(bits: _Bits) -> tuple[bool, _Colour]:
    """ColourEncoding (E.2): whether it is grey, and the rest."""
    if bits.flag():
        return False, (False, 1, SRGB, None)
    profile, space = bits.flag(), bits.enum()
    if profile or space == _XYB:
        return space == _GREY, (profile, None, None, None)
    white = bits.enum()
    if white == _CUSTOM:
        _chromaticity(bits)
    primaries: int | None = None
    if space != _GREY:
        primaries = _PRIMARIES.get((code := bits.enum(), white))
        if code == _CUSTOM:
            for _ in range(3):
                _chromaticity(bits)
    by_gamma = bits.flag()
    gamma, transfer = (bits.take(24) / 1e7, None) if by_gamma else (None, bits.enum())
    bits.enum()  # rendering intent
    return space == _GREY, (False, primaries, transfer, gamma)


def _chromaticity(bits: _Bits) -> None:
    """Customxy (E.3): x and y."""
    for _ in range(2):
        bits.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
