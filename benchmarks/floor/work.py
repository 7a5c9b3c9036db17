"""What a run of a network must do: multiplications with additions, and bytes to and from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]
"""Input of a graph -> its shape in a run."""


@dataclass(frozen=True)
class Work:
    """The work of one run, or of several (`total`)."""

    macs: int
    """Multiplications, each with its addition, of convolutions and matrix products."""
    constant_bytes: int
    """Weights and other constants, each once."""
    data_bytes: int
    """What the network takes and what it gives."""
    unfused_bytes: int
    """What all operations read and write, each of them alone: nothing between them stays in a cache or a register."""

    @property
    def least_bytes(self) -> int:
        """The compulsory traffic: constants once, inputs and outputs."""
        return self.constant_bytes + self.data_bytes


def total(works: Sequence[Work]) -> Work:
    """The work of several runs of one network, at least one; its constants are needed once.

    >>> total([Work(10, 4, 1, 9), Work(20, 4, 2, 9)])
    Work(macs=30, constant_bytes=4, data_bytes=3, unfused_bytes=18)
    """
    return Work(
        sum(work.macs for work in works),
        max(work.constant_bytes for work in works),
        sum(work.data_bytes for work in works),
        sum(work.unfused_bytes for work in works),
    )
