"""A gate that many threads pass at once, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Whoever wants it alone waits for those inside, and nobody else enters meanwhile. Neither may be nested."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._inside = 0
        self._alone = 0
        """Threads that have the gate alone, or wait for it."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside the block together with others."""
        entered = False
        try:
            with self._state:
                self._state.wait_for(lambda: not self._alone)
                self._inside, entered = self._inside + 1, True
            yield
        finally:
            if entered:
                with self._state:
                    self._inside -= 1
                    self._state.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the block by itself."""
        waits = entered = False
        try:
            with self._state:
                self._alone, waits = self._alone + 1, True
                self._state.wait_for(lambda: not self._inside)  # Ctrl-C may end it
                self._inside, entered = 1, True
            yield
        finally:
            with self._state:
                self._inside -= entered
                self._alone -= waits
                self._state.notify_all()
