"""One step of training as work for a device: forward, loss, backward, clipping, the optimizer, the averaged weights.

On a GPU one step is thousands of kernels of a few microseconds each, and Python launches them more slowly than they
run. There a step of each kind is launched from Python a few times, then captured as a CUDA graph, and replayed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mirnet_deploy.errors import warn
from mirnet_deploy.training.distributed import Processes
from mirnet_deploy.training.losses import LOSSES, thumbnail_difference
from mirnet_deploy.training.network import MSRB
from mirnet_deploy.training.recipes import Recipe
from mirnet_deploy.training.state import State

EMA_WARMUP = 10
"""Early on the average follows the network closely: its decay is at most (1 + step) / (EMA_WARMUP + step)."""
BEFORE_CAPTURE = 3
"""Steps of a kind that are launched from Python first: in them libraries choose their kernels, and the optimizer makes
its state."""
IN_FLIGHT = 2
"""Most steps that the host is ahead of the GPU."""
SHARING_EVERY = 4
"""One step in this many has the term of `Recipe.sharing`, at this many times its weight: a step with it takes twice
as long."""

Work = Callable[[Tensor, Tensor], None]
"""Does a step on dark crops and their targets, float32 [N,3,S,S] each, channels-last, on the device."""
Kind = tuple[int, ...]
"""What steps that share a graph have in common: the shape of the batch, and whether they have the term of sharing."""


class Step:
    """Takes the steps of one run.

    Args:
        state: what the steps change.
        compiled: torch.compile fuses each multi-scale block, once per shape for all blocks; not in the term of
            `Recipe.sharing`.
        captured: steps are captured on a GPU where that is possible: in a run of one process whose learning rate is a
            tensor on the device (`new_state`).
    """

    def __init__(
        self,
        state: State,
        recipe: Recipe,
        precision: str,
        processes: Processes,
        *,
        compiled: bool,
        captured: bool = True,
    ) -> None:
        self._state, self._recipe, self._bf16, self._processes = state, recipe, precision == "bf16", processes
        device = processes.device
        self._keep = torch.zeros((), device=device)
        """Share of the network in the next average: 1 less the decay."""
        self._parameters: list[Tensor] = list(state.network.parameters())
        self._averages: list[Tensor] = list(state.ema.parameters()) if state.ema else []
        able = processes.world_size == 1 and isinstance(state.optimizer.param_groups[0]["lr"], Tensor)
        self._gpu = _Gpu(device, captures=captured and able) if device.type == "cuda" else None
        self._compiled = compiled
        if compiled:
            for module in state.network.modules():
                if isinstance(module, MSRB):
                    module.compile(dynamic=False)

    def __call__(self, batch: Tensor) -> None:
        """Takes one step on `batch`, float32 [2,N,3,S,S] (dark crops, targets) on the host."""
        state = self._state
        if self._recipe.ema:
            decay = min(self._recipe.ema, (1 + state.step) / (EMA_WARMUP + state.step))
            self._keep.fill_(1 - decay)
        state.network.train()
        shares = self._recipe.sharing > 0 and state.step % SHARING_EVERY == 0
        work = partial(self._work, shares=shares)
        if self._gpu is None:
            work(_laid_out(batch[0]), _laid_out(batch[1]))
        else:
            self._gpu.run(batch, work, (*batch.shape, shares))
        state.step += 1
        state.losses += 1

    def _work(self, low: Tensor, high: Tensor, *, shares: bool) -> None:
        """One step on `low` and `high`, as `Work` says: the same kernels in every step of a kind, and no value
        is read on the host."""
        state, recipe = self._state, self._recipe
        with torch.autocast(low.device.type, torch.bfloat16, enabled=self._bf16):
            output = state.network(low)
            shared = self._thumbnail_difference(low, output) if shares else 0.0
        wanted = LOSSES[recipe.loss](output, high)
        loss = wanted + recipe.sharing * SHARING_EVERY * shared
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(state.network)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(self._parameters, recipe.clip)
        state.optimizer.step()
        state.loss_sum += wanted.detach().double()
        if self._averages:
            with torch.no_grad():
                change = list(torch._foreach_sub(self._parameters, self._averages))
                torch._foreach_mul_(change, self._keep)
                torch._foreach_add_(self._averages, change)

    def _thumbnail_difference(self, low: Tensor, output: Tensor) -> Tensor:
        # Pools that count in Python what they have given make torch.compile compile each block anew, until it gives up.
        with torch.compiler.set_stance("force_eager") if self._compiled else nullcontext():
            return thumbnail_difference(self._state.network, low, output)


def _laid_out(half: Tensor) -> Tensor:
    """One half of a batch, [N,3,S,S], channels-last."""
    return half.contiguous(memory_format=torch.channels_last)


class _Gpu:
    """Runs steps on a stream of its own, from a graph for each kind of step; the host never runs far ahead."""

    def __init__(self, device: torch.device, *, captures: bool) -> None:
        # float32 stays float32: in TF32 the variances of SSIM would drown in rounding.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self._device, self._captures = device, captures
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph_memory: Any = None
        self._graphs: dict[Kind, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        """The graph of each kind of step, and the two inputs that it reads: dark crops and targets."""
        self._seen: Counter[Kind] = Counter()
        self._ends: deque[torch.cuda.Event] = deque()

    def run(self, batch: Tensor, work: Work, kind: Kind) -> None:
        """Runs `work` on the halves of `batch`, float32 [2,N,3,S,S] on the host; all works of one kind do the same."""
        if len(self._ends) == IN_FLIGHT:
            self._ends.popleft().synchronize()
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            halves = batch.pin_memory().to(self._device, non_blocking=True)
            low, high = _laid_out(halves[0]), _laid_out(halves[1])
            self._seen[kind] += 1
            if self._captures and kind not in self._graphs and self._seen[kind] > BEFORE_CAPTURE:
                self._capture(kind, low, high, work)
            if kind in self._graphs:
                graph, low_in, high_in = self._graphs[kind]
                low_in.copy_(low)
                high_in.copy_(high)
                graph.replay()
            else:
                work(low, high)
            end = torch.cuda.Event()  # type: ignore[no-untyped-call]
            end.record(self._stream)
            self._ends.append(end)
        caller.wait_stream(self._stream)

    def _capture(self, kind: Kind, low: Tensor, high: Tensor, work: Work) -> None:
        """Captures `work` for inputs of these shapes and layouts; where that fails, warns and captures no more."""
        graph = torch.cuda.CUDAGraph()
        low, high = torch.empty_like(low), torch.empty_like(high)
        try:
            # Other threads may go on using CUDA. All graphs share their memory, since no two ever run at once.
            with torch.cuda.graph(graph, self._graph_memory, self._stream, capture_error_mode="thread_local"):
                work(low, high)
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            warn(f"no CUDA graph of a training step: {said}; its kernels are launched one by one")
            self._captures = False
            return
        self._graph_memory = graph.pool()
        self._graphs[kind] = graph, low, high
