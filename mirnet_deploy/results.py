"""What a runtime says of itself and of the pictures that it made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.consistency.shared_means import Outcome
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.tiling import TileGrid


@dataclass(frozen=True)
class RuntimeInfo:
    """What a runtime runs, and how."""

    path: str
    """Of the artifact; its name, where an opened engine was given."""
    metadata: ArtifactMetadata
    device: str
    """"cpu" or "cuda:N"."""
    backend: str
    """Library, version and provider."""
    settings: RuntimeSettings
    """As asked for."""
    tile_size: tuple[int, int] | None
    """Height and width of the tiles of a picture that does not run whole; None where every picture does."""
    batch: int
    """Tiles run at once: as asked for, or the least that a plan takes."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PictureInfo:
    """How one picture was enhanced, and how close it is to the network's result for the whole of it."""

    tiles: int
    """1 for a picture that ran whole, and so is the network's result itself."""
    tile_size: tuple[int, int]
    """Height and width."""
    settings: RuntimeSettings
    """As asked for."""
    seconds: float
    passes: int = 1
    """Over the whole picture; the last one wrote the result."""
    sampled: float = 0.0
    """Share of the picture that was measured beside the passes, for the first guess of the means."""
    predicted_psnr: float | None = None
    """dB between result and whole picture, before rounding; None where there is nothing to predict (one tile) or
    nothing was predicted ("local")."""
    predicted_max_abs: float | None = None
    """The largest difference, of a range of 1; None as above."""
    within_tolerance: bool | None = None
    """Whether the prediction keeps the tolerance; None as above."""
    gain: float | None = None
    """Of the tone curve that brought the result to the brightness asked for; None where that is the network's."""

    @classmethod
    def of(
        cls, settings: RuntimeSettings, grid: TileGrid, outcome: Outcome | None, seconds: float, gain: float | None
    ) -> PictureInfo:
        """What is known of a picture that was made in the tiles of `grid`; `outcome` where they shared means."""
        info = cls(len(grid), grid.tile_size, settings, seconds, gain=gain)
        if outcome is None:
            return info
        return replace(
            info,
            passes=outcome.passes,
            sampled=outcome.sampled,
            predicted_psnr=outcome.prediction.psnr,
            predicted_max_abs=outcome.prediction.max_abs,
            within_tolerance=outcome.prediction.within(settings.tolerance),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Enhanced(NamedTuple):
    """A result, and how it was made."""

    pixels: NDArray[Any]
    """[H,W,3], of the picture's dtype."""
    info: PictureInfo
