"""Weights in 8 bits: what is stored, and what comes back."""

from __future__ import annotations

import torch

from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet
from mirnet_deploy.training.stored import expanded, quantized


def test_eight_bits_take_a_little_over_a_byte_a_weight() -> None:
    state = MIRNet(MIRNetConfig(32, 1, 1)).state_dict()
    stored = quantized(state)
    before, after = (sum(tensor.nbytes for tensor in tensors.values()) for tensors in (state, stored))
    assert 0.25 * before < after < 0.35 * before
    assert {tensor.dtype for tensor in stored.values()} == {torch.int8, torch.float32}


def test_only_scales_of_8_bit_weights_go() -> None:
    """A stray name must reach the check of names, not vanish."""
    state = {"a.weight": torch.ones(2), "x.scale": torch.ones(2)}
    assert expanded(state).keys() == state.keys()


def test_a_slice_of_zeros_stays_zero() -> None:
    weight = torch.randn(16, 32, 3, 3)
    weight[2] = 0
    back = expanded(quantized({"conv.weight": weight}))["conv.weight"]
    assert torch.equal(back[2], weight[2])
    assert torch.isfinite(back).all()
