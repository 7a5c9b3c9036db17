"""Opens, runs and closes sessions of ONNX Runtime on the stand-in for CUDA, and prints what was seen as JSON.

    python sessions.py MODEL.onnx SESSIONS RUNS THREADS

Threads share the sessions: each takes one, runs it RUNS times and gives it back, while others are opened and closed, as
slots are. `build.py` makes the stand-in; the same runs on a GPU. The process dies where the library aborts. With
WITH_FUSION=1 in the environment, sessions are opened with all optimizers, as they were when closing aborted.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import queue
import sys
import threading
import time
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from mirnet_deploy.artifacts.context import GIVEN, STATISTICS
from mirnet_deploy.artifacts.metadata import TENSOR_NAMES, ArtifactMetadata
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.engines.base import Runner
from mirnet_deploy.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine

SIDE = 32
Interval = tuple[float, float]


class Cuda:
    """The stand-in's functions, and the few things that the engine asks a driver for."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcudart.so.13")

    def stream(self) -> Any:
        handle = ctypes.c_void_p()
        assert self._library.cudaStreamCreateWithFlags(ctypes.byref(handle), 1) == 0
        return SimpleNamespace(handle=handle.value)

    def tensor(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Tensor:
        address = ctypes.c_void_p()
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert self._library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(nbytes)) == 0
        return Tensor(int(address.value or 0), shape, np.dtype(dtype))

    def pinned_bytes(self) -> int:
        """Page-locked bytes that are held now; -1 on a GPU, which does not tell."""
        try:
            return int(self._library.stand_in_pinned_bytes())
        except AttributeError:
            return -1

    def close(self) -> None:
        pass


class Watched:
    """A session of ONNX Runtime whose runs and whose end are noted."""

    runs: list[Interval] = []  # noqa: RUF012 (of all sessions together)
    ends: list[Interval] = []  # noqa: RUF012

    def __init__(self, session: Any) -> None:
        self._session = session
        self.io_binding = session.io_binding

    def run_with_iobinding(self, *arguments: Any) -> None:
        begin = time.perf_counter()
        self._session.run_with_iobinding(*arguments)
        self.runs.append((begin, time.perf_counter()))

    def __del__(self) -> None:
        begin = time.perf_counter()
        del self._session, self.io_binding
        self.ends.append((begin, time.perf_counter()))


def tensors_of(cuda: Cuda, metadata: ArtifactMetadata) -> dict[str, Tensor]:
    """All inputs and outputs of an artifact for one picture of SIDE x SIDE. Their values mean nothing."""
    shape = (1, 3, SIDE, SIDE) if metadata.interface == "float" else (1, SIDE, SIDE, 3)
    made = {name: cuda.tensor(shape, metadata.batch_dtype) for name in TENSOR_NAMES[metadata.interface]}
    size = metadata.context
    shapes = {"context": (1, size), "mode": GIVEN.shape, "rows": (1, SIDE), "cols": (1, SIDE), STATISTICS: (1, size)}
    return made | {name: cuda.tensor(shape) for name, shape in shapes.items()}


def open_as_before() -> None:
    """Opens sessions with all optimizers from now on."""
    opened = onnxruntime.InferenceSession

    def with_fusion(*arguments: Any, **named: Any) -> Any:
        named.pop("disabled_optimizers")
        return opened(*arguments, **named)

    onnxruntime.InferenceSession = with_fusion


def main(model: str, sessions: int, runs: int, threads: int) -> dict[str, Any]:
    if os.environ.get("WITH_FUSION"):
        open_as_before()
    onnxruntime.preload_dlls()
    cuda = Cuda()
    data, metadata = read_onnx(resolve_model(model))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        engine = OnnxRuntimeCudaEngine(data, metadata, 0, cuda, graphs=False)  # type: ignore[arg-type]
    tensors = tensors_of(cuda, metadata)
    shared: queue.Queue[Runner] = queue.Queue()
    failed: list[BaseException] = []
    pinned: list[int] = []
    closing = threading.Event()

    def opened() -> Any:
        runner: Any = engine.runner(cuda.stream())
        first = runner._runner  # the runner of a shape takes its session over
        first._session = Watched(first._session)
        return runner

    def run_some() -> None:
        try:
            while not closing.is_set():
                runner = shared.get()
                for number in range(1, runs + 1):
                    runner.enqueue(tensors)
                    if number in (10, runs):
                        pinned.append(cuda.pinned_bytes())
                shared.put(runner)
                time.sleep(0.1)  # else the runs would take all of the cores from the openings
        except BaseException as error:  # told by the main thread
            failed.append(error)
            runner.close()
            shared.put(opened())

    for _ in range(threads + 1):
        shared.put(opened())
    workers = [threading.Thread(target=run_some) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for _ in range(sessions - threads - 1):
        shared.get().close()
        shared.put(opened())
    while not pinned and not failed:  # at least one session has made ten runs, or the reason why not is known
        time.sleep(0.01)
    closing.set()
    for worker in workers:
        worker.join()
    while not shared.empty():
        shared.get().close()
    engine.close()
    beside = sum(begin < end and first < last for begin, last in Watched.ends for first, end in Watched.runs)
    return {
        "closed": len(Watched.ends),
        "runs": len(Watched.runs),
        "runs beside an end": beside,
        "pinned": [min(pinned), max(pinned)] if pinned else [],
        "held": cuda.pinned_bytes(),
        "warned": [str(each.message) for each in said],
        "failed": [repr(error) for error in failed],
    }


if __name__ == "__main__":
    faulthandler.enable()
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
