"""A job on a cluster: Ray Data gives pictures to actors, and the manifest is written as they come back.

What goes through Ray's object store are names and what became of them, in JSON: no pixels. An actor that dies is
started again by Ray, but the pictures that it had are not tried again by Ray, which would go on for ever with one that
kills every process: they are missing at the end of a round, and make up the next, in which each actor has one picture
at a time. What is missing after `ROUNDS` has failed.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirnet_deploy.cluster.actor import Actor, Row
from mirnet_deploy.cluster.manifest import Manifest
from mirnet_deploy.cluster.nodes import Room, alive
from mirnet_deploy.cluster.order import Order, without_task
from mirnet_deploy.cluster.planning import Picture, Refused
from mirnet_deploy.cluster.storage import same_state, states_below
from mirnet_deploy.errors import ClusterError, first_line
from mirnet_deploy.jobs.job import DONE_BEFORE

ROUNDS = 3
MOST_BLOCKS = 10_000
"""Tasks of a round: with more pictures than that, an actor gets several at a time."""
GONE_SECONDS = 60.0
"""How long no machine may have room for an actor before the job ends."""
_LOOK_SECONDS = 2.0
LOST = f"the process that made it was lost {ROUNDS} times: killed, for want of memory perhaps, or with its machine"


@dataclass
class ClusterJob:
    """Runs a plan, once. `entries` holds what is finished, even if the run is interrupted."""

    ray: Any
    order: Order
    model: Any
    """A reference to what `order.model_files` gave."""
    manifest: Manifest
    room: Room
    actors: int
    facts: dict[str, Any]
    """What is known of the cluster, for the report."""
    entries: dict[int, Row] = field(default_factory=dict)
    """Index in the plan -> what became of it: `Result.to_dict`, and of one that was made now `node`, `pid`, `processor`
    and `attempt`."""
    retried: set[int] = field(default_factory=set)
    """Indices of pictures whose process was lost at least once."""

    _said: str = ""
    """What Ray said when it ended a round."""

    def run(self, plan: Sequence[Picture | Refused], advance: Callable[[float], object]) -> None:
        """Works on all entries; `advance` moves on once for each.

        Raises:
            ClusterError: a machine cannot take part; all machines are gone; or the manifest cannot be written.
            StorageError: the object store of the output refuses.
        """
        todo: dict[int, Picture] = {}
        output = self.order.output
        known = bool(self.manifest.finished) and not self.order.settings.force
        there = states_below(output) if known and output.root else None
        for index, entry in enumerate(plan):
            if isinstance(entry, Picture) and not (known and self._finished(entry, there)):
                todo[index] = entry
                continue
            if isinstance(entry, Refused):
                self._refuse(index, entry)
            else:
                self.entries[index] = self._known(entry)
            advance(1)
        for attempt in range(1, ROUNDS + 1):
            for row in self._round(todo, attempt) if todo else ():
                index = row.pop("index")
                if index in todo:  # else it came twice
                    self._finish(index, todo.pop(index), row | {"attempt": attempt})
                    advance(1)
            self.retried |= set(todo)
        for index, picture in todo.items():
            reason = f"{picture.source}: {LOST}{f'; Ray says: {self._said}' if self._said else ''}"
            row = without_task(str(picture.source), self.order.settings.model, reason)
            self._finish(index, picture, row | {"attempt": ROUNDS})
            advance(1)

    def _finished(self, picture: Picture, there: Mapping[str, tuple[int, int]] | None) -> bool:
        """Whether the manifest says that it was finished, of this very input, and its result is as it was then.

        Args:
            there: what lies below the output; None where that is a folder of this machine.
        """
        row = self.manifest.finished.get(str(picture.source))
        if row is None:
            return False
        remote = bool(picture.source.root)
        if not same_state((row["size"], row["mtime_ns"]), (picture.size, picture.mtime_ns), remote):
            return False
        if row["target_place"] is None:  # an output of mirnet-deploy, which has no result
            return True
        place = row["target_place"]
        state = self.order.output.below(place).state() if there is None else there.get(place)
        return same_state(state, row["target_state"], there is not None)

    def _refuse(self, index: int, entry: Refused) -> None:
        row = without_task(entry.source, self.order.settings.model, entry.reason, entry.own)
        if entry.own:  # as they are each time
            self.entries[index] = row
        else:
            self._finish(index, None, row)

    def _known(self, entry: Picture) -> Row:
        model = self.order.settings.model
        row = self.manifest.finished[str(entry.source)]
        note = DONE_BEFORE if row["target"] is not None else row["note"]
        known = without_task(str(entry.source), model, "")
        return known | {"status": "skipped", "error": None, "output": row["target"], "note": note}

    def _finish(self, index: int, picture: Picture | None, row: Row) -> None:
        target, output = row["output"], str(self.order.output)
        place = None if target is None else target.removeprefix(output).lstrip("/")
        self.manifest.add(
            {
                "source": row["input"],
                "size": picture and picture.size,
                "mtime_ns": picture and picture.mtime_ns,
                "target": target,
                "target_place": place,
                "target_state": row.pop("target_state", None),
                "status": row["status"],
                "error": row["error"],
                "note": row["note"],
                "backend": row["made"] and row["made"]["backend"],
                **{name: row.get(name) for name in ("seconds", "attempt", "node", "processor")},
            }
        )
        self.entries[index] = row

    def _round(self, todo: dict[int, Picture], attempt: int) -> Iterator[Row]:
        """Yields the rows of those that came back."""
        rows: queue.Queue[Row | Exception | None] = queue.Queue()
        dataset = self._dataset(todo, attempt)

        def take() -> None:
            try:
                for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
                    for text in batch["row"]:
                        rows.put(json.loads(str(text)))
                rows.put(None)
            except Exception as error:
                rows.put(error)

        # In a thread, so that this one sees when all machines are gone: Ray would wait for new ones.
        threading.Thread(target=take, daemon=True).start()
        gone = None
        while True:
            try:
                row = rows.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                gone = None if any(map(self.room.on, alive(self.ray))) else gone or time.monotonic()
                if gone and time.monotonic() - gone > GONE_SECONDS:
                    raise ClusterError("no machine of the cluster has room for an actor any more") from None
                continue
            if row is None:
                return
            if isinstance(row, self.ray.exceptions.RayError):  # its pictures make up the next round
                self._said = first_line(row)
                return
            if isinstance(row, Exception):
                raise ClusterError(f"Ray Data failed: {first_line(row)}") from row
            if "problem" in row:
                raise ClusterError(row["problem"])
            yield row

    def _dataset(self, todo: dict[int, Picture], attempt: int) -> Any:
        data = self.ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_errored_blocks = -1
        items = [
            json.dumps(
                {
                    "index": index,
                    "root": picture.source.root,
                    "path": picture.source.path,
                    "place": str(picture.place),
                    "result": None if picture.result is None else str(picture.result),
                }
            )
            for index, picture in todo.items()
        ]
        # More than it works on, so that the next task is there when one ends.
        alone = attempt > 1
        calls = 1 if alone else self.order.jobs + 1
        pool = data.ActorPoolStrategy(
            size=min(self.actors, len(items)),
            max_concurrent_calls_per_actor=calls,
            enable_true_multi_threading=True,
            max_tasks_in_flight_per_actor=1 if alone else calls + 1,
        )
        with warnings.catch_warnings():  # the last two have no other place yet: hence the bound on Ray's version
            warnings.filterwarnings("ignore", ".*ray_remote_args")
            return data.from_items(items, override_num_blocks=min(len(items), MOST_BLOCKS)).map_batches(
                Actor,
                fn_constructor_args=(self.order, self.model),
                batch_size=1,
                batch_format="numpy",
                compute=pool,
                num_cpus=self.room.cpus,
                num_gpus=self.room.gpus or None,
                max_restarts=-1,
                max_task_retries=0,
            )
