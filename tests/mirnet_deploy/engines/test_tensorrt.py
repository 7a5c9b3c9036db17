"""The TensorRT engine on stand-ins for TensorRT and pycuda: the order of calls, and what a refusal becomes."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifacts import make_plan
from batches import open_batches
from tensorrt_stand_in import NAMES, ExecutionContext, install

from mirnet_deploy.artifacts.context import Pools
from mirnet_deploy.engines import tensorrt as tensorrt_engine
from mirnet_deploy.engines.base import ON_DEVICE
from mirnet_deploy.errors import ArtifactError, EngineError


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "cuda_devices", lambda: ("Test GPU",))
    return install(monkeypatch)


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path / "a.plan", builder_version="9.9")


def batch(side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, side, side + 4, 3), dtype=np.uint8)


def test_an_engine_runs_and_frees_everything_when_it_is_closed(library, plan):
    engine = open_batches(plan)
    assert (engine.device, engine.backend) == ("cuda:0", "tensorrt_rtx 9.9")
    first, second = batch(60, 1), batch(16, 2)
    kept = engine.run(first)
    assert np.array_equal(engine.run(second), 255 - second)
    assert np.array_equal(kept, 255 - first)  # the result belongs to the caller and is not the staging buffer
    engine.close()
    engine.close()
    assert library.cuda.memory == {}
    with pytest.raises(EngineError, match="engine of a is closed"):
        engine.run(first)


def test_a_plan_with_a_context_runs_as_the_plain_network(library, tmp_path):
    library.names = (*NAMES, "context", "mode", "rows", "cols", "statistics")
    engine = open_batches(make_plan(tmp_path / "a.plan", builder_version="9.9", context=176))
    sent = batch(16)
    assert np.array_equal(engine.run(sent), 255 - sent)
    execution, at = library.execution_contexts[0], library.cuda.at
    shapes = {"context": (1, 176), "mode": (2,), "rows": (1, 16), "cols": (1, 20)}
    assert {name: shape for name, shape in execution.shapes.items() if name != "image"} == shapes
    sizes = {name: 4 * int(np.prod(shape)) for name, shape in shapes.items()}
    values = {name: at(execution.addresses[name])[: sizes[name]].view(np.float32) for name in shapes}
    assert values["mode"].tolist() == [1, 0]
    assert (values["context"] == 0).all()
    assert (values["rows"] == 1).all()
    assert (values["cols"] == 1).all()
    engine.close()
    assert library.cuda.memory == {}


def test_a_pooled_run_passes_its_pools_and_returns_their_means(library, tmp_path):
    library.names = (*NAMES, "context", "mode", "rows", "cols", "statistics")
    engine = open_batches(make_plan(tmp_path / "a.plan", builder_version="9.9", context=3))
    sent = batch(16)
    weights = np.arange(16, dtype=np.float32)[None], np.arange(20, dtype=np.float32)[None]
    pools = Pools(np.array([[5, 6, 7]], np.float32), np.array([0, 1], np.float32), *weights)
    result, statistics = engine.run_pooled(sent, pools)
    assert np.array_equal(result, 255 - sent)
    assert statistics.tolist() == [[10, 12, 14]]
    execution, at = library.execution_contexts[0], library.cuda.at
    for name, value in pools._asdict().items():
        assert execution.shapes[name] == value.shape
        held = at(execution.addresses[name])[: value.nbytes].view(np.float32)
        assert np.array_equal(held, value.reshape(-1))
    assert np.array_equal(engine.run(sent), 255 - sent)
    assert at(execution.addresses["mode"])[:8].view(np.float32).tolist() == [1, 0]
    engine.close()


def test_a_plan_whose_tensors_lack_the_context_is_refused(library, tmp_path):
    with pytest.raises(ArtifactError, match=r"has tensors image, enhanced; .* context of FLOAT"):
        open_batches(make_plan(tmp_path / "a.plan", builder_version="9.9", context=176))


def test_threads_share_a_bounded_number_of_execution_contexts(library, plan):
    engine = open_batches(plan)
    batches = [batch(16 + 4 * (i % 8), i) for i in range(32)]
    with ThreadPoolExecutor(8) as executor:
        for sent, result in zip(batches, executor.map(engine.run, batches), strict=True):
            assert np.array_equal(result, 255 - sent)
    assert 1 < len({context.scratch for context in library.execution_contexts}) <= ON_DEVICE.total
    engine.close()
    assert library.cuda.memory == {}


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 68, 64, 3), np.uint8), np.zeros((2, 64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)],
)
def test_a_batch_outside_the_profile_is_refused(library, plan, wrong):
    with pytest.raises(EngineError, match=r"this plan takes uint8 from \[1, 16, 16, 3\] to \[1, 64, 64, 3\]"):
        open_batches(plan).run(wrong)


def test_a_refused_run_gives_the_reason_and_the_next_one_works(library, plan):
    engine = open_batches(plan)
    library.refuse = True
    with pytest.raises(EngineError, match="Error Code 3: the profile is not set"):
        engine.run(batch())
    library.refuse = False
    assert np.array_equal(engine.run(batch()), 255 - batch())


def test_a_cuda_error_ends_the_engine(library, plan):
    engine = open_batches(plan)
    library.cuda.fail_copies = True
    with pytest.raises(EngineError, match=r"illegal memory access.* start the process anew"):
        engine.run(batch())
    library.cuda.fail_copies = False
    with pytest.raises(EngineError, match=r"CUDA failed before .*illegal memory access.*; start the process anew"):
        engine.run(batch())
    engine.close()  # does not hang or raise
    assert library.cuda.memory == {}


def test_a_repeated_shape_becomes_a_graph(library, plan):
    engine = open_batches(plan)
    sent = [batch(16, 1), batch(16, 2), batch(16, 3), batch(20, 4), batch(16, 5)]
    for each in sent:
        assert np.array_equal(engine.run(each), 255 - each)
    assert engine.graphs == "on"
    assert library.bindings.held == 1
    assert len(library.execution_contexts) == 2  # the graph has its own, so that another shape does not change it
    engine.close()
    assert library.bindings.held == 0
    assert library.cuda.memory == {}


def test_a_shape_becomes_a_graph_as_soon_as_it_can_be_captured(library, plan, monkeypatch):
    """TensorRT-RTX says when. Until then it is asked again each time, and graphs do not count as refused."""
    engine = open_batches(plan)
    answers = [False, False, True]
    monkeypatch.setattr(
        ExecutionContext, "is_stream_capturable", lambda self, stream: stream != 0 and answers.pop(0), raising=False
    )
    for seed in range(5):
        assert np.array_equal(engine.run(batch(16, seed)), 255 - batch(16, seed))
    assert answers == []
    assert engine.graphs == "on"
    assert library.bindings.held == 1
    engine.close()


def test_refused_graphs_warn_once_and_the_runs_go_on(library, plan):
    engine = open_batches(plan)
    library.bindings.refuses = True
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for seed in range(4):
            assert np.array_equal(engine.run(batch(16, seed)), 255 - batch(16, seed))
    assert [str(each.message) for each in said] == [
        "CUDA graphs are off, and every kernel is launched by itself: CUDA failed: 900; see `mirnet-deploy doctor`"
    ]
    assert engine.graphs.startswith("refused: CUDA failed: 900")


def test_graphs_can_be_turned_off(library, plan):
    engine = open_batches(plan, graphs=False)
    for seed in range(3):
        engine.run(batch(16, seed))
    assert engine.graphs == "off"
    assert library.bindings.held == 0


def test_a_plan_that_cannot_be_deserialized_is_an_error(library, plan):
    library.deserializes = False
    with pytest.raises(EngineError, match=r"cannot be deserialized: .*magic tag does not match$"):
        open_batches(plan)
    assert library.cuda.memory == {}


def test_tensors_of_another_interface_are_refused(library, plan):
    library.names = ("input", "output")
    said = "has tensors input, output; the interface 'image' has image of UINT8, enhanced of UINT8"
    with pytest.raises(ArtifactError, match=said):
        open_batches(plan)
    assert library.cuda.memory == {}


def test_a_plan_for_another_gpu_is_refused(library, tmp_path):
    path = make_plan(tmp_path / "a.plan", builder_version="9.9", targets=["sm86", "sm120"])
    with pytest.raises(EngineError, match="built for sm86, sm120, and this one is sm89"):
        open_batches(path)
    assert library.cuda.memory == {}
