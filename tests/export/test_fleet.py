"""`mirnet-deploy export --fleet`, with plans by the real TensorRT-RTX: what is made, kept, added and refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifacts import metadata
from click.testing import CliRunner, Result
from PIL import Image

from mirnet_deploy.artifacts.fleet import MANIFEST, read_fleet
from mirnet_deploy.artifacts.metadata import Parity
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.cli import main
from mirnet_deploy.errors import EngineError
from mirnet_deploy.export import fleet as fleets
from mirnet_deploy.export.pipeline import prove_plan
from mirnet_deploy.export.samples import PACKAGED
from mirnet_deploy.files import file_sha256

VERSION = pytest.importorskip("tensorrt_rtx").__version__
Invoke = Callable[..., Result]


@pytest.fixture(scope="session")
def invoke(shared_traces: None, checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Invoke:
    """Runs `export` on the tiny checkpoint, into a folder; on a machine without a GPU."""
    samples = tmp_path_factory.mktemp("samples")
    Image.open(PACKAGED / "crop_a.png").crop((0, 0, 64, 64)).save(samples / "corner.png")

    def run(folder: Path, *words: str, checkpoint: Path = checkpoint_path) -> Result:
        return CliRunner().invoke(
            main, ["export", str(checkpoint), "-o", str(folder), "--samples", str(samples), *words]
        )

    return run


@pytest.fixture(scope="session")
def made(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A fleet of two targets and what its export said. Only `fleet` may be changed."""
    folder = tmp_path_factory.mktemp("made") / "fleet"
    words = ["--fp16", "--tile", "64", "--halo", "8", "--fleet", "sm80, sm89"]
    return folder, invoke(folder, *words, "--json")


