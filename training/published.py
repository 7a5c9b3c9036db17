"""State dicts of published PyTorch MIRNets: which of their tensors is which of ours.

The published layout stores a tied tensor once per use; ours stores it once. So the map goes from our names to all
the names that a published checkpoint uses for that tensor, and a checkpoint is a MIRNet when it has exactly those
names, with copies that agree. Source of the names: the layout of the published files (facts, no code).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.config import LEVELS, MIRNetConfig
from mirnet_deploy.training.network import MIRNet

_DAU_PARTS = {
    "conv1": "body.0",
    "conv2": "body.2",
    "spatial.conv": "SA.spatial.conv",
    "channel.squeeze": "CA.conv_du.0",
    "channel.excite": "CA.conv_du.2",
    "merge": "conv1x1",
}
"""The parts of a DAU: our name of each, then the published one."""
_DOWN_PARTS = {
    "conv1": "top.0",
    "act1": "top.1",
    "conv2": "top.2",
    "act2": "top.3",
    "conv3": "top.5",
    "skip": "bot.1",
}
"""The parts of a Down, likewise."""
_UP_PARTS = {"conv1": "top.0", "act1": "top.1", "conv2": "top.2", "act2": "top.3", "conv3": "top.4", "skip": "bot.1"}
"""The parts of an Up, likewise."""
_BLUR_PARTS = ("top.4.filt", "bot.0.filt")
"""The blur kernels of a published Down."""


def _resamplers(channels: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(our name, published name, parts) of every Down and Up of an MSRB with `channels` at full resolution."""
    c1, c2, c4 = channels, 2 * channels, 4 * channels
    yield "down01", f"down.{c1}_2.body.0", _DOWN_PARTS
    yield "down12", f"down.{c2}_2.body.0", _DOWN_PARTS
    yield "up10", f"up.{c2}_2.body.0", _UP_PARTS
    yield "up21", f"up.{c4}_2.body.0", _UP_PARTS
    yield "last_up1", "last_up.1.body.0", _UP_PARTS
    for step in (0, 1):
        yield f"down02.{step}", f"down.{c1}_4.body.{step}", _DOWN_PARTS
        yield f"up20.{step}", f"up.{c4}_4.body.{step}", _UP_PARTS
        yield f"last_up2.{step}", f"last_up.2.body.{step}", _UP_PARTS


def _msrb_names(ours: str, theirs: str, channels: int) -> Iterator[tuple[str, list[str]]]:
    """(our name, published names of its copies) of every parameter of the MSRB `ours`, but the shared slope."""
    for level in range(LEVELS):
        uses = [f"{theirs}.blocks.{level}.{column}" for column in (0, 1)]
        for part, published in _DAU_PARTS.items():
            yield f"{ours}.dau.{level}.{part}.weight", [f"{use}.{published}.weight" for use in uses]
        skff, kernel = f"{ours}.skff.{level}", f"{theirs}.selective_kernel.{level}"
        yield f"{skff}.squeeze.weight", [f"{kernel}.conv_du.0.weight"]
        yield f"{skff}.act.weight", [f"{kernel}.conv_du.1.weight"]
        for branch in range(LEVELS):
            yield f"{skff}.excite.{branch}.weight", [f"{kernel}.fcs.{branch}.weight"]
    for name, published, parts in _resamplers(channels):
        for part, suffix in parts.items():
            yield f"{ours}.{name}.{part}.weight", [f"{theirs}.{published}.{suffix}.weight"]
    yield f"{ours}.conv.weight", [f"{theirs}.conv_out.weight"]


def published_names(config: MIRNetConfig) -> dict[str, list[str]]:
    """For every parameter of our network, the published names of its copies (one or more)."""
    names = {"conv_in.weight": ["conv_in.weight"], "conv_out.weight": ["conv_out.weight"]}
    slopes: list[str] = []
    for rrg in range(config.n_rrg):
        for msrb in range(config.n_msrb):
            theirs = f"body.{rrg}.body.{msrb}"
            names.update(_msrb_names(f"groups.{rrg}.blocks.{msrb}", theirs, config.n_feat))
            slopes += [f"{theirs}.blocks.{level}.{col}.body.1.weight" for level in range(LEVELS) for col in (0, 1)]
        names[f"groups.{rrg}.conv.weight"] = [f"body.{rrg}.body.{config.n_msrb}.weight"]
    names["dau_slope"] = slopes
    return names


