"""Which file of a fleet runs, on stand-ins for GPUs and for TensorRT; and what is said where none fits."""

from __future__ import annotations

import logging
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tensorrt_stand_in
from artifacts import make_plan
from batches import open_batches
from fleets import RTX, make_fleet

from mirnet_deploy import MIRNetRuntime, machine
from mirnet_deploy.artifacts.fleet import MANIFEST, read_fleet
from mirnet_deploy.engines import fleet as choosing
from mirnet_deploy.engines.fleet import artifact_for, built_plan
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.errors import ArtifactError, EngineError, MirnetDeployWarning, MissingDependencyError, UsageError
from mirnet_deploy.export.fleet import fleet_builders

TARGETS = ("sm80", "sm89", "sm120")
CAPABILITIES = {"sm80": (8, 0), "sm89": (8, 9), "sm90": (9, 0), "sm120": (12, 0)}
PICTURE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr(choosing, "cache_folder", lambda name: tmp_path / "cache" / name)
    (tmp_path / "cache" / "plans").mkdir(parents=True)
    return tmp_path / "cache" / "plans"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_fleet(tmp_path / "fleet", *((target, *RTX) for target in TARGETS))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in for TensorRT-RTX 9.9; the full library is not installed."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return tensorrt_stand_in.install(monkeypatch)


def gpus(monkeypatch: pytest.MonkeyPatch, *targets: str) -> None:
    monkeypatch.setattr(machine, "_cuda", lambda: tuple(("Test GPU", target) for target in targets))


@pytest.mark.parametrize("target", TARGETS)
def test_the_plan_that_fits_the_gpu_runs(folder: Path, library: Any, target: str, monkeypatch) -> None:
    gpus(monkeypatch, target)
    library.cuda.capability = CAPABILITIES[target]
    with MIRNetRuntime(folder, tile="none") as runtime:
        assert runtime.info.path == str(folder / f"{TARGETS.index(target)}.plan")
        assert (runtime.info.metadata.targets, runtime.info.device) == ([target], "cuda:0")
    engine = open_batches(folder)
    assert np.array_equal(engine.run(PICTURE[None]), 255 - PICTURE[None])
    engine.close()
    assert library.cuda.memory == {}


