"""Memory, streams, events and graphs of a CUDA device. Its driver (`devices.cuda`) makes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Owner(Protocol):
    """What these need of their driver."""

    def active(self) -> AbstractContextManager[None]: ...

    def errors(self) -> AbstractContextManager[None]: ...

    def checked(self, call: Callable[[Any], tuple[Any, ...]]) -> Any: ...

    def passed(self, event: Any) -> bool: ...

    def destroy(self, event: Any) -> None: ...


class CudaMemory:
    """See `Memory`."""

    def __init__(self, allocation: Any, nbytes: int) -> None:
        self._allocation, self.nbytes = allocation, nbytes
        self.address = int(allocation)

    def free(self) -> None:
        """See `Memory.free`."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class CudaStream:
    """See `Stream`."""

    def __init__(self, stream: Any, driver: Owner) -> None:
        self.stream, self.handle = stream, int(stream.handle)
        self._driver = driver

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        with self._driver.errors():
            self.stream.synchronize()

    def close(self) -> None:
        """See `Stream.close`."""
        self.stream = None  # pycuda destroys it with the last reference, and needs the CUDA context current for that


class CudaEvent:
    """See `Event`. Its methods make the CUDA context current themselves."""

    def __init__(self, event: Any, driver: Owner) -> None:
        self._event, self._driver = event, driver

    def done(self) -> bool:
        """See `Event.done`."""
        return self._driver.passed(self._event)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        with self._driver.active():
            self._driver.checked(lambda cuda: cuda.cuEventSynchronize(self._event))

    def close(self) -> None:
        """See `Event.close`."""
        event, self._event = self._event, None
        if event is not None:
            self._driver.destroy(event)


class CudaGraph:
    """See `Graph`."""

    def __init__(self, executable: Any, driver: Owner) -> None:
        self._executable, self._driver = executable, driver

    def launch(self, stream: Any) -> None:
        """See `Graph.launch`."""
        self._driver.checked(lambda cuda: cuda.cuGraphLaunch(self._executable, stream.handle))

    def close(self) -> None:
        """See `Graph.close`."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            self._driver.checked(lambda cuda: cuda.cuGraphExecDestroy(executable))
