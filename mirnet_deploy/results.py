"""What a runtime says of itself and of the pictures that it made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.consistency.prediction import Prediction, from_difference, psnr_of
from mirnet_deploy.consistency.shared_means import Outcome
from mirnet_deploy.devices.arguments import UNIT
from mirnet_deploy.devices.result_kernels import gain_of
from mirnet_deploy.engines.base import Engine, flaws_error
from mirnet_deploy.pipeline.reports import Report
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.tiling import TileGrid


@dataclass(frozen=True)
class RuntimeInfo:
    """What a runtime runs, and how."""

    path: str
    """The artifact's file; its name where an opened engine was given."""
    metadata: ArtifactMetadata
    device: str
    """"cpu" or "cuda:N"."""
    backend: str
    """Library, version, provider, and the precision where that is not FP32 by the library's default."""
    settings: RuntimeSettings
    """As asked for."""
    tile_size: tuple[int, int] | None
    """Height and width of the tiles of a picture that does not run whole; None where every picture does."""
    batch: int
    """Tiles that run at once: as asked for, or the least that a plan takes."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PictureInfo:
    """How one picture was enhanced, and how close it is to the network's result for the whole of it."""

    tiles: int
    """1 where the picture ran whole: then tiles added no error."""
    tile_size: tuple[int, int]
    """Height and width."""
    settings: RuntimeSettings
    """As asked for."""
    seconds: float
    """From the call until the result was finished; until it was enqueued where nobody waited for it
    (`MIRNetRuntime.enhance_device`)."""
    passes: int = 1
    """Passes over the whole picture; the last one wrote the result."""
    sampled: float = 0.0
    """Share of the picture that was measured before the first pass, for a first guess of the means; what was measured
    twice counts twice."""
    predicted_psnr: float | None = None
    """PSNR in dB between this result and the network's for the whole picture, before rounding. None where there is
    nothing to predict (one tile) or nothing was predicted ("local")."""
    predicted_max_abs: float | None = None
    """The largest difference between the same two, of a range of 1; None as above."""
    within_tolerance: bool | None = None
    """Whether the prediction is within the tolerance; None as above."""
    gain: float | None = None
    """Gain of the tone curve that set the brightness asked for; None where the brightness is left to the network."""
    backend: str = ""
    """See `RuntimeInfo.backend`: what "auto" came to."""

    @classmethod
    def of(
        cls,
        settings: RuntimeSettings,
        grid: TileGrid,
        outcome: Outcome | None,
        seconds: float,
        gain: float | None,
        backend: str,
    ) -> PictureInfo:
        """What is known of a picture that was made in the tiles of `grid`; no `outcome` where they shared no means."""
        info = cls(len(grid), grid.tile_size, settings, seconds, gain=gain, backend=backend)
        if outcome is None:
            return info
        return replace(info, passes=outcome.passes, sampled=outcome.sampled).predicting(outcome.prediction)

    def predicting(self, prediction: Prediction) -> PictureInfo:
        """The same, with a prediction of the error."""
        return replace(
            self,
            predicted_psnr=prediction.psnr,
            predicted_max_abs=prediction.max_abs,
            within_tolerance=prediction.within(self.settings.tolerance),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Enhanced(NamedTuple):
    """A result, and how it was made."""

    pixels: NDArray[Any]
    """[H,W,3], with the dtype and the order of channels of the picture that was given."""
    info: PictureInfo


class Enqueued:
    """What `MIRNetRuntime.enhance_device` returns. It need not be kept.

    Args:
        report: of the device, to come.
        known: what is known already.
        compared: pixels of the thumbnail whose two results the report compares; 0 where it has none.
    """

    def __init__(self, engine: Engine, report: Report, known: PictureInfo, compared: int) -> None:
        self._engine, self._report, self._known, self._compared = engine, report, known, compared

    def done(self) -> bool:
        """Whether the picture is finished, and `info` does not wait.

        Raises:
            EngineError: the device has failed, or the runtime is closed.
        """
        return self._report.done()

    def info(self) -> PictureInfo:
        """Waits until the picture is finished and says what is known of it.

        Raises:
            EngineError: its values are NaN or infinite; or the device has failed, or the runtime is closed.
        """
        report = self._report.wait()
        if report["flaws"]:
            raise flaws_error(self._engine)
        info = self._known
        if report["low"] != report["high"]:
            info = replace(info, gain=gain_of(report))
        if self._compared:
            # Half a unit more for each value: the most that rounding can have taken away.
            psnr = psnr_of((float(report["squares"]) / (3 * self._compared) + 0.5) / UNIT)
            info = info.predicting(from_difference(psnr, float(report["largest"])))
        return info
