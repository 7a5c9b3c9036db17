"""OpenVINO on arrays in host memory: the second engine of `.onnx` files on the CPU.

Its reader takes inputs that have defaults for constants and drops them in silence. For the plain network that is what
we want: the masks and modes of the pools fold away (6 % of the time of `lite` at 600x400). For runs with given means it
gets the file without these defaults (`artifacts.onnx_graph`), and every run gets all inputs, as with plans.

A model is compiled for each shape of batches: compiled for any shape, the process that `bench` measures took 992 MiB
instead of 321 (`lite@openvino` at 600x400, OpenVINO 2026.4).
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.artifacts.context import CONTEXT_INPUTS, STATISTICS, Pools
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.onnx_graph import without_defaults
from mirnet_deploy.engines import openvino_graph
from mirnet_deploy.engines.base import (
    BatchShape,
    HostEngine,
    NamedTensor,
    check_tensors,
    closed_error,
    no_context_error,
)
from mirnet_deploy.errors import EngineError, engine_error, missing
from mirnet_deploy.files import cache_folder
from mirnet_deploy.machine import describe_processor

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""Our names of precisions -> OpenVINO's."""
CONVOLUTIONS = ("Convolution", "Deconvolution")
"""Types of layers in a runtime model."""
KEPT = 4
"""Shapes whose compiled models are kept, those used last: of tiles, the last of a picture, thumbnails and patches."""
KEPT_BYTES = 2 << 30
"""What the models that are kept may take together. The one in use may take more, and is then the only one: otherwise a
folder of photographs that run whole, some upright, would take twice their memory. Compiling anew takes 0.2 to 0.4 s."""
BYTES_PER_VALUE = {"fp32": 45, "bf16": 25}
"""Precision -> bytes that a compiled model takes per pixel of its batch and per feature of the network: an estimate.
With its first run of `lite` at 2720x2048 a process grew by 43.7 and 23.4 such bytes (OpenVINO 2026.4)."""

TELEMETRY = "openvino_telemetry"
CACHE = "openvino"
"""The cache folder of compiled models, which OpenVINO names: to load one takes half the time that compiling takes."""
CACHED = 64 << 20
"""Bytes of that folder, at most: some 15 shapes of `lite`."""


class _Compiled(NamedTuple):
    """A model for one shape, and the requests for it that no thread uses."""

    model: Any
    idle: list[Any]


