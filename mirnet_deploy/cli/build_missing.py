"""`--build-missing`, of the commands that run fleets: the plan that a fleet lacks for the GPU here is built first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import UsageError, missing

build_missing_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--build-missing",
    is_flag=True,
    help="Of a fleet that has no plan for the GPU here: build it, once, into the user's cache.",
)
"""Adds --build-missing to a command, which gets it as `build_missing` and calls the function of that name."""


def build_missing(models: Sequence[str | Path], device: str) -> None:
    """Builds what those of `models` that are fleets lack for the GPU that `device` means; nothing where it is the CPU.

    Raises:
        ArtifactError, EngineError, ExportError: as `export.missing.build_missing`.
        MissingDependencyError: a library that builds is not installed.
        UsageError: none of them is a fleet.
    """
    from mirnet_deploy.artifacts.fleet import is_fleet
    from mirnet_deploy.engines.fleet import gpu_of

    fleets = [Path(model) for model in models if is_fleet(Path(model))]
    if not fleets:
        raise UsageError(f"--build-missing is for the folder of a fleet, which {' and '.join(map(str, models))} is not")
    if gpu_of(device) is None:
        return
    try:
        from mirnet_deploy.export.missing import build_missing as build
    except ModuleNotFoundError as error:
        raise missing("--build-missing needs a library", error, "rtx") from error
    for fleet in fleets:
        build(fleet, device, progress_bar)
