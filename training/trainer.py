"""The training loop: steps, averaged weights, validation, checkpoints, and a clean end at any time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mirnet_deploy.training.data import Feed
from mirnet_deploy.training.distributed import Processes
from mirnet_deploy.training.logs import RunLog
from mirnet_deploy.training.splits import Split
from mirnet_deploy.training.state import Settings, State, check_finite, save_best, save_state
from mirnet_deploy.training.step import Step
from mirnet_deploy.training.validation import Quality, spread, validate

Say = Callable[[str], object]
"""Tells the user a line."""


class Reporter(Protocol):
    """Is told of a run's progress, to show it to the user."""

    def step(self) -> None:
        """A step is done."""
        ...

    def row(self, row: dict[str, float]) -> None:
        """A row of the log (`logs.COLUMNS`) is written."""
        ...


@dataclass(frozen=True)
class Trainer:
    """One run of one process. All processes step; the main one validates, writes and reports."""

    settings: Settings
    state: State
    split: Split
    folder: Path
    processes: Processes
    reporter: Reporter
    compiled: bool
    """Whether torch.compile fuses the network's blocks: the same arithmetic, with other last bits."""

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Trains to the last step, or until `should_stop`; saves either way.

        Returns:
            Whether the last step is done.

        Raises:
            TrainingError: the run has diverged.
            CheckpointError: a checkpoint cannot be written.
        """
        state, settings = self.state, self.settings
        log = RunLog(self.folder, state.history) if self.processes.is_main else None
        feed = Feed(
            self.split.train,
            settings.recipe,
            settings.seed,
            settings.steps,
            self.processes.rank,
            self.processes.world_size,
        )
        batches = feed.batches(state.step, state.samples)
        step = Step(state, settings.recipe, settings.precision, self.processes, compiled=self.compiled)
        try:
            clock = time.monotonic()
            while state.step < settings.steps and not self.processes.any(should_stop()):
                batch, state.samples = next(batches)
                self._set_rate()
                step(batch)
                if self.processes.is_main:
                    self.reporter.step()
                validated = state.step % settings.validate_every == 0 or state.step == settings.steps
                if validated:
                    self._validate(log)
                now = time.monotonic()
                state.seconds, clock = state.seconds + now - clock, now
                if log and (validated or state.step % settings.save_every == 0):
                    save_state(self.folder, settings, state)
            if log:
                save_state(self.folder, settings, state)
            self.processes.wait()
        finally:
            batches.close()
            if log:
                log.close()
        return state.step >= settings.steps

    def _set_rate(self) -> None:
        """Sets the trapezoid's rate for the next step; in place where it is a tensor, which captured steps read."""
        if self.state.plateau is None:
            rate = self.settings.recipe.learning_rate(self.state.step, self.settings.steps)
            for group in self.state.optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _validate(self, log: RunLog | None) -> None:
        """Validates, logs a row and saves the best weights, in the main process, which alone has a `log`; takes a step
        of the plateau schedule and starts a new sum of losses, in every process.

        Raises:
            TrainingError: the run has diverged.
            CheckpointError: the best weights cannot be written.
        """
        state, settings = self.state, self.settings
        check_finite(self.folder, state)  # here, before the sum of the losses is reset below
        loss = self.processes.mean(state.loss_sum / max(state.losses, 1))
        quality = Quality(0.0, 0.0, 0.0)
        if log:
            items = spread(self.split.validation, settings.validate_limit)
            quality = validate(state.averaged_network, items, self.processes.device)
        # Only the main process knows the PSNR. The others add 0, so it is multiplied by their number before the mean.
        known = torch.tensor(
            quality.psnr * self.processes.world_size, dtype=torch.float64, device=state.loss_sum.device
        )
        psnr = self.processes.mean(known)
        if state.plateau is not None:
            state.plateau.step(psnr)
        state.loss_sum.zero_()
        state.losses = 0
        if log:
            row = {
                "step": state.step,
                "samples": state.samples,
                "lr": float(state.optimizer.param_groups[0]["lr"]),
                "loss": loss,
                "psnr": quality.psnr,
                "ssim": quality.ssim,
                "gt_mean_psnr": quality.gt_mean_psnr,
            }
            state.history.append(row)
            log.add(row)
            self.reporter.row(row)
            if quality.gt_mean_psnr > state.best:
                state.best = quality.gt_mean_psnr
                save_best(self.folder, settings, state)
