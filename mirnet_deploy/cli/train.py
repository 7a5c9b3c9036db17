"""`mirnet-deploy train`: trains a MIRNet on pairs, or on well-lit photographs that are darkened on the fly."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.options import NUMBER, RUNTIME_OPTIONS, Number, require_training
from mirnet_deploy.cli.process import on_signals
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MissingDependencyError, TrainingError, UsageError
from mirnet_deploy.settings import MOST_THREADS

if TYPE_CHECKING:
    from mirnet_deploy.training.distributed import Processes
    from mirnet_deploy.training.splits import Split


@click.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option(
    "--degrade",
    type=click.Path(path_type=Path),
    help="Darken the well-lit photographs in this folder, instead of DATA.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("runs/train"),
    show_default=True,
    help="Folder of the run: last.pt, best.pt, log.csv, curve.png, tensorboard/.",
)
@click.option(
    "--all-pairs", is_flag=True, help="Train on the held-out pairs too, once the recipe was measured without them."
)
@click.option("--resume", is_flag=True, help="Continue the run in --output, with the settings it was started with.")
@click.option("--init", type=click.Path(path_type=Path), help="Fine-tune: start from this checkpoint's weights.")
@click.option("--preset", type=click.Choice(["paper", "base", "lite"]), help="Size of the network.  [default: lite]")
@click.option("--n-feat", type=int, help="Channels at full resolution (instead of the preset's).")
@click.option("--n-rrg", type=int, help="Recursive residual groups.")
@click.option("--n-msrb", type=int, help="Multi-scale residual blocks in each group.")
@click.option(
    "--recipe",
    type=click.Choice(["aligned", "plateau"]),
    default="aligned",
    show_default=True,
    help="How to train; the options below change parts of it.",
)
@click.option("--steps", type=int, help="Steps of the whole run.  [default: 4000]")
@click.option("--batch", type=int, help="Crops in a step of each process.")
@click.option("--crop", type=int, help="Side of a crop, a multiple of 4.")
@click.option("--lr", type=NUMBER, help="Peak learning rate.")
@click.option("--decay", type=NUMBER, help="Share of the steps over which the rate falls to zero, at the end.")
@click.option("--weight-decay", type=NUMBER, help="Decoupled weight decay of the matrices under Muon, times the rate.")
@click.option(
    "--loss",
    type=click.Choice(
        [
            "charbonnier",
            "charbonnier+ssim",
            "aligned",
            "aligned+ssim",
        ]
    ),
    help="Loss.",
)
@click.option("--sharing", type=NUMBER, help="Weight of what a thumbnail's means change; a run takes a quarter longer.")
@click.option("--small-until", type=NUMBER, help="Share of the steps with crops of half the side.")
@click.option("--large-from", type=NUMBER, help="Share of the steps after which crops have twice the side; 1: never.")
@click.option("--optimizer", type=click.Choice(["adam", "muon"]), help="How gradients become steps.")
@click.option("--mixup", type=NUMBER, help="Probability that a crop is mixed with another one.")
@click.option("--synthetic", type=NUMBER, help="Probability that a dark crop is replaced by its target, darkened.")
@click.option("--lamps", type=NUMBER, help="Probability that lamps are painted into both crops.")
@click.option("--ema", type=NUMBER, help="Decay of the averaged weights; 0 keeps none.")
@click.option("--clip", type=NUMBER, help="Largest norm of the gradient; 0 does not clip.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 autocast where a measurement at the start shows a gain.",
)
@RUNTIME_OPTIONS["device"]
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Fuse the network's blocks with torch.compile: a minute at the start, for faster steps on a GPU.",
)
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads.  [default: torch's]")
@click.option("--validate-every", type=int, default=250, show_default=True, help="Steps between validations.")
@click.option(
    "--validate-limit",
    type=int,
    default=12,
    show_default=True,
    help="Validation pictures looked at, spread over the split; whole, up to 1536 pixels a side.",
)
@click.option("--save-every", type=int, default=50, show_default=True, help="Steps between checkpoints.")
@click.option(
    "--max-minutes",
    type=Number(min=0, min_open=True),
    help="End cleanly after this many minutes; --resume goes on.",
)
def command(data: Path | None, degrade: Path | None, **options: Any) -> None:
    """Train a MIRNet on the pairs in DATA, or on photographs that --degrade darkens.

    DATA holds train/ (or our485/) and val/ (or eval15/), each with low/ and high/, matched by stem; or low/ and high/
    themselves, of which a tenth is then held out, whole scenes. Several processes: `torchrun --nproc-per-node N -m
    mirnet_deploy train …` (--batch is then per process). Ctrl-C and SIGTERM save and end (exit 130, 143);
    --resume goes on, bit for bit.
    """
    try:
        import torch

        from mirnet_deploy.training.distributed import join_processes
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'training needs {error.name}: pip install "mirnet-deploy[train]"') from error
    require_training()
    if (data is None) == (degrade is None):
        raise UsageError("expected either DATA (pairs) or --degrade DIR (well-lit photographs)")
    if degrade is not None and options["all_pairs"]:
        raise UsageError("--all-pairs needs DATA; the photographs of --degrade are not pairs")
    if degrade is not None and options["synthetic"]:
        raise UsageError("--synthetic needs DATA; with --degrade every dark crop is made from its target anyway")
    if degrade is not None:
        options["synthetic"] = 0.0
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    with join_processes(options["device"]) as processes:
        try:
            _train(data, degrade, options, processes)
        except OSError as error:
            raise TrainingError(f"the run in {options['output']} cannot go on: {error}") from error


def _train(data: Path | None, degrade: Path | None, options: dict[str, Any], processes: Processes) -> None:
    from mirnet_deploy.training.beginning import prepare
    from mirnet_deploy.training.splits import open_pairs, open_photographs
    from mirnet_deploy.training.trainer import Trainer

    if data is not None:
        split = open_pairs(data, all_pairs=options["all_pairs"])
    else:
        split = open_photographs(degrade or Path())
    look(split, processes.is_main)
    folder: Path = options["output"]
    say = click.echo if processes.is_main else _silent
    source = click.get_current_context().get_parameter_source
    given = {name for name in options if source(name) is ParameterSource.COMMANDLINE}
    settings, state = prepare(split, folder, options, given, processes, say)
    say(f"{split.description}; {state.network.parameter_count():,} parameters, {settings.precision}")
    say(f"recipe {settings.recipe_name}, step {state.step} of {settings.steps}, {processes.device}, in {folder}")
    limit = options["max_minutes"]
    deadline = time.monotonic() + 60 * limit if limit else float("inf")
    bar: AbstractContextManager[Callable[..., object]] = nullcontext(lambda: None)  # one bar for all processes
    if processes.is_main:
        bar = progress_bar("training", settings.steps - state.step)
    stopped_by = 0

    def stop(number: int) -> None:
        nonlocal stopped_by
        stopped_by = number
        click.echo("stopping after this step …", err=True)

    with on_signals(stop), bar as advance:
        trainer = Trainer(settings, state, split, folder, processes, _Reporter(advance, say), options["compiled"])
        done = trainer.run(lambda: stopped_by > 0 or time.monotonic() >= deadline)
    if done:
        say(f"done: {folder / 'best.pt'} is the best by validation, {folder / 'last.pt'} the last")
    else:
        say(f"stopped at step {state.step} of {settings.steps}; the same command with --resume goes on")
    say(f"{state.seconds / 60:.1f} minutes in steps and validations, {state.samples} crops")
    if stopped_by and not done:
        click.get_current_context().exit(128 + stopped_by)


def look(split: Split, is_main: bool) -> None:
    """Looks at every picture of `split`, before minutes of work: all faults are told at once.

    Raises:
        DataError: there are some.
    """
    from mirnet_deploy.training.looking import count, look_at

    bar: AbstractContextManager[Callable[..., object]] = nullcontext(lambda: None)  # one bar for all processes
    if is_main:
        bar = progress_bar("looking at the pictures", count(split))
    with bar as advance:
        look_at(split, partial(click.echo, err=True) if is_main else _silent, advance)


class _Reporter:
    """Shows a run: the bar, and a line for every row of the log."""

    def __init__(self, advance: Callable[..., object], say: Callable[[str], object]) -> None:
        self._advance, self._say = advance, say

    def step(self) -> None:
        self._advance()

    def row(self, row: dict[str, float]) -> None:
        self._say(
            f"step {row['step']:.0f}: loss {row['loss']:.4f}, validation PSNR {row['psnr']:.2f} dB, "
            f"SSIM {row['ssim']:.4f}, GT-mean PSNR {row['gt_mean_psnr']:.2f} dB"
        )


def _silent(text: str) -> None:
    """Says nothing, in all processes but the main one."""
