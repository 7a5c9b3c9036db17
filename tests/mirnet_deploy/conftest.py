"""Fixtures that the tests of the runtime share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_onnx
from deferred import Driver, Engine, Open, OpenGpu

from mirnet_deploy import MIRNetRuntime

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Open]:
    """Opens two runtimes over one artifact, on the host and on a deferred device, and gives the device's driver too."""
    opened: list[MIRNetRuntime] = []

    def open_both(
        kind: str = "mean",
        interface: str = "float",
        most: int = sys.maxsize,
        eager: tuple[int, ...] = (),
        at_once: bool = False,
        **settings: Any,
    ) -> tuple[MIRNetRuntime, MIRNetRuntime, Driver]:
        path = tmp_path / f"{kind}-{interface}.onnx"
        make_onnx(path, kind, interface=interface)
        settings = {"tile": 64, **settings}
        opened.append(MIRNetRuntime(path, device="cpu", **settings))
        engine = Engine(path, Driver(most, eager), at_once=at_once)
        opened.append(MIRNetRuntime(engine, **settings))
        return opened[-2], opened[-1], engine.driver

    yield open_both
    for each in opened:
        each.close()


# On a GPU

ARTIFACTS = {"fp16": "mirnet.fp16.onnx", "plan": "mirnet.plan"}
"""The files that `mirnet-deploy export --fp16` writes, by the names that tests have for them."""


@pytest.fixture
def current() -> Iterator[Any]:
    """pycuda.driver, with a CUDA context current, as in a program around a runtime."""
    import pycuda.driver as cuda

    from mirnet_deploy.devices.cuda import retained

    retained(cuda, 0)[1].push()
    yield cuda
    cuda.Context.pop()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Artifacts by precision; "plan" only where there are a builder and a GPU for one."""
    made_before = os.environ.get("MIRNET_GPU_ARTIFACTS")
    folder, said = Path(made_before or tmp_path_factory.mktemp("gpu")), "nothing was exported"
    if not made_before:
        export = ["export", str(ROOT / "weights" / "lite.pt"), "--fp16", "--output-dir", str(folder)]
        command = [sys.executable, "-m", "mirnet_deploy", *export]
        said = subprocess.run(command, check=False, capture_output=True, text=True).stderr
    found = {kind: str(folder / name) for kind, name in ARTIFACTS.items() if (folder / name).is_file()}
    assert "fp16" in found, f"no {ARTIFACTS['fp16']} in {folder}: {said}"
    return {"fp32": "lite", **found}


@pytest.fixture(params=["fp32", "fp16", "plan"])
def on_gpu(request: pytest.FixtureRequest, models: dict[str, str]) -> Iterator[OpenGpu]:
    """Opens runtimes on the GPU, and closes them."""
    kind = request.param
    if kind not in models:
        pytest.skip("no plan was built here; see the log of gpu_suite.sh")
    opened: list[MIRNetRuntime] = []

    def open_runtime(**settings: Any) -> MIRNetRuntime:
        opened.append(MIRNetRuntime(models[kind], device="cuda:0", **{"tile": 256, **settings}))
        assert opened[-1].info.device == "cuda:0"
        assert "host copies" not in opened[-1].info.backend
        return opened[-1]

    yield open_runtime
    for each in opened:
        each.close()
