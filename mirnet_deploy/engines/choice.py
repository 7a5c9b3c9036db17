"""Which library runs an ONNX file fastest on this processor, and in which precision: measured once, and remembered.

No rule would do: which is faster depends on the processor's instructions, on the versions of both libraries and on the
network. The first time that a model is opened here, each way that is installed enhances a real dark crop a few times,
in turn. The fastest wins whose results are close enough to those of FP32, on that crop and on a second one. What was
measured is kept under the user's cache folder, and holds for this model, these versions and this processor alone. Not
measured is what a library takes for each new size of pictures: OpenVINO compiles a model for it (benchmarks/CPU.md).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import cache_folder, locked, write_atomically
from mirnet_deploy.machine import describe_processor, library_versions
from mirnet_deploy.pixels import unit

OVERRIDE = "MIRNET_DEPLOY_BACKEND"
"""Environment variable that takes the place of the settings' "auto": a library, or "openvino:bf16"."""
BOUND = 50.0
"""Least PSNR in dB, before rounding, between a way's result and that of FP32: 0.8 levels of 255, root mean square."""
SECONDS = 2.0
"""After so long no further round of the race begins."""
ROUNDS = 5
CROPS = tuple(Path(__file__).parent.parent / "samples" / name for name in ("crop_a.png", "crop_b.png"))
"""Real dark pictures: the first is timed, and results of both are compared."""
_SIDE = 256
_VERSION = 2
"""Of what is measured: raised when an engine computes otherwise than before, or the race is another one."""
_known: dict[str, list[Measured]] = {}
"""What this process has measured or read, by the name of its file."""
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


def overridden() -> Way | None:
    """What the environment asks for in place of "auto".

    Raises:
        UsageError: it is something else than a library, or "openvino:bf16".
    """
    text = os.environ.get(OVERRIDE, "")
    if not text:
        return ways_here()[0] if os.environ.get("CI", "false") not in ("", "0", "false") else None  # no race in a build
    known = {str(way): way for way in (Way("onnxruntime"), Way("openvino"), Way("openvino", "bf16"))}
    if text not in known:
        raise UsageError(f"{OVERRIDE} is {text!r}; expected one of {', '.join(known)}")
    return known[text]


def ways_here() -> list[Way]:
    """What can be tried with the libraries that are installed, and on this processor; FP32 first. ONNX Runtime alone
    where there is neither library, so that opening it says what is missing."""
    installed = library_versions()
    ways = [Way("onnxruntime")] if set(installed) - {"openvino"} or not installed else []
    if "openvino" in installed:
        ways.append(Way("openvino"))
        has = describe_processor()["instructions"]
        if has is None or "bf16" in has:  # where it is unknown, the race finds out
            ways.append(Way("openvino", "bf16"))
    return ways


def fastest(
    metadata: ArtifactMetadata,
    ways: Sequence[Way],
    allowed: Callable[[Way], bool],
    open_way: Callable[[Way], HostEngine],
    threads: int | None,
) -> Way:
    """The fastest of `ways` that is allowed and close enough to FP32. Races them where that is not known yet; of
    processes that ask at once one does, and the others take what it found.

    Args:
        ways: all that can run here; the others are compared with the first, which computes in FP32 (or, of a file in
            FP16, as that says).
        threads: of a run, as in `RuntimeSettings`.
    """
    facts = _facts(metadata, ways, threads)
    path = _place(facts)
    measured = _known.get(path.name) or _remembered(path, facts)
    if measured is None:
        with _alone(path):
            measured = _remembered(path, facts)
            if measured is None:
                names = ", ".join(map(str, ways))
                _log.info("measuring once which library runs %s fastest here: %s", metadata.name, names)
                measured = race(ways, open_way, metadata)
                if len(measured) == len(ways):  # else one failed that may run another time
                    _remember(path, facts, measured)
    _known[path.name] = measured
    return _winner(measured, allowed)


def described(metadata: ArtifactMetadata) -> str:
    """What a CPU runs the model with by default here, and why, in words. Nothing is measured for it.

    Raises:
        UsageError: see `overridden`.
    """
    if not library_versions():
        return "nothing: neither ONNX Runtime nor OpenVINO is installed"
    if way := overridden():
        return f"{way}, as the environment says"
    ways = ways_here()
    if len(ways) == 1:
        return f"{ways[0]}, the only one here"
    facts = _facts(metadata, ways, None)
    measured = _remembered(_place(facts), facts)
    if measured is None:
        return f"not measured yet: {', '.join(map(str, ways))}"
    times = ", ".join(f"{each.way} {each.ms:.3g} ms" for each in measured)
    return f"{_winner(measured, lambda way: True)}, measured here: {times}"


def _facts(metadata: ArtifactMetadata, ways: Sequence[Way], threads: int | None) -> dict[str, Any]:
    """What a measurement holds for."""
    return {
        "version": _VERSION,
        "model": metadata.sha256,
        "libraries": library_versions(),
        "processor": describe_processor(),
        "threads": threads,
        "ways": [str(way) for way in ways],
    }


def _place(facts: Mapping[str, Any]) -> Path:
    """The file of what was measured under these facts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder("choices") / f"{digest[:32]}.json"


def _winner(measured: Sequence[Measured], allowed: Callable[[Way], bool]) -> Way:
    fitting = [each for each in measured if allowed(each.way) and (each.psnr is None or each.psnr >= BOUND)]
    return min(fitting, key=lambda each: each.ms).way


def race(ways: Sequence[Way], open_way: Callable[[Way], HostEngine], metadata: ArtifactMetadata) -> list[Measured]:
    """Times all ways in turn on a dark crop, and compares them with the first on two. One that cannot be opened or run
    is left out, and said in the log."""
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
    found = [_psnr(result, reference) for result, reference in zip(results, references, strict=True)]
    return min((each for each in found if each is not None), default=None)


def _psnr(result: NDArray[np.float32], reference: NDArray[np.float32]) -> float | None:
    mean = float(np.mean((result.astype(np.float64) - reference) ** 2))
    return None if mean == 0 else float(-10 * np.log10(mean)) if np.isfinite(mean) else 0.0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The block runs in one process and thread at a time, unless no file can be made beside `path`."""
    with ExitStack() as opened:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened.enter_context(locked(path.with_suffix(".lock")))
        except (OSError, NotImplementedError) as error:  # the latter: of a file system that has no locks
            _log.warning("no lock beside %s, so other processes may measure at the same time: %s", path, error)
        yield


def _remembered(path: Path, facts: dict[str, Any]) -> list[Measured] | None:
    """What was measured under the same facts; None where nothing was. What cannot be read is ignored, and said."""
    try:
        stored = json.loads(path.read_bytes())
        if stored["facts"] != facts:
            raise ValueError("it is of another machine")
        measured = [
            Measured(Way(**each["way"]), float(each["ms"]), None if each["psnr"] is None else float(each["psnr"]))
            for each in stored["measured"]
        ]
        if [str(each.way) for each in measured] != facts["ways"] or measured[0].psnr is not None:
            raise ValueError("its ways are not these")
        return measured
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("%s is ignored, and measured anew: %s", path, error)
        return None


def _remember(path: Path, facts: dict[str, Any], measured: Sequence[Measured]) -> None:
    text = json.dumps({"facts": facts, "measured": [asdict(each) for each in measured]}, indent=1)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        _log.warning("%s cannot be written, so the next process measures again: %s", path, error)
