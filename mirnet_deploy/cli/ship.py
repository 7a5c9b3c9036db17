"""`mirnet-deploy ship`: trains weights to ship in a given time, and a twin of them that can be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mirnet_deploy.cli.options import NUMBER, RUNTIME_OPTIONS, Number, require_training
from mirnet_deploy.errors import MissingDependencyError, TrainingError, UsageError


@click.command("ship", context_settings={"show_default": True})
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(["paper", "base", "lite"]), help="Size of a new network.")
@click.option("--init", type=click.Path(path_type=Path), help="Start from these weights, which know no held-out pair.")
@click.option("--minutes", type=Number(min=0, min_open=True), required=True, help="Of the three runs together.")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder of the three runs.")
@click.option("--trunk-crop", type=int, default=96, help="Side of a crop of the trunk.")
@click.option("--trunk-batch", type=int, default=16, help="Crops in a step of the trunk.")
@click.option("--crop", type=int, default=192, help="Of the annealed runs; twice this in their end.")
@click.option("--batch", type=int, default=16, help="Of the annealed runs; a quarter in their end.")
@click.option("--lr", type=NUMBER, help="Peak learning rate.  [default: the recipe's]")
@click.option("--weight-decay", type=NUMBER, help="As in `train`.  [default: the recipe's]")
@click.option("--synthetic", type=NUMBER, help="As in `train`.  [default: the recipe's]")
@click.option("--sharing", type=NUMBER, default=0.0, help="As in `train`, for the annealed runs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the weights and of the samples.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", help="Of a step.")
@RUNTIME_OPTIONS["device"]
@click.option("--compile", "compiled", is_flag=True, help="Fuse the network's blocks with torch.compile.")
@click.option("--validate-limit", type=int, default=12, help="Validation pictures looked at.")
def command(data: Path, preset: str | None, init: Path | None, device: str, **options: Any) -> None:
    """Train weights on the pairs in DATA: a trunk, and two annealed ends of it.

    OUTPUT/holdout has not seen the held-out pairs and can be measured on them; OUTPUT/all was trained the same way on
    these too, and ships. DATA is laid out as for `train`.
    """
    try:
        from mirnet_deploy.training.distributed import join_processes
        from mirnet_deploy.training.ship import Shipment, ship
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'training needs {error.name}: pip install "mirnet-deploy[train]"') from error
    require_training()
    if (preset is None) == (init is None):
        raise UsageError("expected either --preset or --init")
    shipment = Shipment.of(preset, init, click.echo, **options)
    try:
        with join_processes(device) as processes:
            ship(data, shipment, processes)
    except OSError as error:
        raise TrainingError(f"the runs in {shipment.output} cannot go on: {error}") from error