def blur_names(config: MIRNetConfig) -> list[str]:
    """Names of the blur kernels that published checkpoints store as buffers; every one is [1 2 1]x[1 2 1]/16."""
    return [
        f"body.{rrg}.body.{msrb}.{published}.{part}"
        for rrg in range(config.n_rrg)
        for msrb in range(config.n_msrb)
        for _, published, parts in _resamplers(config.n_feat)
        if parts is _DOWN_PARTS
        for part in _BLUR_PARTS
    ]


def infer_config(state: Mapping[str, Tensor]) -> MIRNetConfig | None:
    """The hyper-parameters of a published state dict, or None where it does not look like one."""
    return _config(state, r"body\.(\d+)\.body\.(\d+)\.conv_out\.weight$")


def infer_own_config(state: Mapping[str, Tensor]) -> MIRNetConfig | None:
    """The hyper-parameters of a state dict in our naming; None where it has other names."""
    return _config(state, r"groups\.(\d+)\.blocks\.(\d+)\.conv\.weight$") if "dau_slope" in state else None


def _config(state: Mapping[str, Tensor], block: str) -> MIRNetConfig | None:
    """The hyper-parameters by the first layer's weight and by `block`, which matches one name for each MSRB."""
    first = state.get("conv_in.weight")
    if first is None or first.dim() != 4 or not first.shape[0] or first.shape[0] % 8:
        return None
    places = {(int(match[1]), int(match[2])) for name in state if (match := re.match(block, name, re.ASCII))}
    groups, blocks = ({place[axis] for place in places} for axis in (0, 1))
    # Numbers without gaps: no more of them than names, whatever the file claims.
    if not places or any(max(numbers) >= len(numbers) for numbers in (groups, blocks)):
        return None
    return MIRNetConfig(int(first.shape[0]), len(groups), len(blocks))


def _some(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def key_error(source: str, missing: list[str], unexpected: list[str]) -> CheckpointError:
    """The error of a state dict whose names are not those of a MIRNet: one line that names a few."""
    return CheckpointError(
        f"{source} is not a MIRNet checkpoint: missing {_some(missing)}; unexpected {_some(unexpected)}"
    )


def from_published(state: Mapping[str, Tensor], config: MIRNetConfig, source: str) -> dict[str, Tensor]:
    """Our state dict (float32) from a published one.

    Raises:
        CheckpointError: names are missing or unexpected, shapes differ, copies of a tied tensor disagree, or a blur
            kernel is not MIRNet's.
    """
    names = published_names(config)
    blurs = blur_names(config)
    expected = [name for copies in names.values() for name in copies]
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected) - set(blurs))
    if missing or unexpected:
        raise key_error(source, missing, unexpected)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in MIRNet(config).state_dict().items()}
    converted: dict[str, Tensor] = {}
    for ours, copies in names.items():
        tensor = state[copies[0]]
        for name in copies:
            if state[name].shape != shapes[ours]:
                raise CheckpointError(
                    f"{source}: {name} has shape {tuple(state[name].shape)}; expected {tuple(shapes[ours])}"
                )
            if name != copies[0] and not torch.equal(state[name].float(), tensor.float()):
                raise CheckpointError(f"{source}: {copies[0]} and {name} are one tied tensor in MIRNet, but differ")
        converted[ours] = tensor.float()
    _check_blurs(state, blurs, source)
    return converted


def _check_blurs(state: Mapping[str, Tensor], names: list[str], source: str) -> None:
    """Checks the blur kernels, [C,1,3,3], of those `names` that `state` has.

    Raises:
        CheckpointError: one is not [1 2 1]x[1 2 1]/16.
    """
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(row, row)
    for name in names:
        blur = state.get(name, kernel)
        if blur.shape[-2:] != kernel.shape or not torch.allclose(blur.float(), kernel.expand_as(blur), atol=1e-3):
            raise CheckpointError(f"{source}: {name} is not the blur [1 2 1]x[1 2 1]/16 that MIRNet uses")
