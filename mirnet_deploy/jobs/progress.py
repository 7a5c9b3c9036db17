"""The progress of a job, down to the tiles of a picture that takes minutes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Show = Callable[[str, float], None]
"""Takes a description of the work and the share of it that is done, from 0 to 1."""


class Progress(Protocol):
    """What a job needs from a progress bar. Any thread may call it."""

    def __call__(self, n: float = 1, /) -> None:
        """Moves on by `n` finished pictures."""

    def line(self) -> AbstractContextManager[Show]:
        """A line for one picture while it is being made."""


class Passes:
    """Counts the pixels of a picture that are written, and shows how far its pass is. Every pass writes all pixels.

    >>> passes = Passes("a.png", 100, lambda description, share: print(description, share))
    a.png 0
    >>> for pixels in (60, 40, 25):
    ...     passes.advance(pixels)
    a.png, pass 1 0.6
    a.png, pass 1 1.0
    a.png, pass 2 0.25

    Args:
        name: of the picture, for the description.
        area: pixels of the picture.
    """

    def __init__(self, name: str, area: int, show: Show) -> None:
        self._name, self._area, self._show = name, area, show
        self._written = 0
        show(name, 0)

    def advance(self, pixels: int) -> None:
        """Counts `pixels` more that were written, all in one pass; fewer than 0 where an attempt is made anew."""
        self._written += pixels
        passes = max(0, self._written - 1) // self._area
        self._show(f"{self._name}, pass {passes + 1}", self._written / self._area - passes)
