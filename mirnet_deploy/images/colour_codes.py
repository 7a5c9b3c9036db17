"""Colour spaces that files give by codes of ITU-T H.273, in place of an ICC profile."""

from __future__ import annotations

from mirnet_deploy.errors import ImageError

_HDR = {16: "PQ", 18: "HLG"}
_USUAL_PRIMARIES, _USUAL_TRANSFERS = (1, 2), (1, 2, 6, 13, 14, 15)
"""Codes of H.273 that stand for sRGB, or for nothing. The curves of television are shown as sRGB's by all viewers."""
_PRIMARIES = {4: "BT.470", 5: "PAL", 6: "SMPTE 170M", 7: "SMPTE 240M", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {4: "a gamma 2.2", 5: "a gamma 2.8", 8: "a linear", 17: "DCI's"}


def check_not_hdr(transfer: int) -> None:
    """Checks the code of a transfer function (H.273, table 3).

    Raises:
        ImageError: it is PQ's or HLG's; the message does not name the file.
    """
    if transfer in _HDR:
        raise ImageError(f"is an HDR picture ({_HDR[transfer]}); convert it to SDR first")


def unkept_colour(primaries: int | None, transfer: int | None) -> list[str]:
    """The line for the user on a colour space that is given by codes of H.273 and taken for sRGB; none for sRGB.

    None stands for what has no code: chromaticities, or a gamma, of the file's own.
    """
    if primaries in _USUAL_PRIMARIES and transfer in _USUAL_TRANSFERS:
        return []
    colours = "sRGB's" if primaries in _USUAL_PRIMARIES else _PRIMARIES.get(primaries or 0, "unusual")
    curve = "sRGB's" if transfer in _USUAL_TRANSFERS else _TRANSFERS.get(transfer or 0, "an unusual")
    return [f"its colour space ({colours} primaries, {curve} transfer function) is lost: it was taken for sRGB"]
