"""Manifests: what is trusted of earlier runs, what a crash leaves, and what is refused."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from s3_server import Store

from mirnet_deploy.cluster import manifest as module
from mirnet_deploy.cluster.manifest import Manifest
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import ClusterError

ASKED = {"model_sha256": "12", "runtime": {"tile": "auto"}}
SETTINGS = {"runtime": {"tile": "auto", "backend": "openvino"}}


def row(name: str, status: str = "done", **more: Any) -> dict[str, Any]:
    return {"source": name, "status": status, **more}


def written(location: Location, asked: dict[str, Any], *rows: dict[str, Any]) -> None:
    manifest = Manifest(location, asked)
    manifest.begin(SETTINGS, command="mirnet-deploy enhance")
    for each in rows:
        manifest.add(each)
    manifest.close()


@pytest.fixture(params=["file", "store"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "file":
        return Location("", str(tmp_path / "deep" / "m.jsonl"))
    s3: Store = request.getfixturevalue("s3")
    s3.bucket(tmp_path.name.replace("_", "-").lower()[:60])
    return Location.of(s3.url(tmp_path.name.replace("_", "-").lower()[:60] + "/out")).below("m.jsonl")


def test_only_runs_that_were_asked_for_the_same_are_trusted(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 2)
    assert Manifest(location, ASKED).settings is None
    surrogate = "not \udcff text"
    written(location, ASKED, row("a"), row("b", "failed"), row("c", "skipped"), row(surrogate), row("e"))
    written(location, {"other": 1}, row("f"))
    written(location, ASKED, row("b"), row("c", "failed"))
    again = Manifest(location, ASKED)
    assert again.settings == SETTINGS
    assert set(again.finished) == {"a", "b", surrogate, "e"}
    other = Manifest(location, {"other": 1})
    assert set(other.finished) == {"f"}
    assert Manifest(location, {"other": 2}).settings is None


def test_what_a_crash_left_of_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    location = Location("", str(path))
    written(location, ASKED, row("a"), row("b"))
    whole = path.read_bytes()
    for length in (1, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-length])
        assert set(Manifest(location, ASKED).finished) == {"a"}
        written(location, ASKED, row("c"))
        assert all(json.loads(line) for line in path.read_text().splitlines())
        assert set(Manifest(location, ASKED).finished) == {"a", "c"}
    path.write_bytes(whole[:60])  # of the first line
    assert Manifest(location, ASKED).finished == {}
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"source": "a"}\n', "is not a manifest of mirnet-deploy; name another with --manifest"),
        ("\x89PNG\n\n\n", r"is not a manifest of mirnet-deploy \(line 1\); name another with --manifest"),
        ("half", r"is not a manifest of mirnet-deploy \(line 1\); name another with --manifest"),
        ('{"mirnet_deploy_manifest": 1, "asked": {}, "settings": {}}\n[1]\n{}\n', r"is damaged \(line 2\)"),
        ('{"mirnet_deploy_manifest": 2}\n', "is a manifest of version 2; this one writes 1"),
    ],
)
def test_what_is_no_manifest_is_left_alone(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(ClusterError, match=f"^{path} {said}"):
        Manifest(Location("", str(path)), ASKED)
    assert path.read_text() == text


def test_a_manifest_that_cannot_be_written_is_an_error_and_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    manifest = Manifest(Location("", str(path)), ASKED)
    manifest.begin(SETTINGS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(ClusterError, match=r"^the manifest \S+ cannot be written: File too large$"):
            manifest.add(row("a"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size
    manifest.add(row("b"))
    assert set(Manifest(Location("", str(path)), ASKED).finished) == {"b"}


def test_a_store_that_refuses_is_an_error(s3: Store) -> None:
    manifest = Manifest(Location.of(s3.url("nowhere/m.jsonl")), ASKED)
    with pytest.raises(ClusterError, match=r"^the manifest cannot be written: s3://nowhere/m\.jsonl/"):
        manifest.begin(SETTINGS)
