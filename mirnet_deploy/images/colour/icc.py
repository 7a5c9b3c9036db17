"""ICC profiles: what a matrix or a grey profile says of the numbers in a picture. Profiles are untrusted input.

Source: ICC.1:2001-04 (version 2) and ICC.1:2022 (version 4): 7.2 the header, 7.3 the tag table, 9.2 the tags, 10.6 to
10.18 their types, F.2 and F.3 how grey and matrix profiles are evaluated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CODES = 1 << 16
"""Entries of a curve: one for each 16-bit value."""
_HEADER, _ENTRY = 128, 12
"""Bytes of a profile's header, and of an entry of its tag table."""
_TABLES = (b"A2B0", b"A2B1", b"B2A0", b"B2A1")
"""Tags of a profile that is made of tables; where they are, they count, whatever else there is (ICC.1, 8.10.2)."""
_CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})
"""Classes of profiles that say what the numbers of a picture mean (ICC.1, 7.2.5)."""
_PARAMETERS = (1, 3, 4, 5, 7)
"""Function type of a parametric curve -> how many parameters it has (ICC.1, 10.18)."""
_LEAST_RANGE = 0.25
"""A curve from black to white that covers less of the range from 0 to 1 is none."""
_LONGEST_NAME = 80
"""Characters of a description that are shown."""


class ProfileError(ValueError):
    """A profile cannot be used. The message goes on after "its ICC profile": "is damaged: …"."""


@dataclass(frozen=True, eq=False)
class Profile:
    """A profile that fits the channels of a picture."""

    description: str
    """What it calls itself, "Display P3"; empty where it does not say."""
    grey: bool
    """Whether it is for pictures of one channel."""
    tables: bool
    """Whether it is made of tables (A2B0, B2A0), which are not evaluated here; then there is nothing below."""
    curves: NDArray[np.float64]
    """[1 or 3,65536]: the linear value in [0, 1] of each 16-bit value, which never falls; for one channel, grey, the
    luminance."""
    to_xyz: NDArray[np.float64]
    """[3,3], linear RGB -> XYZ relative to the white D50; [0,0] for grey."""


