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
    unknown = dict.fromkeys(("size", "mtime_ns", "target", "target_place", "target_state", "note"))
    return {"source": name, "status": status, **unknown, **more}


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
    written(location, ASKED, row("c"))
    assert set(Manifest(location, ASKED).finished) == {"c"}


def test_two_runs_do_not_write_one_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    location = Location("", str(path))
    first, second, third = (Manifest(location, ASKED) for _ in range(3))
    first.begin(SETTINGS)
    first.add(row("a"))
    path.write_bytes(path.read_bytes() + b'{"half')  # as another process sees a line that is being written
    late = Manifest(location, ASKED)
    before = path.read_bytes()
    for other in (second, late):
        with pytest.raises(ClusterError, match=f"^another run writes the manifest {path}; wait for it"):
            other.begin(SETTINGS)
    assert path.read_bytes() == before
    first.close()
    with pytest.raises(ClusterError, match=f"^another run has written the manifest {path} meanwhile; start again"):
        third.begin(SETTINGS)
    late.begin(SETTINGS)
    late.close()
    assert set(Manifest(location, ASKED).finished) == {"a"}


def test_lines_belong_to_their_run_even_if_runs_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_locked", lambda descriptor: True)  # as on a file system without locks
    location = Location("", str(tmp_path / "m.jsonl"))
    first, second = Manifest(location, ASKED), Manifest(location, {"other": 1})
    first.begin(SETTINGS)
    second._size = second._whole = (tmp_path / "m.jsonl").stat().st_size
    second.begin(SETTINGS)
    first.add(row("a"))
    second.add(row("b"))
    assert set(Manifest(location, ASKED).finished) == {"a"}
    assert set(Manifest(location, {"other": 1}).finished) == {"b"}


HEADER = f'{{"mirnet_deploy_manifest": 1, "run": "1", "asked": {json.dumps(ASKED)}, "settings": {{}}}}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"source": "a"}\n', "is not a manifest of mirnet-deploy; name another with --manifest"),
        ("\x89PNG\n\n\n", r"is not a manifest of mirnet-deploy \(line 1\); name another with --manifest"),
        ("half", r"is not a manifest of mirnet-deploy \(line 1\); name another with --manifest"),
        ('{"mirnet_deploy_manifest": 1, "asked": {}, "settings": {}}\n[1]\n{}\n', r"is damaged \(line 2\)"),
        (f'{HEADER}{{"run": "1", "source": "a", "status": "done"}}\n', r"is damaged \(line 2\)"),
        (f"{HEADER}{json.dumps({**row('a'), 'run': '2'})}\n", r"is damaged \(line 2\)"),
        (f"{HEADER}{json.dumps({**row('a'), 'run': '1', 'source': []})}\n", r"is damaged \(line 2\)"),
        ('{"mirnet_deploy_manifest": 1, "asked": {}}\n', r"is not a manifest of mirnet-deploy \(line 1\)"),
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
