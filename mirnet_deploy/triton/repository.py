"""The folders of a model repository, written so that a server that polls them never sees half of a model.

    DIR/NAME/config.pbtxt                               of all versions of the model
    DIR/NAME/warmup/…
    DIR/NAME/1/model.onnx or model.plan                 an artifact by itself
    DIR/mirnet/1/model.py, model.onnx or model.plan, and its sidecar

What is new is made beside DIR and renamed into it, since Triton takes every folder in DIR for a model, hidden ones too.
Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_artifact, read_onnx
from mirnet_deploy.engines.base import no_context_error
from mirnet_deploy.engines.opening import check_settings
from mirnet_deploy.errors import ArtifactError, EngineError, MirnetDeployError, UsageError
from mirnet_deploy.files import atomic_folder, atomic_path, is_there
from mirnet_deploy.pipeline.limits import Limits, choose_batch, choose_tile
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.triton.config import PICTURE_MODEL, Config, Serving, tile_config, whole_config

CONFIG, WARMUP, PROGRAM = "config.pbtxt", "warmup", "model.py"
"""Names within a model's folder, and the program of `PICTURE_MODEL` within its versions."""
_PROGRAM_TEXT = b'''"""Whole pictures of any size, by mirnet-deploy, which must be installed for the server's Python."""

from mirnet_deploy.triton.model import TritonPythonModel  # noqa: F401
'''


@dataclass(frozen=True)
class Model:
    """A model to serve."""

    name: str
    config: Config
    files: Mapping[str, bytes]
    """Of one version, by name."""
    artifact: Path
    """The file that they were made of."""


@dataclass(frozen=True)
class Placed:
    """What became of a model."""

    model: Model
    folder: Path
    version: int
    action: Literal["new model", "new version", "new configuration", "unchanged"]


