"""How far the effect of a tile's border reaches into it, with fixed means in the global pools: how wide a halo must be.

Two answers. The *structural* reach follows from the graph alone: beyond it no weights can carry anything. The
*measured* one is what given weights do at borders in given pictures: most of a trained network looks much less far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mirnet_deploy.tiling import BORDER_ERROR
from mirnet_deploy.training.config import SIZE_MULTIPLE, MIRNetConfig
from mirnet_deploy.training.context import FixedMeans, OwnMeans
from mirnet_deploy.training.network import MIRNet

CUTS = (3 / 8, 4 / 8, 5 / 8)
"""Where crops are cut, as shares of their sides. More cuts find little more, in proportionally more time."""


def structural_reach(config: MIRNetConfig) -> int:
    """The largest distance in pixels, along rows or columns, over which anything can be carried, for any weights.

    A row of NaN spreads along every edge of the real graph, from each of the places that it can have on the coarsest
    level's grid. The means are given: a pool that measured them and weighted them with 0 would spread the NaN.
    """
    network = MIRNet(MIRNetConfig(8, config.n_rrg, config.n_msrb)).eval()  # the number of channels has no part in it
    middle = 64 * config.n_rrg * (config.n_msrb + 1)
    # One picture for each place. Four columns are the fewest that the network takes; kernels are square, so the reach
    # along rows is that along columns.
    x = torch.zeros(SIZE_MULTIPLE, 3, 2 * middle, SIZE_MULTIPLE)
    for phase in range(SIZE_MULTIPLE):
        x[phase, :, middle + phase] = torch.nan
    with torch.inference_mode():
        y = network(x, FixedMeans(torch.zeros(1, network.config.context_size)))
    reached = y.isnan().any(dim=3).any(dim=1)
    assert not reached[:, 0].any()
    assert not reached[:, -1].any()
    return max(int((reached[phase].nonzero() - (middle + phase)).abs().max()) for phase in range(SIZE_MULTIPLE))


def border_error(network: MIRNet, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much a border changes a picture, by the distance from it.

    The crop, uint8 [H,W,3] RGB with sides that are multiples of 4, is cut at `CUTS` along both axes, and each part is
    enhanced with the means of the whole crop.

    Returns:
        float32 [D], never rising: entry d is the largest absolute difference from the whole crop's result, of a range
        of 1, in pixels that are d or more pixels away from a cut. D is the length of the shortest part; 0 where the
        crop is too small to be cut.
    """
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    pools = OwnMeans()
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        whole = network(x, pools).clamp(0, 1)
        for axis in (2, 3):
            side = x.shape[axis]
            for cut in {int(share * side) // SIZE_MULTIPLE * SIZE_MULTIPLE for share in CUTS} - {0}:
                for start, end in ((0, cut), (cut, side)):
                    each = slice(start, end)
                    inside = (slice(None), slice(None), each) if axis == 2 else (slice(None),) * 3 + (each,)
                    given = network(x[inside], FixedMeans(pools.statistics)).clamp(0, 1)
                    off = (given - whole[inside]).abs().amax(dim=(0, 1, 5 - axis))
                    # Ordered from the cut inwards: the first part ends at it, the second begins there.
                    parts.append(off.numpy() if start else off.numpy()[::-1])
    if not parts:
        return np.zeros(0, np.float32)
    shortest = min(map(len, parts))
    largest = np.max([part[:shortest] for part in parts], axis=0)
    return np.maximum.accumulate(largest[::-1])[::-1]


def derived_halo(network: MIRNet, crops: Sequence[NDArray[np.uint8]]) -> int:
    """The halo of a tile in pixels: the least multiple of 4 at which no border in `crops` changes a pixel by more than
    `BORDER_ERROR`. Where a crop is too small to tell, it is the structural reach, rounded up to a multiple of 4.

    Args:
        crops: at least one, as `border_error` takes them.
    """
    errors = [border_error(network, crop) for crop in crops]
    for halo in range(SIZE_MULTIPLE, min(map(len, errors)), SIZE_MULTIPLE):
        if max(error[halo] for error in errors) <= BORDER_ERROR:
            return halo
    return -(-structural_reach(network.config) // SIZE_MULTIPLE) * SIZE_MULTIPLE
