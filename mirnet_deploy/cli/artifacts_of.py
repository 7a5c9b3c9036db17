"""The artifacts of one checkpoint: those that are there, known by their sidecars, and the others made for a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mirnet_deploy.errors import ArtifactError, EngineError, ExportError, MissingDependencyError

if TYPE_CHECKING:
    from mirnet_deploy.artifacts.metadata import Precision
    from mirnet_deploy.benchmarks.forms import FormFile, FormFiles
    from mirnet_deploy.export.settings import ExportSettings
    from mirnet_deploy.training.checkpoint import LoadedCheckpoint

Say = Callable[[str], object]


def bundled_with(sha256: str) -> str | None:
    """The name of the bundled model that was exported from the checkpoint with that hash; None where there is none."""
    from mirnet_deploy.artifacts.models import MODELS, bundled_models
    from mirnet_deploy.artifacts.sidecar import read_sidecar

    names = [name for name in bundled_models() if read_sidecar(MODELS / f"{name}.onnx").checkpoint_sha256 == sha256]
    return names[0] if names else None


def checkpoint_of(name: str) -> Path:
    """The checkpoint that the bundled model of that name was exported from: one of `weights/` in a clone, in the
    working directory or beside the package.

    Raises:
        ArtifactError: there is no such model, or its checkpoint is not here.
    """
    from mirnet_deploy.artifacts.models import CHECKPOINT_SUFFIXES, PACKAGE, resolve_model
    from mirnet_deploy.artifacts.sidecar import read_sidecar
    from mirnet_deploy.files import file_sha256

    wanted = read_sidecar(resolve_model(name)).checkpoint_sha256
    for folder in (Path("weights"), PACKAGE.parent / "weights"):
        for path in (folder / f"{name}{suffix}" for suffix in CHECKPOINT_SUFFIXES):
            if path.is_file() and file_sha256(path) == wanted:
                return path
    raise ArtifactError(
        f"the checkpoint that {name} was exported from is not here; name it: a file such as weights/{name}.pt"
    )


def export_settings(loaded: LoadedCheckpoint, name: str) -> ExportSettings:
    """Those of `mirnet-deploy export` without options, for files of that stem."""
    from mirnet_deploy.export.samples import read_crops
    from mirnet_deploy.export.settings import ExportSettings
    from mirnet_deploy.training.reach import derived_halo

    return ExportSettings(name=name, halo=derived_halo(loaded.network, read_crops(None)))


def export(loaded: LoadedCheckpoint, path: Path, settings: ExportSettings, precision: Precision) -> None:
    """Makes an ONNX file of the network, as `mirnet-deploy export` does.

    Raises:
        ExportError: the network cannot be exported, or the file misses its bound.
    """
    from mirnet_deploy.export.onnx_file import export_onnx
    from mirnet_deploy.export.samples import read_crops

    export_onnx(loaded, path, settings, precision, read_crops(None))


def forms_files(checkpoint: Path, exported: Path, folder: Path, say: Say) -> FormFiles:
    """Finds the artifacts of a checkpoint in `exported`, and makes in `folder` those that are not there.

    Args:
        say: gets a line for everything that was found, is about to be made, was made, or was passed over.

    Raises:
        CheckpointError: the file does not hold a MIRNet.
    """
    from mirnet_deploy.benchmarks.forms import FormFile, FormFiles
    from mirnet_deploy.training.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    found, make = _found(exported, loaded.sha256, say), _Maker(loaded, folder, say)
    fp32 = FormFile(found["fp32"]) if "fp32" in found else make.onnx("fp32")
    fp16 = FormFile(found["fp16"]) if "fp16" in found else make.onnx("fp16")
    plan = FormFile(found["plan"]) if "plan" in found else make.plan(fp16.path or fp32.path)
    return FormFiles(checkpoint, fp32, fp16, plan, bundled_with(loaded.sha256))


def _found(folder: Path, sha256: str, say: Say) -> dict[str, Path]:
    """The artifacts in `folder` that came from the checkpoint with that hash: "fp32", "fp16" (ONNX files), "plan". Of
    several of a kind, those that tiles can share means with come first, then the order of names decides."""
    from mirnet_deploy.artifacts.sidecar import read_sidecar, sidecar_path

    found: dict[str, tuple[bool, Path]] = {}
    for path in sorted([*folder.glob("*.onnx"), *folder.glob("*.plan")]):
        if not sidecar_path(path).is_file():
            continue
        try:
            metadata = read_sidecar(path)
        except ArtifactError as error:
            say(f"not used: {error}")
            continue
        kind = "plan" if metadata.kind == "plan" else metadata.precision
        if metadata.checkpoint_sha256 == sha256 and found.get(kind, (True, path)) >= (not metadata.context, path):
            found[kind] = (not metadata.context, path)
    for _, path in found.values():
        say(f"found {path}, exported from this checkpoint")
    return {kind: path for kind, (_, path) in found.items()}


class _Maker:
    """Makes artifacts of one checkpoint in a folder."""

    def __init__(self, loaded: LoadedCheckpoint, folder: Path, say: Say) -> None:
        self._loaded, self._folder, self._say = loaded, folder, say

    @cached_property
    def _settings(self) -> ExportSettings:
        return export_settings(self._loaded, "mirnet")

    def onnx(self, precision: Precision) -> FormFile:
        """The ONNX file in that precision."""
        from mirnet_deploy.benchmarks.forms import FormFile

        path = self._folder / ("mirnet.onnx" if precision == "fp32" else f"mirnet.{precision}.onnx")
        began = self._begin("exporting", path)
        try:
            export(self._loaded, path, self._settings, precision)
        except (ExportError, MissingDependencyError) as error:
            return FormFile(None, str(error))
        return self._made(path, began)

    def plan(self, source: Path | None) -> FormFile:
        """The plan of an ONNX file of the checkpoint, where there is a GPU."""
        from mirnet_deploy.artifacts.sidecar import read_sidecar
        from mirnet_deploy.benchmarks.forms import FormFile
        from mirnet_deploy.export.builder import find_builder
        from mirnet_deploy.export.pipeline import Exported, export_plan
        from mirnet_deploy.export.samples import read_crops
        from mirnet_deploy.export.settings import ExportSettings
        from mirnet_deploy.machine import cuda_devices

        if not cuda_devices():
            return FormFile(None, "it needs a CUDA GPU, and this machine has none")
        if source is None:
            return FormFile(None, "there is no ONNX file to build it from")
        path, metadata = self._folder / "mirnet.plan", read_sidecar(source)
        settings = ExportSettings.of(metadata)
        began = self._begin("building", path)
        try:
            library = find_builder("auto", ())
            assert library is not None  # which only "none" gives
            crops = read_crops(None)
            export_plan(self._loaded, Exported(source, metadata), path, settings, library, crops, lambda share: None)
        except (EngineError, ExportError, MissingDependencyError) as error:
            return FormFile(None, f"it was not built: {error}")
        return self._made(path, began)

    def _begin(self, what: str, path: Path) -> float:
        """Says what takes long from now on, and returns the time."""
        self._say(f"{what} {path.name}, which is not there; this can take minutes")
        return time.monotonic()

    def _made(self, path: Path, began: float) -> FormFile:
        from mirnet_deploy.benchmarks.forms import FormFile

        seconds = time.monotonic() - began
        self._say(f"made {path.name} for this run, in {seconds:.0f} s; `mirnet-deploy export` makes one to keep")
        return FormFile(path)
