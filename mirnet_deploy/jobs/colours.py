"""How the colours of a job's pictures are taken, and whether those of results that are there were taken so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mirnet_deploy.images.colour import conversion as colour
from mirnet_deploy.images.colour.conversion import Colour
from mirnet_deploy.images.formats import HEADER_LENGTH, sniff
from mirnet_deploy.images.reading import decode_image, read_file
from mirnet_deploy.images.tiff.bands import profile_of_tiff
from mirnet_deploy.jobs.record import Record
from mirnet_deploy.jobs.settings import JobSettings

_FIELD, _SRGB, _CONVERTED = "colours", "sRGB", "converted"
"""The field of a record, and what it says of a picture that was known to be sRGB, and of one that was converted.
Records lack it where numbers were taken for sRGB without looking, as earlier versions and `--no-colour-management` do,
or for want of a profile that can be used."""


class Takes(Protocol):
    """A model."""

    def takes(self, dtype: Any) -> bool: ...


def colour_of(icc: bytes | None, dtype: np.dtype[Any], grey: bool, settings: JobSettings, model: Takes) -> Colour:
    """How the numbers of a picture of `dtype`, with this profile, are taken under these settings."""
    found = colour.colour_of(icc, dtype, grey=grey, wide=not icc or model.takes(np.uint16))
    return found if settings.colour_management else replace(found, conversion=None, problem=None)


def recorded(found: Colour, settings: JobSettings) -> str | None:
    """What the record of a result says of its colours; None for nothing."""
    if found.conversion:
        return _CONVERTED
    return _SRGB if settings.colour_management and not found.problem else None


def recorded_in(record: Record | None) -> str | None:
    """What `recorded` put into a record."""
    value = record.settings.get(_FIELD) if record else None
    return value if value in (_SRGB, _CONVERTED) else None


def are_right(colours: str | None, source: Path, settings: JobSettings) -> bool:
    """Whether a result whose record says `colours` has those that it would get now.

    Only where the record says nothing the source is read for its profile.

    Raises:
        ImageError: the source is no picture.
    """
    if not settings.colour_management:
        return colours != _CONVERTED
    return colours is not None or not _would_be_converted(source, settings.max_pixels)


def _would_be_converted(source: Path, max_pixels: int) -> bool:
    with source.open("rb") as stream:
        header = stream.read(HEADER_LENGTH)
    if header and sniff(header) == "tiff":  # may be larger than memory
        icc, grey = profile_of_tiff(source)
    else:
        picture = decode_image(read_file(source), str(source), max_pixels=max_pixels)
        icc, grey = picture.icc, picture.grey
    return colour.colour_of(icc, np.dtype(np.uint8), grey=grey).conversion is not None
