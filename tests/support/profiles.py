"""Makes ICC profiles from scratch (ICC.1:2001-04 and ICC.1:2022)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
PROPHOTO_WHITE = (0.3457, 0.3585)


def fixed(*values: float) -> bytes:
    """s15Fixed16 numbers."""
    return struct.pack(f">{len(values)}i", *[round(value * 65536) for value in values])


def gamma(value: float) -> bytes:
    """A curve of type `curv`: one power."""
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def table(values: Iterable[float]) -> bytes:
    """A curve of type `curv`: points with lines between."""
    points = [round(value * 65535) for value in values]
    return b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points) + bytes(2 * (len(points) % 2))


def parametric(kind: int, *parameters: float) -> bytes:
    """A curve of type `para`."""
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*parameters)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def decoded(values: Any) -> NDArray[np.float64]:
    """sRGB's numbers in [0, 1] -> linear light."""
    values = np.asarray(values, np.float64)
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def to_xyz(primaries: Any, white: tuple[float, float] = D65) -> NDArray[np.float64]:
    """[3,3]: linear RGB of these chromaticities -> XYZ, adapted to D50 by Bradford's matrix."""

    def xyz(xy: tuple[float, float]) -> NDArray[np.float64]:
        return np.array([xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]])

    columns = np.stack([xyz(each) for each in primaries], axis=1)
    matrix = columns * np.linalg.solve(columns, xyz(white))
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = np.diag((cones @ D50) / (cones @ xyz(white)))
    return np.asarray(np.linalg.inv(cones) @ adapted @ cones @ matrix)


def pack(space: bytes, tags: Mapping[bytes, bytes], *, version: int = 2, kind: bytes = b"mntr") -> bytes:
    """A profile of these tags, whose connection space is XYZ."""
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", place + len(body), len(value))
        body += padded
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"none", version << 24, kind, space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def described(name: str, *, version: int = 2) -> dict[bytes, bytes]:
    """The tags that every profile has."""
    if version == 2:
        text = name.encode() + b"\0"
        desc = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    else:
        text = name.encode("utf-16-be")
        desc = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    return {b"desc": desc, b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)}


def matrix_profile(
    primaries: Any, *curves: bytes, white: tuple[float, float] = D65, name: str = "a space", version: int = 2
) -> bytes:
    """An RGB profile of three colours, as chromaticities or as the matrix to XYZ, and one or three curves."""
    red, green, blue = curves * 3 if len(curves) == 1 else curves
    matrix = primaries if isinstance(primaries, np.ndarray) else to_xyz(primaries, white)
    tags = described(name, version=version)
    for letter, column in zip("rgb", matrix.T, strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*column)
    return pack(b"RGB ", tags | {b"rTRC": red, b"gTRC": green, b"bTRC": blue}, version=version)


def grey_profile(curve: bytes, name: str = "a grey") -> bytes:
    """A profile of one curve."""
    return pack(b"GRAY", described(name) | {b"kTRC": curve})


def tables_profile(primaries: Any, power: float, name: str = "a printer") -> bytes:
    """An RGB profile of tables (lut16Type, A2B0 and B2A0) that mean the same as a matrix and one gamma."""
    scale = 32768 / 65535  # of XYZ, as 16-bit numbers have it
    matrix, steps = to_xyz(primaries), np.linspace(0, 1, 4096)
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.float64)

    def lut(linear: NDArray[Any], before: Any, nodes: NDArray[np.float64], after: Any) -> bytes:
        parts = [np.tile(before, 3), nodes.ravel(), np.tile(after, 3)]
        values = b"".join(np.rint(np.clip(part, 0, 1) * 65535).astype(">u2").tobytes() for part in parts)
        sizes = struct.pack(">BBBxHH", 3, 3, 2, len(before), len(after))
        return b"mft2\0\0\0\0" + sizes[:4] + fixed(*linear.ravel()) + sizes[4:] + values

    there = lut(np.eye(3), steps**power, corners @ matrix.T * scale, np.array([0.0, 1.0]))
    back = lut(np.linalg.inv(matrix) / scale, np.array([0.0, 1.0]), corners, steps ** (1 / power))
    return pack(b"RGB ", described(name) | {b"A2B0": there, b"B2A0": back}, kind=b"prtr")


PROFILES = {
    "Display P3": matrix_profile(P3, SRGB_CURVE, name="Display P3", version=4),
    "Adobe RGB": matrix_profile(ADOBE, gamma(563 / 256), name="Adobe RGB"),
    "ProPhoto": matrix_profile(PROPHOTO, gamma(1.8), white=PROPHOTO_WHITE, name="ProPhoto"),
    "linear": matrix_profile(SRGB, gamma(1), name="linear"),
    "three curves": matrix_profile(P3, gamma(1.9), table(np.linspace(0, 1, 300) ** 1.7), parametric(0, 2.3)),
}
"""Profiles of three channels that are not sRGB."""
