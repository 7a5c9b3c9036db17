"""Proof of value: an artifact's output against the FP32 PyTorch network's, on crops of real photographs.

The PSNR is taken twice: on the output, and on output minus input. MIRNet adds its work to its input, so a network that
does nothing at all scores well on the first and badly on the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import GIVEN, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata, Interface, Parity, Precision
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.errors import ExportError, telling
from mirnet_deploy.export.interfaces import with_interface
from mirnet_deploy.runtime import MIRNetRuntime
from mirnet_deploy.training.context import OwnMeans
from mirnet_deploy.training.network import MIRNet

Run = Callable[[NDArray[Any]], NDArray[Any]]
"""Runs one RGB batch, laid out as by `as_input`, through an engine or a runtime; the result has its shape and dtype."""
RunPooled = Callable[[NDArray[Any], Pools], tuple[NDArray[Any], NDArray[np.float32]]]
"""Runs one batch with means for its pools; also returns the means that they measured, float32 [N,K]."""


@dataclass(frozen=True)
class Bounds:
    """The bounds that an artifact must keep to be saved."""

    max_abs: float
    """Largest absolute difference: [0, 1] units (float interface), 8-bit levels (image interface)."""
    psnr: float
    """dB, output against reference output; the peak is 1 (float interface) or 255 (image interface)."""
    residual_psnr: float
    """dB, output minus input; the peak is the reference's largest absolute residual."""


BOUNDS: dict[tuple[Interface, Precision], Bounds] = {
    ("float", "fp32"): Bounds(max_abs=1e-4, psnr=90.0, residual_psnr=60.0),
    ("float", "fp16"): Bounds(max_abs=0.02, psnr=45.0, residual_psnr=45.0),
    ("image", "fp32"): Bounds(max_abs=1, psnr=60.0, residual_psnr=45.0),
    ("image", "fp16"): Bounds(max_abs=5, psnr=45.0, residual_psnr=40.0),
}
"""By interface and precision. One broken pixel vanishes in a PSNR, so the largest error is bounded as well. The image
interface rounds both sides to 8 bits: one level everywhere is 48 dB by itself, and as large as a faint residual."""


STATISTICS_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest error of a measured mean, as a share of the largest mean."""


def in_order(engine: HostEngine, metadata: ArtifactMetadata) -> tuple[Run, RunPooled]:
    """`engine.run` and `engine.run_pooled` for RGB batches, whatever the artifact's order of channels."""
    if metadata.channel_order == "rgb":
        return engine.run, engine.run_pooled
    axis = 1 if metadata.interface == "float" else 3

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        return np.flip(engine.run(np.ascontiguousarray(np.flip(batch, axis))), axis)

    def run_pooled(batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        output, statistics = engine.run_pooled(np.ascontiguousarray(np.flip(batch, axis)), pools)
        return np.flip(output, axis), statistics

    return run, run_pooled


def in_runtime(runtime: MIRNetRuntime) -> Run:
    """A function that runs a batch of one RGB picture in a runtime: float32 [1,3,H,W] or uint8 [1,H,W,3], as its
    artifact's interface has it."""
    planar = runtime.info.metadata.interface == "float"

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        (picture,) = batch.transpose(0, 2, 3, 1) if planar else batch
        result = runtime.enhance(np.ascontiguousarray(picture))[None]
        return np.ascontiguousarray(result.transpose(0, 3, 1, 2)) if planar else result

    return run


def references(network: MIRNet, interface: Interface, crops: Sequence[NDArray[np.uint8]]) -> list[NDArray[Any]]:
    """What the FP32 PyTorch network gives for each crop, through `interface`: what `measure` compares with.

    Crops are uint8 [H,W,3] RGB; results are float32 [1,3,H,W], not clamped, or uint8 [1,H,W,3].
    """
    module = with_interface(network, interface)
    with torch.inference_mode():
        return [module(torch.from_numpy(as_input(crop, interface))).numpy() for crop in crops]


def check_given(
    run: RunPooled, network: MIRNet, interface: Interface, precision: Precision, crop: NDArray[np.uint8], artifact: str
) -> None:
    """Compares one run with given means, which tiles depend on, with PyTorch in FP32.

    The means are far from the crop's own, and the upper half of the crop (uint8 [H,W,3] RGB) has no weight in the
    measured means.

    Raises:
        ExportError: the output misses its bound (`BOUNDS`), or a measured mean misses `STATISTICS_BOUNDS`.
    """
    module, batch = with_interface(network, interface), as_input(crop, interface)
    height, width = crop.shape[:2]
    rows, cols = np.ones((1, height), np.float32), np.ones((1, width), np.float32)
    rows[:, : height // 8 * 4] = 0
    own = OwnMeans()
    with torch.inference_mode():
        network(torch.from_numpy(as_input(crop, "float")), own)
        context = (2 * own.statistics + 0.1).numpy()
        pools = Pools(context, GIVEN, rows, cols)
        expected, means = (part.numpy() for part in module(torch.from_numpy(batch), *map(torch.from_numpy, pools)))
    seen: list[NDArray[np.float32]] = []

    def given(batch: NDArray[Any]) -> NDArray[Any]:
        output, statistics = run(batch, pools)
        seen.append(statistics)
        return output

    name = f"{artifact}, means given,"
    check(measure(given, "given", interface, [crop], [expected]), interface, precision, name)
    error = float(np.abs(seen[0] - means).max() / np.abs(means).max())
    bound = STATISTICS_BOUNDS[precision]
    if not error <= bound:
        raise ExportError(
            f"{name} does not measure what the PyTorch network does: a mean is off by {telling(error, bound)} of the "
            f"largest, expected at most {bound:g}: not saved"
        )


def as_input(crop: NDArray[np.uint8], interface: Interface) -> NDArray[Any]:
    """A crop, uint8 [H,W,3] RGB, as the batch of one that `interface` takes, C-contiguous: uint8 [1,H,W,3] or float32
    [1,3,H,W] in [0, 1]."""
    if interface == "image":
        return crop[None].copy()
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))


