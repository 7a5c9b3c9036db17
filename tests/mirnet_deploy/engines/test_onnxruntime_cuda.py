"""ONNX Runtime on CUDA as far as a CPU shows it; `test_stand_in` has the library itself, on a stand-in for CUDA."""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx
from deferred import Driver

from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.devices.base import Tensor
from mirnet_deploy.engines import onnxruntime, onnxruntime_cuda
from mirnet_deploy.engines.onnxruntime_cuda import WAITS_EVERY, OnnxRuntimeCudaEngine, OnnxRuntimeRunner
from mirnet_deploy.errors import EngineError, MirnetDeployWarning

TENSORS = {"input": Tensor(4096, (1, 3, 4, 4), np.dtype(np.float32))}


class Binding:
    """Holds its session, as ONNX Runtime's does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def bind_input(self, *_: Any) -> None:
        pass

    bind_output = bind_input


class Session:
    """Its runs last until `leave` is set."""

    def __init__(self, log: list[str], leave: threading.Event, fails: bool = False) -> None:
        self._log, self._leave, self._fails = log, leave, fails

    def io_binding(self) -> Any:
        return Binding(self)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._log.append("runs")
        self._leave.wait(20)
        if self._fails:
            raise RuntimeError("CUDA failure 700")
        self._log.append("has run")

    def __del__(self) -> None:
        self._log.append("closed")


def runner_of(session: Session) -> OnnxRuntimeRunner:
    return OnnxRuntimeRunner(session, None, {"output"}, ("cuda", 0))


def close_beside_a_run(close: Callable[[], None], log: list[str], leave: threading.Event, after: list[str]) -> None:
    """Checks that `close`, called while a session runs, returns only when that run is over, and leaves `after` in the
    log."""
    running = runner_of(Session(log, leave))
    thread = threading.Thread(target=lambda: running.enqueue(TENSORS))
    thread.start()
    while "runs" not in log:
        time.sleep(0.001)
    closing = threading.Thread(target=close)
    closing.start()
    time.sleep(0.05)
    assert closing.is_alive()
    assert log == ["runs"]
    leave.set()
    for each in (thread, closing):
        each.join(20)
        assert not each.is_alive()
    assert log == after
    running.close()


def test_a_session_closes_when_no_session_runs() -> None:
    """Not even another one, of any engine: closing writes into the caches of all threads."""
    log: list[str] = []
    leave = threading.Event()
    idle = runner_of(Session(log, leave))
    close_beside_a_run(idle.close, log, leave, ["runs", "has run", "closed"])


def test_an_engine_with_host_copies_closes_beside_no_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "open_session", lambda *_: host)
    data, metadata = read_onnx(make_onnx(tmp_path / "a.onnx"))
    engine = onnxruntime.OnnxRuntimeEngine(data, metadata, 0)
    close_beside_a_run(engine.close, [], threading.Event(), ["runs", "has run"])


def test_a_failed_run_does_not_keep_its_session() -> None:
    """Else it would close wherever the error is dropped, beside other threads' runs."""
    log: list[str] = []
    leave = threading.Event()
    leave.set()
    session = Session(log, leave, fails=True)
    kept = weakref.ref(session)
    runner = runner_of(session)
    del session
    with pytest.raises(EngineError, match="CUDA failure 700") as caught:
        runner.enqueue(TENSORS)
    runner.close()
    assert kept() is None
    assert log == ["runs", "closed"]
    assert caught.value.__cause__


@pytest.mark.parametrize("defers", [False, True])
def test_a_graph_that_leaves_buffers_is_opened_so_that_closing_frees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defers: bool
) -> None:
    """And it is said. Any other graph is opened without, and without a word."""
    opened: list[dict[str, Any]] = []
    used: list[dict[str, str]] = []
    binding = SimpleNamespace(bind_input=lambda *_: None, bind_output=lambda *_: None)
    session = SimpleNamespace(
        io_binding=lambda: binding, run_with_iobinding=lambda _, options: used.append(options.set)
    )

    class Options:
        def __init__(self) -> None:
            self.set: dict[str, str] = {}

        def add_run_config_entry(self, key: str, value: str) -> None:
            self.set[key] = value

    module = SimpleNamespace(__version__="9.9", RunOptions=Options)
    monkeypatch.setattr(onnxruntime_cuda, "onnxruntime_module", lambda: module)
    monkeypatch.setattr(onnxruntime_cuda, "open_session", lambda *_, **named: opened.append(named) or session)
    if defers:
        monkeypatch.setattr(onnxruntime_cuda, "deferring_nodes", lambda data: ["interface/Concat"])
    data, metadata = read_onnx(make_onnx(tmp_path / "a.onnx"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        engine = OnnxRuntimeCudaEngine(data, metadata, 0, Driver(), graphs=defers)  # type: ignore[arg-type]
    assert engine.graphs == ("refused: runs of this graph leave page-locked memory behind" if defers else "off")
    runner = engine.runner(SimpleNamespace(handle=7))  # type: ignore[arg-type]
    for _ in range(2 * WAITS_EVERY + 1):
        runner.enqueue(TENSORS)
    engine.close()
    assert [each.category for each in said] == [MirnetDeployWarning] * defers
    assert all("a has 1 nodes such as interface/Concat" in str(each.message) for each in said)
    assert opened == [{"stream": 7, "frees_on_closing": defers}]
    waits = [
        number for number, options in enumerate(used, 1) if "disable_synchronize_execution_providers" not in options
    ]
    assert waits == ([WAITS_EVERY, 2 * WAITS_EVERY] if defers else [])
    assert all(options.get("gpu_graph_id") == ("-1" if defers else None) for options in used)