def openvino_module() -> Any:
    """The module `openvino`.

    Raises:
        MissingDependencyError: it is not installed, or is broken.
    """
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise missing("the backend openvino needs OpenVINO", error, "openvino") from error
    return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keeps openvino-telemetry from being loaded in the block. Importing OpenVINO would load it, and unless the user
    has forbidden that, it reports to Google Analytics (seen in 2026.4). Without it OpenVINO works just as well."""
    if TELEMETRY in sys.modules or "openvino" in sys.modules:  # by somebody else
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        sys.modules.pop(TELEMETRY, None)  # another thread may have been here too


class OpenVinoEngine(HostEngine):
    """An `Engine` over one model. Threads run at the same time, each with a request of its own; the library shares the
    cores among them.

    Args:
        data: the bytes of the ONNX file.
        threads: how many one run may use; None leaves it to the library.

    Raises:
        ArtifactError: the graph does not fit its interface.
        EngineError: OpenVINO cannot load the graph, or the processor does not compute in the precision.
        MissingDependencyError: openvino is not installed.
    """

    device = "cpu"
    bytes_per_value = BYTES_PER_VALUE["fp32"]
    whole_alone = True

    def __init__(
        self,
        data: bytes,
        metadata: ArtifactMetadata,
        threads: int | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self._library = library = openvino_module()
        self.metadata, self.step = metadata, 2**-8 if precision == "bf16" else 0.0
        self.bytes_per_value = BYTES_PER_VALUE[precision]
        self._prefers_avx2 = openvino_graph.gains_from_avx2(describe_processor(), precision)
        # Without the hint, processors with bfloat16 compute in it.
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        if _writable(cache_folder(CACHE)):
            self._options["CACHE_DIR"] = str(cache_folder(CACHE))
        try:
            self._core: Any = library.Core()
            if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise EngineError("precision is 'bf16', and this processor does not compute in bfloat16")
            # Whether runs are given means -> the model for them, and what is still to be done to it.
            self._models: dict[bool, Any] = {False: self._core.read_model(data)}
            self._rewrites: dict[bool, Callable[[], None]] = {}
            if metadata.context:
                plain, pooled = self._models[False], self._core.read_model(without_defaults(data, CONTEXT_INPUTS))
                _check_model(pooled, metadata)
                self._models[True] = pooled
                result = TENSOR_NAMES[metadata.interface][1]
                self._rewrites[False] = partial(openvino_graph.for_plain_runs, library, plain, result)
                self._rewrites[True] = partial(openvino_graph.for_given_means, library, pooled, precision)
            else:
                _check_model(self._models[False], metadata)
        except (RuntimeError, ValueError) as error:
            raise engine_error(f"OpenVINO cannot load {metadata.name}", error) from error
        self._compiled: OrderedDict[tuple[bool, tuple[int, ...]], _Compiled] = OrderedDict()
        self._state = threading.Lock()
        self.backend = f"openvino {library.__version__.split('-')[0]} CPU{', bf16' if precision == 'bf16' else ''}"

    def footprint(self, *shapes: BatchShape) -> int:
        """See `Engine.footprint`; of as many models as are kept, at most."""
        kept = sorted(map(math.prod, shapes))[-KEPT:]
        return self.bytes_per_value * self.metadata.network["n_feat"] * sum(kept)

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """See `HostEngine.run`."""
        return self._run(batch, {})[0]

    def run_pooled(self, batch: NDArray[Any], pools: Pools) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """See `HostEngine.run_pooled`."""
        if not self.metadata.context:
            raise no_context_error(self.metadata)
        result, statistics = self._run(batch, pools._asdict())
        return result, statistics

    def executed(self) -> dict[str, int]:
        """Precision, as OpenVINO names it ("f32", "bf16"), -> the number of convolutions that compute in it, in the
        model that ran last: what its runtime model says of each. Empty before the first run."""
        with self._state:
            if not self._compiled:
                return {}
            ran = next(reversed(self._compiled.values())).model.get_runtime_model()
        found: Counter[str] = Counter()
        for node in ran.get_ops():
            said = node.get_rt_info()
            if said["layerType"].astype(str) in CONVOLUTIONS:
                found[said["runtimePrecision"].astype(str)] += 1
        return dict(found)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._state:
            self._models, self._rewrites = {}, {}
            self._compiled.clear()

    def _run(self, batch: NDArray[Any], inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[Any]]:
        """The result, and where means are given (`inputs`) the statistics, float32 [N,K]."""
        source, result = TENSOR_NAMES[self.metadata.interface]
        given = {source: batch, **inputs}
        try:
            shapes = {name: list(array.shape) for name, array in given.items()}
            compiled, request = self._request((bool(inputs), batch.shape), shapes)
            for name, array in given.items():
                request.set_tensor(name, self._library.Tensor(np.ascontiguousarray(array), shared_memory=True))
            request.infer()
            wanted = [result, STATISTICS] if inputs else [result]
            results = [np.array(request.get_tensor(name).data) for name in wanted]
        except (RuntimeError, ValueError) as error:
            raise engine_error(f"OpenVINO failed on a batch of shape {list(batch.shape)}", error) from error
        compiled.idle.append(request)
        return results

    def _request(self, key: tuple[bool, tuple[int, ...]], shapes: dict[str, list[int]]) -> tuple[_Compiled, Any]:
        """A request that nobody else uses, for inputs of `shapes`, and the model that it belongs to.

        Args:
            key: whether means are given, and the shape of the batch.
        """
        with self._state:
            if not self._models:
                raise closed_error(self.metadata)
            if key not in self._compiled:
                if key[0] in self._rewrites:  # not before: many need only one of the two
                    self._rewrites[key[0]]()
                    del self._rewrites[key[0]]
                self._make_room(key)  # before the new one takes its memory
                model = self._models[key[0]].clone()
                model.reshape(shapes)
                if self.metadata.context:
                    openvino_graph.for_sides(self._library, model)
                if self._prefers_avx2:
                    openvino_graph.prefer_avx2(self._library, model)
                self._compiled[key] = _Compiled(self._core.compile_model(model, "CPU", self._options), [])
                prune(cache_folder(CACHE), CACHED)
            self._compiled.move_to_end(key)
            compiled = self._compiled[key]
            return compiled, compiled.idle.pop() if compiled.idle else compiled.model.create_infer_request()

    def _make_room(self, key: tuple[bool, tuple[int, ...]]) -> None:
        """Drops the models used longest ago until one more, that of `key`, may be kept beside the rest."""
        each = self.bytes_per_value * self.metadata.network["n_feat"]
        while self._compiled and (
            len(self._compiled) >= KEPT
            or each * sum(math.prod(shape) // 3 for _, shape in (*self._compiled, key)) > KEPT_BYTES
        ):
            self._compiled.popitem(last=False)


def prune(folder: Path, most: int) -> None:
    """Deletes the compiled models of a folder that were used longest ago, until they take no more than `most` bytes,
    but never the last one. Other processes may be doing the same, and what cannot be deleted stays."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob("*.blob"):
        with suppress(OSError):
            stat = path.stat()
            found.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    total = sum(nbytes for _, nbytes, _ in found)
    for _, nbytes, path in sorted(found)[:-1]:
        if total <= most:
            break
        with suppress(OSError):
            path.unlink()
            total -= nbytes


def _writable(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and takes files: without it every process compiles for itself."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _check_model(model: Any, metadata: ArtifactMetadata) -> None:
    """Checks names, types and ranks of the inputs and outputs."""
    source, result = TENSOR_NAMES[metadata.interface]
    kind = "f32" if metadata.interface == "float" else "u8"
    inputs, outputs = [(source, kind, 4)], [(result, kind, 4)]
    if metadata.context:
        inputs += [(name, "f32", 1 if name == "mode" else 2) for name in CONTEXT_INPUTS]
        outputs.append((STATISTICS, "f32", 2))
    for side, nodes, expected in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        check_tensors(metadata, side, [_described(node) for node in nodes], expected)


def _described(node: Any) -> NamedTensor:
    rank = node.get_partial_shape().rank.get_length()
    return node.get_any_name(), node.get_element_type().get_type_name(), rank
