"""What a device found out about a picture that nobody waited for, and how it comes back to the host."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.arguments import REPORT
from mirnet_deploy.devices.base import Driver, Event
from mirnet_deploy.errors import EngineError
from mirnet_deploy.pipeline.slots import Slot

NAME = "device report"
"""The buffer in which a slot keeps the report of the picture under way: one `REPORT`."""
_TOGETHER = 64
"""Reports whose memory is allocated at once: page-locking memory makes a GPU wait."""


class Report:
    """The report of one picture, which is there once its work is done.

    Args:
        memory: uint8 [1, bytes of a `REPORT`], into which its download is enqueued.
        event: after the download.
    """

    def __init__(self, memory: NDArray[np.uint8], event: Event) -> None:
        self._memory, self._event = memory, event

    def done(self) -> bool:
        """Whether it is there.

        Raises:
            EngineError: the device has failed.
        """
        return self._event.done()

    def wait(self) -> Any:
        """Waits until it is there; a copy of it, a scalar of the dtype `REPORT`.

        Raises:
            EngineError: the device has failed.
        """
        self._event.synchronize()
        return self._memory.view(REPORT)[0, 0].copy()


class Reports:
    """Hands out page-locked memory for reports, and takes it back when a report is no longer used and its download is
    done. May be shared by threads."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._free: list[NDArray[np.uint8]] = []
        self._dropped: deque[tuple[NDArray[np.uint8], Event]] = deque()
        self._state = threading.Lock()
        self._closed = False

    def download(self, slot: Slot) -> Report:
        """Enqueues the download of the report of the picture that the slot's stream has made."""
        memory = self._take()
        slot.download(slot.buffer(NAME, REPORT.itemsize), memory)
        event = self._driver.record(slot.stream)
        report = Report(memory, event)
        weakref.finalize(report, self._drop, memory, event).atexit = False
        return report

    def close(self) -> None:
        """Gives back everything but what reports that are still used hold. All streams must be done."""
        self._closed = True
        while self._dropped:
            self._dropped.popleft()[1].close()
        with self._state, self._driver.active():
            self._free.clear()

    def _drop(self, memory: NDArray[np.uint8], event: Event) -> None:
        """Takes the memory of a report back. Runs as a finalizer, in the midst of anything else: it takes no lock."""
        if self._closed:
            event.close()
        else:
            self._dropped.append((memory, event))

    def _take(self) -> NDArray[np.uint8]:
        with self._state:
            for _ in range(len(self._dropped)):
                memory, event = self._dropped.popleft()
                if _is_done(event):
                    event.close()
                    self._free.append(memory)
                else:
                    self._dropped.append((memory, event))
            if not self._free:
                block = self._driver.staging(_TOGETHER * REPORT.itemsize).reshape(_TOGETHER, 1, -1)
                self._free += list(block)
            return self._free.pop()


def _is_done(event: Event) -> bool:
    try:
        return event.done()
    except EngineError:  # the device has failed, which the next call says
        return False
