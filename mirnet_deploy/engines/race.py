"""The race of the ways to run an ONNX file: each enhances the same real dark crops, in turn."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.pixels import unit

BOUND = 50.0
"""Least PSNR in dB, before rounding, between a way's result and that of FP32: 0.8 levels of 255, root mean square."""
SECONDS = 2.0
"""After so long no further round of the race begins."""
ROUNDS = 5
CROPS = tuple(Path(__file__).parent.parent / "samples" / name for name in ("crop_a.png", "crop_b.png"))
"""Real dark pictures: the first is timed, and results of both are compared."""
_SIDE = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """A library, and the precision in which it computes."""

    backend: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "bf16"] = "fp32"

    def __str__(self) -> str:
        return self.backend if self.precision == "fp32" else f"{self.backend}:{self.precision}"


@dataclass(frozen=True)
class Measured:
    """How a way did in the race."""

    way: Way
    ms: float
    """Median of its runs."""
    psnr: float | None
    """In dB, against the first way, the lower one of two crops; None of that itself, and for equal bits. 0 where a
    value is not finite."""

    @property
    def close(self) -> bool:
        """Whether its results are close enough to those of the first way."""
        return self.psnr is None or self.psnr >= BOUND

    def __str__(self) -> str:
        return f"{self.way} {self.ms:.3g} ms" + ("" if self.close else f" (too far from FP32: {self.psnr:.1f} dB)")


def race(ways: Sequence[Way], open_way: Callable[[Way], HostEngine], metadata: ArtifactMetadata) -> list[Measured]:
    """Times all ways in turn on a dark crop, and compares them with the first on two. One that cannot be opened or run
    is left out, and said in the log.

    Raises:
        MirnetDeployError: the first way cannot be opened or run.
    """
    batches = [_batch(path, metadata) for path in CROPS]
    times: dict[Way, list[float]] = {way: [] for way in ways}
    results: dict[Way, list[NDArray[np.float32]]] = {}
    engines: dict[Way, HostEngine] = {}
    begin = 0.0
    try:
        for number in range(ROUNDS + 1):
            for way in list(times):
                try:
                    if number == 0:
                        engines[way] = open_way(way)
                        # It compiles and allocates, and does not count.
                        results[way] = [unit(engines[way].run(batch)).clip(0, 1) for batch in batches]
                        continue
                    start = time.perf_counter()
                    engines[way].run(batches[0])
                    times[way].append(time.perf_counter() - start)
                except MirnetDeployError as error:
                    if way == ways[0]:
                        raise
                    _log.warning("%s takes no part: %s", way, error)
                    del times[way]
            if number == 0:
                begin = time.perf_counter()
            elif time.perf_counter() - begin > SECONDS:
                break
    finally:
        for engine in engines.values():
            engine.close()
    close = {way: None if way == ways[0] else _least_psnr(results[way], results[ways[0]]) for way in times}
    return [Measured(way, 1000 * statistics.median(each), close[way]) for way, each in times.items()]


def _batch(path: Path, metadata: ArtifactMetadata) -> NDArray[Any]:
    """The crop at `path` as a batch of one: smaller for large networks, whose first run alone would take seconds."""
    side = _SIDE if metadata.network["n_feat"] <= 32 else _SIDE // 2
    read = cv2.imread(str(path))
    assert read is not None, path
    crop = np.ascontiguousarray(read[:side, :side, ::-1])
    if metadata.interface == "image":
        return crop[None]
    return np.ascontiguousarray(unit(crop.transpose(2, 0, 1)[None]))


def _least_psnr(results: list[NDArray[np.float32]], references: list[NDArray[np.float32]]) -> float | None:
    pairs = zip(results, references, strict=True)
    worst = np.max([np.mean((result.astype(np.float64) - reference) ** 2) for result, reference in pairs])
    return None if worst == 0 else float(-10 * np.log10(worst)) if np.isfinite(worst) else 0.0
