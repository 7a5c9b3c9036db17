"""Weights to ship, in a given time: one run that is annealed twice, without the held-out pairs and with them.

The trunk learns at a constant rate, on small crops, and never sees the held-out pairs. From its averaged weights two
runs go on, on large crops and with a rate that falls to zero: `holdout`, whose quality on the held-out pairs can be
measured, and `all`, trained the same way on these too, which ships. So what is measured and what ships share most of
their training, and differ only in the pairs of their ends.

Half of the minutes are the trunk's. The time of a step is measured there, and decides how many steps the ends have.
These are always done, so that the rate falls to zero; the time to compile for new shapes and to validate comes on top.
Where the trunk is far worse than the untouched dark pictures, everything ends there: the rate was too high, and no
annealing helps. There is one process: several would each plan steps of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from mirnet_deploy import metrics
from mirnet_deploy.errors import TrainingError, UsageError
from mirnet_deploy.files import is_there
from mirnet_deploy.pairs import Pair
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes
from mirnet_deploy.training.looking import look_at
from mirnet_deploy.training.losses import THUMBNAIL
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.recipes import RECIPES, Recipe
from mirnet_deploy.training.splits import Split, open_pairs
from mirnet_deploy.training.state import LAST, Settings, new_state
from mirnet_deploy.training.step import SHARING_EVERY
from mirnet_deploy.training.trainer import Say, Trainer
from mirnet_deploy.training.validation import spread, validate, validation_pair

TRUNK_SHARE = 0.5
"""Of the minutes."""
RECENT = 64
"""How many of the last steps count for the mean time: earlier ones compiled, captured, and read pictures for the first
time."""
SHARING_COST = 1 + (1 + 1 / THUMBNAIL**2) / SHARING_EVERY
"""Mean time of a step with `Recipe.sharing`, relative to one without: some steps run the network once more, and once on
a thumbnail."""
ENDLESS = 10**9
"""Steps of the trunk: its time ends it."""
DIVERGED = 3.0
"""A trunk this many dB of GT-mean PSNR below the untouched pictures is given up; one that has just begun may be below
them too."""


@dataclass
class Clock:
    """A `Reporter` that knows how long recent steps took."""

    name: str
    say: Say
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT + 1))
    """When the last steps ended, by `time.monotonic`."""

    def step(self) -> None:
        """A step is done."""
        self.ends.append(time.monotonic())

    def row(self, row: dict[str, float]) -> None:
        """Says a row of the log."""
        self.say(
            f"{self.name}: step {row['step']:.0f}, loss {row['loss']:.4f}, PSNR {row['psnr']:.2f} dB, "
            f"SSIM {row['ssim']:.4f}, GT-mean PSNR {row['gt_mean_psnr']:.2f} dB"
        )

    @property
    def seconds(self) -> float:
        """Mean time of the last `RECENT` steps; 0 before the second."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1) if len(self.ends) > 1 else 0.0


