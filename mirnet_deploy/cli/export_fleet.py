"""`mirnet-deploy export --fleet`: one folder with plans for many GPUs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.export_shared import described, make_folder, show, with_halo
from mirnet_deploy.cli.progress import progress_bar

if TYPE_CHECKING:
    from mirnet_deploy.export.settings import ExportSettings


def export_fleet(
    checkpoint: Path,
    folder: Path,
    samples: Path | None,
    builder: Any,
    targets: str,
    settings: ExportSettings,
    asked: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Makes `folder` a fleet with plans for `targets`, or adds them to the fleet that it is. Exits 1 where one failed.

    Args:
        settings: of a new fleet; its halo is measured where `asked` has none.
        asked: those fields of the settings that the user gave, which must be those of a fleet that is there.
        options: the command's others.

    Raises:
        ExportError: the ONNX files cannot be made, or the fleet is of something else.
        UsageError: the options contradict one another.
    """
    from mirnet_deploy.artifacts.fleet import is_fleet, read_fleet
    from mirnet_deploy.benchmarks.origin import origin
    from mirnet_deploy.export.fleet import begin_fleet, check_same, extend_fleet, fleet_builders
    from mirnet_deploy.export.pipeline import Exported, Outputs
    from mirnet_deploy.export.samples import read_crops
    from mirnet_deploy.training.checkpoint import load_checkpoint

    libraries = fleet_builders(builder, [each.strip() for each in targets.split(",") if each.strip()])
    known = read_fleet(folder) if is_fleet(folder) else None
    if known is None and not options["force"]:
        Outputs.of(folder, settings.name, options["fp16"], plan=False).refuse_existing()
    made = origin("export") if options["as_json"] else None  # now: the code may be changed while this runs
    loaded, crops = load_checkpoint(checkpoint), read_crops(samples)
    exported: list[Exported] = []
    failed = False
    if known is not None:
        check_same(known, loaded, options["fp16"], asked)
    elif "halo" not in asked:
        settings = with_halo(settings, loaded, crops)
    click.echo(described(checkpoint, loaded), err=options["as_json"])
    try:
        if known is None:
            make_folder(folder)
            known, exported = begin_fleet(
                loaded, folder, settings, options["fp16"], asked, crops, options["force"], progress_bar
            )
        for attempt in extend_fleet(loaded, known, libraries, crops, options["force"], progress_bar):
            if attempt.exported is not None:
                exported.append(attempt.exported)
            elif attempt.kept is not None:
                click.echo(f"{attempt.kept} is there already, and is kept; --force builds it again", err=True)
            else:
                failed = True
                click.echo(f"error: {attempt.target}: {attempt.error}", err=True)
    finally:
        show(exported, made)
    if failed:
        sys.exit(1)