def models_of(
    artifacts: Sequence[str], settings: RuntimeSettings, serving: Serving, *, tiles: bool = True
) -> list[Model]:
    """The models that a repository is made of: `PICTURE_MODEL` with the first artifact, and with `tiles` one for each
    artifact by itself, called as its file with `_` for dots (`lite_onnx`).

    Args:
        artifacts: names of models, or `.onnx` and `.plan` files.

    Raises:
        ArtifactError: a file is missing, foreign or damaged, or Triton has no backend for it.
        EngineError: tiles of the first artifact cannot share their means.
        UsageError: a setting does not fit the artifact, or has no effect; two files have one name, or one that a
            folder cannot have.
    """
    if not tiles:
        if len(artifacts) > 1:
            raise UsageError(f"{len(artifacts)} artifacts without their tiles; whole pictures are served by one")
        for name in ("max_batch", "queue_delay", "means"):
            if (value := getattr(serving, name)) != getattr(Serving, name):
                raise UsageError(f"{name} is {value!r}, which is for models of tiles, and there are none (--no-tiles)")
    models: list[Model] = []
    for text in artifacts:
        path = resolve_model(text)
        data, metadata = _read(path)
        if not models:
            check_settings(path, settings)
        try:
            if not models:
                models.append(_whole(path, data, metadata, settings, serving))
            if tiles:
                config = tile_config(metadata, serving)
                models.append(Model(_name_of(path), config, {f"model.{metadata.kind}": data}, path))
        except (ArtifactError, EngineError, UsageError) as error:
            raise type(error)(f"{path}: {error}") from error
    names = [model.name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two artifacts would be the model {twice}; rename one of the files, and its sidecar")
    return models


def write_repository(folder: Path, models: Sequence[Model], *, force: bool = False) -> Iterator[Placed]:
    """Writes models into the repository `folder`, which is made if need be; yields each when it is in its place.

    A model that is there keeps its versions and gets a further one, unless its newest has these files already. Its
    configuration is one for all versions; with `force` another one replaces it.

    Raises:
        UsageError: a folder is not a model of this kind, or has another configuration and `force` is not set; then
            nothing was written.
        MirnetDeployError: another process wrote a model at the same time; that one is as the other left it.
        OSError: a file cannot be written, or the disk is full; models that were not yielded are as they were, unless a
            rename failed after another one.
    """
    beside = folder.resolve()
    if is_there(folder):
        _check_folder(folder, beside)
    placed = [_planned(folder, model, force) for model in models]
    if not is_there(folder):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with _made_ready(folder, folder.absolute()) as made:
            for each in placed:
                _write_model(made / each.model.name, each.model)
        yield from placed
        return
    for each in placed:
        _place(beside, each)
        yield each


def _read(path: Path) -> tuple[bytes, ArtifactMetadata]:
    if path.suffix not in (".onnx", ".plan"):
        raise ArtifactError(f"{path} is neither an .onnx nor a .plan file of `mirnet-deploy export`")
    data, metadata = read_onnx(path) if path.suffix == ".onnx" else read_artifact(path)
    if metadata.channel_order != "rgb":
        raise ArtifactError(f"{path} takes {metadata.channel_order.upper()}; Triton's clients send RGB")
    return data, metadata


def _check_folder(folder: Path, beside: Path) -> None:
    """Refuses a repository beside which, at `beside`, nothing can be made ready and renamed into it."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if os.path.ismount(beside):
        raise UsageError(f"{folder} is a mount point, beside which nothing can be made ready; name a folder in it")
    if not os.access(beside.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{beside.parent} cannot be written, and what goes into {folder} is made ready there; name a folder in one "
            "that can be written"
        )


@contextmanager
def _made_ready(target: Path, beside: Path) -> Iterator[Path]:
    """`atomic_folder`, with one line where another process was faster."""
    try:
        with atomic_folder(target, beside=beside) as made:
            yield made
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise MirnetDeployError(f"{target} was written by another process meanwhile; try again") from error
        raise


def _whole(path: Path, data: bytes, metadata: ArtifactMetadata, settings: RuntimeSettings, serving: Serving) -> Model:
    limits = Limits.of(metadata)
    choose_tile(settings.tile, metadata, limits, budget=0)  # better refused here than in a server's log
    choose_batch(settings.batch, limits)
    if not (metadata.context or settings.consistency == "local" or settings.tile == "none"):
        raise no_context_error(metadata)
    name = f"model.{metadata.kind}"
    files = {name: data, f"{name}.json": metadata.to_json().encode(), PROGRAM: _PROGRAM_TEXT}
    return Model(PICTURE_MODEL, whole_config(metadata, settings, serving), files, path)


def _name_of(path: Path) -> str:
    name = path.name.replace(".", "_")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"it would be the model {name}; expected a file name of letters, digits, -, _ and dots")
    return name


def _planned(folder: Path, model: Model, force: bool) -> Placed:
    """What is to become of a model; nothing is written."""
    home = folder / model.name
    if not is_there(home):
        return Placed(model, home, 1, "new model")
    if not (home / CONFIG).is_file():
        raise UsageError(f"{home} is not a model of Triton ({CONFIG} is missing); name another folder")
    if home.stat().st_dev != folder.stat().st_dev:
        raise UsageError(f"{home} lies on another file system than {folder}; name a folder that holds all its models")
    same = _is_configured(home, model)
    if not same and not force:
        raise UsageError(
            f"{home / CONFIG} is another configuration, of all versions of the model; name another folder, or replace "
            "it with --force"
        )
    newest = max((int(each.name) for each in home.iterdir() if each.name.isdecimal() and each.is_dir()), default=0)
    if newest and _has(home / str(newest), model.files):
        return Placed(model, home, newest, "unchanged" if same else "new configuration")
    return Placed(model, home, newest + 1, "new version")


def _place(beside: Path, placed: Placed) -> None:
    """Puts a model into its place; what is new is made beside the folder `beside`."""
    home, model = placed.folder, placed.model
    if placed.action == "new model":
        with _made_ready(home, beside) as made:
            _write_model(made, model)
        return
    # All is made ready, then renamed, the last first: the version, what warms it up, the configuration. A server that
    # looks in between has the new version under the old configuration, or goes on with the old one if that fails.
    with ExitStack() as renamed:
        if not _is_configured(home, model):
            renamed.enter_context(atomic_path(home / CONFIG)).write_bytes(model.config.text.encode())
            for name, data in model.config.warmup.items():
                (home / WARMUP).mkdir(exist_ok=True)
                renamed.enter_context(atomic_path(home / WARMUP / name)).write_bytes(data)
        if placed.action == "new version":
            _write(renamed.enter_context(_made_ready(home / str(placed.version), beside)), model.files)


def _is_configured(home: Path, model: Model) -> bool:
    return _has(home, {CONFIG: model.config.text.encode()}) and _has(home / WARMUP, model.config.warmup)


def _write_model(home: Path, model: Model) -> None:
    _write(home / "1", model.files)
    if model.config.warmup:
        _write(home / WARMUP, model.config.warmup)
    (home / CONFIG).write_bytes(model.config.text.encode())


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _has(folder: Path, files: Mapping[str, bytes]) -> bool:
    return all((folder / name).is_file() and (folder / name).read_bytes() == data for name, data in files.items())
