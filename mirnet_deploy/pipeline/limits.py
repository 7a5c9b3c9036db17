"""The shapes that an engine takes, and the tile that suits it and this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines.base import BYTES_A_VALUE
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import available_memory
from mirnet_deploy.settings import TileSetting
from mirnet_deploy.tiling import check_tile

WHOLE_BUDGET = 24 << 20
"""Pixels times `n_feat` that an ONNX model takes whole under `tile="auto"` where memory allows: 1.57 megapixels of
`lite`, 0.79 of `base`, 0.39 of `paper`. Whole is fastest: tiles need more than one pass to agree."""
TILE_BUDGET = 4 << 20
"""Pixels times `n_feat` of a tile under `tile="auto"`: 512x512 of `lite`. Smaller ones compute more halo, larger ones
are slower for each pixel (measured in benchmarks/TILING.md, "The size of a tile")."""


@dataclass(frozen=True)
class Limits:
    """Shapes that an engine takes: of ONNX files any, of plans those of the optimization profile."""

    least: tuple[int, int, int] = (1, 0, 0)
    """Batch, height and width."""
    most: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, metadata: ArtifactMetadata) -> Limits:
        """The limits of an artifact."""
        if metadata.kind != "plan":
            return cls()
        axes = (0, 2, 3) if metadata.interface == "float" else (0, 1, 2)
        least, _, most = metadata.profile_shapes()
        return cls(tuple(least[a] for a in axes), tuple(most[a] for a in axes))  # type: ignore[arg-type]


def whole_budget() -> int:
    """Pixels times `n_feat` to take at once: `WHOLE_BUDGET`, or less where half of the free memory holds less."""
    free = available_memory()
    return WHOLE_BUDGET if free is None else min(WHOLE_BUDGET, free // 2 // BYTES_A_VALUE)


def choose_tile(tile: TileSetting, metadata: ArtifactMetadata, limits: Limits, budget: int) -> tuple[int, int] | None:
    """Height and width of tiles, None for whole pictures.

    "auto" is the largest shape of a plan's profile, and of an ONNX model the largest square that keeps `budget` and
    `TILE_BUDGET`.

    Raises:
        UsageError: the side does not fit the network's size multiple, its halo or the plan's profile.
    """
    if tile == "none":
        return None
    multiple, halo = metadata.size_multiple, metadata.halo
    if tile == "auto":
        if limits.most is not None:
            return limits.most[1], limits.most[2]
        step = 4 * multiple
        side = math.isqrt(min(budget, TILE_BUDGET) // metadata.network["n_feat"]) // step * step
        return (max(side, 4 * halo, step),) * 2
    check_tile(tile, halo, multiple)
    if limits.most is not None and not (
        max(limits.least[1:]) <= tile <= min(limits.most[1:])  # every tile of a grid must fit the profile
    ):
        raise UsageError(
            f"tile is {tile}; this plan takes tiles from {max(limits.least[1:])} to {min(limits.most[1:])}: "
            "use tile='auto', or export a plan with another --tile"
        )
    return tile, tile


def choose_batch(batch: int, limits: Limits) -> int:
    """The batch asked for, or the plan's least.

    Raises:
        UsageError: the plan takes no such batch.
    """
    if limits.most is not None and batch > limits.most[0]:
        raise UsageError(f"batch is {batch}; this plan takes up to {limits.most[0]}: export it with a larger --batch")
    return max(batch, limits.least[0])
