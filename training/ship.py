"""Weights to ship, in a given time: one run that is annealed twice, without the held-out pairs and with them.

    python -m mirnet_deploy.training.ship LOL --preset base --minutes 5 -o runs/base

The trunk learns at a constant rate, on small crops, and never sees the held-out pairs. From its averaged weights two
runs go on, on large crops and with a rate that falls to zero: `holdout`, whose quality on the held-out pairs can be
measured, and `all`, trained the same way on these too, which ships. So what is measured and what ships share most of
their time, and differ in nothing but the pairs of the end.

Half of the minutes are the trunk's. How long a step takes is measured there, and says how many steps the ends have;
these are always done, so that the rate falls to zero, and what their new shapes compile and their pictures take to
validate comes on top. A trunk that is far worse than the untouched dark pictures ends it all: the rate was too high,
and no annealing helps. One process: several would each plan steps of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import torch

from mirnet_deploy import metrics
from mirnet_deploy.errors import MirnetDeployError, TrainingError, UsageError
from mirnet_deploy.pairs import Pair
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes, join_processes
from mirnet_deploy.training.losses import THUMBNAIL
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.recipes import RECIPES, Recipe
from mirnet_deploy.training.splits import Split, open_pairs
from mirnet_deploy.training.state import LAST, Settings, new_state
from mirnet_deploy.training.step import SHARING_EVERY
from mirnet_deploy.training.trainer import Trainer
from mirnet_deploy.training.validation import spread, validate, validation_pair

TRUNK_SHARE = 0.5
RECENT = 64
"""Steps whose mean time counts: those before them compiled, captured, and read pictures for the first time."""
SHARING_COST = 1 + (1 + 1 / THUMBNAIL**2) / SHARING_EVERY
"""Time of a mean step with `Recipe.sharing` over that of one without: some have another pass, and a thumbnail's."""
ENDLESS = 10**9
DIVERGED = 3.0
"""So many dB below the untouched pictures a trunk is given up; a network that has just begun may be below them too."""


