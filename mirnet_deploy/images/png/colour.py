"""What a PNG says of its colours, as an ICC profile: the one form that most formats and their readers know.

Source: PNG (third edition), W3C: 4.3 (which chunk counts), 11.3.2 (the chunks); ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.boxes.colour_codes import icc_of_codes
from mirnet_deploy.images.profiles import (
    HDR_TRANSFERS,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Chromaticities,
    Curve,
    check_transfer,
    grey_profile,
    profile_space,
    rgb_profile,
)

_USUAL_GAMMA = 45455
"""What gAMA holds for sRGB, and more or less for every picture made for screens: 100000 / 2.2."""
_GAMMA_MARGIN = 0.05
"""Differences of gamma up to this part are taken for none, as in libpng (PNG_GAMMA_THRESHOLD)."""
_PRIMARIES_MARGIN = 0.001
_UNSPECIFIED = 2
_PQ_NAME = b"ITUR_2100_PQ_FULL"
"""Name of the profile that marks a PNG as PQ without a cICP chunk (W3C Group Note "Using the ITU BT.2100 PQ EOTF with
the PNG Format")."""


def icc_of_png(
    bodies: Mapping[bytes, bytes], *, grey: bool, inflate: Callable[[bytes], bytes], lost: list[str]
) -> bytes | None:
    """The profile that fits the first of cICP, iCCP, sRGB and gAMA with cHRM that is there; None where that is sRGB.

    Args:
        bodies: type of a chunk -> its body.
        grey: whether the pixels have one channel, for which a profile is of another kind.
        inflate: unpacks zlib data; raises ValueError, with a reason, where it cannot.
        lost: gets a line for each chunk that is not valid. Then the next one counts.

    Raises:
        ImageError: the picture is HDR, or has narrow-range samples; the message does not name the file.
    """
    if b"cICP" in bodies and (codes := _codes(bodies[b"cICP"], lost)):
        icc, unknown = icc_of_codes(*codes, grey=grey)
        if not unknown:
            return icc
        lost.append(
            "its cICP chunk (colour primaries {}, transfer {}) is not known here, and is left out".format(*codes)
        )
    if b"iCCP" in bodies:
        name, _, packed = bodies[b"iCCP"].partition(b"\0")
        if name == _PQ_NAME:
            check_transfer(bytes([next(iter(HDR_TRANSFERS))]))
        try:
            icc = inflate(packed[1:])
            if profile_space(icc):
                return icc
            lost.append("its colour profile is damaged and is left out")
        except ValueError as error:
            lost.append(f"its colour profile {error} and is left out")
    if b"sRGB" in bodies:
        return None
    return _of_gamma(bodies, grey=grey, lost=lost)


def _codes(body: bytes, lost: list[str]) -> tuple[int, int] | None:
    """Codes of primaries and transfer function (H.273); None where the chunk does not say or is not valid."""
    if len(body) != 4 or body[2]:
        lost.append("its cICP chunk is not valid and is left out")
        return None
    primaries, transfer, _, full = body
    check_transfer(body[1:2])
    if not full:
        raise ImageError("has narrow-range samples (its cICP chunk says so), which are not read; make them full-range")
    return None if _UNSPECIFIED in (primaries, transfer) else (primaries, transfer)


def _of_gamma(bodies: Mapping[bytes, bytes], *, grey: bool, lost: list[str]) -> bytes | None:
    """The profile of gAMA and cHRM. Where one of them is missing, that of sRGB stands in for it."""
    curve, primaries = SRGB_CURVE, SRGB_PRIMARIES
    if (body := bodies.get(b"gAMA")) is not None:
        gamma = int.from_bytes(body, "big") if len(body) == 4 else 0
        if not 1000 <= gamma <= 1_000_000:  # exponents of 100 to 0.1
            lost.append("its gAMA chunk is not valid and is left out")
        elif abs(gamma / _USUAL_GAMMA - 1) > _GAMMA_MARGIN:
            curve = (100000 / gamma,)
    if (body := bodies.get(b"cHRM")) is not None and not grey:
        try:
            primaries = _chromaticities(body)
            rgb_profile(primaries, [curve] * 3, "")
        except ValueError:
            lost.append("its cHRM chunk is not valid and is left out")
            primaries = SRGB_PRIMARIES
    return _profile(primaries, curve, "PNG gAMA, cHRM", grey=grey)


def _chromaticities(body: bytes) -> Chromaticities:
    """Those of a cHRM chunk; sRGB's own where they are as good as these.

    Raises:
        ValueError: the chunk has another length.
    """
    if len(body) != 32:
        raise ValueError(f"{len(body)} bytes")
    white, *colours = [(x / 100000, y / 100000) for x, y in struct.iter_unpack(">II", body)]
    found = (*colours, white)
    differences = [
        abs(a - b) for xy, usual in zip(found, SRGB_PRIMARIES, strict=True) for a, b in zip(xy, usual, strict=True)
    ]
    return SRGB_PRIMARIES if max(differences) <= _PRIMARIES_MARGIN else found


def _profile(primaries: Chromaticities, curve: Curve, name: str, *, grey: bool) -> bytes | None:
    """None for sRGB, which needs no profile."""
    if curve == SRGB_CURVE and (grey or primaries == SRGB_PRIMARIES):
        return None
    return grey_profile(curve, name) if grey else rgb_profile(primaries, [curve] * 3, name)
