"""The manifest of a fleet: what is read back, and every way in which it can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_plan
from fleets import RTX, make_fleet

from mirnet_deploy.artifacts.fleet import MANIFEST, FleetPlan, is_fleet, read_fleet
from mirnet_deploy.artifacts.models import lasting, resolve_model
from mirnet_deploy.errors import ArtifactError

Values = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_fleet(tmp_path / "fleet", ("sm80", *RTX), ("sm89", *RTX))


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    fleet = read_fleet(folder)
    assert [plan.key for plan in fleet.plans] == [("sm80", "tensorrt_rtx", "9.9"), ("sm89", "tensorrt_rtx", "9.9")]
    assert fleet.path(fleet.onnx_cpu) == folder / "tiny.onnx"
    (folder / MANIFEST).write_text(fleet.to_json())
    assert read_fleet(folder) == fleet


def test_a_plan_of_the_same_key_is_replaced_and_others_stay(folder: Path) -> None:
    fleet = read_fleet(folder)
    again = replace(fleet.plans[1], file="again.plan")
    other = FleetPlan("new.plan", "0" * 64, 1, "sm120", "tensorrt_rtx", "9.9", "fp16")
    assert fleet.with_plan(other).with_plan(again).plans == (fleet.plans[0], again, other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(format_version=2), "format version 2; this mirnet-deploy reads 1"),
        (lambda v: v.update(signature="x"), "unknown fields signature"),
        (lambda v: v.update(plans={}), "it has no list of plans"),
        (lambda v: v.pop("onnx"), "None stands where an object with file, sha256, bytes is expected"),
        (lambda v: v["plans"][0].update(file="../secret.plan"), r"file is '\.\./secret\.plan'; expected the name of a"),
        (lambda v: v["plans"][0].update(file="/etc/x.plan"), "file is '/etc/x.plan'"),
        (lambda v: v["plans"][0].update(file="..\\x.plan"), "file is "),
        (lambda v: v["plans"][0].update(file="C:x.plan"), "file is 'C:x.plan'"),
        (lambda v: v["plans"][0].update(file="x.onnx"), r"expected the name of a file in its folder, NAME\.plan"),
        (lambda v: v["onnx"].update(file="0.plan"), r"NAME\.onnx"),
        (lambda v: v["plans"][0].update(file=7), "file is 7"),
        (lambda v: v["plans"][0].update(sha256="0" * 63), r"sha256 of 0\.plan is"),
        (lambda v: v["plans"][0].update(bytes=True), r"bytes of 0\.plan is True"),
        (lambda v: v["plans"][0].update(builder="tvm"), r"builder of 0\.plan is 'tvm'"),
        (lambda v: v["plans"][0].update(precision=["fp16"]), r"precision of 0\.plan is \['fp16'\]"),
        (lambda v: v["plans"][0].update(target=""), r"target of 0\.plan is ''; expected text"),
        (lambda v: v["plans"][0].update(extra=1), "stands where an object with"),
        (lambda v: v["plans"].append(v["plans"][0]), "sm80 tensorrt_rtx 9.9 stands in it twice"),
        (lambda v: v["plans"][1].update(file="0.plan"), r"0\.plan stands in it twice"),
        (lambda v: v["plans"].append(None), "None stands where an object with"),
    ],
)
def test_a_manifest_that_is_wrong_is_one_line_of_error(
    folder: Path, change: Callable[[Values], object], said: str
) -> None:
    values = json.loads((folder / MANIFEST).read_bytes())
    change(values)
    (folder / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=rf"fleet\.json is not the manifest of a fleet: .*{said}") as raised:
        read_fleet(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_at_all_is_one_line_of_error(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(ArtifactError, match="is not the manifest of a fleet"):
        read_fleet(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"targets": ["sm89"]}, "is not the plan that"),
        ({"targets": ["sm80"], "builder_version": "9.8"}, "is not the plan that"),
        ({"targets": ["sm80"], "onnx_sha256": "0" * 64}, "is not the plan that"),
        ({"targets": ["sm80"], "data": b"another"}, "is not the plan that"),
        (None, "is not a file"),
    ],
)
def test_a_plan_that_is_not_the_manifests_is_refused(folder: Path, values: Values | None, said: str) -> None:
    fleet, path = read_fleet(folder), folder / "0.plan"
    given: Values = {"builder_version": "9.9", "onnx_sha256": fleet.onnx.sha256}
    assert fleet.checked(fleet.plans[0]) == path
    if values is None:
        path.unlink()
    else:
        make_plan(path, **{**given, **values})
    with pytest.raises(ArtifactError, match=said):
        fleet.checked(fleet.plans[0])


def test_bytes_that_are_not_the_sidecars_are_refused(folder: Path) -> None:
    for name in ("0.plan", "tiny.onnx"):
        (folder / name).write_bytes(b"damaged")
    fleet = read_fleet(folder)
    with pytest.raises(ArtifactError, match=r"0\.plan does not match its sidecar"):
        fleet.checked(fleet.plans[0])
    with pytest.raises(ArtifactError, match=r"tiny\.onnx does not match its sidecar"):
        fleet.checked_onnx(fleet.onnx_cpu)


def test_an_onnx_file_that_is_another_one_is_refused(folder: Path) -> None:
    fleet = read_fleet(folder)
    for suffix in ("", ".json"):
        (folder / f"tiny.onnx{suffix}").write_bytes((folder / f"tiny.fp16.onnx{suffix}").read_bytes())
    with pytest.raises(ArtifactError, match=r"tiny\.onnx is not the file that .*fleet\.json describes"):
        fleet.checked_onnx(fleet.onnx_cpu)


def test_a_folder_is_a_fleet_by_its_manifest_and_is_found_without_a_slash(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_fleet(folder)
    assert not is_fleet(tmp_path)
    assert resolve_model("fleet") == Path("fleet")
    assert (lasting("fleet"), lasting("fleet/"), lasting("lite")) == (folder, folder, "lite")
    (folder / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match="no model 'fleet'"):
        resolve_model("fleet")
