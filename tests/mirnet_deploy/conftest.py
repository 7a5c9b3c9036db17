"""Fixtures that the tests of the runtime share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
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
        one_shape: bool = False,
        **settings: Any,
    ) -> tuple[MIRNetRuntime, MIRNetRuntime, Driver]:
        path = tmp_path / f"{kind}-{interface}.onnx"
        make_onnx(path, kind, interface=interface)
        settings = {"tile": 64, **settings}
        opened.append(MIRNetRuntime(path, device="cpu", **settings))
        engine = Engine(path, Driver(most, eager), one_shape=one_shape)
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


MOST_SHARED = 6
"""Runtimes that tests share at a time."""


@pytest.fixture(scope="session")
def shared() -> Iterator[OrderedDict[str, MIRNetRuntime]]:
    """Open runtimes, the one used last at the end."""
    held: OrderedDict[str, MIRNetRuntime] = OrderedDict()
    yield held
    for each in held.values():
        each.close()


@pytest.fixture(params=["fp32", "fp16", "plan"])
def gpu_model(request: pytest.FixtureRequest, models: dict[str, str]) -> str:
    """An artifact for a GPU."""
    if request.param not in models:
        pytest.skip("no plan was built here; see the log of gpu_suite.sh")
    return models[request.param]


def _opened(model: str, settings: dict[str, Any]) -> MIRNetRuntime:
    runtime = MIRNetRuntime(model, device="cuda:0", **{"tile": 256, **settings})
    assert runtime.info.device == "cuda:0"
    assert "host copies" not in runtime.info.backend
    return runtime


@pytest.fixture
def on_gpu(gpu_model: str, shared: OrderedDict[str, MIRNetRuntime]) -> OpenGpu:
    """Gives runtimes on the GPU. Tests share those of the same settings: the first picture of each takes seconds."""

    def open_runtime(**settings: Any) -> MIRNetRuntime:
        key = gpu_model + repr(sorted(settings.items()))
        if key not in shared:
            while len(shared) >= MOST_SHARED:
                shared.popitem(last=False)[1].close()
            shared[key] = _opened(gpu_model, settings)
        shared.move_to_end(key)
        return shared[key]

    return open_runtime


@pytest.fixture
def new_on_gpu(gpu_model: str, shared: OrderedDict[str, MIRNetRuntime]) -> Iterator[OpenGpu]:
    """Opens runtimes on the GPU that the test has to itself, and closes all others."""
    while shared:
        shared.popitem()[1].close()
    opened: list[MIRNetRuntime] = []

    def open_runtime(**settings: Any) -> MIRNetRuntime:
        opened.append(_opened(gpu_model, settings))
        return opened[-1]

    yield open_runtime
    for each in opened:
        each.close()
