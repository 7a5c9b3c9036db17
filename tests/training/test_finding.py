"""The weights of a checkpoint are found wherever they lie, averages first; two different networks are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_layout import to_published
from safetensors.torch import save_file
from torch import Tensor

from mirnet_deploy.errors import CheckpointError, MirnetDeployWarning
from mirnet_deploy.training.checkpoint import load_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

TINY = MIRNetConfig(8, 1, 1)
State = dict[str, Tensor]


def weights(seed: int) -> State:
    torch.manual_seed(seed)
    return to_published(MIRNet(TINY).state_dict(), TINY)


PLAIN, AVERAGED, OTHER = weights(1), weights(2), weights(3)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def first_layer(path: Path) -> Tensor:
    """Of the network that is loaded: tells the three state dicts apart."""
    return load_checkpoint(path).network.state_dict()["conv_in.weight"]


PLACES = [
    ("state_dict", "state_dict_ema"),
    ("model", "model_ema"),
    ("state_dict", "ema_state_dict"),
    ("model_state_dict", "model_state_dict_ema"),
    ("model", "ema_model"),
    ("net", "net_ema"),
    ("params", "params_ema"),
    ("model", "EMA"),
    ("netG", "netG_EMA"),
    ("model", "modelEma"),
    ("model", "swa_model"),
    ("weights", "averaged_weights"),
]


@pytest.mark.parametrize(("plain", "averaged"), PLACES)
@pytest.mark.parametrize("flat", [False, True])
def test_averages_are_taken_and_said(tmp_path: Path, plain: str, averaged: str, flat: bool) -> None:
    parts = [(plain, PLAIN), (averaged, AVERAGED)][:: 1 if len(averaged) % 2 else -1]  # either may come first
    content: dict[str, Any] = {}
    for key, state in parts:
        content |= under(f"{key}.", state) if flat else {key: state}
    torch.save({**content, "epoch": 3}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.weights, loaded.place, loaded.describe) == ("ema", averaged, {"epoch": 3})
    assert loaded.taken == f"EMA (averaged), from {averaged}"
    assert torch.equal(loaded.network.state_dict()["conv_in.weight"], AVERAGED["conv_in.weight"])


WITH_AVERAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "ema.module": lambda: {"model": under("module.", PLAIN), "ema": under("module.", AVERAGED)},
    "state_dict.ema.ema_model": lambda: {
        "state_dict": under("net.", PLAIN) | under("ema.online_model.", PLAIN) | under("ema.ema_model.", AVERAGED)
    },
    "callbacks.EMACallback.shadow": lambda: {
        "state_dict": under("net.", PLAIN),
        "callbacks": {"EMACallback": {"decay": 0.999, "shadow": under("net.", AVERAGED)}},
    },
    "swa.module": lambda: {"model": PLAIN, "swa": {"n_averaged": torch.tensor(5), **under("module.", AVERAGED)}},
    "module": lambda: {"n_averaged": torch.tensor(5), **under("module.", AVERAGED)},
    "model_ema": lambda: {
        "state_dict": under("model.", PLAIN)
        | {f"model_ema.{name.replace('.', '')}": value for name, value in AVERAGED.items()}
        | {"model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(7)}
    },
}


@pytest.mark.parametrize("place", WITH_AVERAGES)
def test_averages_of_common_libraries_are_taken(tmp_path: Path, place: str) -> None:
    torch.save(WITH_AVERAGES[place](), tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.weights == "ema"
    assert loaded.place.endswith(place if place != "callbacks.EMACallback.shadow" else "shadow.net")
    assert torch.equal(loaded.network.state_dict()["conv_in.weight"], AVERAGED["conv_in.weight"])


@pytest.mark.parametrize(
    ("counter", "prefix"),
    [
        ("", "module.module."),
        ("", "module._orig_mod."),
        ("", "module.net."),
        ("module.", "module.module."),
        ("_orig_mod.", "_orig_mod.module."),
        ("swa.", "swa.module._orig_mod.module."),
    ],
)
def test_the_counter_tells_averages_of_a_wrapped_network(tmp_path: Path, counter: str, prefix: str) -> None:
    content = {f"{counter}n_averaged": torch.tensor(5), **under(prefix, AVERAGED)}
    torch.save({"model": PLAIN, "other": content}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.weights, loaded.place) == ("ema", f"other.{prefix}".removesuffix("."))
    assert torch.equal(loaded.network.state_dict()["conv_in.weight"], AVERAGED["conv_in.weight"])


@pytest.mark.parametrize("key", ["optimal_ema", "optimizer_ema", "optim"])
def test_averages_are_found_under_keys_like_an_optimizers(tmp_path: Path, key: str) -> None:
    torch.save({"state_dict": PLAIN, key: AVERAGED if "ema" in key else {"ema": AVERAGED}}, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").weights == "ema"
    assert torch.equal(first_layer(tmp_path / "a.pth"), AVERAGED["conv_in.weight"])


@pytest.mark.parametrize("key", ["optimizer", "opt", "G_optimizer_state_dict", "nested/optimizers", "flat"])
@pytest.mark.filterwarnings("error")
def test_moments_are_no_averaged_weights(tmp_path: Path, key: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3, 3))
    optimizer = torch.optim.Adam([weight], amsgrad=True)
    weight.sum().backward()
    optimizer.step()
    state: Any = optimizer.state_dict()
    content: dict[str, Any] = {key: state}
    if key == "nested/optimizers":
        content = {"nested": {"optimizers": [state, state]}}
    elif key == "flat":
        content = {f"opt.state.0.{name}": value for name, value in state["state"][0].items()}
    torch.save({"model": PLAIN, **content}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.weights, loaded.taken) == ("plain", "plain (the checkpoint has no EMA weights), from model")


def test_averages_without_names_are_a_note_and_never_denied(tmp_path: Path) -> None:
    torch.save({"model": PLAIN, "ema": {"decay": 0.9, "shadow_params": list(AVERAGED.values())}}, tmp_path / "a.pth")
    with pytest.warns(MirnetDeployWarning, match=r"a\.pth: left out are averaged weights .*ema\.shadow_params\.0"):
        loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.weights, loaded.taken) == ("plain", "plain, from model")
    assert torch.equal(loaded.network.state_dict()["conv_in.weight"], PLAIN["conv_in.weight"])


PREFIXES = [
    *("net.", "generator.", "module.net.", "model._orig_mod.", "ema_model.module.", "a.b.c.d.", "module.module."),
    *("_orig_mod.", "netG."),
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_and_unknown_keys(tmp_path: Path, prefix: str) -> None:
    wrapper = ["", "state_dict", "strange", "outer/inner"][len(prefix) % 4]
    content: dict[str, Any] = under(prefix, OTHER)
    for key in reversed(wrapper.split("/") if wrapper else []):
        content = {key: content, "epoch": 1}
    torch.save(content, tmp_path / "a.pth")
    assert torch.equal(first_layer(tmp_path / "a.pth"), OTHER["conv_in.weight"])


def test_our_names_under_a_prefix(tmp_path: Path) -> None:
    torch.manual_seed(4)
    state = MIRNet(TINY).state_dict()
    save_file(under("generator.", state), tmp_path / "a.safetensors")
    torch.save({"x": under("module.", state)}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert torch.equal(first_layer(tmp_path / name), state["conv_in.weight"])


def test_wrappers_of_parts_of_the_network(tmp_path: Path) -> None:
    torch.save(
        {name.replace("body.0.", "body.0._orig_mod.", 1): value for name, value in OTHER.items()}, tmp_path / "a.pth"
    )
    assert torch.equal(first_layer(tmp_path / "a.pth"), OTHER["conv_in.weight"])


def test_another_network_beside_is_left_out_with_a_note(tmp_path: Path) -> None:
    state = under("net.", PLAIN) | {"loss.vgg.0.weight": torch.ones(2, 2), "step": torch.tensor(3)}
    content = {"state_dict": state, "optimizer_states": [{"exp_avg": under("net.", OTHER)}, {"mean": OTHER}]}
    torch.save(content, tmp_path / "a.pth")
    with pytest.warns(MirnetDeployWarning, match=r"1 tensors of another network \(state_dict\.loss\.vgg\.0\.weight"):
        assert torch.equal(first_layer(tmp_path / "a.pth"), PLAIN["conv_in.weight"])


TWO: dict[str, tuple[dict[str, Any], str, str]] = {
    "keys": ({"net_a": PLAIN, "net_b": OTHER}, "net_a", "net_b"),
    "prefixes": (under("G_AB.", PLAIN) | under("G_BA.", OTHER), "G_AB", "G_BA"),
    "beside an average": ({"G_AB": PLAIN, "G_BA": OTHER, "G_AB_ema": AVERAGED}, "G_AB", "G_BA"),
    "two averages": ({"model": PLAIN, "ema_slow": AVERAGED, "ema_fast": OTHER}, "ema_slow", "ema_fast"),
    "a list": ({"nets": [PLAIN, OTHER]}, "nets.0", "nets.1"),
    "at the top": (PLAIN | under("best.", OTHER), "best", "the names at the top"),
}


@pytest.mark.parametrize("case", TWO)
def test_two_different_networks_are_refused_by_name(tmp_path: Path, case: str) -> None:
    content, first, second = TWO[case]
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="different networks") as error:
        load_checkpoint(tmp_path / "a.pth")
    assert re.search(rf"in {first} and in {second}\b|in {second} and in {first}\b", str(error.value))
    assert "\n" not in str(error.value)


def test_one_network_stored_twice_is_one(tmp_path: Path) -> None:
    torch.save(
        {"model": PLAIN, "state_dict": {name: value.clone() for name, value in PLAIN.items()}}, tmp_path / "a.pth"
    )
    assert torch.equal(first_layer(tmp_path / "a.pth"), PLAIN["conv_in.weight"])


def test_weights_as_numpy_arrays(tmp_path: Path) -> None:
    arrays = {name: np.asfortranarray(value.numpy()) for name, value in OTHER.items()}
    torch.save({"state_dict": arrays, "psnr": np.float64(21.5), "best": np.int64(-7)}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.describe == {"psnr": 21.5, "best": -7}
    assert torch.equal(loaded.network.state_dict()["conv_in.weight"], OTHER["conv_in.weight"])


def test_parts_that_hold_one_another_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": PLAIN}
    content["again"] = content
    torch.save(content, tmp_path / "a.pth")
    assert torch.equal(first_layer(tmp_path / "a.pth"), PLAIN["conv_in.weight"])
    part: Any = {}
    for _ in range(8):
        part = {str(key): part for key in range(30)}
    torch.save(part, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="more than 1000000 parts"):
        load_checkpoint(tmp_path / "b.pth")


def test_numbers_in_names_build_no_network_of_that_size(tmp_path: Path) -> None:
    for name in ("body.999999999.body.0.conv_out.weight", "groups.999999999.blocks.0.conv.weight", "groups.blocks.0"):
        torch.save({**OTHER, "dau_slope": torch.zeros(1), name: torch.zeros(1)}, tmp_path / "a.pth")
        with pytest.raises(CheckpointError, match="not a MIRNet checkpoint"):
            load_checkpoint(tmp_path / "a.pth")
