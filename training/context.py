"""The means that the global pools of one forward pass use, and the means that they measure: what tiles share.

A tile whose pools use the means of its own pixels comes out different from the same part of the whole picture: in
squeeze and excitation all pixels of a picture share their statistics. So the pools can be *given* the means of the
whole picture, as one vector for all pools, the **context**; and they *measure* their means over the tile's core alone,
so that halos and padding do not count. Averaged over the tiles of a picture, weighted by the areas of their cores, the
measured means are the next, better guess of the context: a pool depends only on pools before it, so every pass over all
tiles makes at least one more stage of pools exact.

A vector of means has K entries (`MIRNetConfig.context_size`): one for each channel of each pool, the pools in the order
in which the network runs them.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mirnet_deploy.artifacts.onnx_graph import BY_VALUE
from mirnet_deploy.training.config import SIZE_MULTIPLE


class Pools(Protocol):
    """What takes the place of the global pools in one forward pass."""

    def mean(self, x: Tensor, level: int) -> Tensor:
        """The means that the pool of `x` is to use: float32, broadcast to the shape of `x`.

        Args:
            x: float32 [N,C,h,w], at 1 / 2**level of the resolution.

        Returns:
            float32 [N,C,1,1]; [1,C,1,1], shared by the batch; or [N,C,h,w], one mean for each pixel.
        """
        ...


class OwnMeans:
    """Gives every pool the means that it measures, as in the plain network, and keeps them; for one forward pass."""

    def __init__(self) -> None:
        self._measured: list[Tensor] = []

    def mean(self, x: Tensor, level: int) -> Tensor:
        """See `Pools`: float32 [N,C,h,w] -> [N,C,1,1]."""
        self._measured.append(x.mean(dim=(2, 3)))
        return self._measured[-1][:, :, None, None]

    @property
    def statistics(self) -> Tensor:
        """What the pools measured, float32 [N,K]."""
        return _joined(self._measured)


class FixedMeans:
    """Gives the pools of one forward pass the means in `context`, float32 [1,K] or [N,K], and measures nothing."""

    def __init__(self, context: Tensor) -> None:
        self._context, self._used = context, 0

    def mean(self, x: Tensor, level: int) -> Tensor:
        """See `Pools`: float32 [N,C,h,w] -> [1,C,1,1] or [N,C,1,1]."""
        self._used += x.shape[1]
        return self._context[:, self._used - x.shape[1] : self._used, None, None]


class PoolContext:
    """Gives the pools of one forward pass their means, and keeps those that they measure.

    Args:
        context: float32 [1,K] or [N,K], the means to give.
        mode: float32 [2]: pools use mode[0] times the measured means plus mode[1] times the given ones. `MEASURED`,
            `GIVEN` or `CORRECTED` of `mirnet_deploy.artifacts.context`.
        rows: float32 [N,H], [1,H] or [1,1]: with `cols`, a separable weight of every pixel in the measured means,
            such as 1 in the tile's core and 0 in its halo. Not all 0; constant within blocks of `SIZE_MULTIPLE` pixels,
            of which the first is read.
        cols: float32 [N,W], [1,W] or [1,1]: the same along the width.
    """

    def __init__(self, context: Tensor, mode: Tensor, rows: Tensor, cols: Tensor) -> None:
        self._given, self._mode = FixedMeans(context), mode
        self._weight = rows[:, None, ::SIZE_MULTIPLE, None] * cols[:, None, None, ::SIZE_MULTIPLE]
        self._total = self._weight.mean(dim=(2, 3), keepdim=True)
        self._measured: list[Tensor] = []

    def mean(self, x: Tensor, level: int) -> Tensor:
        """See `Pools`: float32 [N,C,h,w] -> [N,C,1,1].

        Pixels of one weight are averaged first: whole feature maps times weights would be written to memory once more.
        """
        side = SIZE_MULTIPLE >> level
        blocks = F.avg_pool2d(x, side) if side > 1 else x
        measured = (blocks * self._weight).mean(dim=(2, 3), keepdim=True) / self._total
        self._measured.append(measured[:, :, 0, 0])
        return self._mode[0] * measured + self._mode[1] * self._given.mean(x, level)

    @property
    def statistics(self) -> Tensor:
        """What the pools measured, float32 [N,K], while they used the means that `mode` asks for."""
        return _joined(self._measured)


def _joined(parts: list[Tensor]) -> Tensor:
    """Tensors [N,C] side by side, float32 [N,K], joined in groups that a GPU takes by value."""
    groups = [torch.cat(parts[at : at + BY_VALUE], dim=1) for at in range(0, len(parts), BY_VALUE)]
    return groups[0] if len(groups) == 1 else torch.cat(groups, dim=1)
