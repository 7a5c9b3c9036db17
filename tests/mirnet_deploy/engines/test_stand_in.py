"""The real onnxruntime-gpu on a stand-in for CUDA: its sessions open, run and close without aborting or leaking.

python tests/stand_in/build.py && pytest -m stand_in
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.export import onnx_file
from mirnet_deploy.export.samples import read_crops
from mirnet_deploy.export.settings import ExportSettings
from mirnet_deploy.training import context
from mirnet_deploy.training.checkpoint import load_checkpoint, save_checkpoint
from mirnet_deploy.training.config import MIRNetConfig
from mirnet_deploy.training.network import MIRNet

ROOT = Path(__file__).parents[3]
BUILT = ROOT / "build" / "stand_in"
pytestmark = pytest.mark.stand_in


def run(model: Path, sessions: int, runs: int, threads: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """`tests/stand_in/sessions.py`, in a process of its own."""
    if not (BUILT / "libraries" / "libcudart.so.13").is_file():
        pytest.skip("there is no stand-in for CUDA; make it with `python tests/stand_in/build.py`")
    paths = {"LD_LIBRARY_PATH": str(BUILT / "libraries"), "PYTHONPATH": f"{BUILT / 'packages'}{os.pathsep}{ROOT}"}
    command = [
        sys.executable,
        str(ROOT / "tests/stand_in/sessions.py"),
        str(model),
        *map(str, (sessions, runs, threads)),
    ]
    environment = os.environ | paths | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)


def seen(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a run printed that ended well."""
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["failed"] == []
    return found


def exported(folder: Path) -> Path:
    """An artifact of the layout of `paper`, with few features."""
    network = MIRNet(MIRNetConfig(8, 3, 2))
    save_checkpoint(folder / "a.pt", {"config": network.config.to_dict(), "network": network.state_dict()})
    settings = ExportSettings(interface="float", tile=64, halo=8)
    onnx_file.export_onnx(load_checkpoint(folder / "a.pt"), folder / "a.onnx", settings, "fp32", read_crops(None)[:1])
    return folder / "a.onnx"


def test_sessions_that_are_opened_with_the_fusion_abort() -> None:
    """The stand-in can tell: so were sessions opened on the GPUs where closing aborted."""
    done = run(resolve_model("lite"), 5, 20, 1, WITH_FUSION="1", STAND_IN_DELAY_US="20000")
    assert done.returncode == -6
    assert "terminate called" in done.stderr
    assert "cudaFreeHost" in done.stderr


def test_sessions_of_lite_open_run_and_close_from_several_threads() -> None:
    found = seen(run(resolve_model("lite"), 200, 5, 3, STAND_IN_DELAY_US="2000"))
    assert found["closed"] == 200
    assert found["runs beside an end"] == 0
    assert found["pinned"] == [0, 0]


def test_a_session_of_lite_leaves_no_page_locked_memory_behind() -> None:
    """After 1,000 runs there is as much of it as after 10: none."""
    assert seen(run(resolve_model("lite"), 3, 1000, 1))["pinned"] == [0, 0]


def test_a_network_of_sixty_pools_does_so_too(tmp_path: Path) -> None:
    sixty_pools = exported(tmp_path)
    found = seen(run(sixty_pools, 200, 5, 3, STAND_IN_DELAY_US="2000"))
    assert (found["closed"], found["runs beside an end"], found["pinned"]) == (200, 0, [0, 0])
    assert seen(run(sixty_pools, 3, 1000, 1))["pinned"] == [0, 0]


def test_an_artifact_that_was_exported_before_closes_too_and_says_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statistics are one Concat of 60 inputs. What its runs leave is freed every now and then, and at the end."""
    monkeypatch.setattr(context, "BY_VALUE", 1000)
    found = seen(run(exported(tmp_path), 5, 1000, 1, STAND_IN_DELAY_US="2000"))
    assert (found["closed"], found["runs beside an end"], found["held"]) == (5, 0, 0)
    least, most = found["pinned"]
    assert 0 < least == most
    assert len(found["warned"]) == 1
    assert "1 nodes such as interface/Concat" in found["warned"][0]
