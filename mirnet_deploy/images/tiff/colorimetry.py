"""What a TIFF without an ICC profile says of its colours, as one. Source: TIFF 6.0, section 20."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from mirnet_deploy.images.ifd import ByteOrder, Field
from mirnet_deploy.images.profiles import (
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Chromaticities,
    Curve,
    grey_profile,
    rgb_profile,
)
from mirnet_deploy.images.tiff import tags

LOST = "its colorimetry is lost: its colours were taken for sRGB"

_SHORT, _RATIONAL = 3, 5
_MOST_POINTS = 4096
"""Of a curve in a profile."""
_PRIMARIES_MARGIN, _LIGHT_MARGIN = 0.002, 0.01
"""Differences from sRGB's chromaticities and from its linear light, 0 to 1, that are taken for none: those of a gamma
of 2.2 are smaller."""


def icc_of_colorimetry(fields: Mapping[int, Field], order: ByteOrder) -> tuple[bytes | None, list[str]]:
    """The profile of WhitePoint with PrimaryChromaticities and of TransferFunction, None for sRGB's; and a line for the
    user where they are there, and are no profile.

    Where one of them is missing, sRGB's stands in for it. They count for grey and RGB; those of a palette or of grey
    with 0 for white are not made a profile.
    """
    if not {tags.WHITE_POINT, tags.PRIMARY_CHROMATICITIES, tags.TRANSFER_FUNCTION} & fields.keys():
        return None, []
    photometric = next(iter(_numbers(fields, order, tags.PHOTOMETRIC)), -1)
    if photometric not in (tags.BLACK_IS_ZERO, tags.RGB):
        return None, [LOST]
    grey = photometric == tags.BLACK_IS_ZERO
    try:
        primaries = SRGB_PRIMARIES if grey else _primaries(fields, order)
        curves = _curves(fields, order, 1 if grey else 3)
        if primaries == SRGB_PRIMARIES and set(curves) == {SRGB_CURVE}:
            return None, []
        name = "TIFF colorimetry"
        return grey_profile(curves[0], name) if grey else rgb_profile(primaries, curves, name), []
    except (ValueError, ZeroDivisionError):
        return None, [LOST]


def _primaries(fields: Mapping[int, Field], order: ByteOrder) -> Chromaticities:
    """
    Raises:
        ValueError: one of the two tags is missing or of another length.
    """
    given = [_numbers(fields, order, tag) for tag in (tags.PRIMARY_CHROMATICITIES, tags.WHITE_POINT)]
    if not any(given):
        return SRGB_PRIMARIES
    if [len(values) for values in given] != [6, 2]:
        raise ValueError("primaries without white, or the other way round")
    values = given[0] + given[1]
    found = tuple(zip(values[::2], values[1::2], strict=True))
    return SRGB_PRIMARIES if np.abs(np.array(found) - SRGB_PRIMARIES).max() <= _PRIMARIES_MARGIN else found


def _curves(fields: Mapping[int, Field], order: ByteOrder, channels: int) -> list[Curve]:
    """One curve for each channel: tables of linear light, evenly over the samples' range.

    Raises:
        ValueError: there is not one table for all channels, or one for each, with an entry for every value.
    """
    if tags.TRANSFER_FUNCTION not in fields:
        return [SRGB_CURVE] * channels
    size = 1 << int(next(iter(_numbers(fields, order, tags.BITS)), 1))
    values = np.array(_numbers(fields, order, tags.TRANSFER_FUNCTION))
    if len(values) not in (size, size * channels) or size < 256:
        raise ValueError("a transfer function of another length")
    encoded = np.linspace(0, 1, size)
    g, a, b, c, d = SRGB_CURVE
    srgb = np.where(encoded >= d, (a * encoded + b) ** g, c * encoded)
    curves: list[Curve] = []
    for table in values.reshape(-1, size) / 65535:
        if (np.diff(table) < 0).any() or table[-1] - table[0] < 0.5:
            raise ValueError("a transfer function that does not rise from black to white")
        if np.abs(table - srgb).max() <= _LIGHT_MARGIN:
            curves.append(SRGB_CURVE)
        else:
            points = np.linspace(0, 1, min(size, _MOST_POINTS))
            curves.append(tuple(np.interp(points, encoded, table).tolist()))
    return curves * (channels // len(curves))


def _numbers(fields: Mapping[int, Field], order: ByteOrder, tag: int) -> tuple[float, ...]:
    """The values of SHORTs or RATIONALs; empty where the tag is absent or of another type.

    Raises:
        ZeroDivisionError: a rational is no number.
    """
    field = fields.get(tag)
    if not field or not isinstance(field.content, bytes) or field.kind not in (_SHORT, _RATIONAL):
        return ()
    if field.kind == _SHORT:
        return struct.unpack(f"{order}{field.count}H", field.content)
    values = struct.unpack(f"{order}{2 * field.count}I", field.content)
    return tuple(above / below for above, below in zip(values[::2], values[1::2], strict=True))
