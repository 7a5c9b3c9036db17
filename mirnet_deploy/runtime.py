"""`MIRNetRuntime`: one model, one device, pictures in and pictures out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.engines import open_engine, resolve_model
from mirnet_deploy.errors import EngineError, UsageError
from mirnet_deploy.metadata import ArtifactMetadata
from mirnet_deploy.pipeline import check_out, check_picture, run_picture
from mirnet_deploy.tiling import TileGrid, check_tile, make_grid, padded_side

TileSetting = int | Literal["auto", "none"]

WHOLE_BUDGET = 24 << 20
"""Pixels times `n_feat` that an ONNX model takes at once under `tile="auto"`: 1.57 megapixels of `lite`, 0.79 of
`base`, 0.39 of `paper`, each in about 3 GiB (measured for `lite`: 2 GiB a megapixel). A constant rather than this
machine's free memory, so that a picture has one result everywhere."""


@dataclass(frozen=True)
class RuntimeInfo:
    """What a runtime runs, and how."""

    path: str
    metadata: ArtifactMetadata
    device: str
    """"cpu" or "cuda:N"."""
    backend: str
    """Library, version and provider."""
    tile: TileSetting
    """As asked for."""
    tile_size: tuple[int, int] | None
    """Height and width of the tiles of a picture that does not run whole; None where every picture does."""
    batch: int
    """Tiles run at once."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Limits:
    """Shapes that the engine takes: of ONNX files any, of plans those of the optimization profile."""

    least: tuple[int, int, int] = (1, 0, 0)
    """Batch, height and width."""
    most: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, metadata: ArtifactMetadata) -> _Limits:
        if metadata.kind != "plan":
            return cls()
        axes = (0, 2, 3) if metadata.interface == "float" else (0, 1, 2)
        least, _, most = metadata.profile_shapes()
        return cls(tuple(least[a] for a in axes), tuple(most[a] for a in axes))  # type: ignore[arg-type]


class MIRNetRuntime:
    """Enhances pictures with one model on one device.

    One runtime may be shared by threads: concurrent calls give the bits of serial ones, each at the memory of one call.

    Whole pictures or tiles: the network takes means over everything it sees, so a tile that is run alone comes out
    somewhat different from the same place in the whole picture. `tile="auto"` therefore runs a picture whole up to a
    fixed number of pixels (`WHOLE_BUDGET`; a plan: up to the largest shape of its profile) and otherwise in the largest
    tiles that keep the same bound. `tile=N` runs in tiles of N x N every picture that is larger, `tile="none"` none.

    Args:
        model: a bundled model's name, an `.onnx` file or a `.plan` file of `mirnet-deploy export`.
        device: "auto" (the first GPU if the engine can use one, else the CPU), "cpu", "cuda" or "cuda:N".
        tile: "auto", "none", or a side in pixels: a multiple of 4 and more than twice the model's halo.
        threads: threads that one run may use on the CPU; None leaves it to the library (all cores).
        batch: tiles of one picture to run at once; memory grows with it.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, or does not fit its sidecar.
        EngineError: the library or the device refuses; a device that was asked for is never silently another one.
        MissingDependencyError: the inference library is not installed.
        UsageError: a setting is not a value it can have.
    """

    def __init__(
        self,
        model: str | Path = "lite",
        *,
        device: str = "auto",
        tile: TileSetting = "auto",
        threads: int | None = None,
        batch: int = 1,
    ) -> None:
        if tile not in ("auto", "none") and (type(tile) is not int or tile < 1):
            raise UsageError(f"tile is {tile!r}; expected 'auto', 'none' or a whole number of pixels")
        if type(batch) is not int or batch < 1:
            raise UsageError(f"batch is {batch!r}; expected a whole number from 1")
        self._engine = open_engine(model, device, threads)
        self._closed = False
        self._tile = tile
        try:
            metadata = self._engine.metadata
            self._limits = _Limits.of(metadata)
            self._tile_size = _tile_size(tile, metadata, self._limits)
            self._batch = _batch(batch, self._limits)
        except BaseException:
            self._engine.close()
            raise
        self._info = RuntimeInfo(
            path=str(resolve_model(model)),
            metadata=metadata,
            device=self._engine.device,
            backend=self._engine.backend,
            tile=tile,
            tile_size=self._tile_size,
            batch=self._batch,
        )

    @property
    def info(self) -> RuntimeInfo:
        """What this runtime runs; readable after `close` too."""
        return self._info

    def enhance(self, image: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Enhances one picture of any size from 1x1 up.

        Args:
            image: [H,W,3] RGB, uint8, uint16, or float32 in [0, 1]; any strides; left as it is. An engine of the
                interface `image` takes uint8 only.
            out: an array for the result, of the same shape and dtype; any strides. It may be `image` itself or overlap
                it, at the price of a copy.

        Returns:
            `out`, or a new C-contiguous array: the same shape, dtype and range; integers are rounded half to even.
            Where an error is raised in the middle, `out` may be partly written.

        Raises:
            ImageError: the picture or `out` is not as described.
            EngineError: the runtime is closed, or the engine refuses, for example for want of memory.
        """
        if self._closed:
            raise EngineError(f"the runtime of {self._info.path} is closed; open a new one")
        check_picture(image, self._engine.metadata.interface)
        if out is None:
            out = np.empty(image.shape, image.dtype)
        else:
            check_out(out, image)
            if np.may_share_memory(image, out):
                image = image.copy()  # a tile's halo must not read what its neighbour has written
        grid = self._grid(*image.shape[:2])
        run_picture(self._engine, image, out, grid, self._batch, self._limits.least[0])
        return out

    def close(self) -> None:
        """Frees the engine. May be called twice; `enhance` is an error afterwards."""
        if not self._closed:
            self._closed = True
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _grid(self, height: int, width: int) -> TileGrid:
        metadata = self._engine.metadata
        multiple = metadata.size_multiple
        rows = padded_side(height, multiple, self._limits.least[1])
        cols = padded_side(width, multiple, self._limits.least[2])
        most = self._limits.most
        whole = self._tile_size is None or (self._tile == "auto" and most is None and _fits(rows, cols, metadata))
        if whole and most is not None and (rows > most[1] or cols > most[2]):
            raise UsageError(
                f"a picture of {width}x{height} does not fit whole in this plan, which takes up to "
                f"{most[2]}x{most[1]}; use tile='auto'"
            )
        tile = (rows, cols) if whole or self._tile_size is None else self._tile_size
        return make_grid(rows, cols, tile=tile, halo=metadata.halo, multiple=multiple)


def _fits(height: int, width: int, metadata: ArtifactMetadata) -> bool:
    return height * width * metadata.network["n_feat"] <= WHOLE_BUDGET


def _tile_size(tile: TileSetting, metadata: ArtifactMetadata, limits: _Limits) -> tuple[int, int] | None:
    """Height and width of tiles, None for whole pictures.

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
        side = math.isqrt(WHOLE_BUDGET // metadata.network["n_feat"]) // step * step
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


def _batch(batch: int, limits: _Limits) -> int:
    if limits.most is not None and batch > limits.most[0]:
        raise UsageError(f"batch is {batch}; this plan takes up to {limits.most[0]}: export it with a larger --batch")
    return max(batch, limits.least[0])
