"""What this machine can do, measured beside the engines: a matrix product in a precision, and a copy in memory.

They take the place of a data sheet's peak and bandwidth in the roofline model: Williams, Waterman & Patterson,
"Roofline: an insightful visual performance model for multicore architectures", CACM 52 (4), 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mirnet_deploy.benchmarks.inputs import Image, one_line
from mirnet_deploy.errors import EngineError, MissingDependencyError
from mirnet_deploy.machine import available_memory, describe_processor

SIDES = (1024, 2048, 4096)
"""Sides of the matrices on a CPU, of which the fastest is taken: which one that is depends on caches and precision."""
GPU_SIDES = (8192,)
"""The same on a GPU, where the launch must be small beside the product."""
TRIALS = 3
"""Products of each side by which it is chosen."""
LONGEST_S = 0.1
"""A product that takes longer is not tried with a larger side, which would take eight times as long."""
LEAST_COPY = 256 * 2**20
"""Bytes of a copy's source and target together, at least; otherwise `CACHES` times the last cache."""
CACHES = 2
MEMORY_SHARE = 1 / 4
"""Of the memory that is free, what a copy may take at most."""
GPU_COPY = 2**30
"""Bytes of both together on a GPU, whose caches have tens of MiB."""
TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precision -> its name in torch."""


class Peak(Protocol):
    """Something that a machine does at its best rate."""

    how: str
    """What is done, with what, and by how many threads."""
    amount: float
    """Of one run: multiplications, or bytes."""

    def run(self) -> None:
        """Does it, and waits until it is done."""


class MatrixProduct:
    """A product of two square matrices: by torch, or in float32 and without torch by numpy.

    Args:
        precision: "fp32", "bf16" or "fp16", of both matrices and of the result.
        device: "cpu" or "cuda:N". TF32 is off.
        threads: on a CPU; None leaves them to the library.
        side: rows and columns.

    Raises:
        EngineError: the device is not there, or the threads cannot be chosen.
        MissingDependencyError: it takes torch, which is not installed.
    """

    def __init__(self, precision: str, device: str = "cpu", threads: int | None = None, *, side: int):
        self.amount = float(side**3)
        try:
            import torch
        except ImportError as error:
            if precision != "fp32" or device != "cpu":
                raise MissingDependencyError(
                    f'it takes torch: pip install "mirnet-deploy[export]" ({error})'
                ) from error
            self._take_numpy(side, threads)
            return
        if device != "cpu" and not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} has no {device}")
        if threads is not None:
            torch.set_num_threads(threads)
        self._wait: Callable[[], object] = _at_once if device == "cpu" else partial(torch.cuda.synchronize, device)
        kind, generator = getattr(torch, TYPES[precision]), torch.Generator().manual_seed(0)
        left, right = (torch.rand(side, side, generator=generator).to(device, kind) for _ in range(2))
        self.result: Any = torch.empty(side, side, dtype=kind, device=device)
        self.matrices: tuple[Any, Any] = left, right
        self._product: Callable[..., object] = partial(_without_tf32, partial(torch.mm, left, right, out=self.result))
        used = f", {_threads(torch.get_num_threads())}" if device == "cpu" else f" on {device}"
        self.how = f"torch {torch.__version__}, {TYPES[precision]}, {side}x{side}{used}"

    def _take_numpy(self, side: int, threads: int | None) -> None:
        if threads is not None and threads < describe_processor()["cores"]:
            raise EngineError(f"numpy's product cannot be held to {_threads(threads)}; install torch")
        generator = np.random.default_rng(0)
        left, right = (generator.random((side, side), np.float32) for _ in range(2))
        self.matrices, self.result, self._wait = (left, right), np.empty((side, side), np.float32), _at_once
        self._product = partial(np.matmul, left, right, out=self.result)
        self.how = f"numpy {np.__version__}, float32, {side}x{side}, all threads"

    def run(self) -> None:
        """See `Peak.run`."""
        self._product()
        self._wait()


class Copy:
    """A copy from host memory to host memory, in equal parts by numpy, one a thread.

    Args:
        threads: None for as many as there are processors.
        nbytes: of source and target together; None for twice the last cache, so that both cannot lie there, but at
            least `LEAST_COPY`.

    Raises:
        EngineError: the memory that is free is too little for that.
    """

    def __init__(self, threads: int | None = None, nbytes: int | None = None) -> None:
        cache, free = last_cache(), available_memory()
        if nbytes is None:
            nbytes = max(LEAST_COPY, CACHES * (cache or 0))
            if free is not None and nbytes > MEMORY_SHARE * free:
                raise EngineError(
                    f"a copy beyond the cache takes {nbytes / 2**20:.0f} MiB, and it may have {MEMORY_SHARE:.0%} of "
                    f"the {free / 2**20:.0f} MiB that are free"
                )
        count = threads or describe_processor()["cores"]
        self.source, self.target = np.ones(nbytes // 2, np.uint8), np.zeros(nbytes // 2, np.uint8)
        self.target[:] = 2  # zeros have no pages yet
        self._parts = [np.array_split(array, count) for array in (self.target, self.source)]
        self._pool = ThreadPoolExecutor(count)
        self.amount = float(2 * len(self.source))
        said = f"a last cache of {cache / 2**20:.0f} MiB" if cache else "a cache of unknown size"
        self.how = f"numpy, {nbytes / 2**20:.0f} MiB in source and target, {_threads(count)}; {said}"

    def run(self) -> None:
        """See `Peak.run`."""
        list(self._pool.map(np.copyto, *self._parts))


class DeviceCopy:
    """A copy from the memory of a GPU to the same, by torch.

    Raises:
        EngineError: torch has no such device.
        MissingDependencyError: torch is not installed.
    """

    def __init__(self, device: str, nbytes: int = GPU_COPY) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError(f'it takes torch: pip install "mirnet-deploy[export]" ({error})') from error
        if not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} has no {device}")
        self._source = torch.ones(nbytes // 2, dtype=torch.uint8, device=device)
        self._target = torch.empty_like(self._source)
        self._wait = partial(torch.cuda.synchronize, device)
        self.amount = float(2 * len(self._source))
        self.how = f"torch {torch.__version__}, {nbytes / 2**20:.0f} MiB in source and target, on {device}"

    def run(self) -> None:
        """See `Peak.run`."""
        self._target.copy_(self._source)
        self._wait()


class Peaks:
    """Peaks that take one turn together beside engines that are timed in turns (`latency.Turns`).

    Args:
        makers: makes each, by name. What cannot be made or run has a line in `failures`.
        clock: in nanoseconds.
    """

    name = "peaks"

    def __init__(self, makers: dict[str, Callable[[], Peak]], clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._peaks: dict[str, Peak] = {}
        self._clock = clock
        self._times: dict[str, list[int]] = {}
        self.failures: dict[str, str] = {}
        for name, make in makers.items():
            try:
                self._peaks[name] = make()
            except Exception as error:  # also torch's out-of-memory: the others go on
                self.failures[name] = one_line(error)

    def enhance(self, image: Image) -> Image:
        """Runs each of them once, whatever the picture is, and returns the picture."""
        for name, peak in self._peaks.items():
            if name in self.failures:
                continue
            try:
                begin = self._clock()
                peak.run()
                self._times.setdefault(name, []).append(self._clock() - begin)
            except Exception as error:  # as above
                self.failures[name] = one_line(error)
        return image

    def rate(self, name: str) -> float | None:
        """The amount in a second of the fastest run so far; None where there was none."""
        times = self._times.get(name)
        return self._peaks[name].amount / min(times) * 1e9 if times else None

    def how(self, name: str) -> str:
        """See `Peak.how`; "" where it could not be made."""
        return self._peaks[name].how if name in self._peaks else ""


def peaks_for(devices: Sequence[tuple[str, str | None]], threads: int | None) -> Peaks:
    """The peaks of engines on these devices ("cpu" or "cuda:N"), each in its precision; None for a precision that is
    not known. A copy is named after its device, a product as `product_name` says."""
    makers: dict[str, Callable[[], Peak]] = {}
    for device, _ in devices:
        makers[device] = partial(Copy, threads) if device == "cpu" else partial(DeviceCopy, device)
    for device, precision in devices:
        if precision is not None:
            makers[product_name(device, precision)] = partial(best_product, precision, device, threads)
    return Peaks(makers)


def best_product(precision: str, device: str = "cpu", threads: int | None = None) -> Peak:
    """The matrix product of `SIDES`, or of `GPU_SIDES`, that is the fastest for its size; see `MatrixProduct`."""
    sides = SIDES if device == "cpu" else GPU_SIDES
    return fastest([partial(MatrixProduct, precision, device, threads, side=side) for side in sides])


def fastest(makers: Sequence[Callable[[], Peak]], clock: Callable[[], int] = time.perf_counter_ns) -> Peak:
    """The one of the highest rate: each runs `TRIALS` times, and the best run counts. None is made behind one that
    takes longer than `LONGEST_S`.

    Args:
        clock: in nanoseconds.
    """
    rates: list[tuple[float, Peak]] = []
    for make in makers:
        peak, times = make(), []
        for _ in range(TRIALS):
            begin = clock()
            peak.run()
            times.append(clock() - begin)
        rates.append((peak.amount / min(times), peak))
        if min(times) > LONGEST_S * 1e9:
            break
    return max(rates, key=lambda each: each[0])[1]


def product_name(device: str, precision: str) -> str:
    """What `peaks_for` calls the matrix product.

    >>> product_name("cpu", "bf16")
    'bf16 on cpu'
    """
    return f"{precision} on {device}"


def last_cache() -> int | None:
    """Bytes of the last level of cache of the first processor; None where the system does not tell (not on Linux)."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            sizes.append(int(path.read_text().strip().removesuffix("K")) * 1024)
        except (OSError, ValueError):
            continue
    return max(sizes, default=None)


def _without_tf32(product: Callable[[], object]) -> None:
    """Makes a product of torch without TF32, which TORCH_ALLOW_TF32_CUBLAS_OVERRIDE allows everywhere."""
    import torch

    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        product()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed


def _at_once() -> None:
    """Waits for nothing: on a CPU a product is done when it returns."""


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"
