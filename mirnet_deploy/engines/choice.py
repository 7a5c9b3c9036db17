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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.engines.race import Measured, Way, race
from mirnet_deploy.errors import UsageError
from mirnet_deploy.files import cache_folder, locked, write_atomically
from mirnet_deploy.machine import describe_processor, library_versions

OVERRIDE = "MIRNET_DEPLOY_BACKEND"
"""Environment variable that takes the place of the settings' "auto": a library, or "openvino:bf16"."""
_VERSION = 2
"""Of what is measured: raised when an engine computes otherwise than before, or the race is another one."""
_known: dict[str, list[Measured]] = {}
"""What this process has measured or read, by the name of its file."""
_log = logging.getLogger(__name__)


def overridden() -> Way | None:
    """What the environment asks for in place of "auto".

    Raises:
        UsageError: it is something else than a library, or "openvino:bf16".
    """
    text = os.environ.get(OVERRIDE, "")
    if not text:
        return None
    known = {str(way): way for way in (Way("onnxruntime"), Way("openvino"), Way("openvino", "bf16"))}
    if text not in known:
        raise UsageError(f"{OVERRIDE} is {text!r}; expected one of {', '.join(known)}")
    return known[text]


def is_build() -> bool:
    """Whether this is a run of continuous integration, of which a race is no part. There the first way runs: its runs
    must compare with each other, on whatever machine they are."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def without_race() -> Way | None:
    """What runs where nothing needs to be measured: what the environment asks for, the only way that there is, or the
    first in a build. None where a race decides.

    Raises:
        UsageError: see `overridden`.
    """
    if way := overridden():
        return way
    ways = ways_here()
    return ways[0] if len(ways) == 1 or is_build() else None


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

    Raises:
        MirnetDeployError: the first way cannot be opened or run.
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
    """What a CPU runs the model with by default here, and why, in words. Nothing is measured or loaded for it."""
    if not library_versions():
        return "nothing: neither ONNX Runtime nor OpenVINO is installed"
    try:
        asked, way = overridden(), without_race()
    except UsageError as error:
        return f"nothing: {error}"
    if way:
        why = f"by {OVERRIDE}" if asked else "since CI is set" if is_build() else "the only one here"
        return f"{way}, {why}"
    ways = ways_here()
    facts = _facts(metadata, ways, None)
    measured = _remembered(_place(facts), facts)
    if measured is None:
        return f"not measured yet: {', '.join(map(str, ways))}"
    return f"{_winner(measured, lambda way: True)}, measured here: {', '.join(map(str, measured))}"


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
    fitting = [each for each in measured if allowed(each.way) and each.close]
    return min(fitting, key=lambda each: each.ms).way


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
        _log.warning("%s is ignored: %s", path, error)
        return None


def _remember(path: Path, facts: dict[str, Any], measured: Sequence[Measured]) -> None:
    text = json.dumps({"facts": facts, "measured": [asdict(each) for each in measured]}, indent=1)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        _log.warning("%s cannot be written, so the next process measures again: %s", path, error)