@dataclass
class Clock:
    """A `Reporter` that knows how long recent steps took."""

    name: str
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT + 1))

    def step(self) -> None:
        """A step is done."""
        self.ends.append(time.monotonic())

    def row(self, row: dict[str, float]) -> None:
        """Says a row of the log."""
        click.echo(
            f"{self.name}: step {row['step']:.0f}, loss {row['loss']:.4f}, PSNR {row['psnr']:.2f} dB, "
            f"SSIM {row['ssim']:.4f}, GT-mean PSNR {row['gt_mean_psnr']:.2f} dB"
        )

    @property
    def seconds(self) -> float:
        """Mean of the recent steps; 0 before the second."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1) if len(self.ends) > 1 else 0.0


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long."""

    network: MIRNetConfig
    weights: dict[str, torch.Tensor] | None
    trunk: Recipe
    anneal: Recipe
    minutes: float
    seed: int
    precision: Any
    validate_limit: int
    output: Path
    compiled: bool

    def run(self, name: str, split: Split, processes: Processes, steps: int, start: Any, deadline: float) -> Clock:
        """One of the three runs; ends at `deadline` (of `time.monotonic`) at the latest."""
        recipe = self.trunk if name == "trunk" else self.anneal
        folder = self.output / name
        if (folder / LAST).exists():
            raise UsageError(f"{folder} holds a run already; choose another --output")
        folder.mkdir(parents=True, exist_ok=True)
        never = ENDLESS if name == "trunk" else steps
        settings = Settings(
            network=self.network,
            recipe=recipe,
            recipe_name=f"ship, {name}: {recipe.named('aligned')}",
            steps=steps,
            seed=self.seed + (name != "trunk"),
            precision=self.precision,
            validate_every=never,
            validate_limit=self.validate_limit,
            save_every=never if name == "trunk" else max(50, steps // 4),
            data=split.fingerprint,
        )
        state, clock = new_state(settings, processes.device, start), Clock(name)
        trainer = Trainer(settings, state, split, folder, processes, clock, self.compiled)
        trainer.run(lambda: time.monotonic() >= deadline)
        click.echo(
            f"{name}: {state.step} steps, {state.samples} crops, {state.seconds / 60:.2f} minutes, "
            f"{1e3 * clock.seconds:.1f} ms a step at the end"
        )
        return clock


def ship(data: Path, plan: Plan, processes: Processes) -> None:
    """Trains the trunk and both ends into folders of `plan.output`.

    Raises:
        MirnetDeployError: the pairs cannot be read, a run diverged, or there are several processes.
    """
    if processes.world_size > 1:
        raise UsageError("ship runs in one process; several GPUs are for mirnet-deploy train")
    begun = time.monotonic()
    trunk_end = begun + 60 * TRUNK_SHARE * plan.minutes
    split = open_pairs(data)
    clock = plan.run("trunk", split, processes, ENDLESS, plan.weights, trunk_end)
    if not clock.seconds:
        raise TrainingError(f"the trunk had no time for two steps; expected more than {plan.minutes:g} minutes")
    trunk = load_checkpoint(plan.output / "trunk" / LAST).network
    _refuse_diverged(trunk.to(processes.device), spread(split.validation, plan.validate_limit), processes.device)
    start = trunk.state_dict()
    pixel = clock.seconds / _mean_pixels(plan.trunk) * (SHARING_COST if plan.anneal.sharing else 1.0)
    left = (begun + 60 * plan.minutes - time.monotonic()) / 2
    steps = max(1, int(left / (pixel * _mean_pixels(plan.anneal))))
    click.echo(f"annealing: {steps} steps each, planned for {left / 60:.2f} minutes")
    for name, pairs in (("holdout", split), ("all", open_pairs(data, all_pairs=True))):
        plan.run(name, pairs, processes, steps, start, float("inf"))


def _mean_pixels(recipe: Recipe) -> float:
    """Pixels of a step on average: a run changes the number and the size of its crops on the way."""
    return fmean(count * side**2 for count, side in (recipe.crops(step, 100) for step in range(100)))


def _refuse_diverged(network: MIRNet, items: Sequence[Pair | Path], device: torch.device) -> None:
    """Compares GT-mean PSNR, which has no brightness to guess, with that of the dark pictures themselves."""
    reached = validate(network, items, device).gt_mean_psnr
    untouched = fmean(
        metrics.psnr(metrics.gt_mean(low, high), high, data_range=255) for low, high in map(validation_pair, items)
    )
    click.echo(f"trunk: GT-mean PSNR {reached:.2f} dB on {len(items)} held-out pairs, untouched {untouched:.2f} dB")
    if not reached > untouched - DIVERGED:
        raise TrainingError(
            f"the trunk diverged: GT-mean PSNR is {reached:.2f} dB, the dark pictures' own {untouched:.2f} dB; "
            "lower --lr, or raise --weight-decay"
        )


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(["paper", "base", "lite"]), help="Size of a new network.")
@click.option("--init", type=click.Path(path_type=Path), help="Start from these weights, which know no held-out pair.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), required=True, help="Of the three runs together."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
@click.option("--trunk-crop", type=int, default=96, show_default=True)
@click.option("--trunk-batch", type=int, default=16, show_default=True)
@click.option("--crop", type=int, default=192, show_default=True, help="Of the annealed runs; twice this in their end.")
@click.option("--batch", type=int, default=16, show_default=True, help="Of the annealed runs; a quarter in their end.")
@click.option("--lr", type=float, default=RECIPES["aligned"].lr, show_default=True)
@click.option("--weight-decay", type=float, default=RECIPES["aligned"].weight_decay, show_default=True)
@click.option("--synthetic", type=float, default=RECIPES["aligned"].synthetic, show_default=True)
@click.option("--sharing", type=float, default=0.0, show_default=True, help="As of `train`, in the annealed runs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Fuse the network's blocks with torch.compile.")
@click.option("--validate-limit", type=int, default=12, show_default=True)
def main(data: Path, preset: str | None, init: Path | None, **options: Any) -> None:
    """Train weights on the pairs in DATA: a trunk, and two annealed ends of it."""
    if (preset is None) == (init is None):
        raise click.UsageError("expected either --preset or --init")
    try:
        loaded = load_checkpoint(init) if init else None
        chosen = {name: options[name] for name in ("lr", "weight_decay", "synthetic")}
        shared = replace(RECIPES["aligned"], small_until=0.0, large_from=1.0, **chosen)
        plan = Plan(
            network=loaded.config if loaded else MIRNetConfig.preset(preset or ""),
            weights=dict(loaded.network.state_dict()) if loaded else None,
            trunk=replace(shared, batch=options["trunk_batch"], crop=options["trunk_crop"], decay=0.0),
            anneal=replace(
                shared,
                batch=options["batch"],
                crop=options["crop"],
                sharing=options["sharing"],
                decay=1.0,
                large_from=0.4,
            ),
            **{
                name: options[name] for name in ("minutes", "seed", "precision", "validate_limit", "output", "compiled")
            },
        )
        with join_processes(options["device"]) as processes:
            ship(data, plan, processes)
    except (MirnetDeployError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
