"""What the engine asks of TensorRT exists in TensorRT-RTX itself, and `tensorrt_stand_in` has no more.

The library's wheel is here, and no GPU: classes and signatures can be looked at, and nothing be run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx as trt
from tensorrt_stand_in import NAMES, Cuda, ExecutionContext, Library

from mirnet_deploy.engines import tensorrt

OWNERS = {
    "_engine": trt.ICudaEngine,
    "_execution_context": trt.IExecutionContext,
    "context": trt.IExecutionContext,
    "_runtime": trt.Runtime,
    "trt": trt,
    "_trt": trt,
}
"""Name in `engines/tensorrt.py` -> what stands behind it."""


def used() -> Iterator[tuple[str, str, int | None]]:
    """Owner, attribute, and with how many arguments it is called (None: it is not) of everything that is asked for."""
    tree = ast.parse(Path(tensorrt.__file__).read_text())
    called = {
        id(node.func): len(node.args) + len(node.keywords) for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner in OWNERS:
                yield owner, node.attr, called.get(id(node))


USED = sorted(set(used()), key=str)


def signatures(function: Any) -> list[tuple[int, int]]:
    """The fewest and the most arguments of every overload, without `self`, as pybind11 writes them down."""
    found = []
    for arguments in re.findall(
        r"^(?:\d+\. )?\w+\((self: [^\n]*|logger: [^\n]*)\) -> ", function.__doc__, re.MULTILINE
    ):
        parts = [part for part in re.split(r", (?=\w+: )", arguments) if not part.startswith("self: ")]
        found.append((sum(" = " not in part for part in parts), len(parts)))
    return found


@pytest.mark.parametrize(("owner", "name", "count"), USED, ids=[f"{owner}.{name}" for owner, name, _ in USED])
def test_what_the_engine_uses_exists_with_its_arguments(owner: str, name: str, count: int | None) -> None:
    there = getattr(OWNERS[owner], name)
    if count is None:
        return
    function = there.__init__ if isinstance(there, type) else there
    overloads = signatures(function)
    assert overloads, function.__doc__
    assert any(least <= count <= most for least, most in overloads), overloads


def test_everything_that_the_engine_uses_is_looked_at() -> None:
    found = {name for _, name, _ in USED}
    assert found >= {
        "execute_async_v3", "set_input_shape", "set_tensor_address", "set_device_memory", "create_execution_context",
        "deserialize_cuda_engine", "device_memory_size_v2", "get_tensor_name", "get_tensor_dtype", "num_io_tensors",
        "Runtime", "DataType", "ExecutionContextAllocationStrategy"
    }  # fmt: skip


def test_a_wrong_number_of_arguments_would_be_found() -> None:
    assert signatures(trt.IExecutionContext.set_tensor_address) == [(2, 2)]
    assert signatures(trt.ICudaEngine.create_execution_context) == [(0, 1), (0, 1)]


def public(thing: object) -> set[str]:
    return {name for name in vars(type(thing)) | vars(thing) if not name.startswith("_")}


OURS = {"library", "busy", "addresses", "shapes", "changes", "compute", "scratch"}
"""Of the stand-in for an execution context: how it works."""


def test_the_stand_ins_have_only_what_the_library_has() -> None:
    library = Library(Cuda())
    assert {
        name for name in public(ExecutionContext(library)) - OURS if not hasattr(trt.IExecutionContext, name)
    } == set()
    engine = library.deserialize(b"no plan at all")
    assert {name for name in vars(engine) if not hasattr(trt.ICudaEngine, name)} == set()
    runtime = library.Runtime(None)
    assert {name for name in vars(runtime) if not hasattr(trt.Runtime, name)} == set()
    for kind in ("DataType", "ExecutionContextAllocationStrategy"):
        assert set(vars(getattr(library, kind))) <= set(getattr(trt, kind).__members__)
    severities = {name for name in vars(library.ILogger) if name.isupper()}
    assert severities <= {name for name in dir(trt.ILogger) if name.isupper()}
    assert [getattr(trt.ILogger, name) <= trt.ILogger.WARNING for name in sorted(severities)] == [True] * 3
    assert len(NAMES) == library.deserialize(b"no plan at all").num_io_tensors
