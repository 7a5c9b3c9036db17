"""Checkpoint -> fleet: its ONNX files, made once, and a plan of them for each of many GPUs, in one folder.

A fleet grows: by plans for more GPUs, and by plans of other versions of a builder, beside those that are there. What it
was made of never changes, so that all of its plans are of one ONNX file.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.fleet import MANIFEST, Fleet, FleetFile, FleetPlan, is_fleet, read_fleet
from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.sidecar import read_onnx, sidecar_path
from mirnet_deploy.errors import ArtifactError, EngineError, ExportError, MirnetDeployError, UsageError
from mirnet_deploy.export.builder import CURRENT, BuilderChoice, BuilderLibrary, find_builder
from mirnet_deploy.export.pipeline import Exported, Outputs, export_checkpoint, prove_plan
from mirnet_deploy.export.plan import Progress
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.files import is_there, locked, write_together
from mirnet_deploy.training.checkpoint import LoadedCheckpoint

LOCK = ".fleet.lock"
"""Beside the manifest. Held while a fleet is begun and while an entry is added, so that exports that run at once make
one fleet and lose none of one another's entries."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """What became of one target of a fleet."""

    target: str
    exported: Exported | None = None
    """Its new plan."""
    kept: Path | None = None
    """Its plan, which was there before."""
    error: MirnetDeployError | None = None
    """Why it has none."""


def fleet_builders(choice: BuilderChoice, targets: Sequence[str]) -> list[BuilderLibrary]:
    """A builder for each of `targets`, which are as for `find_builder`; of the same target one.

    Raises:
        EngineError, MissingDependencyError: as `find_builder`.
        UsageError: no target is named or one is unknown, or `choice` does not build for it.
    """
    if not targets:
        raise UsageError("--fleet names no target; expected for example sm80,sm89,sm120")
    if choice == "none":
        raise UsageError("--fleet is a folder of plans; with --builder none there are none")
    if choice == "tensorrt" and set(targets) != {CURRENT}:
        raise UsageError(
            f"tensorrt builds for the GPU of this machine alone: --fleet {CURRENT}, on each kind of machine; "
            "tensorrt_rtx builds for all others too"
        )
    found = [find_builder(choice, () if choice == "tensorrt" else [target]) for target in targets]
    return list({library.targets: library for library in found if library is not None}.values())


def begin_fleet(
    checkpoint: LoadedCheckpoint,
    folder: Path,
    settings: ExportSettings,
    fp16: bool,
    given: Mapping[str, Any],
    crops: Sequence[NDArray[np.uint8]],
    force: bool,
    progress: Progress,
) -> tuple[Fleet, list[Exported]]:
    """Makes the ONNX files of a fleet and a manifest that has no plans yet. Where another export does so at this moment
    it is waited for, and its fleet is the result.

    Args:
        given: as for `check_same`.
        crops: as for `export_checkpoint`.
        force: whether ONNX files that are there are replaced. A fleet never is.

    Returns:
        The fleet, and what was made of it here.

    Raises:
        ArtifactError, ExportError: as `check_same`, of a fleet that another export has made.
        ExportError, MissingDependencyError: as `export_checkpoint`; or the manifest cannot be written.
    """
    outputs = Outputs.of(folder, settings.name, fp16, plan=False)
    with _alone(folder):
        if is_fleet(folder):
            fleet = read_fleet(folder)
            check_same(fleet, checkpoint, fp16, given)
            return fleet, []
        if not force:
            outputs.refuse_existing()
        made = list(export_checkpoint(checkpoint, outputs, settings, None, crops, progress))
        fleet = Fleet(folder, onnx=_entry(made[-1]), onnx_cpu=_entry(made[0]))
        path = folder / MANIFEST
        try:
            write_together({path: fleet.to_json().encode()})
        except OSError as error:
            raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    return fleet, made


def check_same(fleet: Fleet, checkpoint: LoadedCheckpoint, fp16: bool, given: Mapping[str, Any]) -> None:
    """Checks that what is to be added to a fleet is of the same making.

    Args:
        fp16: whether half precision was asked for.
        given: fields of `ExportSettings` that were asked for.

    Raises:
        ArtifactError: the fleet's ONNX file is missing or damaged.
        ExportError: the fleet is of another checkpoint, or of other settings.
    """
    metadata = read_onnx(fleet.checked_onnx(fleet.onnx))[1]
    if metadata.checkpoint_sha256 != checkpoint.sha256:
        raise ExportError(f"{fleet.folder} is the fleet of another checkpoint; name another --output-dir")
    made = ExportSettings.of(metadata)
    differing = [f"{name} {getattr(made, name)}" for name, value in given.items() if getattr(made, name) != value]
    if fp16 and metadata.precision != "fp16":
        differing.append(f"precision {metadata.precision}")
    if differing:
        raise ExportError(
            f"{fleet.folder} was made with {', '.join(differing)}, and all plans of a fleet are of one ONNX file: "
            "leave the options out, or name another --output-dir"
        )


