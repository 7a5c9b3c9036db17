"""How a run begins, or continues where it stopped: its settings and state, from the options of the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mirnet_deploy.errors import TrainingError, UsageError
from mirnet_deploy.files import is_there
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes
from mirnet_deploy.training.logs import CURVE, LOG
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.precision import bf16_gain
from mirnet_deploy.training.recipes import RECIPES, Recipe
from mirnet_deploy.training.splits import Split
from mirnet_deploy.training.state import BEST, LAST, Settings, State, new_state, read_settings, resumed_state
from mirnet_deploy.training.trainer import Say


def prepare(
    split: Split, folder: Path, options: Mapping[str, Any], given: Collection[str], processes: Processes, say: Say
) -> tuple[Settings, State]:
    """The settings and the state of a run before its next step.

    Args:
        folder: of the run; that of a new one is made by the main process.
        options: of the command line, by name; None where the user gave none and there is no default.
        given: names of the options that the user gave.
        say: tells the user a line.

    Raises:
        TrainingError: `folder` cannot be made, holds a run although a new one is wanted, or holds one that learned from
            other data.
        CheckpointError: the run to resume or the weights to start from are missing or damaged.
        UsageError: an option is out of its range, or contradicts another one or the run that is resumed.
    """
    if options["resume"]:
        settings, content = read_settings(folder)
        if settings.data != split.fingerprint:
            raise TrainingError(
                f"{folder} was trained on other data ({settings.data}; this is {split.fingerprint}); "
                "--resume takes the DATA and the --all-pairs that it was started with"
            )
        _refuse_changes(settings, options, given)
        if options["steps"] is not None:
            settings = replace(settings, steps=options["steps"])
        _remove_half_written(folder, processes)
        if options["init"]:
            say(f"--resume goes on from {folder / LAST}; --init is not read again")
        return settings, resumed_state(folder, settings, content, processes.device)
    _refuse_existing(folder)
    init, settings = _fresh_settings(split, options, processes, say)
    if processes.is_main:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be made: {error.strerror}") from error
    _remove_half_written(folder, processes)
    processes.wait()
    return settings, new_state(settings, processes.device, init)


def _refuse_existing(folder: Path) -> None:
    """Checks that a new run in `folder` replaces nothing. A log alone is of a run that ended before it saved anything.

    Raises:
        TrainingError: it would.
    """
    if is_there(folder / LAST):
        raise TrainingError(f"{folder} holds a run already; --resume continues it, or choose another --output")
    for path in (folder / BEST, folder / LOG, folder / CURVE):
        if is_there(path) and (path.name == BEST or not path.exists()):
            raise TrainingError(f"{path} is there already; choose another --output, or move it away")


def _refuse_changes(settings: Settings, options: Mapping[str, Any], given: Collection[str]) -> None:
    """Checks that the given options agree with the settings of a resumed run, of which only the steps may change.

    Raises:
        UsageError: one does not.
    """
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
        *_recipe_options(options),
        "seed",
        "precision",
        "validate_every",
        "validate_limit",
        "save_every",
    )
    for name in names:
        asked = options[name]
        if name in given and asked not in (stored[name], "auto"):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"the run has {option} {stored[name]}, not {asked}; --resume changes nothing but --steps")


def _remove_half_written(folder: Path, processes: Processes) -> None:
    """Removes the files that a killed run had not finished writing."""
    if processes.is_main:
        for name in (LAST, BEST, LOG, CURVE):
            for partial in folder.glob(f".{name}.*.partial"):
                partial.unlink(missing_ok=True)


def _recipe_options(options: Mapping[str, Any]) -> list[str]:
    """Names of the options that change a part of the recipe: those that are named after a field of `Recipe`."""
    return [field.name for field in fields(Recipe) if field.name in options]


def _fresh_settings(
    split: Split, options: Mapping[str, Any], processes: Processes, say: Say
) -> tuple[Mapping[str, Tensor] | None, Settings]:
    """The weights to start from (None: random ones) and the settings of a new run."""
    sizes = {name: options[name] for name in ("n_feat", "n_rrg", "n_msrb") if options[name] is not None}
    weights = None
    if options["init"]:
        if sizes or options["preset"]:
            raise UsageError("--init brings the size of its network; leave out --preset and --n-…")
        loaded = load_checkpoint(options["init"])
        say(f"{options['init']}: starting from its weights: {loaded.taken}")
        network, weights = loaded.config, loaded.network.state_dict()
    else:
        network = replace(MIRNetConfig.preset(options["preset"] or "lite"), **sizes)
    changes = {name: options[name] for name in _recipe_options(options) if options[name] is not None}
    recipe = replace(RECIPES[options["recipe"]], **changes)
    precision = options["precision"]
    if precision == "auto":
        precision = _measured_precision(MIRNet(network), recipe.batch, recipe.crop, processes, say)
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


def _measured_precision(
    network: MIRNet, batch: int, crop: int, processes: Processes, say: Say
) -> Literal["fp32", "bf16"]:
    """Chooses "bf16" where it makes a training step more than 5 % faster here; the same for all processes."""
    gain = bf16_gain(network, processes.device, batch, crop)
    # Each process has measured for itself, and all must agree: the mean decides.
    gain = processes.mean(torch.tensor(gain, dtype=torch.float64, device=processes.device))
    chosen: Literal["fp32", "bf16"] = "bf16" if gain > 1.05 else "fp32"
    say(f"a bfloat16 step is {gain:.2f} times as fast as a float32 one here: training in {chosen}")
    return chosen
