"""A pytest plugin: every test's result is a line of a file as soon as it is there, also when the process dies next.

    PYTHONPATH=tests/support pytest -m gpu -n 1 -p results_log --results FILE
    python tests/support/results_log.py FILE        what passed, failed, and was not reached

With `-n 1` (pytest-xdist) the tests run in a process that is replaced when it dies; the death is one test's.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", metavar="FILE", help="Write a line of JSON for every test as it ends.")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--results")
    if path and not hasattr(config, "workerinput"):  # a worker of xdist reports to the process that started it
        config.pluginmanager.register(Log(Path(path)), "results of every test")


class Log:
    """Writes the lines: first which tests there are, then one for each that has ended."""

    def __init__(self, path: Path) -> None:
        path.write_text("")
        self._path, self._begin = path, time.monotonic()
        self._told = False
        self._began: dict[str, float] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._collected(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test ends with its call, or with a set-up that fails or skips; a dead process has neither.
        if report.when in ("setup", "teardown") and report.passed:
            return
        now = time.monotonic()
        # A test whose process died has no duration of its own.
        seconds = report.duration or now - self._began.get(report.nodeid, now)
        line = {"test": report.nodeid, "outcome": report.outcome, "seconds": seconds, "at": round(now - self._begin, 1)}
        self._write(line | ({} if report.passed else {"reason": _reason(str(report.longrepr))}))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._began[nodeid] = time.monotonic()

    def _collected(self, ids: list[str]) -> None:
        if ids and not self._told:
            self._told = True
            self._write({"collected": ids})

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def _reason(text: str) -> str:
    """What a report says of a failure: the lines that pytest marks with E, else the last line."""
    lines = text.strip().splitlines()
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return " | ".join(marked[:4]) or (lines[-1] if lines else "")


def summary(path: Path) -> list[str]:
    """Lines for people: how many of each outcome, which failed and why, and which were not reached."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    collected: list[str] = next((line["collected"] for line in lines if "collected" in line), [])
    results = {line["test"]: line for line in lines if "test" in line}
    counts = Counter(line["outcome"] for line in results.values())
    missing = [test for test in collected if test not in results]
    said = [", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing ran"]
    said += [f"failed: {test}: {line['reason']}" for test, line in results.items() if line["outcome"] == "failed"]
    return said + [f"not reached: {test}" for test in missing]


if __name__ == "__main__":
    found = summary(Path(sys.argv[1]))
    print("\n".join(found))
    sys.exit(any(line.startswith(("failed", "not reached")) for line in found) or found[0] == "nothing ran")
