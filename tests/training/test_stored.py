"""Weights in 8 bits: what is stored, and what comes back."""

from __future__ import annotations

import torch

from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.stored import expanded, quantized


def test_eight_bit_weights_take_little_more_than_a_byte_each() -> None:
    state = MIRNet(MIRNetConfig(32, 1, 1)).state_dict()
    stored = quantized(state)
    before, after = (sum(tensor.nbytes for tensor in tensors.values()) for tensors in (state, stored))
    assert 0.25 * before < after < 0.35 * before
    assert {tensor.dtype for tensor in stored.values()} == {torch.int8, torch.float32}


def test_only_the_scales_of_8_bit_weights_are_dropped() -> None:
    """A stray name must not vanish before the check of names."""
    state = {"a.weight": torch.ones(2), "x.scale": torch.ones(2)}
    assert expanded(state).keys() == state.keys()


def test_a_slice_of_zeros_stays_zero() -> None:
    weight = torch.randn(16, 32, 3, 3)
    weight[2] = 0
    back = expanded(quantized({"conv.weight": weight}))["conv.weight"]
    assert torch.equal(back[2], weight[2])
    assert torch.isfinite(back).all()
