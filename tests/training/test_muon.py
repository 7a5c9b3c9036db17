"""Muon: steps of convolutions are orthogonal, those of all other weights are Adam's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mirnet_deploy.training.muon import RELATIVE_RATE, Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (16, 144), (64, 32)])
def test_a_matrix_becomes_nearly_orthogonal(shape: tuple[int, int]) -> None:
    """Its singular vectors stay, and its singular values come near 1, though one is a hundredth of another."""
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(torch.logspace(0, -2, min(shape))) @ v
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    aligned = u.T @ found @ v.T
    torch.testing.assert_close(aligned, torch.diag(torch.diagonal(aligned)), atol=1e-4, rtol=0)


def test_a_step_of_a_convolution_has_the_stated_size_whatever_the_gradient() -> None:
    torch.manual_seed(0)
    for size in (1e-6, 1e3):
        weight = nn.Parameter(torch.zeros(16, 32, 3, 3))
        optimizer = Muon([weight], lr=0.01)
        weight.grad = size * torch.randn_like(weight)
        optimizer.step()
        step = weight.detach().reshape(16, -1)
        expected = 0.01 * RELATIVE_RATE * 288**0.5
        assert torch.linalg.svdvals(step).mean() == pytest.approx(expected, rel=0.3)
        assert float((step * weight.grad.reshape(16, -1)).sum()) < 0


def test_weights_that_are_not_matrices_are_stepped_by_adam() -> None:
    torch.manual_seed(0)
    values = [torch.randn(1), torch.randn(1, 2, 5, 5), torch.randn(8, 4, 1, 1)]
    ours, theirs = ([nn.Parameter(value.clone()) for value in values] for _ in range(2))
    optimizers = Muon(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2)
    for _ in range(5):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)


def test_a_loaded_state_continues_the_same_run() -> None:
    def stepped(weight: nn.Parameter, optimizer: Muon, first: int, last: int) -> None:
        for number in range(first, last):
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            optimizer.step()

    whole = nn.Parameter(torch.ones(16, 16, 3, 3))
    stepped(whole, Muon([whole], lr=0.01), 0, 6)
    half = nn.Parameter(torch.ones(16, 16, 3, 3))
    first = Muon([half], lr=0.01)
    stepped(half, first, 0, 3)
    second = Muon([half], lr=0.5)
    second.load_state_dict(first.state_dict())
    stepped(half, second, 3, 6)
    assert torch.equal(half, whole)


def test_a_weight_without_a_gradient_stays() -> None:
    weight = nn.Parameter(torch.ones(16, 16, 3, 3))
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, torch.ones_like(weight))


def test_matrices_of_one_size_take_the_same_steps_together_as_alone() -> None:
    torch.manual_seed(0)
    values = [torch.randn(16, 8, 3, 3) for _ in range(3)]
    together, alone = ([nn.Parameter(value.clone()) for value in values] for _ in range(2))
    optimizers = [Muon(together, lr=0.01), *(Muon([each], lr=0.01) for each in alone)]
    for one, other in zip(together, alone, strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    for optimizer in optimizers:
        optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weight_decay_holds_the_norm_of_a_matrix_whose_gradient_never_turns() -> None:
    """Without it the largest singular value grows by a step's size every step (arXiv 2506.15054)."""
    torch.manual_seed(0)
    gradient = torch.randn(16, 16, 3, 3)
    norms = {}
    for decay in (0.0, 1.0):
        weight = nn.Parameter(torch.zeros(16, 16, 3, 3))
        optimizer = Muon([weight], lr=0.1, weight_decay=decay)
        for _ in range(100):
            weight.grad = gradient
            optimizer.step()
        norms[decay] = float(torch.linalg.matrix_norm(weight.detach().reshape(16, -1), 2))
    size = RELATIVE_RATE * 144**0.5
    assert norms[0.0] > 0.6 * 100 * 0.1 * size
    assert norms[1.0] < 1.3 * size


def test_weight_decay_leaves_weights_that_are_not_matrices() -> None:
    slope = nn.Parameter(torch.ones(1))
    slope.grad = torch.zeros(1)
    Muon([slope], lr=0.1, weight_decay=1.0).step()
    assert slope.item() == 1
