"""The end of a measurement that may take so many seconds and no more."""

from __future__ import annotations

import math
import time


class Deadline:
    """Counts from when it is made.

    Args:
        seconds: infinite for no end.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.was_cut = False
        """Whether something was left out because the time was over."""

    def is_over(self) -> bool:
        """Whether the time is over. For whoever then leaves something out: it is noted in `was_cut`."""
        self.was_cut = self.was_cut or time.monotonic() >= self._end
        return self.was_cut

    @property
    def left(self) -> float | None:
        """Seconds; None without an end."""
        return self._end - time.monotonic() if math.isfinite(self._end) else None
