"""Turns our state dict into the published layout: the inverse of `training.published`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.published import blur_names, published_names


def to_published(state: Mapping[str, Tensor], config: MIRNetConfig) -> dict[str, Tensor]:
    """A published state dict from ours: every tied tensor once per use, blur kernels included."""
    published = {name: state[ours].clone() for ours, copies in published_names(config).items() for name in copies}
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    for name in blur_names(config):
        channels = published[f"{name.rsplit('.', 3)[0]}.top.0.weight"].shape[0]
        published[name] = torch.outer(row, row).expand(channels, 1, 3, 3).clone()
    return published
