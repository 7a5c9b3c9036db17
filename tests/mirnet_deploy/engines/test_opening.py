"""Opening engines: checks before loading, no device but the one asked for, and the library's own values."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from artifacts import make_onnx, make_plan, metadata, model_of, save

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.artifacts.sidecar import sidecar_path
from mirnet_deploy.engines import tensorrt as tensorrt_engine
from mirnet_deploy.engines.base import HostEngine
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.errors import ArtifactError, EngineError, MirnetDeployWarning, MissingDependencyError
from mirnet_deploy.files import file_sha256


def test_an_onnx_engine_gives_the_values_of_onnx_runtime(tmp_path):
    path = make_onnx(tmp_path / "blur.onnx", "blur")
    batch = np.random.default_rng(0).random((2, 3, 20, 28), dtype=np.float32)
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": batch})[0]
    engine = open_engine(path, RuntimeSettings(device="cpu", threads=1))
    assert isinstance(engine, HostEngine)
    assert np.array_equal(engine.run(batch), expected)
    assert engine.device == "cpu"
    assert engine.backend == f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"
    assert engine.metadata.name == "blur"


def test_an_engine_can_be_closed_twice_and_does_not_run_afterwards(tmp_path):
    engine = open_engine(make_onnx(tmp_path / "a.onnx"))
    assert isinstance(engine, HostEngine)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="engine of a is closed"):
        engine.run(np.zeros((1, 3, 4, 4), np.float32))


def test_a_batch_that_the_graph_refuses_is_an_error(tmp_path):
    engine = open_engine(make_onnx(tmp_path / "a.onnx"))
    assert isinstance(engine, HostEngine)
    with pytest.raises(EngineError, match=r"batch of shape \[1, 4, 4, 4\]"):
        engine.run(np.zeros((1, 4, 4, 4), np.float32))


def test_cuda_without_the_provider_is_an_error_and_never_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match=r"no CUDA provider: .*mirnet-deploy\[cuda\]"):
        open_engine(make_onnx(tmp_path / "a.onnx"), RuntimeSettings(device="cuda:0"))


def test_a_session_that_falls_back_to_the_cpu_is_an_error(tmp_path, monkeypatch):
    """Where CUDA's libraries do not load, ONNX Runtime warns, and the session runs on the CPU."""
    real = onnxruntime.InferenceSession
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, options, **_: real(data, options, providers=["CPUExecutionProvider"]),
    )
    with (
        pytest.warns(MirnetDeployWarning, match="pycuda.*until then pictures go through host memory"),
        pytest.raises(EngineError, match="ONNX Runtime runs on CPUExecutionProvider"),
    ):
        open_engine(make_onnx(tmp_path / "a.onnx"), RuntimeSettings(device="cuda:0"))


def test_the_file_is_checked_before_the_library_sees_it(tmp_path, monkeypatch):
    path = make_onnx(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes() + b"\x00")
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("the library saw the file"))
    with pytest.raises(ArtifactError, match="does not match its sidecar"):
        open_engine(path)


def test_a_foreign_onnx_file_is_refused(tmp_path):
    path = tmp_path / "foreign.onnx"
    onnx.save(model_of("identity", "float"), path)
    with pytest.raises(ArtifactError, match=r"has no sidecar foreign\.onnx\.json"):
        open_engine(path)


@pytest.mark.parametrize(("graph", "said"), [("image", "float"), ("float", "image")])
def test_a_graph_of_another_interface_than_its_metadata_is_refused(tmp_path, graph, said):
    path = save(model_of("identity", graph), tmp_path / "a.onnx", metadata(interface=said))
    with pytest.raises(ArtifactError, match=f"the interface '{said}' has"):
        open_engine(path)


def test_without_onnxruntime_the_error_names_the_extra(tmp_path):
    path = make_onnx(tmp_path / "a.onnx")
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from mirnet_deploy import MIRNetRuntime, MirnetDeployError\n"
        f"try: MIRNetRuntime({str(path)!r})\n"
        "except MirnetDeployError as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("MissingDependencyError")
    assert 'pip install "mirnet-deploy[cpu]"' in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["ckpt.pt", "net.pth", "net.safetensors"])
def test_a_checkpoint_is_sent_to_export(name):
    with pytest.raises(ArtifactError, match=f"mirnet-deploy export {name}"):
        open_engine(name)


def test_files_of_other_kinds_are_refused():
    with pytest.raises(ArtifactError, match=r"photo\.jpg is neither"):
        open_engine("photo.jpg")


# Plans, without a GPU: the checks before the first call into CUDA


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "cuda_devices", tuple)


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "cuda_devices", lambda: ("Test GPU",))


def test_a_bare_plan_is_refused(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    sidecar_path(plan).unlink()
    with pytest.raises(ArtifactError, match=r"has no sidecar a\.plan\.json"):
        open_engine(plan)


def test_a_changed_plan_is_refused(tmp_path):
    plan = make_plan(tmp_path / "a.plan")
    plan.write_bytes(b"another plan")
    with pytest.raises(ArtifactError, match="does not match its sidecar"):
        open_engine(plan)


def test_without_a_gpu_the_error_names_the_onnx_file(tmp_path, no_gpu):
    plan = make_plan(tmp_path / "mirnet.plan")
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU, and this machine has none; use the \.onnx file"):
        open_engine(plan)
    make_onnx(tmp_path / "mirnet.onnx")
    with pytest.raises(EngineError, match=r"this machine has none; use mirnet\.onnx"):
        open_engine(plan)


def test_an_onnx_file_of_another_name_is_found_by_its_hash(tmp_path, no_gpu):
    make_onnx(tmp_path / "other.onnx", "mean")
    source = make_onnx(tmp_path / "source.onnx")
    plan = make_plan(tmp_path / "a.plan", onnx_sha256=file_sha256(source))
    with pytest.raises(EngineError, match=r"use source\.onnx"):
        open_engine(plan)


@pytest.mark.parametrize(("device", "said"), [("cpu", "is the CPU"), ("cuda:1", "not among its 1")])
def test_a_plan_on_a_device_that_cannot_run_it_is_refused(tmp_path, one_gpu, device, said):
    with pytest.raises(EngineError, match=said):
        open_engine(make_plan(tmp_path / "a.plan"), RuntimeSettings(device=device))


def test_a_plan_of_another_version_is_refused(tmp_path, one_gpu):
    with pytest.raises(EngineError, match=r"tensorrt_rtx 0\.1, and .* is installed"):
        open_engine(make_plan(tmp_path / "a.plan", builder_version="0.1"))


def test_a_plan_of_a_library_that_is_not_installed_names_the_extra(tmp_path, one_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"a.plan needs tensorrt, which is not here: .*\[tensorrt\]"):
        open_engine(make_plan(tmp_path / "a.plan", builder="tensorrt", targets=["NVIDIA L4"]))


def test_without_pycuda_the_error_names_the_extra(tmp_path, one_gpu, monkeypatch):
    import tensorrt_rtx

    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingDependencyError, match=r"pycuda.*mirnet-deploy\[pycuda\]"):
        open_engine(make_plan(tmp_path / "a.plan", builder_version=tensorrt_rtx.__version__))
