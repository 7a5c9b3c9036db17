"""Colour spaces that ICC profiles describe: their numbers as those of sRGB, and back.

Conversions are relative to white (ICC.1, media-relative colorimetric). Curves are tables, so that a pixel costs a few
look-ups and one product with a matrix in float32. A colour that is more saturated than sRGB's becomes paler on the way
there, at the same luminance, and as much more saturated on the way back.
Source: IEC 61966-2-1 (sRGB); ICC.1:2022, annex F (how profiles are evaluated).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import missing
from mirnet_deploy.images.colour.icc import CODES, Profile, ProfileError
from mirnet_deploy.images.picture import Samples
from mirnet_deploy.images.samples import light_of_srgb, srgb_of_light

SRGB_TO_XYZ = np.array([[28576, 25239, 9375], [14581, 46983, 3972], [912, 6361, 46787]]) / 65536
"""Linear sRGB -> XYZ relative to D50, the white of profiles (0.9642, 1, 0.8249), by Bradford's adaptation (ICC.1:2022,
annex E), in the digits of a profile."""
CURVE_TOLERANCE, COLOUR_TOLERANCE = 1.5 / 255, 0.005
"""A space is sRGB if its greys change by no more in sRGB's numbers from 0 to 1, and all colours by no more in linear
light, when they become sRGB. The usual variants of sRGB's profile, with curves of few points and primaries of few
digits, change less. A gamma of 2.2 changes greys by 8 / 255, and PAL's primaries, the nearest ones, change by 0.04."""

_LUMINANCE = SRGB_TO_XYZ[1:2].astype(np.float32)
"""[1,3]"""
_LEAST_KEPT = 0.4
"""Of a colour's saturation. Real colours in ProPhoto need no less; noise in black would, and the way back would amplify
it."""
_SLACK = 2e-4
"""How far linear values may fall below 0 by the rounding in profiles."""


Planes = list[NDArray[np.float32]]
"""Red, green and blue of some pixels, in linear light, each of the same shape."""


class Outside(NamedTuple):
    """The pixels of a picture [h,w,3] that are more saturated than sRGB's, with values below 0 there.

    Values above 1 are clipped: to make them paler would lift black channels by several levels wherever the white of a
    profile is a trace too bright.
    """

    where: NDArray[np.bool_]
    """[h,w]."""
    kept: NDArray[np.float32]
    """[n]: the share of each one's saturation that leaves nothing below 0, at the same luminance."""


class Space(Protocol):
    """The colour space of pictures [h,w,3]; of grey ones, of any shape."""

    def to_srgb(self, pixels: Samples) -> tuple[NDArray[np.uint16], Outside | None]:
        """Samples of a picture -> sRGB, of the same shape, and what was made paler for that."""

    def from_srgb(self, srgb: NDArray[np.uint16], outside: Outside | None) -> NDArray[np.float32]:
        """sRGB -> the numbers of a picture, not rounded, of the same shape in a new array.

        Args:
            outside: the pixels that `to_srgb` made paler, whatever became of them; here it is undone.
        """


def space_of(profile: Profile, icc: bytes, top: int) -> Space:
    """The space of pictures whose white is `top`, 255 or 65535; `profile` is what was read of `icc`.

    Raises:
        ProfileError: the profile is made of tables, and these cannot be evaluated.
    """
    if profile.grey:
        return _Grey(profile, top)
    if not profile.tables:
        return _Matrix(profile, top)
    try:  # both ways, before a network spends minutes on the picture
        space = _Tables(icc, top)
        space.from_srgb(*space.to_srgb(np.zeros((1, 1, 3), np.uint16)))
    except ImportError as error:
        raise ProfileError(str(missing("is made of tables, which need imagecodecs", error, "large"))) from error
    except RuntimeError as error:
        raise ProfileError("is made of tables that LittleCMS does not convert to sRGB and back") from error
    return space


def is_srgb(space: Space, *, grey: bool) -> bool:
    """Whether a space, of 16-bit pictures, is sRGB as far as one sees (`CURVE_TOLERANCE`)."""
    greys = np.repeat(np.arange(0, CODES, 64, dtype=np.uint16)[:, None, None], 3, axis=2)
    changes = space.to_srgb(greys)[0].astype(np.int32) - greys
    if np.abs(changes).max() > CURVE_TOLERANCE * (CODES - 1):
        return False
    steps = np.linspace(0, CODES - 1, 17).astype(np.uint16)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
    linear = _srgb_to_linear()
    return grey or bool(np.abs(linear[space.to_srgb(colours)[0]] - linear[colours]).max() <= COLOUR_TOLERANCE)