@pytest.fixture
def fleet(made: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of the fleet; its files are links, which are replaced and not written to."""
    return Path(shutil.copytree(made[0], tmp_path / "fleet", copy_function=os.link))


def plan(target: str, version: str = VERSION) -> str:
    return f"mirnet.{target}.tensorrt_rtx-{version}.plan"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in files(folder)}


def test_a_fleet_has_one_onnx_file_and_a_plan_for_each_target(made: tuple[Path, Result]) -> None:
    folder, result = made
    assert result.exit_code == 0, result.output
    artifacts = {"mirnet.onnx", "mirnet.fp16.onnx", plan("sm80"), plan("sm89")}
    assert files(folder) == {MANIFEST} | artifacts | {f"{name}.json" for name in artifacts}
    fleet = read_fleet(folder)
    assert (fleet.onnx.file, fleet.onnx_cpu.file) == ("mirnet.fp16.onnx", "mirnet.onnx")
    for each, target in zip(fleet.plans, ("sm80", "sm89"), strict=True):
        assert each.key == (target, "tensorrt_rtx", VERSION)
        assert each.precision == "fp16"
        assert (each.sha256, each.bytes) == (file_sha256(folder / each.file), (folder / each.file).stat().st_size)
        said = read_sidecar(fleet.checked(each))
        assert (said.targets, said.onnx_sha256, said.tile, said.halo) == ([target], fleet.onnx.sha256, 64, 8)
        assert said.parity == Parity("not executed")
    assert [Path(row["path"]).name for row in json.loads(result.stdout)] == [
        "mirnet.onnx", "mirnet.fp16.onnx", plan("sm80"), plan("sm89"),
    ]  # fmt: skip


def test_another_run_adds_what_is_new_and_keeps_the_rest(fleet: Path, invoke: Invoke) -> None:
    before = hashes(fleet)
    result = invoke(fleet, "--fleet", "sm89,sm120,sm120")
    assert result.exit_code == 0, result.output
    assert f"{fleet / plan('sm89')} is there already, and is kept; --force builds it again" in result.stderr
    after = hashes(fleet)
    assert after.keys() - before.keys() == {plan("sm120"), f"{plan('sm120')}.json"}
    assert {name for name in before if before[name] != after[name]} == {MANIFEST}
    assert [each.target for each in read_fleet(fleet).plans] == ["sm80", "sm89", "sm120"]
    assert read_sidecar(fleet / plan("sm120")).tile == 64  # the fleet's, which was not given again


def test_force_builds_a_plan_again_and_no_onnx_file(fleet: Path, invoke: Invoke) -> None:
    before = {path.name: path.stat().st_ino for path in fleet.iterdir()}
    (fleet / plan("sm89")).unlink()
    (fleet / plan("sm89")).write_bytes(b"damaged")
    kept = invoke(fleet, "--fleet", "sm89")
    assert kept.exit_code == 1
    assert kept.stderr.count("error:") == 1
    assert "error: sm89: " in kept.stderr
    assert "does not match its sidecar" in kept.stderr
    assert invoke(fleet, "--fleet", "sm89", "--force").exit_code == 0
    fleet_after = read_fleet(fleet)
    assert read_sidecar(fleet_after.checked(fleet_after.plans[1])).targets == ["sm89"]
    after = {path.name: path.stat().st_ino for path in fleet.iterdir()}
    assert {name for name in files(fleet) if before[name] != after[name]} == {
        MANIFEST, plan("sm89"), f"{plan('sm89')}.json",
    }  # fmt: skip


def test_plans_of_another_version_stay_beside_the_new_ones(
    fleet: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorrt_rtx.__version__", "1.9.0")
    result = invoke(fleet, "--fleet", "sm80")
    assert result.exit_code == 0, result.output
    assert [each.key for each in read_fleet(fleet).plans] == [
        ("sm80", "tensorrt_rtx", VERSION), ("sm80", "tensorrt_rtx", "1.9.0"), ("sm89", "tensorrt_rtx", VERSION),
    ]  # fmt: skip
    assert {plan("sm80"), plan("sm80", "1.9.0")} <= files(fleet)


def test_a_target_that_fails_is_said_and_the_others_are_done(
    fleet: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prove(checkpoint: Any, source: Any, settings: Any, library: Any, *rest: Any) -> Any:
        if library.targets == ("sm75",):
            raise EngineError("no kernels")
        return prove_plan(checkpoint, source, settings, library, *rest)

    monkeypatch.setattr(fleets, "prove_plan", prove)
    result = invoke(fleet, "--fleet", "sm75,sm86")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if "error" in line] == ["error: sm75: no kernels"]
    assert [each.target for each in read_fleet(fleet).plans] == ["sm80", "sm86", "sm89"]
    assert plan("sm75") not in files(fleet)


def test_files_that_the_manifest_does_not_name_are_not_replaced_unasked(fleet: Path, invoke: Invoke) -> None:
    mine = fleet / plan("sm86")
    mine.write_text("mine")
    result = invoke(fleet, "--fleet", "sm86")
    assert result.exit_code == 1
    assert f"error: sm86: {mine} exists already" in result.stderr
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tile", "128"], "was made with tile 64"),
        (["--interface", "float", "--plain"], "was made with interface image, plain False"),
        (["--halo", "16", "--force"], "was made with halo 8"),
    ],
)
def test_what_a_fleet_was_made_of_does_not_change(fleet: Path, invoke: Invoke, words: list[str], said: str) -> None:
    before = hashes(fleet)
    result = invoke(fleet, "--fleet", "sm86", *words)
    assert result.exit_code == 1
    assert f"error: {fleet} {said}, and all plans of a fleet are of one ONNX file" in result.stderr
    assert hashes(fleet) == before


def test_a_fleet_of_another_checkpoint_is_refused(fleet: Path, invoke: Invoke, checkpoint_path: Path) -> None:
    import torch

    other = fleet.parent / "other.pth"
    state = torch.load(checkpoint_path, weights_only=True)["state_dict"]
    torch.save({"state_dict": state | {"conv_in.weight": state["conv_in.weight"] + 1}}, other)
    result = invoke(fleet, "--fleet", "sm86", checkpoint=other)
    assert result.exit_code == 1
    assert f"error: {fleet} is the fleet of another checkpoint" in result.stderr


def test_a_new_fleet_replaces_no_onnx_file_unasked(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "mirnet.onnx").write_text("mine")
    result = invoke(tmp_path, "--fleet", "sm80")
    assert result.exit_code == 1
    assert "mirnet.onnx exists already" in result.stderr
    assert files(tmp_path) == {"mirnet.onnx"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fleet", "sm80", "--target", "sm89"], "--fleet names the targets itself"),
        (["--fleet", "sm80", "--builder", "none"], "with --builder none there are none"),
        (["--fleet", "sm80,sm90"], "target 'sm90' is unknown; expected one of sm75"),
        (["--fleet", " , "], "--fleet names no target"),
        (
            ["--fleet", "sm80", "--builder", "tensorrt"],
            "for the GPU of this machine alone: --fleet current",
        ),
    ],
)
def test_words_that_contradict_one_another_are_one_line(
    tmp_path: Path, invoke: Invoke, words: list[str], said: str
) -> None:
    result = invoke(tmp_path / "out", *words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_full_library_builds_for_the_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from mirnet_deploy import machine

    monkeypatch.setattr(machine, "_cuda", lambda: (("NVIDIA L4", "sm89"),))
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules["tensorrt_rtx"])
    (library,) = fleets.fleet_builders("tensorrt", ["current"])
    assert (library.name, library.targets) == ("tensorrt", ("NVIDIA L4",))
    monkeypatch.setattr("tensorrt_rtx.__version__", "11.4.0+cuda13")  # the stand-in's
    assert fleets.plan_name(metadata(name="lite"), library) == "lite.nvidia-l4.tensorrt-11.4.0-cuda13.plan"


def test_info_shows_a_fleet_and_what_would_run_here(fleet: Path) -> None:
    facts = json.loads(CliRunner().invoke(main, ["info", str(fleet), "--json"]).stdout)
    assert (facts["kind"], facts["runs_here"]) == ("fleet", "mirnet.onnx")
    assert [each["target"] for each in facts["plans"]] == ["sm80", "sm89"]
    shown = CliRunner().invoke(main, ["info", str(fleet)])
    assert f"tensorrt_rtx {VERSION}, fp16" in shown.output
