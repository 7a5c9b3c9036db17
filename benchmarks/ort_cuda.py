"""Ways to run ONNX Runtime on CUDA, timed with the data on the device.

They differ in how cuDNN chooses kernels for convolutions, in TF32, layout, fused bias, the library's own CUDA graphs,
and batches. Every way differs from the first in one thing or two. Most replay graphs, since without them it is the
launches of small kernels that are measured. Choosing measures nothing, whatever the option is called: `HEURISTIC`,
`EXHAUSTIVE` and `DEFAULT` are cuDNN's heuristics A and B and its fallback (onnxruntime 1.31). A row is saved as soon as
it is there, and is not measured again by a run that goes on with the same file, unless it failed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.benchmarks.inputs import Size, one_line, sample_picture
from mirnet_deploy.consistency.prediction import psnr_of
from mirnet_deploy.engines.onnxruntime_session import CPU, CUDA, LEFT_OUT, onnxruntime_module, prepare_for_cuda
from mirnet_deploy.engines.opening import onnx_device
from mirnet_deploy.errors import ArtifactError, EngineError
from mirnet_deploy.files import is_there, write_atomically
from mirnet_deploy.machine import describe_machine
from mirnet_deploy.pixels import padded


@dataclass(frozen=True)
class Way:
    """How a session is opened and run."""

    name: str
    search: str = "HEURISTIC"
    """`cudnn_conv_algo_search`."""
    tf32: bool = True
    """`use_tf32`."""
    nhwc: bool = False
    """`prefer_nhwc`."""
    bias: bool = False
    """`fuse_conv_bias`."""
    graphs: bool = True
    """`enable_cuda_graph`: runs after the first two replay a graph."""
    batch: int = 1


WAYS = (
    Way("graph"),
    Way("launched", graphs=False),
    Way("graph, no TF32", tf32=False),
    Way("graph, heuristic B", search="EXHAUSTIVE"),
    Way("graph, NHWC", nhwc=True),
    Way("graph, NHWC, heuristic B", nhwc=True, search="EXHAUSTIVE"),
    Way("graph, fused bias", bias=True),
    Way("graph, batch of 4", batch=4),
    Way("graph, fallback", search="DEFAULT"),
    Way("graph, NHWC, batch of 4", nhwc=True, batch=4),
)
ON_CPU = Way("on a CPU", search="", tf32=False, graphs=False)
"""For rehearsals."""
WARMING = 3
"""Runs that are not counted: kernels are searched for in the first, and a graph is captured after the second."""


@dataclass(frozen=True)
class Row:
    """One way on one model at one size. Where `failure` is set there are no figures."""

    model: str
    sha256: str
    precision: str
    size: str
    way: Way
    first_ms: float | None = None
    """The first run, in which kernels are searched for."""
    p50_ms: float | None = None
    """Of the later runs, each waited for; divided by the pictures of a batch."""
    runs: int = 0
    psnr: float | None = None
    """In dB, of this way's result against the first way's; None where that was not measured in the same run. At most
    `MAX_PSNR`."""
    failure: str | None = None
    tool_version: str = __version__
    commit: str | None = None
    """Of the code that measured, which may be another one for each row: see `artifacts.version.commit_of`."""

    @property
    def line(self) -> str:
        """For whoever waits."""
        what = f"{self.model} ({self.precision}) at {self.size}, {self.way.name}"
        if self.failure:
            return f"{what}: failed: {self.failure}"
        agrees = "" if self.psnr is None else f", {self.psnr:.1f} dB from the first way"
        return f"{what}: {self.p50_ms:.2f} ms a picture, the first run {self.first_ms:.0f} ms{agrees}"


@dataclass(frozen=True)
class OrtCudaSettings:
    """What to measure."""

    engines: tuple[str, ...]
    sizes: tuple[Size, ...]
    runs: int
    max_seconds: float
    """No measurement begins after that."""
    device: str


def measure_ways(settings: OrtCudaSettings, target: Path, say: Callable[[str], None]) -> list[Row]:
    """Measures what `target`, a JSON file, lacks, and adds it there row by row.

    Returns:
        The rows that were added.

    Raises:
        ArtifactError: an engine is no ONNX file, or `target` holds something else, or figures of another machine.
        EngineError: there is no GPU.
        OSError: `target` cannot be written.
    """
    index = onnx_device(settings.device)
    machine = {"gpus": [gpu.name for gpu in describe_machine().gpus], "onnxruntime": onnxruntime_module().__version__}
    held = _held(target, machine)
    held = [row for row in held if row["failure"] is None]  # what failed is tried again
    done = {(row["sha256"], row["size"], row["way"]["name"]) for row in held}
    begin, added = time.monotonic(), []
    first: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    for engine, data, metadata, size, way in _todo(settings, on_gpu=index is not None):
        if (metadata.sha256, str(size), way.name) in done:
            continue
        if time.monotonic() - begin > settings.max_seconds:
            say(f"{settings.max_seconds:g} s are over; the same command goes on")
            break
        row, result = _measure(engine, data, metadata, size, way, index, settings.runs)
        key = row.sha256, row.size
        if result is not None and way is WAYS[0]:
            first[key] = result
        elif result is not None and key in first:
            row = replace(row, psnr=_psnr(first[key], result))
        say(row.line)
        added.append(row)
        held.append(asdict(row))
        write_atomically(target, (json.dumps({**machine, "rows": held}, indent=1) + "\n").encode())
    return added


def _held(target: Path, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that `target` holds already."""
    if not is_there(target):
        return []
    if not target.is_file():
        raise ArtifactError(f"{target} is a link that leads nowhere, or no file; name another one")
    try:
        found = json.loads(target.read_text())
        rows: list[dict[str, Any]] = found.pop("rows")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{target} is not a file of `bench ort-cuda`; name another one") from error
    if found != machine:
        raise ArtifactError(f"{target} has figures of {found}, and this machine is {machine}; name another file")
    return rows


