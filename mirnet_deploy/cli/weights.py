"""`mirnet-deploy weights`: writes the weights of a checkpoint alone, to keep or to pass on."""

from __future__ import annotations

from pathlib import Path

import click

from mirnet_deploy.cli.options import NUMBER, check_target, require
from mirnet_deploy.errors import CheckpointError, MissingDependencyError, UsageError


@click.command("weights")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Large convolutions in 8 bits, a scale for each slice (.safetensors only).")
@click.option(
    "--average",
    type=(click.Path(path_type=Path), NUMBER),
    multiple=True,
    metavar="OTHER SHARE",
    help="Weights between CHECKPOINT and OTHER, which has this share; may be given again.",
)
@click.option("--force", is_flag=True, help="Replace TARGET.")
def command(checkpoint: Path, target: Path, int8: bool, average: tuple[tuple[Path, float], ...], force: bool) -> None:
    """Write the weights of CHECKPOINT (EMA weights, where it has them) as TARGET, .safetensors or .pt.

    A trainer's state is left out. The result loads wherever a checkpoint is taken.
    """

    try:
        from mirnet_deploy.training.weights import keep_weights
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'weights need {error.name}: pip install "mirnet-deploy[export]"') from error
    suffix = target.suffix.lower()
    if suffix not in (".safetensors", ".pt") or (int8 and suffix == ".pt"):
        expected = ".safetensors file" if int8 else ".safetensors or .pt file"
        raise UsageError(f"{target} is not a {expected}")
    if suffix == ".safetensors":
        require("weights", "export", "safetensors")
    check_target("TARGET", target, force)
    try:
        taken = keep_weights(checkpoint, target, int8=int8, average=average)
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written: {error.strerror or error}") from error
    size, whole = (path.stat().st_size / 1e6 for path in (target, checkpoint))
    click.echo(f"{target}: {size:.2f} MB of {whole:.2f} MB, weights: {taken}")
