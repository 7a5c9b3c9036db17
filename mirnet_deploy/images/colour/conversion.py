"""Pictures of any colour space through a network that learned sRGB.

The picture's numbers become sRGB by its ICC profile, and the network's result becomes numbers of its own space again.
Colours that sRGB does not hold are changed for the network alone (`colour.spaces`, `Conversion.back`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.images.colour.icc import CODES, ProfileError, read_profile
from mirnet_deploy.images.colour.spaces import Space, is_srgb, space_of
from mirnet_deploy.images.picture import Samples, to_8_bit

_BAND = 1 << 17
"""Pixels that each of `_THREADS` converts at a time."""
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Conversion:
    """Between the samples of a picture and what the network takes, which is sRGB.

    Arrays are [h,w,3] or, where the profile is grey, of any shape. Several threads may share it.
    """

    space: Space
    dtype: np.dtype[Any]
    """Of the picture: uint8 or uint16."""
    network_dtype: np.dtype[Any]
    """Of what the network takes: uint16, or uint8 where it takes no other."""

    def there(self, pixels: Samples) -> Samples:
        """Samples of the picture -> what the network takes for them, of the same shape."""
        srgb = np.empty(pixels.shape, self.network_dtype)

        def convert(rows: slice) -> None:
            band, _ = self.space.to_srgb(pixels[rows])
            srgb[rows] = to_8_bit(band) if self.network_dtype == np.uint8 else band

        _by_bands(convert, pixels.shape)
        return srgb

    def back(self, result: Samples, pixels: Samples) -> Samples:
        """The picture's samples after the network made `result` of what `there` made of `pixels`.

        What the network changed is added to the picture:  pixels + converted(result) - converted(there(pixels)).  So
        nothing is lost that was rounded or clipped, and where the network changes nothing, the picture stays as it is,
        bit for bit.
        """
        finished, top = np.empty(pixels.shape, self.dtype), np.iinfo(self.dtype).max

        def convert(rows: slice) -> None:
            given, outside = self.space.to_srgb(pixels[rows])
            given = to_8_bit(given) if self.network_dtype == np.uint8 else given
            values = self.space.from_srgb(_wide(result[rows]), outside)
            values -= self.space.from_srgb(_wide(given), outside)
            values += pixels[rows]
            finished[rows] = np.rint(values.clip(0, top, out=values), out=values)

        _by_bands(convert, pixels.shape)
        return finished


@dataclass(frozen=True)
class Colour:
    """How the numbers of a picture are taken."""

    profile: str | None = None
    """What its ICC profile calls itself, "Display P3", or "" where it does not; None without a profile."""
    conversion: Conversion | None = None
    """None where they are sRGB, or taken for it."""
    problem: str | None = None
    """One line for the user where they are taken for sRGB because the profile cannot be used."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"profile": self.profile, "converted": self.conversion is not None}


def colour_of(icc: bytes | None, dtype: np.dtype[Any], *, grey: bool, wide: bool = True) -> Colour:
    """How the numbers of a picture with this profile are to be taken. No profile raises an error.

    Args:
        dtype: of the picture, uint8 or uint16.
        grey: whether it has one channel.
        wide: whether the network takes uint16.
    """
    if not icc:
        return Colour()
    name = ""
    try:
        profile = read_profile(icc, grey=grey)
        name = profile.description
        if is_srgb(space_of(profile, icc, CODES - 1), grey=profile.grey):
            return Colour(name)
        if grey and not profile.grey:
            raise ProfileError("is for RGB pictures, and this one is grey")
        space = space_of(profile, icc, int(np.iinfo(dtype).max))
    except ProfileError as error:
        return Colour(name, None, f"its colours were taken for sRGB, since its ICC profile {error}")
    network = np.dtype(np.uint16) if wide or dtype == np.uint16 else np.dtype(np.uint8)
    return Colour(name, Conversion(space, dtype, network))


def _wide(samples: Samples) -> NDArray[np.uint16]:
    return samples.astype(np.uint16) * np.uint16(257) if samples.dtype == np.uint8 else samples


def _by_bands(convert: Callable[[slice], None], shape: tuple[int, ...]) -> None:
    """Calls `convert` for all rows of a picture of `shape`, some at a time, in several threads."""
    lines = max(1, _BAND // max(1, shape[1]))
    if shape[0] <= lines:
        convert(slice(None))
        return
    with ThreadPoolExecutor(_THREADS) as executor:
        list(executor.map(convert, (slice(top, top + lines) for top in range(0, shape[0], lines))))
