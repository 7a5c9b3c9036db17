"""The means that tiles share, as an artifact takes them and reports them: names, shapes and modes.

An artifact with a context takes four float32 inputs beside the picture and gives one more output. An ONNX file has
defaults for these inputs (the plain network, every pixel counts); a plan has none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONTEXT_INPUTS = ("context", "mode", "rows", "cols")
"""The inputs by name, in the order of `Pools`."""
STATISTICS = "statistics"
"""The output: float32 [N,K], the means that the pools measured while they used those that `mode` asks for."""

MEASURED = np.array([1, 0], np.float32)
"""`mode` of the plain network, float32 [2]: pools use the means that they measure."""
GIVEN = np.array([0, 1], np.float32)
"""`mode` in which pools use the means in the context."""
CORRECTED = np.array([1, 1], np.float32)
"""`mode` in which pools use the means that they measure plus those in the context, which then holds corrections."""


class Pools(NamedTuple):
    """What the network's global pools use and measure in one run of N tiles: the `CONTEXT_INPUTS`."""

    context: NDArray[np.float32]
    """[1,K]: one mean for each channel of each pool, in the order in which the pools run."""
    mode: NDArray[np.float32]
    """[2]: the weights of the measured and of the given means in their sum, which the pools use (`MEASURED`, `GIVEN`,
    `CORRECTED`)."""
    rows: NDArray[np.float32]
    """[N,H]: the product of a pixel's values in `rows` and `cols` is its weight in the measured means; not all 0, and
    constant within blocks of 4 pixels, of which one value is read."""
    cols: NDArray[np.float32]
    """[N,W]."""
