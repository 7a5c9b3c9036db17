"""OpenVINO against ONNX Runtime: the same results, to rounding, of every kind of run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from artifacts import make_onnx, make_plan
from deferred import picture

from mirnet_deploy import MIRNetRuntime, RuntimeSettings
from mirnet_deploy.artifacts.context import CORRECTED, GIVEN, MEASURED, Pools
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.engines import openvino
from mirnet_deploy.engines.onnxruntime import OnnxRuntimeEngine
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.engines.openvino import OpenVinoEngine
from mirnet_deploy.errors import ArtifactError, EngineError, MissingDependencyError, UsageError
from mirnet_deploy.machine import describe_processor


def both(path: Path) -> tuple[OpenVinoEngine, OnnxRuntimeEngine]:
    data, metadata = read_onnx(path)
    return OpenVinoEngine(data, metadata), OnnxRuntimeEngine(data, metadata)


def batch_of(engine: OpenVinoEngine, count: int, height: int, width: int) -> Any:
    rng = np.random.default_rng(height)
    if engine.metadata.interface == "image":
        return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return rng.random((count, 3, height, width), np.float32)


@pytest.mark.parametrize("mode", [MEASURED, GIVEN, CORRECTED])
def test_the_bundled_model_agrees_with_onnx_runtime_in_every_mode(mode: Any) -> None:
    """Seven digits and more, also of the means; shapes change from run to run."""
    openvino, onnxruntime = both(resolve_model("lite"))
    size = openvino.metadata.context
    for count, height, width in ((1, 48, 64), (2, 32, 40), (1, 48, 64)):
        batch = batch_of(openvino, count, height, width)
        context = np.random.default_rng(1).normal(0, 0.02, (1, size)).astype(np.float32)
        rows, cols = np.ones((count, height), np.float32), np.ones((count, width), np.float32)
        rows[:, :7], cols[:, -9:] = 0, 0
        pools = Pools(context, mode, rows, cols)
        for one, other in zip(openvino.run_pooled(batch, pools), onnxruntime.run_pooled(batch, pools), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)
        np.testing.assert_allclose(openvino.run(batch), onnxruntime.run(batch), atol=2e-5)


@pytest.mark.parametrize("interface", ["float", "image"])
@pytest.mark.parametrize("context", [0, 3])
def test_artifacts_of_both_interfaces_with_and_without_a_context(tmp_path: Path, interface: str, context: int) -> None:
    kind = "mean" if context and interface == "float" else "blur"  # below 0 the two cast to bytes in different ways
    openvino, onnxruntime = both(make_onnx(tmp_path / "a.onnx", kind, interface=interface, context=context))
    batch = batch_of(openvino, 2, 20, 28)
    result = openvino.run(batch)
    assert (result.shape, result.dtype) == (batch.shape, batch.dtype)
    np.testing.assert_allclose(result.astype(float), onnxruntime.run(batch), atol=1 if interface == "image" else 1e-6)
    if not context:
        with pytest.raises(EngineError, match="exported with --plain"):
            openvino.run_pooled(batch, Pools(*[np.ones((1, 1), np.float32)] * 4))


def test_a_result_is_its_callers_own(tmp_path: Path) -> None:
    engine, _ = both(make_onnx(tmp_path / "a.onnx"))
    first, second = batch_of(engine, 1, 8, 8), batch_of(engine, 1, 8, 8) / 2
    kept = engine.run(first)
    engine.run(second)
    np.testing.assert_array_equal(kept, first)


def test_threads_run_at_once_and_get_their_own_results(tmp_path: Path) -> None:
    engine, _ = both(make_onnx(tmp_path / "a.onnx", "blur"))
    batches = [batch_of(engine, 1, 8 + 4 * step, 12) for step in range(12)]
    serial = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(6) as threads:
        for one, other in zip(threads.map(engine.run, batches), serial, strict=True):
            np.testing.assert_array_equal(one, other)


def test_tiles_share_their_means(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "a.onnx", "mean")
    image = picture(150, 203, np.float32)
    with MIRNetRuntime(path, backend="openvino", tile="none") as whole, MIRNetRuntime(path, tile="none") as other:
        expected = whole.enhance(image)
        np.testing.assert_allclose(expected, other.enhance(image), atol=1e-6)
    with MIRNetRuntime(path, backend="openvino", tile=64) as tiled:
        result = tiled.enhance_with_info(image)
        assert tiled.info.backend.startswith("openvino 2")
    assert result.info.tiles > 1
    assert result.info.predicted_psnr is not None
    np.testing.assert_allclose(result.pixels, expected, atol=1e-4)


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine, _ = both(make_onnx(tmp_path / "a.onnx"))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="is closed"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32))


def test_a_graph_of_another_interface_is_refused(tmp_path: Path) -> None:
    data, metadata = read_onnx(make_onnx(tmp_path / "a.onnx"))
    image = read_onnx(make_onnx(tmp_path / "b.onnx", interface="image"))[1]
    with pytest.raises(ArtifactError, match=r"has inputs input f32 of rank 4.*the interface 'image' has image u8"):
        OpenVinoEngine(data, image)
    with pytest.raises(EngineError, match="OpenVINO cannot load a: "):
        OpenVinoEngine(b"", metadata)


def test_what_openvino_does_not_run_is_refused(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"backend is 'openvino', which is for the CPU, and device is 'cuda:0'"):
        MIRNetRuntime(path, backend="openvino", device="cuda:0")
    with pytest.raises(UsageError, match=r"a\.plan is a plan, which TensorRT runs"):
        MIRNetRuntime(make_plan(tmp_path / "a.plan"), backend="onnxruntime")
    with pytest.raises(UsageError, match="backend is 'openvino' for an engine that is open"):
        MIRNetRuntime(open_engine(path, RuntimeSettings(device="cpu")), backend="openvino")


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "mirnet-deploy\[openvino\]"'):
        MIRNetRuntime(make_onnx(tmp_path / "a.onnx"), backend="openvino")


def run_small(path: Path, precision: Any = "fp32") -> Any:
    engine = OpenVinoEngine(*read_onnx(path), precision=precision)
    try:
        return engine.run(batch_of(engine, 1, 32, 40))
    finally:
        engine.close()


def test_compiled_models_are_kept_and_a_damaged_one_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "cache_folder", lambda name: tmp_path / "cache")
    path = make_onnx(tmp_path / "a.onnx", "blur")
    first = run_small(path)
    (blob,) = (tmp_path / "cache").iterdir()
    whole = blob.read_bytes()
    np.testing.assert_array_equal(run_small(path), first)
    for damaged in (whole[: len(whole) // 2], b"", bytes(len(whole))):
        blob.chmod(0o600)
        blob.write_bytes(damaged)
        np.testing.assert_array_equal(run_small(path), first)


def test_models_are_kept_as_far_as_their_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of large pictures in two formats takes the memory of one; the model in use is kept in any case."""
    engine, _ = both(make_onnx(tmp_path / "a.onnx", "blur"))
    monkeypatch.setattr(openvino, "KEPT_BYTES", engine.footprint((2, 64, 64)))
    kept = []
    for count, height, width in ((1, 64, 64), (1, 32, 64), (1, 32, 32), (1, 64, 64), (3, 64, 64), (1, 32, 64)):
        engine.run(batch_of(engine, count, height, width))
        kept.append(sorted(shape[0] * shape[2] * shape[3] // 1024 for _, shape in engine._compiled))
    assert kept == [[4], [2, 4], [1, 2, 4], [1, 2, 4], [12], [2]]


def test_room_is_made_before_a_model_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise there would be two that take much memory."""
    engine, _ = both(make_onnx(tmp_path / "a.onnx", "blur"))
    monkeypatch.setattr(openvino, "KEPT_BYTES", 0)
    engine.run(batch_of(engine, 1, 64, 64))

    def refused(*_: object) -> None:
        assert not engine._compiled
        raise RuntimeError("no memory")

    monkeypatch.setattr(engine, "_core", SimpleNamespace(compile_model=refused))
    with pytest.raises(EngineError, match="no memory"):
        engine.run(batch_of(engine, 1, 64, 32))


def test_without_a_folder_for_them_models_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(openvino, "cache_folder", lambda name: tmp_path / "file" / "cache")
    assert np.isfinite(run_small(make_onnx(tmp_path / "a.onnx", "blur"))).all()


def test_the_folder_of_compiled_models_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "cl_cache").mkdir()  # of OpenVINO's plug-in for GPUs
    for number in range(5):
        path = tmp_path / f"{number}.blob"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    openvino.prune(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.blob", "4.blob", "cl_cache"]
    openvino.prune(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4.blob", "cl_cache"], "the last one is in use"
    openvino.prune(tmp_path / "missing", 0)


def test_openvino_sends_nothing_about_its_user(tmp_path: Path) -> None:
    """In a process whose every attempt to reach the network is written down, also while it ends."""
    log = tmp_path / "tried"
    code = f"""
import socket
def refused(*arguments, **named):
    open({str(log)!r}, "a").write(repr(arguments))
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
from mirnet_deploy import MIRNetRuntime
import numpy as np, sys
with MIRNetRuntime({str(resolve_model("lite"))!r}, backend="openvino") as runtime:
    runtime.enhance(np.zeros((16, 16, 3), np.uint8))
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
    assert not log.exists(), log.read_text()


def said_of_layers(engine: OpenVinoEngine, key: str) -> Counter[str]:
    """What the runtime model of the last run says of its layers under `key`, and of how many."""
    ran = next(reversed(engine._compiled.values())).model.get_runtime_model()
    return Counter(node.get_rt_info()[key].astype(str) for node in ran.get_ops())


def test_every_shape_is_rewritten_for_its_sides() -> None:
    """Gates in blocks of 4x4 pixels, or 2x2 where sides allow no more."""
    engine, _ = both(resolve_model("lite"))
    for height, width in ((64, 96), (72, 104)):
        engine.run(batch_of(engine, 1, height, width))
        assert said_of_layers(engine, "layerType")["DepthToSpace"] == 12


@pytest.mark.skipif("AVX2" not in (describe_processor()["instructions"] or ()), reason="this processor has no AVX2")
def test_avx2_is_asked_for_in_what_is_compiled_and_in_what_is_kept_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = {"family": "AuthenticAMD 25", "instructions": ["AVX2", "AVX-512"]}
    monkeypatch.setattr(openvino, "describe_processor", lambda: processor)
    monkeypatch.setattr(openvino, "cache_folder", lambda name: tmp_path)
    found = []
    for kept in (0, 1):
        assert len(list(tmp_path.glob("*.blob"))) == kept
        engine, _ = both(resolve_model("lite"))
        engine.run(batch_of(engine, 1, 64, 96))
        found.append(said_of_layers(engine, "primitiveType"))
        engine.close()
    assert min(found[0]["brgconv_avx2_f32"], found[0]["brgconv_avx2_1x1_f32"]) > 30, "where AVX-512 is, too"
    assert found[0] == found[1]


GROWTH = """
import sys
from pathlib import Path
import numpy as np
from mirnet_deploy import MIRNetRuntime
def peak():  # not ru_maxrss, which begins with that of the parent
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10
runtime = MIRNetRuntime("lite", backend="openvino", precision=sys.argv[1], tile="none")
runtime.enhance(np.zeros((64, 64, 3), np.uint8))
before = peak()
runtime.enhance(np.zeros((800, 1200, 3), np.uint8))
print(peak() - before, runtime.engine.footprint((1, 800, 1200)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told otherwise elsewhere")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_estimate_of_memory_is_what_a_run_takes(precision: str) -> None:
    """How large a picture runs whole follows from it. In bfloat16 that is half of float32's."""
    if precision == "bf16" and "BF16" not in openvino.openvino_module().Core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        pytest.skip("this processor does not compute in bfloat16")
    ran = subprocess.run([sys.executable, "-c", GROWTH, precision], capture_output=True, text=True, check=True)
    grew, planned = map(int, ran.stdout.split())
    assert 0.7 * planned < grew < 1.2 * planned
