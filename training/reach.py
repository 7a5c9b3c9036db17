"""How far a pixel of the input reaches in the output, the means of the global pools held fixed: what a halo must be.

Two answers. The *structural* reach follows from the graph alone: past it no weight can carry anything. The *measured*
reach is that of given weights on given pictures, to within a threshold: most of a trained network looks much less far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirnet_deploy.training.config import SIZE_MULTIPLE, MIRNetConfig
from mirnet_deploy.training.context import GIVEN, PoolContext
from mirnet_deploy.training.network import MIRNet

THRESHOLD = 1 / 1024
"""Of white: a quarter of an 8-bit level. What moves by less counts as not reached."""
CHANGE = 1.0
"""What is added to one pixel: as much as lies between black and white."""


class FixedMeans(PoolContext):
    """Gives the means of the context and measures nothing."""

    def __init__(self, context: Tensor) -> None:
        one = torch.ones(1, 1)
        super().__init__(context, torch.tensor(GIVEN), one, one)

    def mean(self, x: Tensor, level: int) -> Tensor:
        """`PoolContext.mean`, but a NaN in `x` goes nowhere (weighed with 0 it would still be one)."""
        return self.given(x.shape[1])


def structural_reach(config: MIRNetConfig) -> int:
    """The largest distance in pixels, along rows or columns, over which anything can be carried, for any weights.

    A line of NaN travels along every edge of the real graph, from every place relative to the coarsest level's grid.
    """
    network = MIRNet(MIRNetConfig(8, config.n_rrg, config.n_msrb)).eval()  # the width has no part in it
    middle = 64 * config.n_rrg * (config.n_msrb + 1)
    # Four columns are the least that there is; kernels are square, so the rows tell all.
    x = torch.zeros(SIZE_MULTIPLE, 3, 2 * middle, SIZE_MULTIPLE)
    for phase in range(SIZE_MULTIPLE):
        x[phase, :, middle + phase] = torch.nan
    with torch.inference_mode():
        y = network(x, FixedMeans(torch.zeros(1, network.config.context_size)))
    reached = y.isnan().any(dim=3).any(dim=1)
    assert not reached[:, 0].any()
    assert not reached[:, -1].any()
    return max(int((reached[phase].nonzero() - (middle + phase)).abs().max()) for phase in range(SIZE_MULTIPLE))


def measured_reach(network: MIRNet, crops: Sequence[NDArray[np.uint8]]) -> int:
    """The farthest that the output moves by `THRESHOLD` or more from a pixel that changes by `CHANGE`, in pixels.

    The pixel is the middle one of every crop (uint8 [H,W,3] RGB, sides multiples of 4), at every place relative to the
    coarsest level's grid along the diagonal. Where a change reaches the border of a crop, that crop cannot tell, and
    the structural reach is given.
    """
    reach = 0
    for crop in crops:
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
        pools = PoolContext.plain(network.config.context_size)
        with torch.inference_mode():
            before = network(x, pools)
        for phase in range(SIZE_MULTIPLE):
            row, col = (side // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE + phase for side in x.shape[2:])
            changed = x.clone()
            changed[:, :, row, col] += CHANGE
            with torch.inference_mode():
                moved = (network(changed, FixedMeans(pools.statistics)) - before).abs().amax(dim=1)[0] >= THRESHOLD
            rows, cols = moved.nonzero().unbind(dim=1)
            if not len(rows):
                continue
            if min(rows.min(), cols.min()) == 0 or rows.max() == x.shape[2] - 1 or cols.max() == x.shape[3] - 1:
                return structural_reach(network.config)
            reach = max(reach, int((rows - row).abs().max()), int((cols - col).abs().max()))
    return reach


def derived_halo(network: MIRNet, crops: Sequence[NDArray[np.uint8]]) -> int:
    """The halo of a tile: `measured_reach` as a multiple of 4, and 4 pixels more.

    A tile's border is not one pixel that changes but a whole line of them: `mirnet-deploy bench --tiling` finds pixels
    that are levels off at the borders of tiles with the reach alone, and none with 4 pixels more.
    """
    return (-(-measured_reach(network, crops) // SIZE_MULTIPLE) + 1) * SIZE_MULTIPLE
