"""Muon: momentum whose matrices are made orthogonal (K. Jordan et al., 2024), for convolutions; Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.999)
RELATIVE_RATE = 0.2
"""An orthogonal step's size next to that of Adam's at the same rate (Liu et al., arXiv 2502.16982, section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Convolutions are matrices [first axis, all others] where both have at least 8; the rest gets Adam."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["first"] = torch.zeros_like(parameter)
                if parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= 8:
                    state["first"].lerp_(parameter.grad, 1 - MOMENTUM)
                    ahead = parameter.grad.lerp(state["first"], MOMENTUM)
                    matrix = orthogonal(ahead.reshape(len(ahead), -1))
                    scale = RELATIVE_RATE * max(matrix.shape) ** 0.5
                    parameter.sub_(matrix.view(parameter.shape) * (group["lr"] * scale))
                    continue
                state["step"] = state.get("step", 0) + 1
                state.setdefault("second", torch.zeros_like(parameter))
                for name, value, beta in zip(
                    ("first", "second"), (parameter.grad, parameter.grad**2), ADAM_BETAS, strict=True
                ):
                    state[name].lerp_(value, 1 - beta)
                first, second = (
                    state[name] / (1 - beta ** state["step"])
                    for name, beta in zip(("first", "second"), ADAM_BETAS, strict=True)
                )
                parameter.sub_(first / (second.sqrt() + 1e-8) * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor of `matrix`: five quintic Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
