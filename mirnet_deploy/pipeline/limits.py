"""The shapes that an engine takes, and the tile that suits the engine and this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines.base import BYTES_PER_VALUE, Engine, HostEngine
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import available_memory
from mirnet_deploy.settings import TileSetting
from mirnet_deploy.tiling import check_tile

WHOLE_BYTES = 2112 << 20
"""Memory up to which a picture runs whole on an ONNX model under `tile="auto"`: `lite` takes 1.57 megapixels in ONNX
Runtime and 3.08 in OpenVINO (5.54 in bfloat16), `base` half of that and `paper` a quarter. Whole is fastest: tiles
compute a halo, and agree by a sample and at times a second pass."""
WHOLE_BYTES_ALONE = (8704 << 20, 4864 << 20)
"""The same where nothing else is enhanced meanwhile (`RuntimeSettings.alone`), in OpenVINO: a photograph of 12.6
megapixels, as telephones take them, by `lite` in float32, and in bfloat16. The first one that half of the free memory
holds counts, so that a picture has the same tiles from run to run though other programs come and go."""
TILE_SIDE = 512
"""Of a tile under `tile="auto"`, at most. Smaller tiles compute more halo, which is thrown away, and larger ones win
less than the memory that they take (measured in benchmarks/TILING.md, "The size of a tile")."""
GPU_TILE = 4 << 20
"""Pixels times `n_feat` of such a tile on a GPU, at most: 512x512 for `lite`, 256x256 for `paper`. Larger ones are
unmeasured there, and would take several times as much."""


@dataclass(frozen=True)
class Limits:
    """The shapes that an engine takes: any for ONNX files, those of the optimization profile for plans."""

    least: tuple[int, int, int] = (1, 0, 0)
    """Batch, height and width."""
    most: tuple[int, int, int] | None = None
    """Likewise; None where there is no limit."""

    @classmethod
    def of(cls, metadata: ArtifactMetadata) -> Limits:
        """The limits of an artifact."""
        if metadata.kind != "plan":
            return cls()
        axes = metadata.batch_axes
        least, _, most = metadata.profile_shapes()
        return cls(tuple(least[a] for a in axes), tuple(most[a] for a in axes))  # type: ignore[arg-type]


def whole_budget(engine: Engine, most: int | None = None, *, alone: bool = False) -> int:
    """Pixels times `n_feat` that may run at once, in `whole_bytes` of the memory that is free now."""
    alone = alone and isinstance(engine, HostEngine) and engine.whole_alone
    return whole_bytes(most, available_memory(), alone=alone) // bytes_per_value(engine)


def whole_bytes(most: int | None, free: int | None, *, alone: bool = False) -> int:
    """Memory in which a picture may run whole: `WHOLE_BYTES`, or half of `free` where that is less.

    Args:
        most: bytes that a picture was said to be allowed. Where that is more than `WHOLE_BYTES`, it takes its place:
            whoever allows so much wants it used.
        free: None where that is unknown.
        alone: whether nothing else is enhanced meanwhile: then, without `most`, it is the first of `WHOLE_BYTES_ALONE`
            that half of `free` holds.
    """
    if free is None:
        return max(WHOLE_BYTES, most or 0)
    steps = [each for each in WHOLE_BYTES_ALONE if each <= free // 2] if alone and most is None else []
    return steps[0] if steps else min(max(WHOLE_BYTES, most or 0), free // 2)


def bytes_per_value(engine: Engine) -> int:
    """Bytes that an ONNX model takes for a pixel that runs at once, for each of its `n_feat`."""
    return engine.bytes_per_value if isinstance(engine, HostEngine) else BYTES_PER_VALUE


def tile_budget(engine: Engine, budget: int, batch: int) -> int:
    """Pixels times `n_feat` of a tile under `tile="auto"`, at most: half of `budget`, in which a picture may run whole,
    since thumbnails and patches take memory too; the tiles of a batch share it."""
    share = budget // (2 * batch)
    return share if isinstance(engine, HostEngine) else min(share, GPU_TILE)


def choose_tile(tile: TileSetting, metadata: ArtifactMetadata, limits: Limits, budget: int) -> tuple[int, int] | None:
    """Height and width of the tiles; None where pictures run whole.

    "auto" means the largest shape of a plan's profile. For an ONNX model it means the largest square within `budget`
    (pixels times `n_feat`) with a side of at most `TILE_SIDE` and at least four halos.

    Raises:
        UsageError: the side asked for does not fit the network's size multiple, its halo or the plan's profile.
    """
    if tile == "none":
        return None
    multiple, halo = metadata.size_multiple, metadata.halo
    if tile == "auto":
        if limits.most is not None:
            return limits.most[1], limits.most[2]
        step = 4 * multiple
        side = min(math.isqrt(budget // metadata.network["n_feat"]), TILE_SIDE) // step * step
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
    """The batch asked for, or the least that the plan takes.

    Raises:
        UsageError: the plan does not take so large a batch.
    """
    if limits.most is not None and batch > limits.most[0]:
        raise UsageError(f"batch is {batch}; this plan takes up to {limits.most[0]}: export it with a larger --batch")
    return max(batch, limits.least[0])
