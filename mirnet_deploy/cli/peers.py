"""`mirnet-deploy bench peers`: the runtime on the CPU, beside all that one might run instead."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.artifacts_of import bundled_with, export, export_settings
from mirnet_deploy.cli.options import (
    FILE_NAME,
    NUMBER,
    RUNTIME_OPTIONS,
    check_target,
    console,
    json_option,
    require,
    write_json,
)
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.files import temporary_folder

if TYPE_CHECKING:
    from mirnet_deploy.benchmarks.peers_report import PeerFiles
    from mirnet_deploy.training.checkpoint import LoadedCheckpoint

RANDOM = "paper"
"""A model's name: the paper's network, which has no weights yet, with random ones."""
SEED = 0
DEFAULT = Path("weights") / "lite.pt"


@click.command("peers", context_settings={"show_default": True})
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option("--size", "sizes", multiple=True, default=["600x400"], metavar="WxH", help="Size to time at; repeatable.")
@click.option(
    "--picture",
    type=FILE_NAME,
    help="Photograph whose upper left is cut to each size, or mirrored.  [default: a crop in the package]",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(["pytorch", "channels-last", "compile", "onnxruntime", "openvino"]),
    help="Compare with this one alone; repeatable.  [default: all]",
)
@click.option("--runs", default=15, help="Rounds that are timed; an interval takes 6.")
@click.option("--warmup", default=1, help="Rounds before them that are not counted.")
@RUNTIME_OPTIONS["threads"]
@RUNTIME_OPTIONS["backend"]
@click.option("--max-seconds", type=NUMBER, help="Begin nothing after so many seconds; exits 1.")
@json_option("the whole report, anew after every row,")
@click.option("--force", is_flag=True, help="Replace the file of --json where it exists.")
def command(models: tuple[str, ...], json_path: str | None, force: bool, **options: Any) -> None:
    """Compare the runtime on the CPU with PyTorch (as it is, channels last, compiled), and with ONNX Runtime and
    OpenVINO on PyTorch's own export.

    MODEL is a checkpoint, which ours is exported from, or `paper`: that network with random weights. Without any it is
    weights/lite.pt. Exits 1 when something failed, or gives another result than PyTorch; the rest is still reported.
    """
    require("bench peers", "bench", "skimage")
    require("bench peers", "export", "torch", "onnx", "onnxscript")
    require("bench peers", "cpu", "onnxruntime")
    from mirnet_deploy.benchmarks.inputs import Size
    from mirnet_deploy.benchmarks.peers import measure_peers
    from mirnet_deploy.benchmarks.peers_report import PEERS, PeersConfig, PeersReport
    from mirnet_deploy.benchmarks.tables import peers_head, peers_table

    check_target("--json", json_path, force)
    named = {name: options[name] for name in ("picture", "runs", "warmup", "threads", "backend")}
    config = PeersConfig(
        sizes=tuple(dict.fromkeys(Size.parse(size) for size in options["sizes"])),
        peers=tuple(name for name in PEERS if name in (options["peers"] or PEERS)),
        max_seconds=float("inf") if options["max_seconds"] is None else options["max_seconds"],
        **named,
    )
    models = models or _default_models()
    # Standard output holds either the JSON or the tables, so that a pipe gets one of them clean.
    screen, to_pipe = console(stderr=json_path == "-"), json_path == "-"
    report = PeersReport(config)
    for line in peers_head(report):
        click.echo(line, err=to_pipe)

    def notice() -> None:
        if not to_pipe:
            write_json(report.to_json(), json_path)

    try:
        with temporary_folder() as folder, progress_bar("peers", None) as advance:
            prepare = [partial(_prepare, model, folder, number) for number, model in enumerate(models)]
            for table in measure_peers(prepare, report, notice, partial(advance, 1)):
                screen.print(peers_table(table))
                for failure in table.failures:
                    click.echo(f"failed: {failure}", err=to_pipe)
        write_json(report.to_json(), json_path)
    except OSError as error:
        raise MirnetDeployError(f"the report cannot be written: {error}") from error
    if report.ended != "whole":
        raise MirnetDeployError(f"{report.ended}; what was measured is above")
    if report.failures:
        raise MirnetDeployError(f"{len(report.failures)} measurements failed; they are listed above")


def _default_models() -> tuple[str, ...]:
    """The checkpoint of the bundled model, where the working directory is a clone.

    Raises:
        UsageError: it is not.
    """
    if not DEFAULT.is_file():
        raise UsageError(
            f"no MODEL is given, and there is no {DEFAULT} here; name a checkpoint, or run this in a clone"
        )
    return (str(DEFAULT),)


def _prepare(model: str, folder: Path, number: int) -> PeerFiles:
    """Makes the files of the model with that number: the plain export, and ours unless it is a bundled one.

    Raises:
        CheckpointError: the file does not hold a MIRNet.
        ExportError: the network cannot be exported, or ours misses its bound.
    """
    from mirnet_deploy.benchmarks.peers_report import PeerFiles
    from mirnet_deploy.export.onnx_file import export_plain
    from mirnet_deploy.training.checkpoint import load_checkpoint

    own = folder / str(number)
    own.mkdir()
    checkpoint = _random_weights(own) if model == RANDOM else Path(model)
    loaded = load_checkpoint(checkpoint)
    plain = own / "plain.onnx"
    export_plain(loaded, plain)
    bundled = bundled_with(loaded.sha256)
    return PeerFiles(
        name=f"{model}, random weights" if model == RANDOM else model,
        checkpoint=checkpoint,
        plain=plain,
        ours=bundled or _exported(loaded, own),
        artifact=f"bundled {bundled}" if bundled else "exported anew",
        n_feat=loaded.config.n_feat,
    )


def _exported(loaded: LoadedCheckpoint, folder: Path) -> str:
    """Exports the network in float32 and returns the path of the file."""
    path = folder / "ours.onnx"
    export(loaded, path, export_settings(loaded, path.stem), "fp32")
    return str(path)


def _random_weights(folder: Path) -> Path:
    """A checkpoint of the paper's network with random weights, the same ones every time."""
    import torch

    from mirnet_deploy.training.checkpoint import save_checkpoint
    from mirnet_deploy.training.config import MIRNetConfig
    from mirnet_deploy.training.network import MIRNet

    path, config = folder / "random.pt", MIRNetConfig.preset(RANDOM)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = MIRNet(config)
    save_checkpoint(path, {"config": config.to_dict(), "network": network.state_dict()})
    return path
