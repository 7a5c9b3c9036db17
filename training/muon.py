"""Muon for convolutions: momentum that is made orthogonal as a matrix (K. Jordan et al., 2024). Adam for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.999)
RELATIVE_RATE = 0.2
"""Root mean square of an orthogonal step at a rate of 1: about that of Adam's (Liu et al., arXiv 2502.16982,
section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Weights of four axes are matrices [first axis, all others] where both sides are at least 8; the rest gets Adam.

    `weight_decay` is decoupled, and for the matrices alone: nothing else bounds their norms, which decide how a network
    without normalization treats pictures unlike those that it learned from.

    Where the rate is a tensor on the parameters' device, a step reads no value on the host, so that it can be captured
    as a CUDA graph.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float | Tensor, weight_decay: float = 0.0) -> None:
        # "capturable" tells `load_state_dict` that the step counts belong on the device.
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "capturable": isinstance(lr, Tensor)})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            matrices: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            others: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows, columns = len(parameter), parameter[0].numel()
                if parameter.ndim == 4 and min(rows, columns) >= 8:
                    matrices[rows, columns].append(parameter)
                else:
                    others.append(parameter)
            for alike in matrices.values():
                self._orthogonal_step(alike, group["lr"], group["weight_decay"])
            if others:
                self._adam_step(others, group["lr"], group["capturable"])

    def _orthogonal_step(self, parameters: Sequence[Tensor], lr: float | Tensor, weight_decay: float) -> None:
        """Steps weights that are matrices [R,C] of one size all at once: on a GPU a step of a network then takes
        thousands of kernels fewer."""
        aheads = []
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            if not state:
                state["first"] = torch.zeros_like(parameter)
            state["first"].lerp_(gradient, 1 - MOMENTUM)
            aheads.append(gradient.lerp(state["first"], MOMENTUM).reshape(len(parameter), -1))
        steps = orthogonal(torch.stack(aheads))
        steps = steps * (lr * (RELATIVE_RATE * max(steps.shape[1:]) ** 0.5))
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.mul_(1 - lr * weight_decay).sub_(step.view(parameter.shape))

    def _adam_step(self, parameters: list[Tensor], lr: float | Tensor, capturable: bool) -> None:
        """Steps weights of any shape by Adam; with `capturable` the step counts lie on the device."""
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] = torch.zeros((), device=parameter.device if capturable else "cpu")
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["first"] for state in states],
            [state["second"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=capturable,
            capturable=capturable,
            amsgrad=False,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the orthogonal factors of `matrices`, [...,R,C] -> [...,R,C], by five quintic Newton-Schulz steps:
    singular vectors stay, singular values come near 1."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x
