"""Colour spaces that HEIC, AVIF, PNG and JPEG XL give by codes of ITU-T H.273, turned into ICC profiles."""

from __future__ import annotations

from mirnet_deploy.images.profiles import (
    CURVES,
    PRIMARIES,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Curve,
    check_transfer,
    grey_profile,
    rgb_profile,
)

_UNSPECIFIED = 2
_USUAL_PRIMARIES, _TELEVISION = (1, _UNSPECIFIED), (1, 6, 14, 15)
"""Codes of the primaries of sRGB, or of none; and of the transfer functions of television."""


def icc_of_codes(
    primaries: int | None, transfer: int | None, *, grey: bool, gamma: float | None = None, exact: bool = False
) -> tuple[bytes | None, list[str]]:
    """The profile of a colour space, None for sRGB; and a line for the user where it cannot be told in a profile.

    The transfer functions of television (BT.709 and its equals: 1, 6, 14, 15) are taken for sRGB's, in PNG as in HEIC
    and AVIF: encoders of videos put these codes into pictures that are made for screens, and browsers and libavif show
    them so. One rule holds for all three, so that a picture looks the same in each. JPEG XL is the exception: its
    specification (ISO/IEC 18181-1, E.2) has a code for sRGB that encoders write by default, and its decoder makes the
    values itself, by the very curve that the code names.

    Args:
        primaries: their code; None for chromaticities of the file's own.
        transfer: the code of the transfer function; None for one that has no code.
        grey: whether the pixels have one channel.
        exact: whether the codes mean what they say, as in JPEG XL.
        gamma: the exponent that made the values from light, which counts in place of `transfer`.

    Raises:
        ImageError: it is an HDR picture (PQ, HLG); the message does not name the file.
    """
    check_transfer(bytes([(transfer or 0) & 0xFF]))
    curve: Curve | None = CURVES.get(transfer or 0)
    if transfer == _UNSPECIFIED or (transfer in _TELEVISION and not exact):
        curve = SRGB_CURVE
    if gamma:
        curve = (1 / gamma,)
    usual = grey or primaries in _USUAL_PRIMARIES
    chromaticities = SRGB_PRIMARIES if usual else PRIMARIES.get(primaries or 0)
    if curve is None or chromaticities is None:
        return None, ["its colour space, which is an unusual one, is lost: its colours were taken for sRGB"]
    if usual and curve == SRGB_CURVE:
        return None, []
    name = f"H.273 {primaries}/{f'gamma {1 / gamma:.3g}' if gamma else transfer}"
    return grey_profile(curve, name) if grey else rgb_profile(chromaticities, [curve] * 3, name), []