def measure(
    run: Run,
    executed: str,
    interface: Interface,
    crops: Sequence[NDArray[np.uint8]],
    expected: Sequence[NDArray[Any]],
) -> Parity:
    """Runs every crop, uint8 [H,W,3] RGB, through `run` and compares the outputs with `expected` (from `references`).

    The largest difference is that of the worst crop; the PSNRs are of the mean squared error over all pixels of all
    crops.

    Raises:
        ExportError: an output has another shape or dtype than the reference, or is not finite.
    """
    errors, residuals = [], []
    for crop, reference in zip(crops, expected, strict=True):
        batch = as_input(crop, interface)
        output = run(batch)
        if output.shape != reference.shape or output.dtype != reference.dtype:
            raise ExportError(
                f"{TENSOR_NAMES[interface][1]} is {output.dtype} {output.shape}; "
                f"expected {reference.dtype} {reference.shape}"
            )
        if not np.isfinite(output).all():
            raise ExportError(f"{TENSOR_NAMES[interface][1]} holds values that are not finite: an overflow in float16?")
        errors.append((output.astype(np.float64) - reference).ravel())
        residuals.append(reference.astype(np.float64).ravel() - batch.ravel())
    error = np.concatenate(errors)
    peak = max(float(np.abs(residual).max()) for residual in residuals)
    squared = float(np.mean(error**2))
    return Parity(
        executed=executed,
        crops=len(crops),
        max_abs=float(np.abs(error).max()),
        psnr=_psnr(squared, 1.0 if interface == "float" else 255.0),
        # (output - input) - (reference - input) is the error itself: only the peak differs.
        residual_psnr=_psnr(squared, peak),
    )


MAX_PSNR = 200.0
"""dB. Stands for the infinite PSNR of equal outputs, which JSON cannot hold."""


def _psnr(squared_error: float, peak: float) -> float:
    """PSNR in dB of a mean squared error, at most `MAX_PSNR`; the negative of that for an error where the peak is 0."""
    if squared_error == 0:
        return MAX_PSNR
    if peak == 0:
        return -MAX_PSNR
    return min(MAX_PSNR, 10 * math.log10(peak**2 / squared_error))


def check(parity: Parity, interface: Interface, precision: Precision, artifact: str) -> None:
    """Checks measured figures against `BOUNDS`.

    Raises:
        ExportError: a figure misses its bound (the text names it, its value and the bound), or there are no figures.
    """
    bounds = BOUNDS[interface, precision]
    if parity.max_abs is None or parity.psnr is None or parity.residual_psnr is None:
        raise ExportError(f"{artifact} was {parity.executed}: there is nothing to check")
    unit = "8-bit levels" if interface == "image" else "of 1"
    misses = []
    if not parity.max_abs <= bounds.max_abs:
        off = telling(parity.max_abs, bounds.max_abs)
        misses.append(f"max abs error {off} {unit}, expected at most {bounds.max_abs:g}")
    for name, figure, least in (
        ("PSNR", parity.psnr, bounds.psnr),
        ("residual PSNR", parity.residual_psnr, bounds.residual_psnr),
    ):
        if not figure >= least:
            misses.append(f"{name} {telling(figure, least)} dB, expected at least {least:g}")
    if misses:
        raise ExportError(f"{artifact} does not agree with the PyTorch network: {'; '.join(misses)}: not saved")
