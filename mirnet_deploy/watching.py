"""How far a batch of pictures is, down to the tiles of one that takes minutes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from mirnet_deploy.pipeline import Sink

Show = Callable[[str, float], None]
"""Takes what a picture is at, and the share of that which is done."""


class Progress(Protocol):
    """What is needed of a progress bar; any thread may call it."""

    def __call__(self, n: float = 1, /) -> None:
        """So many pictures more are finished."""

    def line(self) -> AbstractContextManager[Show]:
        """For one picture while it is in work."""


class WatchedSink:
    """Takes windows of a result for another sink, and shows how much is written: every pass writes all of it."""

    def __init__(self, sink: Sink, name: str, show: Show) -> None:
        self._sink, self._name, self._show = sink, name, show
        self.shape = sink.shape
        self._area, self._written = sink.shape[0] * sink.shape[1], 0
        show(name, 0)

    def __setitem__(self, key: Any, value: NDArray[Any], /) -> None:
        self._sink[key] = value
        passes, before = divmod(self._written, self._area)
        added = value.shape[0] * value.shape[1]
        self._written += added
        self._show(f"{self._name}, pass {passes + 1}", (before + added) / self._area)
