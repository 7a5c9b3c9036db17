"""What exports of one plan and of a fleet share: the halo, the folder, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.options import console
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mirnet_deploy.artifacts.metadata import Parity
    from mirnet_deploy.export.pipeline import Exported
    from mirnet_deploy.export.settings import ExportSettings
    from mirnet_deploy.training.checkpoint import LoadedCheckpoint


def with_halo(settings: ExportSettings, loaded: LoadedCheckpoint, crops: Sequence[NDArray[np.uint8]]) -> ExportSettings:
    """The settings with the halo that these weights need, measured on `crops`, uint8 [H,W,3] RGB."""
    from mirnet_deploy.training.reach import derived_halo

    with progress_bar("measuring the halo", None):
        return replace(settings, halo=derived_halo(loaded.network, crops))


def described(checkpoint: Path, loaded: LoadedCheckpoint) -> str:
    """A line on what is exported."""
    return f"{checkpoint}: {loaded.layout} checkpoint, {loaded.config}, weights: {loaded.taken}"


def make_folder(folder: Path) -> None:
    """Makes the folder of the results.

    Raises:
        ExportError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be made: {error.strerror}") from error


def show(exported: Sequence[Exported], made: Mapping[str, Any] | None) -> None:
    """Prints what was made, as a table with the proofs below it; or, with `made`, which is true of all, as JSON."""
    if made is not None:
        click.echo(json.dumps([_row(item, made) for item in exported], indent=2))
        return
    if not exported:
        return
    from rich.table import Table

    table = Table("artifact", "precision", "MB", "max abs", "PSNR", "residual PSNR")
    for item in exported:
        size = f"{item.path.stat().st_size / 1e6:.1f}"
        table.add_row(item.path.name, item.metadata.precision, size, *_figures(item))
    console().print(table)
    for item in exported:
        click.echo(f"{item.path}: {item.metadata.precision_proof}; {_circumstances(item)}")


def _row(item: Exported, made: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact's sidecar as plain values, with its path and size, and `made`."""
    return {"path": str(item.path), "bytes": item.path.stat().st_size, **made, **asdict(item.metadata)}


def _circumstances(item: Exported) -> str:
    parity = item.metadata.parity
    if parity is None or parity.max_abs is None:
        return f"parity {parity.executed if parity else 'not measured'}"
    return f"parity on {parity.crops} crops by {parity.executed}"


def _figures(item: Exported) -> tuple[str, str, str]:
    parity: Parity | None = item.metadata.parity
    if parity is None or parity.max_abs is None or parity.psnr is None or parity.residual_psnr is None:
        return ("not executed", "–", "–")
    image = item.metadata.interface == "image"
    largest = f"{parity.max_abs:.0f}/255" if image else f"{parity.max_abs:.1e}"
    return (largest, f"{parity.psnr:.1f} dB", f"{parity.residual_psnr:.1f} dB")
