"""The state of a run between two steps, and its checkpoint: enough to go on bit for bit.

Samples are a function of their number (`training.data`) and the network draws no random numbers, so the only random
state of a run is its seed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mirnet_deploy.errors import CheckpointError, TrainingError, UsageError
from mirnet_deploy.training.checkpoint import read_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.muon import Muon
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.recipes import Recipe

LAST, BEST = "last.pt", "best.pt"
"""`last.pt` continues a run; `best.pt` holds the weights with the best validation GT-mean PSNR, and their
description."""
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 5
"""Of `ReduceLROnPlateau`; the patience in validations."""


@dataclass(frozen=True)
class Settings:
    """What a run is, from its first step to its last.

    Raises:
        UsageError: a count is below 1.
    """

    network: MIRNetConfig
    recipe: Recipe
    recipe_name: str
    steps: int
    seed: int
    precision: Literal["fp32", "bf16"]
    validate_every: int
    validate_limit: int
    """Most validation pictures looked at, spread evenly over the split; the same ones each time."""
    save_every: int
    data: str
    """`Split.fingerprint` of the data that the run learns from; a resumed run must have the same."""

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "validate_limit", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in checkpoints."""
        return {**self.__dict__, "network": self.network.to_dict(), "recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Reads what `to_dict` wrote.

        Raises:
            TypeError, KeyError, UsageError: the values are not those of a run.
        """
        parts = {"network": MIRNetConfig(**values["network"]), "recipe": Recipe(**values["recipe"])}
        return cls(**{**values, **parts})


@dataclass
class State:
    """Everything that changes from step to step."""

    network: MIRNet
    ema: MIRNet | None
    optimizer: torch.optim.Optimizer
    plateau: ReduceLROnPlateau | None
    loss_sum: Tensor
    """Float64 scalar: the sum of the losses since the last row of the log."""
    step: int = 0
    """Steps done."""
    samples: int = 0
    """Crops seen by all processes together."""
    losses: int = 0
    """How many losses `loss_sum` holds."""
    seconds: float = 0.0
    """Time spent in steps and validations, over all resumptions."""
    best: float = float("-inf")
    """The best GT-mean PSNR of a validation, in dB."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The rows of the log."""

    @property
    def averaged_network(self) -> MIRNet:
        """The network with the averaged weights; the plain one in a run that keeps no averages."""
        return self.ema or self.network


def new_state(settings: Settings, device: torch.device, init: Mapping[str, Tensor] | None = None) -> State:
    """A run before its first step: weights from `init`, our state dict, or random ones from the seed."""
    torch.manual_seed(settings.seed)
    network = MIRNet(settings.network)
    if init is not None:
        network.load_state_dict(init)
    network = network.to(device).channels_last()
    recipe = settings.recipe
    # On the device, so that a captured step reads it there; ReduceLROnPlateau wants plain numbers.
    on_device = device.type == "cuda" and recipe.schedule != "plateau"
    lr = torch.tensor(recipe.lr, device=device) if on_device else recipe.lr
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "muon":
        optimizer = Muon(network.parameters(), lr, recipe.weight_decay)
    else:
        optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.9, 0.999), capturable=on_device)
    plateau = None
    if recipe.schedule == "plateau":
        plateau = ReduceLROnPlateau(optimizer, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
    ema = copy.deepcopy(network).requires_grad_(False).eval() if recipe.ema else None
    return State(network, ema, optimizer, plateau, torch.zeros((), dtype=torch.float64, device=device))


def check_finite(folder: Path, state: State) -> None:
    """Checks that the loss and all weights are finite: a finite loss can have a gradient that is not.

    Raises:
        TrainingError: the run has diverged.
    """
    for name, tensor in [("loss", state.loss_sum), *state.network.named_parameters()]:
        if not torch.isfinite(tensor).all():
            before = f"{folder / LAST} is from before" if (folder / LAST).exists() else "nothing was saved"
            raise TrainingError(
                f"{name} is not finite at step {state.step}; {before}: start again with a lower --lr, or with --clip"
            )


def save_state(folder: Path, settings: Settings, state: State) -> None:
    """Writes `last.pt`, atomically.

    Raises:
        TrainingError: the run has diverged; the last good checkpoint stays.
        CheckpointError: the file cannot be written.
    """
    check_finite(folder, state)
    training = {
        "settings": settings.to_dict(),
        "optimizer": state.optimizer.state_dict(),
        "plateau": _plain(state.plateau.state_dict()) if state.plateau else None,
        "loss_sum": float(state.loss_sum),
        "step": state.step,
        "samples": state.samples,
        "losses": state.losses,
        "seconds": state.seconds,
        "best": state.best,
        "history": state.history,
    }
    weights = {"network": state.network.state_dict(), "ema": state.ema.state_dict() if state.ema else None}
    save_checkpoint(folder / LAST, {**_identity(settings, state), **weights, "training": training})


def save_best(folder: Path, settings: Settings, state: State) -> None:
    """Writes `best.pt`, atomically: the averaged weights where there are any, else the plain ones.

    Raises:
        CheckpointError: the file cannot be written.
    """
    name = "ema" if state.ema else "network"
    save_checkpoint(folder / BEST, {**_identity(settings, state), name: state.averaged_network.state_dict()})


def _identity(settings: Settings, state: State) -> dict[str, Any]:
    """What a checkpoint says of its network and its run: "config", and "describe" for people."""
    describe: dict[str, Any] = {
        "step": state.step,
        "steps": settings.steps,
        "minutes": round(state.seconds / 60, 1),
        "recipe": settings.recipe_name,
        "seed": settings.seed,
        "precision": settings.precision,
        "data": settings.data,
    }
    if state.history:
        describe["validation"] = {name: state.history[-1][name] for name in ("psnr", "ssim", "gt_mean_psnr")}
    return {"config": settings.network.to_dict(), "describe": describe}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    # A scheduler may keep values of other types; a checkpoint holds plain ones.
    return {name: value for name, value in values.items() if isinstance(value, (int, float, str, list, type(None)))}


def read_settings(folder: Path) -> tuple[Settings, dict[str, Any]]:
    """The settings of the run in `folder`, and the content of its `last.pt` for `resumed_state`.

    Raises:
        CheckpointError: there is no run, or its checkpoint is damaged.
    """
    path = folder / LAST
    content = read_checkpoint(path)
    try:
        return Settings.from_dict(content["training"]["settings"]), content
    except (KeyError, TypeError, UsageError) as error:
        raise CheckpointError(f"{path} does not continue a training run: {error!r}") from error


def resumed_state(folder: Path, settings: Settings, content: Mapping[str, Any], device: torch.device) -> State:
    """The state in which `save_state` left the run.

    Raises:
        CheckpointError: parts are missing or do not fit the network.
    """
    try:
        training = content["training"]
        state = new_state(settings, device, content["network"])
        if state.ema is not None:
            state.ema.load_state_dict(content["ema"])
        rates = [group["lr"] for group in state.optimizer.param_groups]
        state.optimizer.load_state_dict(training["optimizer"])
        for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
            if isinstance(rate, Tensor):  # the file's is on the host; every step sets its value anew
                group["lr"] = rate
        if state.plateau is not None:
            state.plateau.load_state_dict(training["plateau"])
        state.loss_sum += training["loss_sum"]
        for name in ("step", "samples", "losses", "seconds", "best", "history"):
            setattr(state, name, training[name])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder / LAST} does not continue a training run: {error!r}") from error
    return state
