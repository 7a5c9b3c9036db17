"""A real Ray cluster on this computer: a head without processors, and machines of one processor each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STORE = {"object_store_memory": 100 << 20}


class Machines:
    """The cluster; machines may come and go."""

    def __init__(self, count: int = 2) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE}
        )
        self.address: str = self._cluster.address
        self.nodes = [self._cluster.add_node(num_cpus=1, memory=3 << 30, **STORE) for _ in range(count)]

    def remove(self) -> None:
        """Kills the processes of one machine: not of the one that the command of this process is connected to."""
        from ray._private.worker import global_worker

        ours = global_worker.node._raylet_socket_name
        index = next(index for index, node in enumerate(self.nodes) if node._raylet_socket_name != ours)
        self._cluster.remove_node(self.nodes.pop(index), allow_graceful=False)

    def add(self) -> None:
        self.nodes.append(self._cluster.add_node(num_cpus=1, memory=3 << 30, **STORE))

    def stop(self) -> None:
        self._cluster.shutdown()


def lines(manifest: Path) -> list[dict[str, Any]]:
    """The lines of pictures in a manifest."""
    if not manifest.exists():
        return []
    rows = [json.loads(line) for line in manifest.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [row for row in rows if "source" in row]


@contextmanager
def after_lines(manifest: Path, count: int, act: Callable[[], object], seconds: float = 90) -> Iterator[None]:
    """Calls `act` once, when a manifest has so many lines of pictures.

    Raises:
        AssertionError: it had not, or `act` failed.
    """
    outcome: list[BaseException | None] = []
    stop = threading.Event()

    def watch() -> None:
        end = time.monotonic() + seconds
        while len(lines(manifest)) < count and time.monotonic() < end and not stop.is_set():
            time.sleep(0.02)
        try:
            assert len(lines(manifest)) >= count, "the manifest did not get so many lines"
            act()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if outcome[0] is not None:
        raise outcome[0]
