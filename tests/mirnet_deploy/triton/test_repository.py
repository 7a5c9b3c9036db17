"""Repositories: what lies where, versions, and that no server ever sees half of one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from artifacts import make_onnx, make_plan
from click.testing import CliRunner
from triton_configs import parsed

from mirnet_deploy.artifacts import models
from mirnet_deploy.artifacts.sidecar import read_onnx
from mirnet_deploy.cli import main
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.triton import repository
from mirnet_deploy.triton.config import Serving
from mirnet_deploy.triton.repository import models_of, write_repository


def triton(*arguments: object):
    return CliRunner().invoke(main, ["triton", *map(str, arguments)])


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return make_onnx(tmp_path / "a.fp16.onnx")


def test_a_new_repository_holds_whole_pictures_and_the_artifact_by_itself(tmp_path: Path, onnx: Path) -> None:
    result = triton(tmp_path / "deep" / "models", onnx, "--tile", 64, "--instances", 2)
    assert result.exit_code == 0, result.output
    found = files_in(tmp_path / "deep" / "models")
    assert sorted(found) == [
        "a_fp16_onnx/1/model.onnx",
        "a_fp16_onnx/config.pbtxt",
        "mirnet/1/model.onnx",
        "mirnet/1/model.onnx.json",
        "mirnet/1/model.py",
        "mirnet/config.pbtxt",
    ]
    assert found["a_fp16_onnx/1/model.onnx"] == found["mirnet/1/model.onnx"] == onnx.read_bytes()
    assert read_onnx(tmp_path / "deep/models/mirnet/1/model.onnx")[1] == read_onnx(onnx)[1]
    config = parsed(found["mirnet/config.pbtxt"].decode())
    assert config.parameters["tile"].string_value == "64"
    assert config.instance_group[0].count == 2
    assert names_in(tmp_path / "deep") == ["models"]
    assert (tmp_path / "deep/models").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_bundled_model_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MODELS", tmp_path)
    make_onnx(tmp_path / "small.onnx")
    said = json.loads(triton(tmp_path / "models", "small", "--json").output)
    assert [(each["model"], each["version"], each["action"]) for each in said] == [
        ("mirnet", 1, "new model"),
        ("small_onnx", 1, "new model"),
    ]


def test_a_plan_that_takes_means_brings_what_warms_it_up(tmp_path: Path, onnx: Path) -> None:
    plan = make_plan(tmp_path / "a.plan", builder="tensorrt", context=3)
    assert triton(tmp_path / "models", onnx, plan).exit_code == 0
    found = files_in(tmp_path / "models" / "a_plan")
    assert sorted(found) == ["1/model.plan", "config.pbtxt", "warmup/cols", "warmup/mode", "warmup/rows"]
    assert found["1/model.plan"] == plan.read_bytes()


def test_the_same_again_changes_nothing(tmp_path: Path, onnx: Path) -> None:
    triton(tmp_path / "models", onnx)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")}
    assert triton(tmp_path / "models", onnx).output.count(": unchanged, 1, from ") == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")} == before


def test_another_artifact_becomes_a_further_version(tmp_path: Path, onnx: Path) -> None:
    folder = tmp_path / "models"
    triton(folder, onnx)
    first = files_in(folder)
    make_onnx(onnx, "blur")
    assert triton(folder, onnx).output.count(": new version, 2, from ") == 2
    found = files_in(folder)
    assert {name: data for name, data in found.items() if name in first} == first
    assert found["mirnet/2/model.onnx"] == found["a_fp16_onnx/2/model.onnx"] == onnx.read_bytes()
    (folder / "mirnet" / "17").mkdir()
    make_onnx(onnx, "identity")
    assert "mirnet: new version, 18, from " in triton(folder, onnx).output
    assert names_in(tmp_path) == ["a.fp16.onnx", "a.fp16.onnx.json", "models"]


def test_a_configuration_is_replaced_only_with_force(tmp_path: Path, onnx: Path) -> None:
    folder = tmp_path / "models"
    triton(folder, onnx)
    before = files_in(folder)
    result = triton(folder, onnx, "--strength", 0.5)
    assert result.exit_code == 2
    assert result.output == (
        f"error: {folder}/mirnet/config.pbtxt is another configuration, of all versions of the model; name another "
        "folder, or replace it with --force\n"
    )
    assert files_in(folder) == before
    forced = triton(folder, onnx, "--strength", 0.5, "--force").output
    assert "mirnet: new configuration, 1, from " in forced
    assert "a_fp16_onnx: unchanged, 1, from " in forced
    after = files_in(folder)
    assert parsed(after.pop("mirnet/config.pbtxt").decode()).parameters["strength"].string_value == "0.5"
    before.pop("mirnet/config.pbtxt")
    assert after == before


def test_what_is_the_user_s_is_left_alone(tmp_path: Path, onnx: Path) -> None:
    folder = tmp_path / "models"
    (folder / "mirnet").mkdir(parents=True)
    (folder / "mirnet" / "notes").write_text("mine")
    for words in ((), ("--force",)):
        result = triton(folder, onnx, *words)
        assert result.exit_code == 2
        assert f"{folder}/mirnet is not a model of Triton" in result.output
    assert files_in(folder) == {"mirnet/notes": b"mine"}
    assert triton(onnx, onnx).output == f"error: {onnx} is not a folder\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rtx.plan"], 1, "rtx.plan: it is a plan of TensorRT-RTX, and Triton's tensorrt backend"),
        (["a.fp16.onnx", "rtx.plan"], 1, "rtx.plan: it is a plan of TensorRT-RTX"),
        (["rtx.plan", "--no-tiles", "--backend", "openvino"], 2, "backend is 'openvino', and "),
        (["a.fp16.onnx", "rtx.plan", "--no-tiles"], 2, "2 artifacts without their tiles"),
        (["a.fp16.onnx", "a.fp16.onnx"], 2, "two artifacts would be the model a_fp16_onnx"),
        (["bgr.onnx"], 1, "bgr.onnx takes BGR"),
        (["damaged.onnx"], 1, "does not match its sidecar"),
        (["gone.onnx"], 1, "gone.onnx is not a file"),
        (["a.pt"], 1, "a.pt is neither an .onnx nor a .plan file"),
        (["what is it.onnx"], 2, "expected a file name of letters"),
        (["a.fp16.onnx", "--instances", "0"], 2, "instances is 0; expected at least 1"),
        (["a.fp16.onnx", "--strength", "2"], 2, "--strength is 2.0"),
        (["a.fp16.onnx", "--tile", "30"], 2, "a.fp16.onnx: tile is 30"),
        (["a.fp16.onnx", "--tile", "32"], 2, "a.fp16.onnx: tile is 32"),  # twice the halo
        (["rtx.plan", "--no-tiles", "--batch", "2"], 2, "rtx.plan: batch is 2; this plan takes up to 1"),
        (["rtx.plan", "--no-tiles", "--device", "cpu"], 2, "rtx.plan: device is 'cpu', and a plan needs a GPU"),
        (["plain.onnx"], 1, "plain.onnx: plain was exported with --plain and cannot share means between tiles"),
        (["a.fp16.onnx", "--device", "cuda:0", "--backend", "openvino"], 2, "backend is 'openvino', which is for the"),
        (["a.fp16.onnx", "--precision", "bf16", "--backend", "onnxruntime"], 2, "precision is 'bf16', which ONNX"),
        (["a.fp16.onnx", "--device", "cuda:99999999999"], 2, "device is 'cuda:99999999999'; Triton numbers"),
        (["a.fp16.onnx", "--max-batch", "1000000000000"], 2, "max_batch is 1000000000000; expected at least 1 and at"),
        (["plain.onnx", "--consistency", "local", "--means"], 2, "plain.onnx: it was exported with --plain"),
        (["a.fp16.onnx", "--no-tiles", "--means"], 2, "means is True, which is for models of tiles"),
        (["a.fp16.onnx", "--no-tiles", "--max-batch", "2"], 2, "max_batch is 2, which is for models of tiles"),
        (["a.fp16.onnx", "--no-tiles", "--queue-delay", "0"], 2, "queue_delay is 0, which is for models of tiles"),
        (["a.fp16.onnx", "--means", "--max-batch", "2"], 2, "max_batch is 2, and with means no ONNX file runs in"),
    ],
)
def test_wrong_input_gets_one_line_and_nothing_is_written(tmp_path: Path, onnx: Path, words, code, said) -> None:
    make_plan(tmp_path / "rtx.plan", context=3)
    make_onnx(tmp_path / "plain.onnx", context=0)
    make_onnx(tmp_path / "bgr.onnx", channel_order="bgr")
    make_onnx(tmp_path / "what is it.onnx")
    with make_onnx(tmp_path / "damaged.onnx").open("ab") as stream:
        stream.write(b"\0")
    (tmp_path / "a.pt").touch()
    given = [str(tmp_path / word) if word.endswith((".onnx", ".plan", ".pt")) else word for word in words]
    result = triton(tmp_path / "models", *given)
    assert result.exit_code == code
    assert said in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_plan_of_tensorrt_rtx_serves_whole_pictures(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "rtx.plan", context=3)
    assert triton(tmp_path / "models", plan, "--no-tiles").exit_code == 0
    assert sorted(files_in(tmp_path / "models")) == [
        "mirnet/1/model.plan",
        "mirnet/1/model.plan.json",
        "mirnet/1/model.py",
        "mirnet/config.pbtxt",
    ]


@pytest.mark.parametrize("words", [("--consistency", "local"), ("--tile", "none")])
def test_an_artifact_without_a_context_serves_what_it_can(tmp_path: Path, words: tuple[str, str]) -> None:
    plain = make_onnx(tmp_path / "plain.onnx", context=0)
    assert triton(tmp_path / "models", plain, *words).exit_code == 0


def seen_by_a_server(folder: Path) -> Iterator[Path]:
    """Every model and every version that Triton would look at now."""
    for model in folder.iterdir() if folder.is_dir() else ():
        yield model / "config.pbtxt"
        for version in model.iterdir():
            if version.name.isdecimal():
                yield from (version / name for name in ("model.py", "model.onnx", "model.onnx.json"))


def test_a_server_sees_whole_models_only_and_a_full_disk_leaves_nothing(
    tmp_path: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every write the disk is full once; what a server sees before and after is whole."""
    folder = tmp_path / "models"
    writes = [0, 0]
    real = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        assert all(file.is_file() for file in seen_by_a_server(folder))
        assert not list(folder.rglob("*.partial"))  # of which it would warn, or take one for a model
        writes[0] += 1
        if writes[0] == writes[1]:
            real(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device", str(path))
        return real(path, data)

    def models():
        return models_of([str(onnx)], RuntimeSettings(), Serving(), tiles=False)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for at in (1, 2, 3, 4):  # a new repository
        writes[:] = 0, at
        with pytest.raises(OSError, match="No space left"):
            list(write_repository(folder, models()))
        assert names_in(tmp_path) == ["a.fp16.onnx", "a.fp16.onnx.json"]
    writes[:] = 0, 0
    list(write_repository(folder, models()))
    assert writes[0] == 4
    whole = files_in(folder)
    monkeypatch.undo()
    make_onnx(onnx, "blur")
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for at in (1, 2, 3):  # a further version
        writes[:] = 0, at
        with pytest.raises(OSError, match="No space left"):
            list(write_repository(folder, models()))
        assert files_in(folder) == whole
        assert names_in(tmp_path) == ["a.fp16.onnx", "a.fp16.onnx.json", "models"]
    writes[:] = 0, 0
    every = models_of([str(onnx)], RuntimeSettings(), Serving())
    assert [each.action for each in write_repository(folder, every)] == ["new version", "new model"]
    assert writes[0] == 3 + 2
    assert names_in(folder) == ["a_fp16_onnx", "mirnet"]


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path: Path, onnx: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/model.onnx")

    monkeypatch.setattr(repository, "_write", full)
    result = triton(tmp_path / "models", onnx)
    assert (result.exit_code, result.output) == (
        1,
        f"error: {tmp_path / 'models'} cannot be written: No space left on device\n",  # and no temporary file
    )


def test_a_mount_point_is_refused(tmp_path: Path, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside it nothing can be made ready on the same file system."""
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    assert "is a mount point" in triton(tmp_path, onnx).output
    assert names_in(tmp_path) == ["a.fp16.onnx", "a.fp16.onnx.json"]


def test_a_folder_in_one_that_cannot_be_written_is_refused(tmp_path: Path, onnx: Path, monkeypatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert triton(folder, onnx).output == (
        f"error: {tmp_path} cannot be written, and what goes into {folder} is made ready there; name a folder in one "
        "that can be written\n"
    )
    assert names_in(folder) == []


def test_a_model_on_another_disk_is_refused(tmp_path: Path, onnx: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    triton(tmp_path / "models", onnx)
    home = tmp_path / "models" / "mirnet"
    with tempfile.TemporaryDirectory(dir=memory) as other:
        shutil.copytree(home, Path(other) / "mirnet")
        shutil.rmtree(home)
        home.symlink_to(Path(other) / "mirnet")
        make_onnx(onnx, "blur")
        result = triton(tmp_path / "models", onnx)
        assert (result.exit_code, names_in(home)) == (2, ["1", "config.pbtxt"])
    assert f"{home} lies on another file system than" in result.output


def test_who_is_second_leaves_what_the_first_wrote(tmp_path: Path, onnx: Path, monkeypatch) -> None:
    folder = tmp_path / "models"
    triton(folder, onnx, "--no-tiles")
    make_onnx(onnx, "blur")
    real = repository._write

    def meanwhile(made: Path, files: Mapping[str, bytes]) -> None:
        real(made, files)
        (folder / "mirnet" / "2").mkdir()
        (folder / "mirnet" / "2" / "theirs").touch()

    monkeypatch.setattr(repository, "_write", meanwhile)
    result = triton(folder, onnx, "--no-tiles")
    assert (result.exit_code, result.output) == (
        1,
        f"error: {folder}/mirnet/2 was written by another process meanwhile; try again\n",
    )
    assert names_in(folder / "mirnet" / "2") == ["theirs"]
    assert names_in(tmp_path) == ["a.fp16.onnx", "a.fp16.onnx.json", "models"]


def renamed_into(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that files and folders are renamed to from now on."""
    names: list[str] = []

    def noted(real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        return lambda path, target: names.append(target.name) or real(path, target)

    for method in ("rename", "replace"):
        monkeypatch.setattr(Path, method, noted(getattr(Path, method)))
    return names


def test_with_force_a_version_and_its_configuration_are_ready_before_either_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan = tmp_path / "models", tmp_path / "a.plan"

    def models(tile: int):
        shapes = {bound: [1, side, side, 3] for bound, side in (("min", 16), ("opt", tile), ("max", tile))}
        make_plan(plan, b"%d" % tile, builder="tensorrt", context=3, profile={"image": shapes})
        return models_of([str(plan)], RuntimeSettings(strength=tile / 256), Serving())[1:]

    list(write_repository(folder, models(64)))
    before, real, count = files_in(folder), Path.write_bytes, 0
    new = models(128)
    for at in range(1, 6):  # the configuration, three that warm it up, the version
        count = 0

        def write_bytes(path: Path, data: bytes, at: int = at) -> int:
            nonlocal count
            count += 1
            if count == at:
                raise OSError(28, "No space left on device", str(path))
            return real(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", write_bytes)
            with pytest.raises(OSError, match="No space left"):
                list(write_repository(folder, new, force=True))
        assert (count, files_in(folder)) == (at, before)
        assert names_in(tmp_path) == ["a.plan", "a.plan.json", "models"]
    names = renamed_into(monkeypatch)
    (placed,) = write_repository(folder, new, force=True)
    assert placed.action == "new version"
    assert (names[0], sorted(names[1:-1]), names[-1]) == ("2", ["cols", "mode", "rows"], "config.pbtxt")
    after = files_in(folder)
    config = parsed(after["a_plan/config.pbtxt"].decode())
    for name in ("rows", "cols"):
        assert list(config.model_warmup[0].inputs[name].dims) == [1, 128]
        assert len(after[f"a_plan/warmup/{name}"]) == 4 * 128
    assert after["a_plan/2/model.plan"] == b"128"