def test_the_second_gpu_has_a_plan_of_its_own(folder: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm80", "sm120")
    assert artifact_for(folder, "cuda:1").name == "2.plan"
    assert artifact_for(folder, "auto").name == "0.plan"
    with pytest.raises(EngineError, match="device is 'cuda:2', which needs an NVIDIA GPU, and this machine has 2"):
        artifact_for(folder, "cuda:2")


def test_a_gpu_without_a_plan_is_told_what_there_is_and_what_to_do(folder: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm86")
    for device in ("auto", "cuda"):
        with pytest.raises(EngineError) as raised:
            MIRNetRuntime(folder, device=device)
        assert str(raised.value) == (
            f"{folder} has plans for sm80, sm89, sm120 (tensorrt_rtx 9.9); this GPU (Test GPU) is sm86, with "
            "tensorrt_rtx 9.9: build one here with --build-missing (in Python export.missing.build_missing), export "
            f"with --fleet sm86, or run {folder / 'tiny.fp16.onnx'} by itself"
        )


@pytest.mark.parametrize(
    ("target", "libraries", "said"),
    [
        ("sm86", ("tensorrt_rtx",), ": build one here with .*, export with --fleet sm86, or"),
        ("sm86", ("tensorrt", "tensorrt_rtx"), ": build one here with .*, export with --fleet sm86, or"),
        ("sm86", ("tensorrt",), ": build one here .*, export here with --fleet current --builder tensorrt, or"),
        ("sm90", ("tensorrt", "tensorrt_rtx"), ": build one here .*, export here with --fleet current --builder "),
        ("sm90", ("tensorrt_rtx",), r": install the full library, pip install .*\[tensorrt\]\", then build one here"),
    ],
)
def test_the_advice_is_what_export_accepts_and_what_runs_here(
    folder: Path, library: Any, target: str, libraries: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, target)
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, library if name in libraries else None)
    with pytest.raises(EngineError, match=said) as raised:
        artifact_for(folder, "auto")
    for name in ("tensorrt", "tensorrt_rtx"):  # what is asked for is installed now
        monkeypatch.setitem(sys.modules, name, library)
    advice = re.search(r"--fleet ([^ ,]+)(?: --builder ([^ ,]+))?", str(raised.value))
    assert advice is not None
    (built,) = fleet_builders(cast(Any, advice[2] or "auto"), [advice[1]])
    assert built.targets == (target if built.name == "tensorrt_rtx" else "Test GPU",)


def test_of_several_versions_the_installed_one_is_taken(tmp_path: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm89")
    folder = make_fleet(tmp_path / "fleet", ("sm89", "tensorrt_rtx", "9.8"), ("sm89", *RTX))
    assert artifact_for(folder, "auto").name == "1.plan"
    library.__version__ = "9.10"
    with pytest.raises(
        EngineError, match=r"for sm89 \(tensorrt_rtx 9\.8\); sm89 \(tensorrt_rtx 9\.9\); this .* 9\.10:"
    ):
        artifact_for(folder, "auto")


def test_the_full_library_comes_first_and_knows_gpus_by_name(tmp_path: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm89")
    full = ("tensorrt", "9.9")
    folder = make_fleet(tmp_path / "fleet", ("sm89", *RTX), ("Other GPU", *full), ("Test GPU", *full))
    assert artifact_for(folder, "auto").name == "0.plan"  # which is not installed
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    assert artifact_for(folder, "auto").name == "2.plan"


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.11: cannot open shared object file"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_a_library_that_is_installed_and_does_not_load_is_left_out_and_that_is_said(
    tmp_path: Path, library: Any, error: ImportError, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, "sm89")
    folder = make_fleet(tmp_path / "fleet", ("sm89", *RTX), ("Test GPU", "tensorrt", "9.9"))

    def load(name: str) -> Any:
        if name == "tensorrt":
            raise error
        return library

    monkeypatch.setattr("mirnet_deploy.engines.tensorrt_library.importlib.import_module", load)
    with pytest.warns(MirnetDeployWarning) as warned:
        assert artifact_for(folder, "auto").name == "0.plan"
    assert [str(each.message) for each in warned] == [f"plans of tensorrt are left out, which does not load: {error}"]


def test_without_the_library_the_error_says_what_to_install(folder: Path, monkeypatch) -> None:
    gpus(monkeypatch, "sm89")
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r'the fleet .* needs tensorrt_rtx.* "mirnet-deploy\[rtx\]"'):
        artifact_for(folder, "auto")


def test_without_a_gpu_the_onnx_file_in_fp32_runs_and_that_is_said(folder: Path, monkeypatch, caplog) -> None:
    gpus(monkeypatch)
    with caplog.at_level(logging.INFO), MIRNetRuntime(folder, threads=1) as runtime:
        assert runtime.info.path == str(folder / "tiny.onnx")
        assert (runtime.info.metadata.precision, runtime.info.device) == ("fp32", "cpu")
    assert caplog.messages == [f"there is no GPU: the fleet {folder} runs its tiny.onnx on the CPU"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert artifact_for(folder, "cpu") == folder / "tiny.onnx"
    assert caplog.messages == []  # it was asked for
    with pytest.raises(EngineError, match="device is 'cuda', which needs an NVIDIA GPU, and this machine has none"):
        MIRNetRuntime(folder, device="cuda")
    with pytest.raises(UsageError, match="device is 'tpu'"):
        artifact_for(folder, "tpu")


def test_a_runtime_of_a_fleet_is_opened_anew_in_another_process(tmp_path: Path, folder: Path, monkeypatch) -> None:
    gpus(monkeypatch)
    monkeypatch.chdir(tmp_path)
    with MIRNetRuntime("fleet/", threads=1) as runtime:
        copy = pickle.dumps(runtime)
        expected = runtime.enhance(PICTURE)
    monkeypatch.chdir("/")
    with pickle.loads(copy) as runtime:
        assert np.array_equal(runtime.enhance(PICTURE), expected)


def test_what_a_plan_cannot_do_a_fleet_cannot_on_a_gpu(folder: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm89")
    with pytest.raises(UsageError, match=r"backend is 'openvino', and .*1\.plan is a plan"):
        MIRNetRuntime(folder, backend="openvino")


def test_a_damaged_plan_is_an_error_and_no_other_file_runs(folder: Path, library: Any, monkeypatch) -> None:
    gpus(monkeypatch, "sm89")
    (folder / "1.plan").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"1\.plan does not match its sidecar"):
        open_engine(folder)
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(ArtifactError, match="is not the manifest of a fleet: it has no list of plans"):
        open_engine(folder)


class TestBuiltHere:
    """A plan that was built before lies in the cache."""

    key = ("sm90", "tensorrt_rtx", "9.9")

    def make(self, folder: Path, **values: Any) -> Path:
        fleet = read_fleet(folder)
        path = built_plan(fleet, self.key)
        defaults = {"targets": ["sm90"], "builder_version": "9.9", "onnx_sha256": fleet.onnx.sha256}
        return make_plan(path, **{**defaults, **values})

    def test_it_is_found(self, folder: Path, library: Any, cache: Path, monkeypatch) -> None:
        gpus(monkeypatch, "sm90")
        path = self.make(folder)
        os.utime(path, (0, 0))
        assert artifact_for(folder, "auto") == path
        assert path.parent == cache
        assert path.stat().st_mtime > 0  # it is in use, and goes last

    @pytest.mark.parametrize(
        "values",
        [{"targets": ["sm89"]}, {"builder_version": "9.8"}, {"onnx_sha256": "0" * 64}, {"builder": "tensorrt"}],
    )
    def test_one_of_something_else_is_not_used(self, folder: Path, library: Any, values: Any, monkeypatch) -> None:
        gpus(monkeypatch, "sm90")
        self.make(folder, **values)
        with pytest.raises(EngineError, match="--build-missing"):
            artifact_for(folder, "auto")

    def test_a_damaged_one_is_not_used_and_that_is_said(
        self, folder: Path, library: Any, monkeypatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        gpus(monkeypatch, "sm90")
        self.make(folder).write_bytes(b"half")
        with pytest.raises(EngineError, match="--build-missing"):
            artifact_for(folder, "auto")
        assert "does not match its sidecar" in caplog.text

    def test_every_part_of_the_key_and_the_onnx_file_have_a_place_of_their_own(self, folder: Path, monkeypatch) -> None:
        fleet = read_fleet(folder)
        keys = [self.key, ("sm89", *RTX), ("sm90", "tensorrt", "9.9"), ("sm90", "tensorrt_rtx", "9.8")]
        places = {built_plan(fleet, key) for key in keys}
        with monkeypatch.context() as patched:
            patched.setattr("platform.machine", lambda: "another")
            places.add(built_plan(fleet, self.key))
        (folder / "tiny.onnx").replace(folder / "tiny.fp16.onnx")
        manifest = (folder / MANIFEST).read_text().replace(fleet.onnx.sha256, fleet.onnx_cpu.sha256)
        (folder / MANIFEST).write_text(manifest)
        assert len({*places, built_plan(read_fleet(folder), self.key)}) == 6