def read_profile(data: bytes, *, grey: bool) -> Profile:
    """Reads a profile for a picture of one channel (`grey`) or of three.

    Raises:
        ProfileError: it is damaged, of a kind that is not read, or does not fit the channels.
    """
    if len(data) < _HEADER + 4 or data[36:40] != b"acsp":
        raise ProfileError("is damaged: it has no header")
    if data[8] not in (2, 4):
        raise ProfileError(f"is of version {data[8]}; 2 and 4 are read")
    kind, space, connection = data[12:16], data[16:20], data[20:24]
    if kind not in _CLASSES:
        raise ProfileError("is a link or an effect, and says nothing of a picture's colours")
    if space not in ((b"GRAY", b"RGB ") if grey else (b"RGB ",)):
        name = space.decode("latin-1").strip() if space.isascii() and space.decode().isprintable() else "unknown"
        raise ProfileError(f"is for {name} pictures, and this one is {'grey' if grey else 'RGB'}")
    tags = _Tags(data)
    made_of_tables = any(name in tags.places for name in _TABLES)
    if space == b"GRAY":
        if made_of_tables and b"kTRC" not in tags.places:
            raise ProfileError("is made of tables for grey, which are not read")
        curve = tags.curve(b"kTRC")
        if connection == b"Lab ":  # the curve gives L* (ICC.1, F.2)
            curve = np.where(curve > 0.08, ((curve + 0.16) / 1.16) ** 3, curve / 9.033)
        return Profile(tags.description(), True, False, curve[None], np.empty((0, 0)))
    if made_of_tables:
        return Profile(tags.description(), False, True, np.empty((0, CODES)), np.empty((0, 0)))
    if connection != b"XYZ ":
        raise ProfileError("is damaged: it has neither tables nor a matrix")
    to_xyz = np.stack([tags.colorant(name) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    if not np.linalg.cond(to_xyz) < 1e4:
        raise ProfileError("is damaged: its primaries are no three colours")
    curves = np.stack([tags.curve(name) for name in (b"rTRC", b"gTRC", b"bTRC")])
    return Profile(tags.description(), False, False, curves, to_xyz)


class _Tags:
    """The tags of a profile. All reads stay within its bytes."""

    def __init__(self, data: bytes) -> None:
        (count,) = struct.unpack_from(">I", data, _HEADER)
        if count > (len(data) - _HEADER - 4) // _ENTRY:
            raise ProfileError("is damaged: its table of tags is longer than itself")
        self._data = data
        entries = struct.iter_unpack(">4sII", data[_HEADER + 4 : _HEADER + 4 + count * _ENTRY])
        self.places: dict[bytes, tuple[int, int]] = {name: (offset, size) for name, offset, size in entries}
        """Tag -> its offset and size in bytes, as the file gives them."""

    def colorant(self, name: bytes) -> NDArray[np.float64]:
        """[3], an XYZ value (ICC.1, 10.31)."""
        body = self._body(name)
        if body[:4] != b"XYZ " or len(body) < 20:
            raise ProfileError(f"is damaged: its {name.decode()} is no colour")
        return np.frombuffer(body, ">i4", 3, 8) / 65536

    def curve(self, name: bytes) -> NDArray[np.float64]:
        """[65536], a tone curve of 16-bit values (ICC.1, 10.6 and 10.18), clipped to [0, 1]."""
        body, values = self._body(name), np.linspace(0, 1, CODES)
        curve = None
        if body[:4] == b"curv" and len(body) >= 12:
            curve = _sampled(body, values)
        elif body[:4] == b"para" and len(body) >= 12:
            curve = _parametric(body, values)
        if curve is None:
            raise ProfileError(f"is damaged: its {name.decode()} is no curve")
        if not np.isfinite(curve).all():
            raise ProfileError(f"is damaged: its {name.decode()} has no value in places")
        # Measured curves may fall by a little here and there. One that falls as a whole has no range then.
        curve = np.maximum.accumulate(curve.clip(0, 1))
        if curve[-1] - curve[0] < _LEAST_RANGE:
            raise ProfileError(f"cannot be undone: its {name.decode()} does not rise from black to white")
        return curve

    def description(self) -> str:
        """The first description, in whichever language it is; empty where there is none to be read."""
        try:
            body = self._body(b"desc")
            if body[:4] == b"mluc":  # ICC.1:2022, 10.15
                length, offset = struct.unpack_from(">II", body, 20)
                text = body[offset : offset + length].decode("utf-16-be", "ignore")
            elif body[:4] == b"desc":  # ICC.1:2001-04, 6.5.17
                (length,) = struct.unpack_from(">I", body, 8)
                text = body[12 : 12 + length].decode("latin-1")
            else:
                return ""
        except (ProfileError, struct.error):
            return ""
        text = "".join(letter if letter.isprintable() else " " for letter in text.split("\0")[0])
        return " ".join(text.split())[:_LONGEST_NAME]

    def _body(self, name: bytes) -> bytes:
        if name not in self.places:
            raise ProfileError(f"is damaged: it has no {name.decode()}")
        offset, size = self.places[name]
        if offset + size > len(self._data):
            raise ProfileError(f"is damaged or cut short: its {name.decode()} lies behind its end")
        return self._data[offset : offset + size]


def _sampled(body: bytes, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A curve of type `curv` at `values` in [0, 1]: the identity, a power or a table; None if damaged."""
    (count,) = struct.unpack_from(">I", body, 8)
    if len(body) < 12 + 2 * count:
        return None
    points = np.frombuffer(body, ">u2", count, 12)
    if count == 0:
        return values
    if count == 1:
        return np.asarray(values ** (points[0] / 256))
    return np.interp(values, np.linspace(0, 1, count), points / 65535)


def _parametric(body: bytes, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A curve of type `para` at `values` in [0, 1]; None if damaged. It may leave [0, 1] or have no value in places."""
    (kind,) = struct.unpack_from(">H", body, 8)
    if kind >= len(_PARAMETERS) or len(body) < 12 + 4 * _PARAMETERS[kind]:
        return None
    given = (np.frombuffer(body, ">i4", _PARAMETERS[kind], 12) / 65536).tolist()
    g, a, b, c, d, e, f = 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind == 0:
        (g,) = given
    elif kind in (1, 2):
        g, a, b, *rest = given
        e = f = rest[0] if rest else 0.0
        if a == 0:
            return None
        d = -b / a
    elif kind == 3:
        g, a, b, c, d = given
    else:
        g, a, b, c, d, e, f = given
    with np.errstate(all="ignore"):
        power = np.maximum(a * values + b, 0) ** g + e
    return np.where(values >= d, power, c * values + f)
