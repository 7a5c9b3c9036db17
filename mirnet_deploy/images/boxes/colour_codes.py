"""Colour spaces that HEIC, AVIF and JPEG XL give by codes of ITU-T H.273, turned into ICC profiles."""

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

_USUAL_PRIMARIES, _USUAL_TRANSFERS = (1, 2), (1, 2, 6, 13, 14, 15)
"""Codes that stand for sRGB, or for nothing. The curves of television, which encoders of videos put here without a
thought, are shown as sRGB's by all viewers."""


def icc_of_codes(
    primaries: int | None, transfer: int | None, *, grey: bool, gamma: float | None = None
) -> tuple[bytes | None, list[str]]:
    """The profile of a colour space, None for sRGB; and a line for the user where it cannot be told in a profile.

    Args:
        primaries: their code; None for chromaticities of the file's own.
        transfer: the code of the transfer function; None for one that has no code.
        grey: whether the pixels have one channel.
        gamma: the exponent that made the values from light, which counts in place of `transfer`.

    Raises:
        ImageError: it is an HDR picture (PQ, HLG); the message does not name the file.
    """
    check_transfer(bytes([(transfer or 0) & 0xFF]))
    curve: Curve | None = SRGB_CURVE if transfer in _USUAL_TRANSFERS else CURVES.get(transfer or 0)
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
