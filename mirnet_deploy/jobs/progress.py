"""How far a job is, down to the tiles of a picture that takes minutes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Show = Callable[[str, float], None]
"""Takes a description, and the share of it that is done, from 0 to 1."""


class Progress(Protocol):
    """What a job needs of a progress bar; any thread may call it."""

    def __call__(self, n: float = 1, /) -> None:
        """Says that `n` more pictures are finished."""

    def line(self) -> AbstractContextManager[Show]:
        """A line for one picture while it is being made."""


class Passes:
    """Counts the pixels that are written, and shows how far the pass is: every pass writes all of them.

    Args:
        area: pixels of the picture.
    """

    def __init__(self, name: str, area: int, show: Show) -> None:
        self._name, self._area, self._show = name, area, show
        self._written = 0
        show(name, 0)

    def advance(self, pixels: int) -> None:
        """Says that `pixels` more are written."""
        passes, before = divmod(self._written, self._area)
        self._written += pixels
        self._show(f"{self._name}, pass {passes + 1}", (before + pixels) / self._area)
