"""`mirnet-deploy bench night`: faults that an engine makes in pictures without a ground truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import DataError, MirnetDeployError


@click.command("night", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", default="lite", help="A model's name, an .onnx or a .plan file.")
@click.option("--max-side", type=click.IntRange(min=64), default=800, help="Reduce larger pictures to such sides.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write input and output of every picture as a JPEG.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures as JSON.")
@click.option("--force", is_flag=True, help="Replace the files of --sheet and --json where they exist.")
def command(folder: Path, model: str, max_side: int, sheet: Path | None, json_path: Path | None, force: bool) -> None:
    """Examine what a model does to the pictures in FOLDER and below it.

    Per picture: clipped values before and after, how far clipped lamps grew, the colour cast, and grids in smooth
    places.
    """
    from mirnet_deploy.benchmarks.night import NightSettings, contact_sheet, examine_folder, lines
    from mirnet_deploy.files import check_target, write_atomically
    from mirnet_deploy.pairs import images_in

    for option, path in (("--sheet", sheet), ("--json", json_path)):
        if path:
            check_target(option, path, force)
    paths = images_in(folder, recursive=True)
    if not paths:
        raise DataError(f"{folder} holds no pictures")
    settings = NightSettings(model, max_side, keep=sheet is not None)
    with progress_bar("night", len(paths)) as advance:
        found = examine_folder(folder, paths, settings, advance)
    for line in lines(found.faults):
        click.echo(line)
    try:
        if sheet:
            write_atomically(sheet, contact_sheet(found.pictures))
        if json_path:
            figures = json.dumps([asdict(item) for item in found.faults], indent=1) + "\n"
            write_atomically(json_path, figures.encode())
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error
