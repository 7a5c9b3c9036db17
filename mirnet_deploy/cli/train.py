"""`mirnet-deploy train`: a MIRNet from pairs, or from well-lit photographs that are darkened on the fly."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import MissingDependencyError, TrainingError, UsageError

if TYPE_CHECKING:
    from mirnet_deploy.training.distributed import Processes
    from mirnet_deploy.training.splits import Split
    from mirnet_deploy.training.state import Settings, State


RECIPE_OPTIONS = (
    "batch",
    "crop",
    "small_until",
    "large_from",
    "optimizer",
    "lr",
    "decay",
    "weight_decay",
    "loss",
    "sharing",
    "mixup",
    "synthetic",
    "lamps",
    "ema",
    "clip",
)
"""Options that change a part of the recipe, by the names that a `Recipe` has for them."""


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
@click.option("--all-pairs", is_flag=True, help="Train on the held-out pairs too, by a recipe measured without them.")
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
@click.option("--batch", type=int, help="Crops a step and process.")
@click.option("--crop", type=int, help="Side of a crop, a multiple of 4.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--decay", type=float, help="Share of the steps over which the rate falls to zero, at the end.")
@click.option("--weight-decay", type=float, help="Decoupled weight decay of what Muon steps, times the rate.")
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
@click.option("--sharing", type=float, help="Weight of what a thumbnail's means change; a run takes a quarter longer.")
@click.option("--small-until", type=float, help="Share of the steps with crops of half the side.")
@click.option("--large-from", type=float, help="Share of the steps after which crops have twice the side; 1: never.")
@click.option("--optimizer", type=click.Choice(["adam", "muon"]), help="How gradients become steps.")
@click.option("--mixup", type=float, help="Probability that a crop is mixed with another one.")
@click.option("--synthetic", type=float, help="Probability that a dark crop is replaced by its target, darkened.")
@click.option("--lamps", type=float, help="Probability that lamps are painted into both crops.")
@click.option("--ema", type=float, help="Decay of the averaged weights; 0 keeps none.")
@click.option("--clip", type=float, help="Largest norm of the gradient; 0 does not clip.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 autocast where a measurement at the start shows a gain.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Fuse the network's blocks with torch.compile: a minute at the start, for faster steps on a GPU.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: torch's]")
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
    type=click.FloatRange(min=0, min_open=True),
    help="End cleanly after this many minutes; --resume goes on.",
)
def command(data: Path | None, degrade: Path | None, **options: Any) -> None:
    """Train a MIRNet on the pairs in DATA, or on photographs that --degrade darkens.

    DATA holds train/ (or our485/) and val/ (or eval15/), each with low/ and high/, matched by stem; or low/ and high/
    themselves, of which a tenth is then held out, whole scenes. Several processes: `torchrun --nproc-per-node N -m
    mirnet_deploy train …` (--batch is then per process). Ctrl-C saves and ends; --resume goes on, bit for bit.
    """
    try:
        import torch

        from mirnet_deploy.training.distributed import join_processes
    except ImportError as error:
        raise MissingDependencyError(f'training needs {error.name}: pip install "mirnet-deploy[train]"') from error
    for module in ("tensorboard", "matplotlib", "skimage"):  # imported later, at the first validation or before it
        if find_spec(module) is None:
            raise MissingDependencyError(f'training needs {module}: pip install "mirnet-deploy[train]"')
    if (data is None) == (degrade is None):
        raise UsageError("expected either DATA (pairs) or --degrade DIR (well-lit photographs)")
    if degrade is not None and options["all_pairs"]:
        raise UsageError("--all-pairs needs DATA; the photographs of --degrade are no pairs")
    if degrade is not None and options["synthetic"]:
        raise UsageError("--synthetic needs DATA; of --degrade all dark crops are made from their targets, once")
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
    from mirnet_deploy.training.splits import open_pairs, open_photographs
    from mirnet_deploy.training.trainer import Trainer

    if data is not None:
        split = open_pairs(data, all_pairs=options["all_pairs"])
    else:
        split = open_photographs(degrade or Path())
    folder: Path = options["output"]
    settings, state = _prepare(split, folder, options, processes)
    say = click.echo if processes.is_main else _silent
    say(f"{split.description}; {state.network.parameter_count():,} parameters, {settings.precision}")
    say(f"recipe {settings.recipe_name}, step {state.step} of {settings.steps}, {processes.device}, in {folder}")
    limit = options["max_minutes"]
    deadline = time.monotonic() + 60 * limit if limit else float("inf")
    bar: AbstractContextManager[Callable[..., object]] = nullcontext(lambda: None)  # one bar for all processes
    if processes.is_main:
        bar = progress_bar("training", settings.steps - state.step)
    with _stop_signals() as stopped, bar as advance:
        trainer = Trainer(settings, state, split, folder, processes, _Reporter(advance, say), options["compiled"])
        done = trainer.run(lambda: stopped() or time.monotonic() >= deadline)
    if done:
        say(f"done: {folder / 'best.pt'} is the best by validation, {folder / 'last.pt'} the last")
    else:
        say(f"stopped at step {state.step} of {settings.steps}; the same command with --resume goes on")
    say(f"{state.seconds / 60:.1f} minutes in steps and validations, {state.samples} crops")


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
    """The voice of the processes that do not speak."""


def _prepare(split: Split, folder: Path, options: dict[str, Any], processes: Processes) -> tuple[Settings, State]:
    from mirnet_deploy.training.state import LAST, new_state, read_settings, resumed_state

    if options["resume"]:
        settings, content = read_settings(folder)
        if settings.data != split.fingerprint:
            raise TrainingError(
                f"{folder} was trained on other data ({settings.data}; this is {split.fingerprint}); "
                "--resume takes the DATA and the --all-pairs that it was started with"
            )
        _refuse_changes(settings, options)
        if options["steps"] is not None:
            settings = replace(settings, steps=options["steps"])
        _remove_half_written(folder, processes)
        if options["init"] and processes.is_main:
            click.echo(f"--resume goes on from {folder / LAST}; --init is not read again")
        return settings, resumed_state(folder, settings, content, processes.device)
    if (folder / LAST).exists():
        raise TrainingError(f"{folder} holds a run already; --resume continues it, or choose another --output")
    init, settings = _fresh_settings(split, options, processes)
    if processes.is_main:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be made: {error.strerror}") from error
    _remove_half_written(folder, processes)
    processes.wait()
    return settings, new_state(settings, processes.device, init)


def _refuse_changes(settings: Settings, options: dict[str, Any]) -> None:
    """A resumed run keeps its settings; options that say the same are welcome, others would be lost without a word."""
    from mirnet_deploy.training.config import MIRNetConfig

    source = click.get_current_context().get_parameter_source
    stored = {
        **settings.to_dict(),
        **settings.network.to_dict(),
        **settings.recipe.to_dict(),
        "recipe": settings.recipe_name.partition(" with ")[0],
    }
    sizes = [options[name] for name in ("n_feat", "n_rrg", "n_msrb")]
    if options["preset"] and sizes == [None] * 3 and MIRNetConfig.preset(options["preset"]) != settings.network:
        raise UsageError(f"the run has another size than --preset {options['preset']}: {settings.network}")
    names = (
        "n_feat",
        "n_rrg",
        "n_msrb",
        "recipe",
        *RECIPE_OPTIONS,
        "seed",
        "precision",
        "validate_every",
        "validate_limit",
        "save_every",
    )
    for name in names:
        asked = options[name]
        if source(name) is ParameterSource.COMMANDLINE and asked not in (stored[name], "auto"):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"the run has {option} {stored[name]}, not {asked}; --resume changes nothing but --steps")


def _remove_half_written(folder: Path, processes: Processes) -> None:
    """Removes what a killed run was writing."""
    if processes.is_main:
        for name in ("last.pt", "best.pt", "log.csv", "curve.png"):
            for partial in folder.glob(f".{name}.*.partial"):
                partial.unlink(missing_ok=True)


def _fresh_settings(split: Split, options: dict[str, Any], processes: Processes) -> tuple[Any, Settings]:
    from mirnet_deploy.training.checkpoint import load_checkpoint
    from mirnet_deploy.training.config import MIRNetConfig
    from mirnet_deploy.training.network import MIRNet
    from mirnet_deploy.training.recipes import RECIPES
    from mirnet_deploy.training.state import Settings

    sizes = {name: options[name] for name in ("n_feat", "n_rrg", "n_msrb") if options[name] is not None}
    weights = None
    if options["init"]:
        if sizes or options["preset"]:
            raise UsageError("--init brings the size of its network; leave out --preset and --n-…")
        loaded = load_checkpoint(options["init"])
        network, weights = loaded.config, loaded.network.state_dict()
    else:
        network = replace(MIRNetConfig.preset(options["preset"] or "lite"), **sizes)
    changes = {name: options[name] for name in RECIPE_OPTIONS if options[name] is not None}
    recipe = replace(RECIPES[options["recipe"]], **changes)
    precision = options["precision"]
    if precision == "auto":
        precision = _measured_precision(MIRNet(network), recipe.batch, recipe.crop, processes)
    settings = Settings(
        network=network,
        recipe=recipe,
        recipe_name=recipe.named(options["recipe"]),
        steps=4000 if options["steps"] is None else options["steps"],
        seed=options["seed"],
        precision=precision,
        validate_every=options["validate_every"],
        validate_limit=options["validate_limit"],
        save_every=options["save_every"],
        data=split.fingerprint,
    )
    return weights, settings


def _measured_precision(network: Any, batch: int, crop: int, processes: Processes) -> str:
    import torch

    from mirnet_deploy.training.precision import bf16_gain

    gain = bf16_gain(network, processes.device, batch, crop)
    # All processes must agree, and each has measured for itself: the mean decides.
    gain = processes.mean(torch.tensor(gain, dtype=torch.float64, device=processes.device))
    chosen = "bf16" if gain > 1.05 else "fp32"
    if processes.is_main:
        click.echo(f"a bfloat16 step is {gain:.2f} times as fast as a float32 one here: training in {chosen}")
    return chosen


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a clean end; a second Ctrl-C interrupts at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        click.echo("stopping after this step …", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