@dataclass(frozen=True)
class Shipment:
    """What is trained, and for how long."""

    network: MIRNetConfig
    weights: dict[str, torch.Tensor] | None
    """Our state dict to start from; None for random weights."""
    trunk: Recipe
    anneal: Recipe
    minutes: float
    """Of the three runs together."""
    seed: int
    precision: Literal["fp32", "bf16"]
    validate_limit: int
    output: Path
    compiled: bool
    say: Say

    @classmethod
    def of(cls, preset: str | None, init: Path | None, say: Say, **options: Any) -> Shipment:
        """What the options of the command line ask for; either `preset` or `init` is given.

        Raises:
            MirnetDeployError: `init` cannot be read, or a value is out of its range.
        """
        loaded = load_checkpoint(init) if init else None
        chosen = {name: options.pop(name) for name in ("lr", "weight_decay", "synthetic")}
        given = {name: value for name, value in chosen.items() if value is not None}
        shared = replace(RECIPES["aligned"], small_until=0.0, large_from=1.0, **given)
        trunk = replace(shared, batch=options.pop("trunk_batch"), crop=options.pop("trunk_crop"), decay=0.0)
        ends = {name: options.pop(name) for name in ("batch", "crop", "sharing")}
        return cls(
            network=loaded.config if loaded else MIRNetConfig.preset(preset or ""),
            weights=dict(loaded.network.state_dict()) if loaded else None,
            trunk=trunk,
            anneal=replace(shared, decay=1.0, large_from=0.4, **ends),
            say=say,
            **options,
        )

    def run(self, name: str, split: Split, processes: Processes, steps: int, start: Any, deadline: float) -> Clock:
        """Trains one of the three runs: `steps` steps, or those until `deadline`.

        Args:
            name: "trunk", "holdout" or "all", and the name of its folder.
            start: our state dict to start from; None for random weights.
            deadline: after which no step begins, by `time.monotonic`.

        Raises:
            UsageError: the folder holds a run already.
            TrainingError: the run diverged.
        """
        recipe = self.trunk if name == "trunk" else self.anneal
        folder = self.output / name
        if is_there(folder / LAST):
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
        state, clock = new_state(settings, processes.device, start), Clock(name, self.say)
        trainer = Trainer(settings, state, split, folder, processes, clock, self.compiled)
        trainer.run(lambda: time.monotonic() >= deadline)
        self.say(
            f"{name}: {state.step} steps, {state.samples} crops, {state.seconds / 60:.2f} minutes, "
            f"{1e3 * clock.seconds:.1f} ms for each step at the end"
        )
        return clock


def ship(data: Path, shipment: Shipment, processes: Processes) -> None:
    """Trains the trunk and both ends into folders of `shipment.output`.

    Raises:
        MirnetDeployError: the pairs cannot be read, a run diverged, the minutes are too few, a folder holds a run
            already, or there are several processes.
    """
    if processes.world_size > 1:
        raise UsageError("ship runs in one process; several GPUs are for mirnet-deploy train")
    split = open_pairs(data)
    look_at(split, shipment.say, lambda: None)
    begun = time.monotonic()
    trunk_end = begun + 60 * TRUNK_SHARE * shipment.minutes
    clock = shipment.run("trunk", split, processes, ENDLESS, shipment.weights, trunk_end)
    if not clock.seconds:
        raise TrainingError(f"the trunk had no time for two steps; expected more than {shipment.minutes:g} minutes")
    trunk = load_checkpoint(shipment.output / "trunk" / LAST).network
    items = spread(split.validation, shipment.validate_limit)
    _refuse_diverged(trunk.to(processes.device), items, processes.device, shipment.say)
    start = trunk.state_dict()
    pixel = clock.seconds / _mean_pixels(shipment.trunk) * (SHARING_COST if shipment.anneal.sharing else 1.0)
    left = (begun + 60 * shipment.minutes - time.monotonic()) / 2
    steps = max(1, int(left / (pixel * _mean_pixels(shipment.anneal))))
    shipment.say(f"annealing: {steps} steps each, planned for {left / 60:.2f} minutes")
    for name, pairs in (("holdout", split), ("all", open_pairs(data, all_pairs=True))):
        shipment.run(name, pairs, processes, steps, start, float("inf"))


def _mean_pixels(recipe: Recipe) -> float:
    """Pixels of a step, averaged over a run, in which the number and the size of the crops change."""
    return fmean(count * side**2 for count, side in (recipe.crops(step, 100) for step in range(100)))


def _refuse_diverged(network: MIRNet, items: Sequence[Pair | Path], device: torch.device, say: Say) -> None:
    """Compares the network's GT-mean PSNR, which needs no guess of the brightness, with that of the dark pictures.

    Raises:
        TrainingError: it is `DIVERGED` dB or more below theirs, or NaN.
    """
    reached = validate(network, items, device).gt_mean_psnr
    untouched = fmean(
        metrics.psnr(metrics.gt_mean(low, high), high, data_range=255) for low, high in map(validation_pair, items)
    )
    say(f"trunk: GT-mean PSNR {reached:.2f} dB on {len(items)} held-out pairs, untouched {untouched:.2f} dB")
    if not reached > untouched - DIVERGED:
        raise TrainingError(
            f"the trunk diverged: GT-mean PSNR is {reached:.2f} dB, the dark pictures' own {untouched:.2f} dB; "
            "lower --lr, or raise --weight-decay"
        )
