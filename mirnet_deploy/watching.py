"""How far a batch of pictures is, down to the tiles of one that takes minutes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Show = Callable[[str, float], None]
"""Takes what a picture is at, and the share of that which is done."""


class Progress(Protocol):
    """What is needed of a progress bar; any thread may call it."""

    def __call__(self, n: float = 1, /) -> None:
        """So many pictures more are finished."""

    def line(self) -> AbstractContextManager[Show]:
        """For one picture while it is in work."""


class Passes:
    """Counts the pixels that are written, and shows how far the pass is: every pass writes all of them."""

    def __init__(self, name: str, area: int, show: Show) -> None:
        self._name, self._area, self._show = name, area, show
        self._written = 0
        show(name, 0)

    def advance(self, pixels: int) -> None:
        """So many more are written."""
        passes, before = divmod(self._written, self._area)
        self._written += pixels
        self._show(f"{self._name}, pass {passes + 1}", (before + pixels) / self._area)
