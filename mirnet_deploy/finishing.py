"""What a user wants otherwise than the network: how bright the result is, and how much of it is blended in.

How bright a dark picture was meant to be is not in the picture, so brightness is a setting, not something to learn
better. A tone curve brings the mean of a result to it: v becomes g v / (1 + (g - 1) v), in every channel. Shadows get
`g` times as bright and keep their colour, highlights roll off towards white as on film, and nothing clips: black stays
black, white stays white, and the curve of 1/g undoes that of g.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import UsageError
from mirnet_deploy.pixels import Source, rounded, unit

Brightness = float | Literal["auto"]

BINS = 1 << 16
"""Of the histogram of values."""
MOST_GAIN = 256.0
"""A picture that is (nearly) black or white throughout gets no brighter or darker than so many times."""
_BAND = 1 << 18
"""Pixels worked on at a time."""


@runtime_checkable
class Rewritable(Protocol):
    """A result of which rows can be read again and replaced, as of an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...

    def __setitem__(self, rows: slice, pixels: Any, /) -> None: ...


@dataclass(frozen=True)
class Finish:
    """What is done to a result of the network.

    Raises:
        UsageError: a value is out of its range.
    """

    brightness: Brightness = "auto"
    """Mean of the result over all pixels and channels, as they are stored (sRGB), in [0, 1], transparent ones too;
    "auto": the network's."""
    strength: float = 1.0
    """Share of the result, the rest being the input: in [0, 1], blended after `brightness`."""

    def __post_init__(self) -> None:
        if self.brightness != "auto" and not (_is_number(self.brightness) and 0 <= self.brightness <= 1):
            raise UsageError(f"brightness is {self.brightness!r}; expected 'auto' or a number from 0 to 1")
        if not (_is_number(self.strength) and 0 <= self.strength <= 1):
            raise UsageError(f"strength is {self.strength!r}; expected a number from 0 to 1")

    @property
    def is_none(self) -> bool:
        """Whether results stay as they are."""
        return not self.tones and self.strength == 1

    @property
    def tones(self) -> bool:
        """Whether a tone curve changes the brightness."""
        return self.brightness != "auto"

    def apply(self, source: Source, result: Rewritable, out: Rewritable | None = None) -> float | None:
        """Finishes `result`, [H,W,3], in place, or into `out`, which may have another dtype; `source` is the input.

        Returns:
            The gain `g` of the tone curve, None where the brightness is the network's.
        """
        out = result if out is None else out
        gain = None if self.brightness == "auto" else gain_for(self.brightness, result)
        for rows in _bands(result.shape):
            values = unit(result[rows])
            if gain is not None:
                values = toned(values, gain)
            if self.strength != 1:
                before = unit(source[rows])
                values = before + np.float32(self.strength) * (values - before)
            out[rows] = rounded(values, out[rows].dtype)
        return gain


def toned(values: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """The tone curve of `gain` on values in [0, 1]."""
    curved: NDArray[np.float32] = np.float32(gain) * values / (1 + np.float32(gain - 1) * values)
    return curved


def gain_for(brightness: float, picture: Rewritable) -> float:
    """The gain at which the mean of `picture`, [H,W,3], becomes `brightness`, searched for on a histogram.

    At most `MOST_GAIN`, at least its inverse.
    """
    counts = np.zeros(BINS)
    for rows in _bands(picture.shape):
        places = np.rint(unit(picture[rows]) * (BINS - 1)).astype(np.intp)
        counts += np.bincount(places.ravel(), minlength=BINS)
    values = np.linspace(0, 1, BINS, dtype=np.float32)
    low, high = -np.log(MOST_GAIN), np.log(MOST_GAIN)
    for _ in range(50):
        middle = (low + high) / 2
        if counts @ toned(values, np.exp(middle)) < brightness * counts.sum():
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    lines = max(1, _BAND // shape[1])
    for top in range(0, shape[0], lines):
        yield slice(top, min(top + lines, shape[0]))