def extend_fleet(
    checkpoint: LoadedCheckpoint,
    fleet: Fleet,
    libraries: Sequence[BuilderLibrary],
    crops: Sequence[NDArray[np.uint8]],
    force: bool,
    progress: Progress,
) -> Iterator[Attempt]:
    """Builds a plan with each of `libraries` (of one target each), and adds it to the fleet once it is proven.

    One that the fleet has already, or has by the end of the build, is kept, unless `force` is set; where one fails, the
    others are built all the same.

    Raises:
        ArtifactError: the fleet's ONNX file is missing or damaged.
    """
    path = fleet.checked_onnx(fleet.onnx)
    source = Exported(path, read_onnx(path)[1])
    settings = ExportSettings.of(source.metadata)
    for library in libraries:
        (target,) = library.targets
        key = (target, library.name, library.version)
        try:
            # Read anew for each: another export may be adding to the same fleet.
            known = _known(read_fleet(fleet.folder), key)
            if known and not force:
                yield Attempt(target, kept=fleet.checked(known))
                continue
            name = fleet.folder / (known.file if known else plan_name(source.metadata, library))
            _check_writable(fleet.folder)  # now: a build takes minutes
            if not force:
                _refuse_existing(name)
            with progress(f"{name.name}: building with {library.name}", 1.0) as advance:
                plan, metadata = prove_plan(checkpoint, source, settings, library, crops, advance)
            kept = _add(name, plan, metadata, target, force)
            yield Attempt(target, kept=kept) if kept else Attempt(target, exported=Exported(name, metadata))
        except (ArtifactError, EngineError, ExportError) as error:
            yield Attempt(target, error=error)


def plan_name(source: ArtifactMetadata, library: BuilderLibrary) -> str:
    """The name of a plan in a fleet, such as `mirnet.sm89.tensorrt_rtx-1.7.1.116.plan`."""
    target = re.sub(r"[^a-z0-9]+", "-", library.targets[0].lower())
    version = re.sub(r"[^A-Za-z0-9.]+", "-", library.version)
    return f"{source.name}.{target}.{library.name}-{version}.plan"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """In the block no other export changes the fleet in `folder`."""
    path = folder / LOCK
    with ExitStack() as opened:
        try:
            opened.enter_context(locked(path, lambda: _log.info("waiting for another export into %s", folder)))
        except OSError as error:
            raise ExportError(f"{path}, the lock of the fleet, cannot be opened: {error.strerror or error}") from error
        yield


def _check_writable(folder: Path) -> None:
    try:
        with _alone(folder), tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror or error}") from error


def _known(fleet: Fleet, key: tuple[str, str, str]) -> FleetPlan | None:
    return next((plan for plan in fleet.plans if plan.key == key), None)


def _refuse_existing(plan: Path) -> None:
    there = next((path for path in (plan, sidecar_path(plan)) if is_there(path)), None)
    if there:
        raise ExportError(f"{there} exists already, and {MANIFEST} does not name it; move it away, or --force")


def _add(path: Path, plan: bytes, metadata: ArtifactMetadata, target: str, force: bool) -> Path | None:
    """Writes a plan, its sidecar and the manifest that names it: all of them or none. The fleet may have changed while
    the plan was built: without `force` one that it has by now is kept, and returned."""
    assert metadata.sha256 is not None
    assert metadata.builder is not None
    assert metadata.builder_version is not None
    entry = FleetPlan(
        path.name, metadata.sha256, len(plan), target, metadata.builder, metadata.builder_version, metadata.precision
    )
    try:
        with _alone(path.parent):
            fleet = read_fleet(path.parent)
            if fleet.onnx.sha256 != metadata.onnx_sha256:
                raise ExportError(f"{path.parent} became a fleet of another ONNX file while {path.name} was built")
            if not force:
                if known := _known(fleet, entry.key):
                    return fleet.checked(known)
                _refuse_existing(path)
            sidecar = {sidecar_path(path): metadata.to_json().encode()}
            manifest = {path.with_name(MANIFEST): fleet.with_plan(entry).to_json().encode()}
            write_together({path: plan} | sidecar | manifest)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    return None


def _entry(exported: Exported) -> FleetFile:
    assert exported.metadata.sha256
    return FleetFile(exported.path.name, exported.metadata.sha256, exported.path.stat().st_size)
