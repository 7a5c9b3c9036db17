"""What a training step costs in each of the ways in which it can be run. One process times them one after the other.

Ways: kernels launched one by one from Python; the step captured as a CUDA graph (on a GPU); captured, and its blocks
fused by torch.compile. Crops are of random values, loss and optimizer those of the recipe; figures are medians, and
ratios to the first way.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes, join_processes
from mirnet_deploy.training.recipes import RECIPES
from mirnet_deploy.training.state import Settings, new_state
from mirnet_deploy.training.step import BEFORE_CAPTURE, Step


@dataclass(frozen=True)
class Way:
    """A way in which steps were run, and what they took."""

    name: str
    milliseconds: float
    """Median of a step."""
    megapixels_per_second: float
    first_seconds: float
    """Time until the first timed step: compiling, choosing kernels, capturing."""
    peak_gib: float | None
    """Memory of the GPU that torch's allocator reserved at most; None on the CPU."""


def measure(name: str, settings: Settings, processes: Processes, runs: int, *, compiled: bool, captured: bool) -> Way:
    """Times `runs` steps, after untimed ones in which kernels are chosen, compiled and captured."""
    device = processes.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.perf_counter()
    state = new_state(settings, device)
    step = Step(state, settings.recipe, settings.precision, processes, compiled=compiled, captured=captured)
    batch = torch.rand(2, settings.recipe.batch, 3, settings.recipe.crop, settings.recipe.crop)
    times = []
    for number in range(BEFORE_CAPTURE + 2 + runs):
        if number == BEFORE_CAPTURE + 2:
            first = time.perf_counter() - begun
        start = time.perf_counter()
        step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    median = statistics.median(times[-runs:])
    pixels = settings.recipe.batch * settings.recipe.crop**2
    peak = torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else None
    return Way(name, 1e3 * median, pixels / median / 1e6, first, peak)


@dataclass(frozen=True)
class StepSettings:
    """Which steps are timed, and how."""

    preset: str
    batch: int
    crop: int
    """Side of a crop in pixels."""
    precision: Literal["fp32", "bf16"]
    runs: int
    ways: tuple[str, ...]
    """"launched", "captured" or "compiled", in the order in which they are run."""


def measure_ways(settings: StepSettings, device: str, say: Callable[[str], object]) -> dict[str, Any]:
    """Times a step in every way, and tells `say` about each as soon as it is done. Returns plain values, for JSON.

    Raises:
        TrainingError: the device is not there.
        UsageError: the preset is unknown, or no recipe can have such a batch or crop.
    """
    recipe = replace(RECIPES["aligned"], batch=settings.batch, crop=settings.crop)
    network = MIRNetConfig.preset(settings.preset)
    run = Settings(network, recipe, "aligned", 1, 0, settings.precision, 1, 1, 1, "random")
    found: list[Way] = []
    with join_processes(device) as processes:
        on_gpu = processes.device.type == "cuda"
        name = torch.cuda.get_device_name(processes.device) if on_gpu else "cpu"
        kind = f"{settings.preset}, {settings.batch} crops of {settings.crop}, {settings.precision}"
        say(f"{kind}, {name}, torch {torch.__version__}")
        for way in settings.ways:
            captured = on_gpu and way != "launched"
            took = measure(way, run, processes, settings.runs, compiled=way == "compiled", captured=captured)
            found.append(took)
            say(
                f"{way}: {took.milliseconds:.1f} ms, {took.megapixels_per_second:.2f} MP/s, "
                f"{found[0].milliseconds / took.milliseconds:.2f} times, ready after {took.first_seconds:.0f} s"
                + (f", {took.peak_gib:.1f} GiB" if took.peak_gib is not None else "")
            )
    asked = {name: getattr(settings, name) for name in ("preset", "batch", "crop", "precision")}
    return {**asked, "device": name, "torch": torch.__version__, "ways": [asdict(each) for each in found]}
