"""The means that the global pools of one forward pass use, and the means that they measure: what tiles share.

A tile that takes the means of its own pixels is another network than the whole picture's (shared statistics are the
point of squeeze and excitation). So the pools can be *given* the means of the whole picture, as one vector for all
pools, the **context**; and they *measure* their means over the tile's core alone, so that halos and padding do not
count. Averaged over the tiles of a picture, the measured means are the next, better guess of the context: a pool
depends only on pools before it, so every pass over all tiles makes at least one more stage of pools exact.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Pools(Protocol):
    """What stands in for the global pools of a forward pass."""

    def mean(self, x: Tensor, level: int) -> Tensor:
        """For the pool of `x`, float32 [N,C,h,w] at 1 / 2**level of the resolution -> [N,C,1,1] or [N,C,h,w]."""
        ...


class OwnMeans:
    """Gives every pool the mean that it measures, as the plain network does, and keeps them."""

    def __init__(self) -> None:
        self._measured: list[Tensor] = []

    def mean(self, x: Tensor, level: int) -> Tensor:
        """Float32 [N,C,h,w] -> [N,C,1,1]."""
        self._measured.append(x.mean(dim=(2, 3)))
        return self._measured[-1][:, :, None, None]

    @property
    def statistics(self) -> Tensor:
        """What the pools measured, float32 [N,K]."""
        return torch.cat(self._measured, dim=1)


class FixedMeans:
    """Gives the pools of one forward pass the means in `context`, [1,K] or [N,K], and measures nothing."""

    def __init__(self, context: Tensor) -> None:
        self._context, self._used = context, 0

    def mean(self, x: Tensor, level: int) -> Tensor:
        """Float32 [N,C,h,w] -> [1,C,1,1] or [N,C,1,1]."""
        self._used += x.shape[1]
        return self._context[:, self._used - x.shape[1] : self._used, None, None]


class PoolContext:
    """Gives to and takes from the pools of one forward pass, in the order in which the network runs them.

    Args:
        context: float32 [1,K] or [N,K], the means of all pools (`MIRNetConfig.context_size`).
        mode: float32 [2], the weights of measured and given means: `MEASURED`, `GIVEN` or `CORRECTED` of
            `mirnet_deploy.artifacts.context`.
        rows: float32 [N,H], [1,H] or [1,1]: with `cols`, a separable weight of every pixel in the measured means,
            such as 1 in the tile's core and 0 in its halo. Not all 0; constant within blocks of 4 (the coarser levels
            take every second and every fourth value).
        cols: float32 [N,W], [1,W] or [1,1].
    """

    def __init__(self, context: Tensor, mode: Tensor, rows: Tensor, cols: Tensor) -> None:
        self._given, self._mode, self._rows, self._cols = FixedMeans(context), mode, rows, cols
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}
        self._measured: list[Tensor] = []

    def mean(self, x: Tensor, level: int) -> Tensor:
        """The means for the pool of `x`, float32 [N,C,h,w] at 1 / 2**level of the resolution -> [N,C,1,1]."""
        weight, total = self._weight(level)
        measured = (x * weight).mean(dim=(2, 3), keepdim=True) / total
        self._measured.append(measured[:, :, 0, 0])
        return self._mode[0] * measured + self._mode[1] * self._given.mean(x, level)

    def _weight(self, level: int) -> tuple[Tensor, Tensor]:
        """The weight of every pixel and its mean, [N,1,h,w] and [N,1,1,1]; the same for all pools of a level."""
        if level not in self._weights:
            rows, cols = self._rows[:, :: 2**level], self._cols[:, :: 2**level]
            weight = rows[:, None, :, None] * cols[:, None, None, :]
            self._weights[level] = weight, weight.mean(dim=(2, 3), keepdim=True)
        return self._weights[level]

    @property
    def statistics(self) -> Tensor:
        """What the pools measured, float32 [N,K]; of a tile that used given means, with those in force."""
        return torch.cat(self._measured, dim=1)
