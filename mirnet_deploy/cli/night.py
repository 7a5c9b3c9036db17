"""`mirnet-deploy bench night`: faults that an engine makes in pictures without a ground truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from mirnet_deploy.cli.options import ENGINE_HELP, check_target, json_option, write_json
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import DataError, MirnetDeployError


@click.command("night", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--engine", default="lite", help=ENGINE_HELP)
@click.option("--max-side", type=click.IntRange(min=64), default=800, help="Reduce larger pictures to such sides.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write input and output of every picture as a JPEG.")
@json_option("the figures")
@click.option("--force", is_flag=True, help="Replace the files of --sheet and --json where they exist.")
def command(folder: Path, engine: str, max_side: int, sheet: Path | None, json_path: str | None, force: bool) -> None:
    """Examine what an engine does to the pictures in FOLDER and below it.

    Per picture: clipped values before and after, how far clipped lamps grew, the colour cast, and grids in smooth
    places.
    """
    from mirnet_deploy.benchmarks.night import NightSettings, contact_sheet, examine_folder, lines
    from mirnet_deploy.benchmarks.origin import origin
    from mirnet_deploy.files import write_atomically
    from mirnet_deploy.pairs import images_in

    check_target("--sheet", sheet, force)
    check_target("--json", json_path, force)
    paths = images_in(folder, recursive=True)
    if not paths:
        raise DataError(f"{folder} holds no pictures")
    made = origin("bench night")
    settings = NightSettings(engine, max_side, keep=sheet is not None)
    with progress_bar("night", len(paths)) as advance:
        found = examine_folder(folder, paths, settings, advance)
    for line in lines(found.faults):
        click.echo(line, err=json_path == "-")
    try:
        if sheet:
            write_atomically(sheet, contact_sheet(found.pictures))
        figures = {"engine": engine, "max_side": max_side, "pictures": [asdict(item) for item in found.faults]}
        write_json(json.dumps(made | figures, indent=1) + "\n", json_path)
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error
