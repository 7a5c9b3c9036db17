"""What every actor of a job is told, and what is found out once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import sidecar_path
from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import ArtifactError, ClusterError, MirnetDeployError, first_line
from mirnet_deploy.jobs.job import OWN, Result
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.settings import RuntimeSettings


@dataclass(frozen=True)
class Order:
    """A job, as its actors know it."""

    asked: JobSettings
    """As the user asked for them: results that plain `enhance` made under these count as done, too."""
    settings: JobSettings
    """As they were resolved: nothing in them is left to the machine."""
    backend: str
    """What every actor's `RuntimeInfo.backend` must say."""
    output: Location
    manifest: Path | None
    """Where every actor must see the manifest; None where it is not in a local output."""
    jobs: int
    """Pictures that an actor enhances at a time."""
    version: str = __version__


def settings_dict(settings: JobSettings) -> dict[str, Any]:
    """Plain values of all that decides the results; `settings_of` takes them back. What only says which of them to make
    again (`force`) is left out, and what is never so on a cluster (`alone`)."""
    values = asdict(settings)
    del values["force"], values["runtime"]["alone"]
    return values


def settings_of(values: Mapping[str, Any], force: bool) -> JobSettings:
    """The settings that `settings_dict` stored.

    Raises:
        ClusterError: they are others.
    """
    try:
        return JobSettings(**{**values, "runtime": RuntimeSettings(**values["runtime"]), "force": force})
    except (TypeError, KeyError, MirnetDeployError) as error:
        raise ClusterError(f"the settings in the manifest are damaged ({first_line(error)}); name another") from error


def model_files(model: str) -> dict[str, bytes]:
    """A model's file and its sidecar, by their names, the file first: actors on other machines need not have them.

    Raises:
        ArtifactError: a file cannot be read, or no model has that name.
    """
    path = resolve_model(model)
    try:
        files = {path.name: path.read_bytes()}
        if sidecar_path(path).exists():
            files[sidecar_path(path).name] = sidecar_path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"model {model} cannot be read: {error.strerror or error}") from error
    return files


def with_runtime(settings: JobSettings, **changes: Any) -> JobSettings:
    """The settings, with other ones of the runtime."""
    return replace(settings, runtime=replace(settings.runtime, **changes))


def without_task(name: str, model: str, reason: str, own: bool = False) -> dict[str, Any]:
    """What became of an input that gives no picture to enhance, as `Result.to_dict` says it; see `jobs.inputs.NoTask`.

    Args:
        name: of the input: a path or a URL.
    """
    result = Result(Path(), "skipped", note=OWN) if own else Result(Path(), "failed", error=reason)
    return result.to_dict(model) | {"input": name}
