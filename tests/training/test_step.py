"""A step is the textbook's, and on a GPU captured and launched steps agree."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes
from mirnet_deploy.training.losses import LOSSES, thumbnail_difference
from mirnet_deploy.training.recipes import Recipe
from mirnet_deploy.training.state import Settings, State, new_state, read_settings, resumed_state, save_state
from mirnet_deploy.training.step import BEFORE_CAPTURE, SHARING_EVERY, Step

RECIPE = Recipe(batch=2, crop=16, ema=0.9, clip=0.5, lr=1e-3, optimizer="adam", loss="aligned")


def settings(recipe: Recipe = RECIPE) -> Settings:
    return Settings(MIRNetConfig(8, 1, 1), recipe, "aligned", 100, 0, "fp32", 1, 1, 1, "random")


def batches(count: int, side: int = 16) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 2, 3, side, side) for _ in range(count)]


@pytest.mark.parametrize("sharing", [0.0, 0.5])
def test_a_step_is_loss_gradient_clipping_adam_and_average(sharing: float) -> None:
    recipe = replace(RECIPE, sharing=sharing)
    state = new_state(settings(recipe), torch.device("cpu"))
    network = copy.deepcopy(state.network)
    average = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters(), lr=RECIPE.lr)
    step = Step(state, recipe, "fp32", Processes(0, 1, torch.device("cpu")), compiled=False)
    total = 0.0
    for number, batch in enumerate(batches(SHARING_EVERY + 2)):
        step(batch)
        output = network(batch[0])
        loss = LOSSES["aligned"](output, batch[1])
        total += float(loss.detach())
        if sharing and number % SHARING_EVERY == 0:
            loss = loss + SHARING_EVERY * sharing * thumbnail_difference(network, batch[0], output)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        decay = min(0.9, (1 + number) / (10 + number))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, network.parameters(), strict=True)]
    assert state.ema is not None
    assert (state.step, state.losses) == (SHARING_EVERY + 2, SHARING_EVERY + 2)
    assert float(state.loss_sum) == pytest.approx(total, rel=1e-5)
    for ours, theirs in zip(state.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    for ours, mean in zip(state.ema.parameters(), average, strict=True):
        torch.testing.assert_close(ours, mean, rtol=1e-3, atol=1e-5)


# On a GPU


def stepped(recipe: Recipe, *, captured: bool, steps: int = 2 * SHARING_EVERY * (BEFORE_CAPTURE + 2)) -> State:
    gpu = torch.device("cuda", 0)
    state = new_state(settings(recipe), gpu)
    step = Step(state, recipe, "fp32", Processes(0, 1, gpu), compiled=False, captured=captured)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a refused capture warns
        for number, (small, large) in enumerate(zip(batches(steps), batches(steps, 24), strict=True)):
            for group in state.optimizer.param_groups:
                group["lr"].fill_(recipe.learning_rate(number, 100))
            step(large if number // SHARING_EVERY % 2 else small)  # each shape with and without sharing
    return state


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_captured_and_launched_steps_agree(optimizer: str) -> None:
    decay = 0.1 * (optimizer == "muon")
    recipe = Recipe(batch=2, crop=16, lr=1e-3, sharing=0.5, optimizer=optimizer, weight_decay=decay)  # type: ignore[arg-type]
    launched, captured = stepped(recipe, captured=False), stepped(recipe, captured=True)
    assert float(captured.loss_sum) == pytest.approx(float(launched.loss_sum), rel=1e-3)
    for one, other in zip(launched.averaged_network.parameters(), captured.averaged_network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_run_on_a_gpu_continues_from_its_checkpoint(tmp_path: Path) -> None:
    state = stepped(RECIPE, captured=True)
    save_state(tmp_path, settings(), state)
    found, content = read_settings(tmp_path)
    again = resumed_state(tmp_path, found, content, torch.device("cuda", 0))
    assert again.optimizer.param_groups[0]["lr"].is_cuda
    Step(again, RECIPE, "fp32", Processes(0, 1, torch.device("cuda", 0)), compiled=False)(batches(1)[0])
    assert again.step == state.step + 1
