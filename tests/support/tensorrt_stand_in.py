"""Stand-ins for TensorRT, pycuda and cuda-bindings, which need no GPU.

They enforce the rules that the real libraries punish with a crash: a CUDA context is current in every call, an
execution context has one run at a time, and nothing is freed after the pop. `test_tensorrt_api` holds them against the
real library.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np

NAMES = ("image", "enhanced")
SCRATCH = 4096


class Cuda(ModuleType):
    """pycuda.driver: device memory is a numpy array, streams run at once, and a CUDA context must be current."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class LaunchError(Error):
        pass

    def __init__(self):
        super().__init__("pycuda.driver")
        self.stack = threading.local()
        self.memory = {}
        self.addresses = itertools.count(1 << 20, 1 << 20)
        self.fail_copies = False
        self.capability = (8, 9)
        driver = self
        self.Context = SimpleNamespace(pop=lambda: self.depth(-1))
        self.Memcpy2D = lambda: Memcpy2D(self)
        self.Stream = lambda flags: self.current() and SimpleNamespace(handle=77, synchronize=lambda: None)
        self.mem_get_info = lambda: self.current() and (1 << 30, 1 << 30)
        self.pagelocked_empty = lambda count, dtype: self.current() and np.empty(count, dtype)

        class Device:
            def __init__(self, index):
                self.index = index

            def compute_capability(self):
                return driver.capability

            def name(self):
                return "Test GPU"

            def retain_primary_context(self):
                return SimpleNamespace(push=lambda: driver.depth(1))

        self.Device = Device

    def init(self):
        pass

    def depth(self, step):
        self.stack.depth = getattr(self.stack, "depth", 0) + step
        assert self.stack.depth >= 0

    def current(self):
        assert getattr(self.stack, "depth", 0) > 0, "no CUDA context is current"
        return True

    def mem_alloc(self, size):
        self.current()
        address = next(self.addresses)
        self.memory[address] = np.zeros(size, np.uint8)
        return Memory(self, address)

    def at(self, address):
        """The bytes of one allocation, uint8 [n], from an address inside it on."""
        first = max(start for start in self.memory if start <= address)
        return self.memory[first][address - first :]


class Bindings(ModuleType):
    """cuda.bindings.driver: a graph is the list of what one thread ran between the begin and the end of a capture."""

    class CUresult:
        CUDA_SUCCESS, CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 0, 2, 900

    class CUstreamCaptureMode:
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1

    def __init__(self, cuda):
        super().__init__("cuda.bindings.driver")
        self.cuda = cuda
        self.capturing = threading.local()
        self.refuses = False
        self.held = 0

    def cuMemGetInfo(self):
        self.cuda.current()
        return (700 if self.cuda.fail_copies else 0, 1, 1)

    def cuStreamBeginCapture(self, stream, mode):
        self.capturing.works = []
        return (0,)

    def cuStreamEndCapture(self, stream):
        works, self.capturing.works = self.capturing.works, None
        return (900,) if self.refuses else (0, works)

    def cuGraphInstantiate(self, graph, flags):
        self.held += 1
        return 0, list(graph)

    def cuGraphDestroy(self, graph):
        graph.clear()
        return (0,)

    def cuGraphLaunch(self, executable, stream):
        assert stream != 0
        assert executable, "an empty graph, or one that was destroyed"
        for work in executable:
            work()
        return (0,)

    def cuGraphExecDestroy(self, executable):
        self.held -= 1
        executable.clear()
        return (0,)


class Memcpy2D:
    """Copies one row from or to the host."""

    height: int
    width_in_bytes: int
    src_pitch: int
    dst_pitch: int

    def __init__(self, driver):
        self.driver = driver
        self.host = None

    def set_src_host(self, host):
        self.host, self.up = host, True

    def set_dst_host(self, host):
        self.host, self.up = host, False

    def set_src_device(self, address):
        self.address = address

    set_dst_device = set_src_device

    def __call__(self, stream):
        self.driver.current()
        assert self.height == 1
        assert self.width_in_bytes == self.host.size == min(self.src_pitch, self.dst_pitch)
        if self.driver.fail_copies:
            raise self.driver.LaunchError("cuMemcpy2DAsync failed: an illegal memory access was encountered")
        there = self.driver.at(self.address)[: self.host.size]
        source, target = (self.host[0], there) if self.up else (there, self.host[0])
        target[...] = source