def _todo(settings: OrtCudaSettings, on_gpu: bool) -> Iterator[tuple[str, bytes, ArtifactMetadata, Size, Way]]:
    """What to measure, the ways of the first engine and size first. A CPU has one way."""
    loaded = []
    for engine in settings.engines:
        path = resolve_model(engine)
        if path.suffix != ".onnx":
            raise ArtifactError(f"{path} is not an ONNX file")
        loaded.append((engine, *read_onnx(path)))
    for size in settings.sizes:
        for engine, data, metadata in loaded:
            for way in WAYS if on_gpu else (ON_CPU,):
                yield engine, data, metadata, size, way


def _measure(
    engine: str, data: bytes, metadata: ArtifactMetadata, size: Size, way: Way, index: int | None, runs: int
) -> tuple[Row, np.ndarray[Any, Any] | None]:
    """The row, and the result of one picture; None where the way failed."""
    row = Row(engine, str(metadata.sha256), metadata.precision, str(size), way, commit=running_commit())
    try:
        times, result = _timed(data, metadata, size, way, index, runs)
    except Exception as error:  # ONNX Runtime's exceptions share no base class; the other ways go on
        return replace(row, failure=one_line(error)), None
    later = times[WARMING:]
    return replace(row, first_ms=times[0], p50_ms=statistics.median(later) / way.batch, runs=len(later)), result


def _timed(
    data: bytes, metadata: ArtifactMetadata, size: Size, way: Way, index: int | None, runs: int
) -> tuple[Sequence[float], np.ndarray[Any, Any]]:
    """Milliseconds of `WARMING` runs and of `runs` more, and the last result of the first picture."""
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    provider: Any = CPU
    if index is not None:
        prepare_for_cuda(ort)
        provider = (
            CUDA,
            {
                "device_id": index,
                "cudnn_conv_algo_search": way.search,
                "use_tf32": int(way.tf32),
                "prefer_nhwc": int(way.nhwc),
                "fuse_conv_bias": int(way.bias),
                "enable_cuda_graph": int(way.graphs),
            },
        )
    session = ort.InferenceSession(data, options, providers=[provider], disabled_optimizers=LEFT_OUT)
    if session.get_providers()[0] != (CPU if index is None else CUDA):
        raise EngineError(f"ONNX Runtime runs on {session.get_providers()[0]}")
    device = ("cpu", 0) if index is None else ("cuda", index)
    binding, kept = session.io_binding(), []
    source, result = TENSOR_NAMES[metadata.interface]
    batch = _batch(metadata, size, way.batch)
    for name, bind in ((source, binding.bind_ortvalue_input), (result, binding.bind_ortvalue_output)):
        kept.append(ort.OrtValue.ortvalue_from_numpy(batch, *device))
        bind(name, kept[-1])
    times = []
    for _ in range(WARMING + runs):
        begin = time.perf_counter()
        session.run_with_iobinding(binding)  # waits for the GPU
        times.append(1000 * (time.perf_counter() - begin))
    return times, kept[-1].numpy()[0]


def _psnr(reference: np.ndarray[Any, Any], result: np.ndarray[Any, Any]) -> float:
    """Of two results of one engine, of any shape, uint8 or float32 in [0, 1]."""
    white = 255.0 if reference.dtype == np.uint8 else 1.0
    return psnr_of(float(np.mean(((result.astype(np.float64) - reference) / white) ** 2)))


def _batch(metadata: ArtifactMetadata, size: Size, count: int) -> np.ndarray[Any, Any]:
    """`count` photographs of `size`, padded to the size multiple: uint8 [N,H,W,3], or float32 [N,3,H,W] in [0, 1]."""
    picture = sample_picture(size)
    batch = np.repeat(padded(picture, metadata.size_multiple)[None], count, axis=0)
    if metadata.interface == "image":
        return np.ascontiguousarray(batch)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2).astype(np.float32) / 255)