class _Matrix:
    """Three curves and a matrix. Its tables take 1.6 MB at most."""

    def __init__(self, profile: Profile, top: int) -> None:
        numbers = [np.interp(_grid(), curve, np.linspace(0, top, CODES)) for curve in profile.curves]
        self._linear = profile.curves[:, :: (CODES - 1) // top].astype(np.float32)
        self._numbers = np.stack(numbers).astype(np.float32)
        matrix = np.linalg.inv(SRGB_TO_XYZ) @ profile.to_xyz
        self._to_srgb, self._from_srgb = matrix.astype(np.float32), np.linalg.inv(matrix).astype(np.float32)

    def to_srgb(self, pixels: Samples) -> tuple[NDArray[np.uint16], Outside | None]:
        linear = _times(self._to_srgb, [table.take(pixels[..., at]) for at, table in enumerate(self._linear)])
        outside = _outside(linear)
        if outside:
            _saturate(linear, outside.where, outside.kept)
        return np.stack([_linear_to_srgb().take(_places(plane)) for plane in linear], axis=-1), outside

    def from_srgb(self, srgb: NDArray[np.uint16], outside: Outside | None) -> NDArray[np.float32]:
        linear = [_srgb_to_linear().take(srgb[..., at]) for at in range(3)]
        if outside:
            _saturate(linear, outside.where, np.reciprocal(outside.kept))
        own = _times(self._from_srgb, linear)
        return np.stack([table.take(_places(plane)) for table, plane in zip(self._numbers, own, strict=True)], axis=-1)


class _Grey:
    """One curve."""

    def __init__(self, profile: Profile, top: int) -> None:
        (curve,), numbers = profile.curves, np.linspace(0, top, CODES)
        self._srgb = np.rint(srgb_of_light(curve[:: (CODES - 1) // top]) * (CODES - 1)).astype(np.uint16)
        self._numbers = np.interp(light_of_srgb(np.linspace(0, 1, CODES)), curve, numbers).astype(np.float32)

    def to_srgb(self, pixels: Samples) -> tuple[NDArray[np.uint16], None]:
        return self._srgb.take(pixels), None

    def from_srgb(self, srgb: NDArray[np.uint16], outside: Outside | None) -> NDArray[np.float32]:
        return self._numbers.take(srgb)


class _Tables:
    """A profile that is made of tables, by the LittleCMS in imagecodecs, which clips what sRGB does not hold.

    Raises:
        ImportError: imagecodecs is not installed.
        RuntimeError: from either method, LittleCMS does not take the profile.
    """

    def __init__(self, icc: bytes, top: int) -> None:
        import imagecodecs

        self._codecs: Any = imagecodecs
        self._icc, self._rgb, self._scale = icc, imagecodecs.cms_profile("srgb"), (CODES - 1) // top

    def to_srgb(self, pixels: Samples) -> tuple[NDArray[np.uint16], None]:
        return self._transformed(pixels.astype(np.uint16) * np.uint16(self._scale), self._icc, self._rgb), None

    def from_srgb(self, srgb: NDArray[np.uint16], outside: Outside | None) -> NDArray[np.float32]:
        return np.asarray(self._transformed(srgb, self._rgb, self._icc) / self._scale, np.float32)

    def _transformed(self, samples: NDArray[np.uint16], source: bytes, target: bytes) -> NDArray[np.uint16]:
        codecs, kinds = self._codecs, {"colorspace": "rgb", "outcolorspace": "rgb"}
        # Without its optimization: a grid of 33 values a side, which is off by several levels of 8 bits in shadows.
        how = {"intent": codecs.CMS.INTENT.RELATIVE_COLORIMETRIC, "flags": codecs.CMS.FLAGS.NOOPTIMIZE}
        return np.asarray(codecs.cms_transform(samples, source, target, **kinds, **how))


@cache
def _srgb_to_linear() -> NDArray[np.float32]:
    """[65536], by 16-bit number."""
    return light_of_srgb(np.linspace(0, 1, CODES)).astype(np.float32)


@cache
def _linear_to_srgb() -> NDArray[np.uint16]:
    """[65536], over `_grid`."""
    return np.rint(srgb_of_light(_grid()) * (CODES - 1)).astype(np.uint16)


def _grid() -> NDArray[np.float64]:
    """[65536]: the linear values of tables that lead back to numbers, evenly by square root: dense where curves are
    steep."""
    return np.linspace(0, 1, CODES) ** 2


def _times(matrix: NDArray[np.float32], planes: Planes) -> Planes:
    """The product of a matrix, [3,3], with every pixel.

    Not by a library for matrices, which may round a pixel otherwise in a picture of another width.
    """
    return [row[0] * planes[0] + row[1] * planes[1] + row[2] * planes[2] for row in matrix]


def _outside(linear: Planes) -> Outside | None:
    """Which pixels of linear sRGB have values below 0; None where none has."""
    lowest = np.minimum(np.minimum(linear[0], linear[1]), linear[2])
    where = lowest < -_SLACK
    if not where.any():
        return None
    (luminance,) = _times(_LUMINANCE, [plane[where] for plane in linear])
    luminance = np.maximum(luminance, 0)
    return Outside(where, np.maximum(luminance / (luminance - lowest[where]), _LEAST_KEPT))


def _saturate(linear: Planes, where: NDArray[np.bool_], factor: NDArray[np.float32]) -> None:
    """Moves the pixels at `where`, in place, away from the grey of their luminance; `factor` has a value for each."""
    colours = [plane[where] for plane in linear]
    (grey,) = _times(_LUMINANCE, colours)
    for plane, values in zip(linear, colours, strict=True):
        plane[where] = grey + factor * (values - grey)


def _places(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest place in `_grid` of each linear value, which is clipped to [0, 1]. The array is overwritten."""
    np.clip(linear, 0, 1, out=linear)
    np.sqrt(linear, out=linear)
    linear *= CODES - 1
    linear += np.float32(0.5)
    return linear.astype(np.uint16)
