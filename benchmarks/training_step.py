"""What a training step costs, in the ways in which it can be run, in one process, one after the other.

    python -m mirnet_deploy.benchmarks.training_step --preset base --batch 16 --crop 128 [--device cuda:0] [--json FILE]

Ways: kernels launched one by one from Python; the step captured as a CUDA graph; captured, and its blocks fused by
torch.compile. Random crops, the loss and the optimizer of the recipe; medians, and the ratio to the first way.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import torch

from mirnet_deploy.errors import MirnetDeployError
from mirnet_deploy.files import check_target, write_atomically
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.distributed import Processes, join_processes
from mirnet_deploy.training.recipes import RECIPES
from mirnet_deploy.training.state import Settings, new_state
from mirnet_deploy.training.step import BEFORE_CAPTURE, Step


@dataclass(frozen=True)
class Way:
    """How steps were run, and what they took."""

    name: str
    milliseconds: float
    """Median of a step."""
    megapixels_per_second: float
    first_seconds: float
    """Until the first timed step: compiling, choosing kernels, capturing."""
    peak_gib: float | None
    """Of the GPU's memory, as torch's allocator counts it."""


def measure(name: str, settings: Settings, processes: Processes, runs: int, *, compiled: bool, captured: bool) -> Way:
    """Times `runs` steps after those that are spent on getting ready."""
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


@click.command()
@click.option("--preset", type=click.Choice(["paper", "base", "lite"]), default="lite", show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--crop", type=int, default=128, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--ways", default="launched,captured,compiled", show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--force", is_flag=True, help="Replace the file of --json where it exists.")
def main(
    preset: str,
    batch: int,
    crop: int,
    precision: str,
    device: str,
    runs: int,
    ways: str,
    target: Path | None,
    force: bool,
) -> None:
    """Time a training step."""
    try:
        if target:
            check_target("--json", target, force)
        recipe = replace(RECIPES["aligned"], batch=batch, crop=crop)
        settings = Settings(MIRNetConfig.preset(preset), recipe, "aligned", 1, 0, precision, 1, 1, 1, "random")  # type: ignore[arg-type]
        found: list[Way] = []
        with join_processes(device) as processes:
            on_gpu = processes.device.type == "cuda"
            name = torch.cuda.get_device_name(processes.device) if on_gpu else "cpu"
            click.echo(f"{preset}, {batch} crops of {crop}, {precision}, {name}, torch {torch.__version__}")
            for way in ways.split(","):
                captured = on_gpu and way != "launched"
                took = measure(way, settings, processes, runs, compiled=way == "compiled", captured=captured)
                found.append(took)
                click.echo(
                    f"{way}: {took.milliseconds:.1f} ms, {took.megapixels_per_second:.2f} MP/s, "
                    f"{found[0].milliseconds / took.milliseconds:.2f} times, ready after {took.first_seconds:.0f} s"
                    + (f", {took.peak_gib:.1f} GiB" if took.peak_gib is not None else "")
                )
        if target:
            report = {
                "preset": preset,
                "batch": batch,
                "crop": crop,
                "precision": precision,
                "device": name,
                "torch": torch.__version__,
                "ways": [asdict(each) for each in found],
            }
            write_atomically(target, (json.dumps(report, indent=1) + "\n").encode())
    except MirnetDeployError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
