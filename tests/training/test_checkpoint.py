"""Checkpoints of every layout load the same network; any other file is one line of error, and none of its code runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artifacts import FIXTURES
from published_layout import to_published
from safetensors.torch import save_file
from torch import Tensor

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

PUBLISHED = FIXTURES / "published_layout"
TINY = MIRNetConfig(8, 1, 1)


def network(config: MIRNetConfig, seed: int = 0) -> MIRNet:
    torch.manual_seed(seed)
    return MIRNet(config).eval()


def run(model: MIRNet) -> Tensor:
    with torch.no_grad():
        return model(torch.linspace(0, 1, 3 * 16 * 12).reshape(1, 3, 16, 12))


def test_a_published_checkpoint_reproduces_the_reference_networks_output() -> None:
    loaded = load_checkpoint(PUBLISHED / "model.pth")
    assert (loaded.config, loaded.layout) == (TINY, "published")
    with torch.no_grad():
        output = loaded.network(torch.from_numpy(np.load(PUBLISHED / "input.npy"))).numpy()
    np.testing.assert_allclose(output, np.load(PUBLISHED / "output.npy"), atol=1e-5, rtol=0)


def test_the_default_layout_has_797_entries() -> None:
    with torch.device("meta"):
        state = MIRNet().state_dict()
    names = to_published(state, MIRNetConfig())
    assert len(names) == 797


WRAPPERS: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "bare": lambda state: state,
    "module.": lambda state: {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}},
    "_orig_mod.": lambda state: {"model": {f"_orig_mod.{name}": value for name, value in state.items()}},
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": {k: v * 0 for k, v in state.items()}, "params_ema": state},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.1},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_published_layout_loads_from_every_wrapper(tmp_path: Path, wrapper: str) -> None:
    ours = network(MIRNetConfig(8, 1, 2))
    torch.save(WRAPPERS[wrapper](to_published(ours.state_dict(), ours.config)), tmp_path / "theirs.pth")
    loaded = load_checkpoint(tmp_path / "theirs.pth")
    assert loaded.config == ours.config
    assert loaded.weights == ("ema" if wrapper == "params_ema" else "plain")
    torch.testing.assert_close(run(loaded.network), run(ours), atol=0, rtol=0)


@pytest.mark.parametrize("config", [MIRNetConfig(8, 1, 3), MIRNetConfig(24, 2, 1)])
def test_safetensors_load_in_both_namings(tmp_path: Path, config: MIRNetConfig) -> None:
    ours = network(config)
    save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    save_file(to_published(ours.state_dict(), config), tmp_path / "theirs.safetensors")
    for name in ("ours", "theirs"):
        loaded = load_checkpoint(tmp_path / f"{name}.safetensors")
        assert (loaded.config, loaded.layout) == (config, "safetensors")
        assert torch.equal(run(loaded.network), run(ours))


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    plain, averaged = network(TINY, 1), network(TINY, 2)
    content = {"config": TINY.to_dict(), "network": plain.state_dict(), "describe": {"step": 5}}
    save_checkpoint(tmp_path / "plain.pt", {**content, "ema": None})
    save_checkpoint(tmp_path / "ema.pt", {**content, "ema": averaged.state_dict()})
    loaded = load_checkpoint(tmp_path / "ema.pt")
    assert (loaded.weights, loaded.layout, loaded.describe) == ("ema", "mirnet-deploy", {"step": 5})
    assert torch.equal(run(loaded.network), run(averaged))
    loaded = load_checkpoint(tmp_path / "plain.pt")
    assert loaded.weights == "plain"
    assert torch.equal(run(loaded.network), run(plain))


def published_with(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = to_published(network(TINY).state_dict(), TINY)
    change(state)
    return state


PREFIX = "body.0.body.0"
DAMAGED: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "tied copies differ": (
        lambda s: s.update({f"{PREFIX}.blocks.1.1.body.0.weight": s[f"{PREFIX}.blocks.1.1.body.0.weight"] + 1e-3}),
        r"blocks\.1\.0\.body\.0\.weight and .*blocks\.1\.1\.body\.0\.weight are one tied tensor",
    ),
    "missing": (
        lambda s: s.pop(f"{PREFIX}.last_up.1.body.0.top.2.weight"),
        r"missing body.*last_up\.1.*; unexpected none",
    ),
    "unexpected": (lambda s: s.update(extra=torch.zeros(1)), r"missing none; unexpected extra"),
    "shape": (
        lambda s: s.update({"conv_out.weight": torch.zeros(3, 8, 1, 1)}),
        r"conv_out\.weight has shape \(3, 8, 1, 1\)",
    ),
    "not finite": (lambda s: s["conv_out.weight"].fill_(float("nan")), "not finite"),
    "sparse": (
        lambda s: s.update({"conv_out.weight": torch.zeros(3, 8, 3, 3).to_sparse()}),
        r"conv_out\.weight is stored as torch\.sparse_coo",
    ),
    "a wider blur": (
        lambda s: s.update({f"{PREFIX}.down.8_2.body.0.bot.0.filt": torch.zeros(8, 1, 5, 5)}),
        "not the blur",
    ),
    "another blur": (lambda s: s[f"{PREFIX}.down.8_2.body.0.bot.0.filt"].fill_(1 / 9), "not the blur"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_state_dicts_are_named(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGED[damage]
    torch.save({"state_dict": published_with(change)}, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "damaged.pth")


def test_the_error_for_another_network_names_only_a_few_keys(tmp_path: Path) -> None:
    torch.save({"state_dict": {f"layer{i}.weight": torch.zeros(2) for i in range(60)}}, tmp_path / "resnet.pth")
    with pytest.raises(
        CheckpointError, match=r"not a MIRNet checkpoint: missing conv_in\.weight; unexpected layer"
    ) as error:
        load_checkpoint(tmp_path / "resnet.pth")
    assert len(str(error.value)) < 400
    assert "and 57 more" in str(error.value)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {1: torch.zeros(1)}, {}, {"state_dict": {}}, {"model": {1: 2}}, "text"]
)
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    state = network(TINY).state_dict()
    save_file(state, whole) if suffix == ".safetensors" else torch.save({"state_dict": state}, whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="cut") as error:
        load_checkpoint(cut)
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_of_ours_is_named(tmp_path: Path) -> None:
    for weights in ("text", [1], None):
        save_checkpoint(tmp_path / "odd.pt", {"config": TINY.to_dict(), "network": weights})
        with pytest.raises(CheckpointError, match="lacks a valid part"):
            load_checkpoint(tmp_path / "odd.pt")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("form", ["zip", "legacy", "raw pickle"])
def test_a_pickle_bomb_does_not_go_off(tmp_path: Path, form: str) -> None:
    target, path = tmp_path / "executed", tmp_path / "bomb.pth"
    content = {"state_dict": {"conv_in.weight": torch.zeros(1)}, "epoch": Bomb(target)}
    if form == "raw pickle":
        path.write_bytes(pickle.dumps({"epoch": Bomb(target)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert not target.exists()
    assert "\n" not in str(error.value)
    target.unlink(missing_ok=True)
    pickle.loads(pickle.dumps(Bomb(target)))  # the bomb is live: plain unpickling sets it off
    assert target.exists()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="is not a file"):
            load_checkpoint(path)


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    network = MIRNet(TINY)
    save_file(network.state_dict(), tmp_path / "A.SAFETENSORS")
    assert load_checkpoint(tmp_path / "A.SAFETENSORS").layout == "safetensors"


def test_every_suffix_of_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a checkpoint \(\.pt, \.pth, \.ckpt, \.safetensors\)"):
        load_checkpoint(tmp_path / "none.pt")


def test_eight_bits_without_scales_name_the_file(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(4, 4, 3, 3, dtype=torch.int8)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: conv\.weight is stored in 8 bits; expected conv"):
        load_checkpoint(tmp_path / "a.safetensors")