class Memory:
    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def __int__(self):
        return self.address

    def free(self):
        self.driver.current()
        del self.driver.memory[self.address]


class ExecutionContext:
    """IExecutionContext: gives 255 minus the image."""

    def __init__(self, library):
        self.library = library
        self.busy = threading.Lock()
        self.addresses = {}
        self.shapes = {}
        self.changes = 0
        """Changes of shapes so far. Graphs that were captured before one are invalid."""

    def set_device_memory(self, address, size):
        assert size == SCRATCH <= len(self.library.cuda.memory[address])
        self.scratch = address

    def set_input_shape(self, name, shape):
        self.changes += shape != self.shapes.get(name)
        self.shapes[name] = shape
        return name in self.library.names

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name in self.library.names

    def execute_async_v3(self, stream):
        assert stream != 0
        assert self.busy.acquire(blocking=False), "one execution context in two threads"
        self.library.cuda.current()
        time.sleep(0.01)
        if self.library.refuse:
            self.library.log("[E] Error Code 3: the profile is not set")
        else:
            assert set(self.addresses) == set(self.library.names), "a tensor has no address"
            works = getattr(self.library.bindings.capturing, "works", None)
            if works is None:
                self.compute(dict(self.addresses), dict(self.shapes), self.changes)
            else:
                works.append(partial(self.compute, dict(self.addresses), dict(self.shapes), self.changes))
        self.busy.release()
        return not self.library.refuse

    def compute(self, addresses, shapes, changes):
        assert changes == self.changes
        assert self.scratch in self.library.cuda.memory
        at, size = self.library.cuda.at, int(np.prod(shapes["image"]))
        at(addresses["enhanced"])[:size] = 255 - at(addresses["image"])[:size]
        if "statistics" in self.library.names:
            size = 4 * int(np.prod(shapes["context"]))
            context = at(addresses["context"])[:size].view(np.float32)
            at(addresses["statistics"])[:size].view(np.float32)[:] = 2 * context


class Library(ModuleType):
    """The module tensorrt_rtx."""

    __version__ = "9.9"
    bindings: Bindings

    def __init__(self, cuda):
        super().__init__("tensorrt_rtx")
        self.cuda = cuda
        self.refuse = False
        self.names = NAMES
        self.execution_contexts = []
        self.deserializes = True
        self.DataType = SimpleNamespace(FLOAT="FLOAT", UINT8="UINT8")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="USER_MANAGED")

        class ILogger:
            INTERNAL_ERROR, ERROR, WARNING = range(3)

        self.ILogger = ILogger

    def Runtime(self, logger):
        self.log = lambda message: logger.log(self.ILogger.ERROR, message)
        return SimpleNamespace(deserialize_cuda_engine=self.deserialize)

    def deserialize(self, plan):
        assert plan == b"no plan at all"
        if not self.deserializes:
            self.log("[E] the magic tag does not match\nmore")
            return None
        return SimpleNamespace(
            num_io_tensors=len(self.names),
            get_tensor_name=lambda i: self.names[i],
            get_tensor_dtype=lambda name: "UINT8" if name in NAMES else "FLOAT",
            create_execution_context=self.create,
            device_memory_size_v2=SCRATCH,
        )

    def create(self, strategy):
        assert strategy == "USER_MANAGED"
        self.cuda.current()
        self.execution_contexts.append(ExecutionContext(self))
        return self.execution_contexts[-1]


def install(monkeypatch):
    """Puts the stand-ins in the places of the libraries, and returns that for TensorRT-RTX."""
    cuda = Cuda()
    library = Library(cuda)
    library.bindings = Bindings(cuda)
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", library.bindings)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    return library
