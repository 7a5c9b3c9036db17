"""The plan that a fleet lacks for the GPU here: built once, from the fleet's ONNX file alone, into the user's cache.

Needs a TensorRT builder, and neither torch nor onnx. Of processes that ask at once one builds it, under a lock that the
system frees when its holder dies, and the others wait. The precision is proven as in every export; the value is not,
for want of the network, and the sidecar says "not executed".
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mirnet_deploy.artifacts.fleet import Fleet, read_fleet
from mirnet_deploy.artifacts.sidecar import read_onnx, sidecar_path, write_artifact
from mirnet_deploy.devices.cuda import CudaDriver
from mirnet_deploy.engines.fleet import Key, built_plan, fitting_plan, gpu_of, is_built
from mirnet_deploy.errors import EngineError, ExportError
from mirnet_deploy.export.builder import BuilderLibrary, builder_here
from mirnet_deploy.export.islands import proven_islands
from mirnet_deploy.export.plan import Progress, plan_of
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.files import locked

KEPT = 16
"""Plans in the cache, at most; those that were used longest ago go first."""
_log = logging.getLogger(__name__)


def _silent(step: str, length: float | None) -> AbstractContextManager[Callable[[float], Any]]:
    return nullcontext(lambda share: None)


def build_missing(folder: str | Path, device: str = "auto", progress: Progress = _silent) -> Path:
    """The plan of a fleet for the GPU here: the one that is there or was built before, else one that is built now.

    A runtime that is given the folder finds it from then on. The log (`logging`, level INFO) says what is built, and
    for whom a process waits.

    Args:
        folder: of the fleet.
        device: "auto" (the first GPU), "cuda" or "cuda:N".
        progress: shows the build while it lasts.

    Raises:
        ArtifactError: a file of the fleet is missing or damaged.
        EngineError: there is no such GPU, or the library does not build for it.
        ExportError: the build or the proof of its precision failed, or the plan cannot be written.
        MissingDependencyError: no builder is installed.
    """
    fleet, index = read_fleet(Path(folder)), gpu_of(device)
    if index is None:
        raise EngineError(f"a plan of {folder} is built for a GPU of this machine, and device {device!r} means none")
    if there := fitting_plan(fleet, index):
        return there
    library = builder_here(index)
    key: Key = (library.targets[0], library.name, library.version)
    path = built_plan(fleet, key)
    what = f"the plan of {folder} for {library.targets[0]}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, what):
            if not is_built(path, fleet, key):
                _log.info("building %s once, with %s %s", what, library.name, library.version)
                _build(fleet, library, index, path, progress)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


@contextmanager
def _alone(path: Path, what: str) -> Iterator[None]:
    """The block runs in one process at a time (`files.locked`); who has to wait says for whom."""
    holder = path.with_suffix(".holder")

    def say_for_whom() -> None:
        whom = "another process"
        with suppress(OSError):
            whom = holder.read_text() or whom
        _log.info("waiting for %s, which builds %s", whom, what)

    with locked(path.with_suffix(".lock"), say_for_whom, patience=0.3):  # by then the holder has said who it is
        holder.write_text(f"process {os.getpid()} on {platform.node()}")
        yield


def _build(fleet: Fleet, library: BuilderLibrary, index: int, path: Path, progress: Progress) -> None:
    for left in path.parent.glob(f".{path.stem}*.partial"):  # of a process that was killed: nobody else writes here now
        left.unlink(missing_ok=True)
    source = fleet.checked_onnx(fleet.onnx)
    data, metadata = read_onnx(source)
    islands = proven_islands(data, metadata)
    # The full library, and "current" of TensorRT-RTX, build for the GPU whose CUDA context is current.
    driver = CudaDriver(index) if library.builds_for_here else None
    try:
        bar = progress(f"{source.name}: building with {library.name}", 1.0)
        with bar as advance, driver.active() if driver else nullcontext():
            plan, made = plan_of(data, metadata, islands, ExportSettings.of(metadata), library, advance)
    finally:
        if driver:
            driver.close()
    write_artifact(path, plan, made)
    prune(path.parent, KEPT)


def prune(folder: Path, most: int) -> None:
    """Deletes the plans of a folder that were used longest ago, with what lies beside them, until there are `most`.

    Another process may be doing the same, and what cannot be deleted stays. So do the locks, which are empty: one that
    a process waits for must not make way for a second one of its name.
    """
    found: list[tuple[float, Path]] = []
    for plan in folder.glob("*.plan"):
        with suppress(OSError):
            found.append((plan.stat().st_mtime, plan))
    for _, plan in sorted(found)[: max(0, len(found) - most)]:
        for path in (plan, sidecar_path(plan), plan.with_suffix(".holder")):
            with suppress(OSError):
                path.unlink()
