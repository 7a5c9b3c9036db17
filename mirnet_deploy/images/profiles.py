"""ICC profiles made from primaries and a transfer function, and those of HDR pictures recognised.

Source: ICC.1:2022 (version 4.4); chromaticities and transfer functions are those of ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import ImageError

Curve = tuple[float, ...]
"""Encoded value V in [0, 1] to light: (g,) for V ** g, or (g, a, b, c, d) for (a V + b) ** g where V >= d, and c V
below: parametric curves 0 and 3 of ICC.1, section 10.18; or a table of light, of more than five values, evenly over V
(section 10.6)."""
Chromaticities = tuple[tuple[float, float], ...]
"""x and y of red, green, blue and white."""

SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE: Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
CURVES: Mapping[int, Curve] = {
    1: _BT709_CURVE,
    4: (2.2,),
    5: (2.8,),
    6: _BT709_CURVE,
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    11: _BT709_CURVE,
    13: SRGB_CURVE,
    14: _BT709_CURVE,
    15: _BT709_CURVE,
    17: (2.6,),
}
"""TransferCharacteristics of H.273 -> their inverse. Without the logarithmic ones (9, 10), BT.1361 (12) and HDR."""

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB_PRIMARIES: Chromaticities = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_SMPTE_C: Chromaticities = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
_ADOBE_RGB: Chromaticities = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65)
PRIMARIES: Mapping[int, Chromaticities] = {
    1: SRGB_PRIMARIES,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: _SMPTE_C,
    7: _SMPTE_C,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: (*_P3, (0.314, 0.351)),
    12: (*_P3, _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""ColourPrimaries of H.273 -> chromaticities."""
HDR_TRANSFERS: Mapping[int, str] = {16: "PQ", 18: "HLG"}
"""TransferCharacteristics of H.273 whose white is far below their greatest value -> their name (ITU-R BT.2100)."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(chromaticities: Chromaticities, curves: Sequence[Curve], name: str) -> bytes:
    """A display profile of three primaries and a curve each for red, green and blue; `name` is its description.

    Raises:
        ValueError: the chromaticities are not those of three colours that mix to white.
    """
    mixed = np.array([[x, y, 1 - x - y] for x, y in chromaticities]).T
    if not (mixed[1, 3] > 0 and abs(np.linalg.det(mixed[:, :3])) > 1e-6):
        raise ValueError("the primaries do not mix to white")
    white = mixed[:, 3] / mixed[1, 3]
    colours = mixed[:, :3] * np.linalg.solve(mixed[:, :3], white)
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    colours = adaptation @ colours
    if not np.isfinite(colours).all() or np.abs(colours).max() > 4:
        raise ValueError("the primaries do not mix to white")
    tags = {b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel())}
    for index, colour in enumerate(b"rgb"):
        tags[bytes([colour]) + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(colours[:, index])
        tags[bytes([colour]) + b"TRC"] = _curve(curves[index])
    return _profile(b"RGB ", name, tags)


def grey_profile(curve: Curve, name: str) -> bytes:
    """A display profile for pictures of one channel."""
    return _profile(b"GRAY", name, {b"kTRC": _curve(curve)})


def adobe_rgb_profile(*, grey: bool) -> bytes:
    """The profile of Adobe RGB (1998) (Adobe RGB (1998) Color Image Encoding, 4.3), or for one channel of its gamma."""
    curve, name = (563 / 256,), "Adobe RGB (1998)"
    return grey_profile(curve, name) if grey else rgb_profile(_ADOBE_RGB, [curve] * 3, name)


def profile_space(icc: bytes) -> bytes:
    """The colour space that a profile's values are in, four bytes: b"RGB ", b"GRAY", …; empty for a damaged one."""
    return icc[16:20] if icc[36:40] == b"acsp" else b""


def check_not_hdr(icc: bytes | None) -> None:
    """Checks that a profile has no cicp tag (ICC.1, section 9.2.17) with the transfer function of an HDR picture.

    Raises:
        ImageError: it has; the message does not name the file.
    """
    count = int.from_bytes(icc[128:132], "big") if icc else 0
    for index in range(min(count, 100)):
        entry = (icc or b"")[132 + 12 * index : 144 + 12 * index]
        if entry[:4] == b"cicp":
            start = int.from_bytes(entry[4:8], "big")
            check_transfer((icc or b"")[start + 9 : start + 10])


def check_transfer(code: bytes) -> None:
    """Checks that TransferCharacteristics, one byte, are not those of an HDR picture.

    Raises:
        ImageError: they are; the message does not name the file.
    """
    if code and code[0] in HDR_TRANSFERS:
        raise ImageError(f"is an HDR picture ({HDR_TRANSFERS[code[0]]}), which is not read; convert it to SDR first")


def _fixed(values: Sequence[float] | NDArray[Any]) -> bytes:
    """s15Fixed16Numbers."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _curve(curve: Curve) -> bytes:
    if len(curve) > 5:
        table = np.rint(np.clip(curve, 0, 1) * 65535).astype(">u2")
        return b"curv\0\0\0\0" + struct.pack(">I", len(table)) + bytes(table.tobytes())
    return b"para\0\0\0\0" + struct.pack(">HH", 3 if len(curve) == 5 else 0, 0) + _fixed(curve)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _profile(space: bytes, name: str, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"desc": _text(name), b"cprt": _text("No copyright"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50), **tags}
    table, contents = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(contents), len(content))
        contents += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(contents)
    header = struct.pack(">I4xI4s4s4s", size, 0x04200000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + table + contents
