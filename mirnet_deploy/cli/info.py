"""`mirnet-deploy info FILE`: what an artifact or a checkpoint is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from mirnet_deploy.artifacts.fleet import FleetFile, is_fleet, read_fleet
from mirnet_deploy.artifacts.metadata import ArtifactMetadata
from mirnet_deploy.artifacts.models import CHECKPOINT_SUFFIXES, is_checkpoint, resolve_model
from mirnet_deploy.artifacts.onnx_metadata import onnx_metadata
from mirnet_deploy.artifacts.sidecar import read_onnx, read_sidecar, sidecar_path
from mirnet_deploy.cli.options import FILE_NAME, console
from mirnet_deploy.errors import ArtifactError, EngineError, MissingDependencyError
from mirnet_deploy.files import file_sha256


@click.command()
@click.argument("file", type=FILE_NAME)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, as_json: bool) -> None:
    """Show what FILE is: an .onnx or .plan file, a fleet's folder, a checkpoint, or a bundled model by its name; and of
    an ONNX file, what a CPU runs it with here by default.

    Nothing of an artifact is loaded or run. Exits 1 when the file, or one of a fleet, is foreign, damaged, or not its
    sidecar's.
    """
    facts = describe(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
    if errors := _errors(facts):
        click.echo("\n".join(f"error: {error}" for error in errors), err=True)
        sys.exit(1)


def describe(file: str) -> dict[str, Any]:
    """Plain facts about what `file` names; of an artifact, the key "integrity" says how far they can be trusted; of an
    ONNX file, "on_cpu" what a CPU runs it with by default here. A file of a fleet has the key "error": why it cannot be
    loaded, None where it can.

    Raises:
        ArtifactError, CheckpointError: the file is missing, foreign or damaged.
        MissingDependencyError: it is a checkpoint, and torch is not installed.
    """
    if is_checkpoint(Path(file)):
        return _checkpoint(Path(file))
    path = resolve_model(file)
    if is_fleet(path):
        return _fleet(path)
    if path.is_file() and path.suffix not in (".onnx", ".plan"):
        checkpoints = ", ".join(CHECKPOINT_SUFFIXES)
        raise ArtifactError(
            f"{path} is not a file of mirnet-deploy; expected .onnx, .plan or a checkpoint ({checkpoints})"
        )
    here: dict[str, str] = {}
    if path.is_file() and path.suffix == ".onnx":
        from mirnet_deploy.engines.choice import described

        metadata, integrity = _onnx(path)
        if sidecar_path(path).is_file():
            here["on_cpu"] = described(metadata)
    else:
        metadata, integrity = read_sidecar(path), "the SHA-256 is its sidecar's"
    return {"path": str(path), "bytes": path.stat().st_size, "integrity": integrity, **here, **asdict(metadata)}


def _fleet(folder: Path) -> dict[str, Any]:
    """What the manifest of a fleet says, every file held against it, and which of them runs here."""
    from mirnet_deploy.engines.fleet import artifact_for, gpu_of

    fleet = read_fleet(folder)

    def checked(check: Callable[[Any], Path], entry: FleetFile) -> dict[str, Any]:
        try:
            check(entry)
        except ArtifactError as error:
            return {**asdict(entry), "error": str(error)}
        return {**asdict(entry), "error": None}

    try:
        here = artifact_for(folder, "cpu" if gpu_of("auto") is None else "auto").name
    except (ArtifactError, EngineError, MissingDependencyError) as error:
        here = f"none: {error}"
    files = {
        "onnx": checked(fleet.checked_onnx, fleet.onnx),
        "onnx_cpu": checked(fleet.checked_onnx, fleet.onnx_cpu),
        "plans": [checked(fleet.checked, plan) for plan in fleet.plans],
    }
    bad = len(_errors(files))
    integrity = f"{bad} damaged or missing" if bad else "the SHA-256 of every file is its sidecar's and the manifest's"
    return {"path": str(folder), "kind": "fleet", "integrity": integrity, "runs_here": here, **files}


def _errors(facts: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files of a fleet, each once; of anything else nothing."""
    entries = [facts[name] for name in ("onnx", "onnx_cpu") if name in facts] + facts.get("plans", [])
    return list(dict.fromkeys(entry["error"] for entry in entries if entry["error"]))


def _onnx(path: Path) -> tuple[ArtifactMetadata, str]:
    """The metadata of an ONNX file, and its integrity in words. It can do without a sidecar: it has metadata inside."""
    if sidecar_path(path).is_file():
        return read_onnx(path)[1], "the SHA-256 and the metadata inside are its sidecar's"
    try:
        inside = onnx_metadata(path.read_bytes(), str(path))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    return replace(inside, sha256=file_sha256(path)), "no sidecar: not checked, and not loaded by the runtime"


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        from mirnet_deploy.training.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'{path} is a checkpoint and needs torch: pip install "mirnet-deploy[export]"'
        ) from error
    loaded = load_checkpoint(path)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "kind": "checkpoint",
        "layout": loaded.layout,
        "network": loaded.config.to_dict(),
        "parameters": loaded.network.parameter_count(),
        "weights": loaded.weights,
        "place": loaded.place,
        "sha256": loaded.sha256,
        "describe": loaded.describe,
    }


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Path(facts["path"]).name, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, Text(value))
    console().print(table)


def _rows(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, text) of every fact that has a value; the entries of a dictionary become rows of their own."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        title = f"{prefix}{name}".replace("_", " ")
        if value is None or value == "":
            continue
        if isinstance(value, dict):
            rows += _rows(value, f"{title} ")
        elif name == "plans":
            rows += [
                (
                    f"plan {plan['target']}",
                    f"{plan['builder']} {plan['builder_version']}, {plan['precision']}, "
                    f"{plan['bytes'] / 1e6:.2f} MB, {plan['file']}" + (f": {plan['error']}" if plan["error"] else ""),
                )
                for plan in value
            ]
        elif isinstance(value, list):
            rows.append((title, " ".join(str(item) for item in value)))
        elif name in ("psnr", "residual_psnr"):
            rows.append((title, f"{value:.2f} dB"))
        elif name == "bytes":
            rows.append((f"{prefix}size", f"{value / 1e6:.2f} MB"))
        else:
            rows.append((title, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows
