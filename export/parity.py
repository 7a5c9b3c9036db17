"""Proof of value: an artifact's output against the FP32 PyTorch network's, on crops of real photographs.

Every figure is taken twice: on the output, and on output minus input. MIRNet adds its work to its input, so a network
that does nothing at all scores well on the first and nothing on the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, Interface, Parity, Precision
from mirnet_deploy.engines.base import GIVEN, Pools
from mirnet_deploy.errors import ExportError, MissingDependencyError
from mirnet_deploy.export.interfaces import with_interface
from mirnet_deploy.training.context import OwnMeans
from mirnet_deploy.training.network import MIRNet

Run = Callable[[NDArray[Any]], NDArray[Any]]
"""Runs one batch through something: an engine, a session, a network."""
RunPooled = Callable[[NDArray[Any], Pools], tuple[NDArray[Any], NDArray[np.float32]]]
"""Runs one batch with means for its pools, and tells what they measured."""


@dataclass(frozen=True)
class Bounds:
    """What an artifact must keep to be saved."""

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
"""By interface and precision. One broken pixel vanishes in a PSNR, so every line bounds the largest error as well. The
image interface rounds both sides to 8 bits: one level is 48 dB by itself, and all of a faint residual."""


STATISTICS_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of a measured mean, of the largest one."""


def onnx_session(model: bytes) -> tuple[Run, RunPooled, str]:
    """Functions that run an ONNX model on the CPU in ONNX Runtime, plainly and pooled, and the words that say so.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        ExportError: ONNX Runtime does not load the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            'export proves its ONNX files in ONNX Runtime, which is not installed: pip install "mirnet-deploy[cpu]"'
        ) from error
    provider = "CPUExecutionProvider"
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of every input that has a default
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions have no common public base
        raise ExportError(f"ONNX Runtime does not load the exported graph: {str(error).splitlines()[0]}") from error
    name = session.get_inputs()[0].name

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        output: NDArray[Any] = session.run(None, {name: batch})[0]
        return output

    def run_pooled(batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        output, statistics = session.run(None, {name: batch} | pools._asdict())
        return output, statistics

    return run, run_pooled, f"onnxruntime {onnxruntime.__version__} {provider}"


def turned(run: Run, interface: Interface) -> Run:
    """`run` of a BGR artifact as one of RGB."""
    axis = 1 if interface == "float" else 3

    def run_turned(batch: NDArray[Any]) -> NDArray[Any]:
        return np.flip(run(np.ascontiguousarray(np.flip(batch, axis))), axis)

    return run_turned


def turned_pooled(run: RunPooled, interface: Interface) -> RunPooled:
    """The same of a pooled run."""
    axis = 1 if interface == "float" else 3

    def run_turned(batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        output, statistics = run(np.ascontiguousarray(np.flip(batch, axis)), pools)
        return np.flip(output, axis), statistics

    return run_turned


def references(network: MIRNet, interface: Interface, crops: Sequence[NDArray[np.uint8]]) -> list[NDArray[Any]]:
    """What the FP32 PyTorch network gives for each crop, through `interface`: what `measure` compares with."""
    module = with_interface(network, interface)
    with torch.inference_mode():
        return [module(torch.from_numpy(as_input(crop, interface))).numpy() for crop in crops]


def check_given(
    run: RunPooled, network: MIRNet, interface: Interface, precision: Precision, crop: NDArray[np.uint8], artifact: str
) -> None:
    """Gives the pools means that are far from the crop's own, weighs a part of it, and holds the artifact against
    PyTorch in FP32: what tiles depend on.

    Raises:
        ExportError: the output misses its bound (`BOUNDS`), or a measured mean `STATISTICS_BOUNDS`.
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
    if not error <= STATISTICS_BOUNDS[precision]:
        raise ExportError(
            f"{name} does not measure what the PyTorch network does: a mean is off by {error:.2g} of the largest, "
            f"expected at most {STATISTICS_BOUNDS[precision]:g}: not saved"
        )


def as_input(crop: NDArray[np.uint8], interface: Interface) -> NDArray[Any]:
    """A crop, uint8 [H,W,3] RGB, as the batch of one that `interface` takes."""
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
    """Runs every crop through `run` and holds the outputs against `expected` (of `references`).

    Max abs is the worst over the crops; the PSNRs pool the squared errors of all pixels.

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
"""dB, written for outputs that are equal: infinity is no JSON number."""


def _psnr(squared_error: float, peak: float) -> float:
    if squared_error == 0:
        return MAX_PSNR
    if peak == 0:
        return -MAX_PSNR
    return min(MAX_PSNR, 10 * math.log10(peak**2 / squared_error))


def check(parity: Parity, interface: Interface, precision: Precision, artifact: str) -> None:
    """Holds measured figures against `BOUNDS`.

    Raises:
        ExportError: a figure misses its bound; the text names it, its value and the bound.
    """
    bounds = BOUNDS[interface, precision]
    if parity.max_abs is None or parity.psnr is None or parity.residual_psnr is None:
        raise ExportError(f"{artifact} was {parity.executed}: there is nothing to check")
    unit = "8-bit levels" if interface == "image" else "of 1"
    misses = []
    if not parity.max_abs <= bounds.max_abs:
        misses.append(f"max abs error {parity.max_abs:.3g} {unit}, expected at most {bounds.max_abs:g}")
    if not parity.psnr >= bounds.psnr:
        misses.append(f"PSNR {parity.psnr:.1f} dB, expected at least {bounds.psnr:g}")
    if not parity.residual_psnr >= bounds.residual_psnr:
        misses.append(f"residual PSNR {parity.residual_psnr:.1f} dB, expected at least {bounds.residual_psnr:g}")
    if misses:
        raise ExportError(f"{artifact} does not agree with the PyTorch network: {'; '.join(misses)}: not saved")
