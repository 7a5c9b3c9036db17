"""What is done to a result after the network: a tone curve sets its brightness, and it is blended with its input.

A dark picture does not say how bright it was meant to be, so brightness is a setting and not something that a network
could learn better. The curve is `pixels.toned`. `devices.result_kernels` does the same on a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.pixels import BINS, MOST_GAIN, Source, rounded, toned, unit
from mirnet_deploy.settings import RuntimeSettings

_BAND = 1 << 18
"""Pixels worked on at a time."""


@runtime_checkable
class Rewritable(Protocol):
    """A result [H,W,3] whose rows can be read back and replaced, as those of an array can."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...

    def __setitem__(self, rows: slice, pixels: Any, /) -> None: ...


def finish(settings: RuntimeSettings, source: Source, result: Rewritable, out: Rewritable) -> float | None:
    """Applies `brightness` and then `strength` to the network's `result`.

    Args:
        source: the input of the network, [H,W,3], which `strength` blends in.
        result: [H,W,3], uint8, uint16 or float32 in [0, 1].
        out: takes the finished rows, [H,W,3]; it may have another dtype than `result`, or be `result` itself.

    Returns:
        The gain `g` of the tone curve; None where the brightness is left as the network made it.
    """
    gain = None if settings.brightness == "auto" else gain_for(settings.brightness, result)
    for rows in _bands(result.shape):
        values = unit(result[rows])
        if gain is not None:
            values = toned(values, gain)
        if settings.strength != 1:
            before = unit(source[rows])
            values = before + np.float32(settings.strength) * (values - before)
        out[rows] = rounded(values, out.dtype)
    return gain


def gain_for(brightness: float, picture: Rewritable) -> float:
    """The gain at which the mean of `picture`, [H,W,3], becomes `brightness`, in [0, 1].

    It is found by bisection on a histogram and lies between 1 / `MOST_GAIN` and `MOST_GAIN`.
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


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    lines = max(1, _BAND // shape[1])
    for top in range(0, shape[0], lines):
        yield slice(top, min(top + lines, shape[0]))
