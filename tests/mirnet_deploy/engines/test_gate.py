"""The gate that keeps closing apart from running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from mirnet_deploy.engines.gate import Gate


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_whoever_wants_it_alone_waits_for_those_inside_and_keeps_others_out() -> None:
    gate, log, leave = Gate(), [], threading.Event()

    def inside(name: str) -> None:
        with gate.shared():
            log.append(name)
            leave.wait(20)

    def alone() -> None:
        with gate.alone():
            log.append("alone")
            time.sleep(0.05)
            log.append("done")

    first = [started(lambda: inside("a")), started(lambda: inside("b"))]
    while len(log) < 2:  # both are inside at once
        time.sleep(0.001)
    closing = started(alone)
    while not gate._alone:
        time.sleep(0.001)
    late = started(lambda: inside("late"))
    time.sleep(0.05)
    assert len(log) == 2, "neither of them is inside while the first two are"
    leave.set()
    for thread in (*first, closing, late):
        thread.join(20)
        assert not thread.is_alive()
    assert log[2:] == ["alone", "done", "late"]


def test_an_interrupted_wait_leaves_the_gate_open(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()

    def interrupted(predicate: Callable[[], bool]) -> bool:
        raise KeyboardInterrupt

    for way in (gate.alone, gate.shared):
        with monkeypatch.context() as patch:
            patch.setattr(gate._state, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt), way():
                pass
        assert (gate._inside, gate._alone) == (0, 0)
    with gate.shared():
        pass
    with gate.alone():
        pass


def test_an_error_inside_opens_it_again() -> None:
    gate = Gate()
    for way in (gate.shared, gate.alone, gate.shared, gate.alone):
        try:
            with way():
                raise ValueError
        except ValueError:
            pass
    with gate.alone():
        pass
