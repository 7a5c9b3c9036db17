"""Processes that ask for the same missing plan at once, with a stand-in for the build itself, which leaves a mark.

`python racing.py FLEET MARKS COUNT SECONDS`: COUNT processes begin together; a build takes SECONDS. Prints a line of
JSON for each: its process, the plan that it got, and what it logged.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

from mirnet_deploy import machine
from mirnet_deploy.export import missing
from mirnet_deploy.export.plan import Plan, make_profile


def stand_in(marks: Path, seconds: float) -> Any:
    """In place of `plan_of`: marks that a build has begun, and leaves half a file as a process that is killed does."""

    def build(data: Any, source: Any, islands: Any, settings: Any, library: Any, advance: Any) -> Any:
        (marks / str(os.getpid())).touch()
        plan = Plan(b"a plan", "by a stand-in", make_profile(settings), library)
        (place,) = {path.with_suffix("") for path in missing_folder().glob("*.lock")}
        half = place.with_name(f".{place.name}.plan.{os.getpid():016x}.partial")
        half.write_bytes(b"half")
        time.sleep(seconds)
        half.unlink(missing_ok=True)
        return plan.data, plan.metadata(source, "0" * 64)

    return build


def missing_folder() -> Path:
    """The folder of plans that were built here."""
    from mirnet_deploy.engines.fleet import CACHE
    from mirnet_deploy.files import cache_folder

    return cache_folder(CACHE)


def ask(fleet: str, start: Any, results: Any) -> None:
    """One of the processes."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mirnet_deploy").addHandler(handler)
    logging.getLogger("mirnet_deploy").setLevel(logging.INFO)
    start.wait()
    results.put({"process": os.getpid(), "path": str(missing.build_missing(fleet)), "said": said})


def main() -> None:
    """Starts the processes, which are forks: one import for all."""
    fleet, marks, count, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    machine._cuda = lambda: (("Test GPU", "sm89"),)  # type: ignore[assignment]
    vars(missing)["plan_of"] = stand_in(marks, seconds)
    forks = multiprocessing.get_context("fork")
    start, results = forks.Barrier(count), forks.Queue()
    processes = [forks.Process(target=ask, args=(fleet, start, results)) for _ in range(count)]
    for each in processes:
        each.start()
    for _ in processes:
        print(json.dumps(results.get(timeout=60)), flush=True)
    for each in processes:
        each.join()
    print(json.dumps(sorted({"torch", "onnx"} & set(sys.modules))))


if __name__ == "__main__":
    main()
