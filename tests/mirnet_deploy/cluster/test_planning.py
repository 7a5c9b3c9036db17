"""Plans name results as plain `enhance` does, and hardly open a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image
from s3_server import Store

from mirnet_deploy.cluster import planning
from mirnet_deploy.cluster.planning import Picture, Refused, plan, result_place
from mirnet_deploy.cluster.storage import Location
from mirnet_deploy.errors import UsageError
from mirnet_deploy.jobs.inputs import NoTask, Task, find_tasks, inspect


def write(path: Path, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, kind)
    return path


def named(entries: list[Picture | Refused], output: str) -> list[tuple[str, str]]:
    """Each input, and its result or why it has none; where its result is found out later, as its suffix says."""
    found = []
    for entry in entries:
        if isinstance(entry, Refused):
            found.append((entry.source, entry.reason))
        else:
            result = entry.result or entry.place
            found.append((str(entry.source), f"{output}/{result}"))
    return found


def test_names_that_meet_are_settled_as_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    for name in ("a.png", "b.jpg", "sub/a.png", "c.png", "out/e.png"):
        write(source / name, "JPEG" if name.endswith("jpg") else "PNG")
    write(source / "b.png", "JPEG")  # becomes b.jpg, which b.jpg has taken
    write(source / "c.jpg")  # becomes c.png, which comes later, but is not later than c.jpg
    write(source / "e.png")  # would replace out/e.png
    opened: list[str] = []
    monkeypatch.setattr(planning, "inspect", lambda file: (opened.append(file.path.name), inspect(file))[1])

    entries = plan([str(source)], Location("", str(out)), None, recursive=True)
    expected = find_tasks([str(source)], output=out, target_format=None, recursive=True)
    assert named(entries, str(out)) == [
        (str(each.source), str(each.target) if isinstance(each, Task) else each.reason) for each in expected
    ]
    assert sum(isinstance(each, NoTask) for each in expected) == 3
    assert sorted(opened) == ["b.jpg", "b.png", "c.jpg", "c.png", "e.png", "e.png"]


def test_results_below_an_input_are_known_by_the_manifest(
    tmp_path: Path, s3: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "out/a.png", "out/b.png"):
        write(tmp_path / name)
    s3.bucket("below", tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(planning, "_kind", lambda picture: (opened.append(str(picture.source)), "png")[1])
    for source, out in (
        (str(tmp_path), Location("", str(tmp_path / "out"))),
        (s3.url("below"), Location.of(s3.url("below/out"))),
    ):
        finished = []
        for name in ("a.png", "b.png"):
            state = out.below(name).state()
            assert state is not None
            finished.append({"target": str(out.below(name)), "target_state": list(state)})
        opened.clear()
        entries = plan([source], out, None, True, finished)
        assert opened == []
        assert [type(entry) for entry in entries] == [Picture, Picture, Refused, Refused]
        assert all(entry.own for entry in entries if isinstance(entry, Refused))
        finished[0]["target_state"] = [1, 2]  # it has been changed since
        plan([source], out, None, True, finished)
        assert opened == [str(replace(out, path=out.path.removesuffix("/out") + "/a.png")), str(out.below("a.png"))]


def test_missing_inputs_are_refused_and_repeated_ones_come_once(tmp_path: Path, s3: Store) -> None:
    path = write(tmp_path / "a.png")
    s3.bucket("plan", tmp_path)
    out = Location("", str(tmp_path / "out"))
    arguments = [str(path), f"file://{path}", str(tmp_path / "none.png"), s3.url("plan/a.png"), s3.url("plan/"), "x*"]
    entries = plan([*arguments, s3.url("plan/none")], out, None, recursive=False)
    # The object has the name of the file, and so would its result.
    assert [type(entry) for entry in entries] == [Picture, Refused, Refused, Refused, Refused]
    reasons = [entry.reason for entry in entries if isinstance(entry, Refused)]
    assert reasons[0] == f"{tmp_path}/none.png does not exist"
    assert reasons[1].startswith(f"s3://plan/a.png: its result {tmp_path}/out/a.png is already that of {path}")
    assert reasons[2:] == [
        "x* matches no file",
        "s3://plan/none does not exist or holds no pictures; --recursive looks into its folders",
    ]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    for name in ("a.png", "b.jpg"):
        with pytest.raises(UsageError, match="is or names a file; on a cluster results go into a folder"):
            plan([str(tmp_path / "a.png")], Location("", str(tmp_path / name)), None, recursive=False)


def test_a_result_has_the_suffix_of_its_format() -> None:
    place = PurePosixPath("deep/a.JPEG")
    assert result_place(place, "jpg", None) == place
    assert result_place(place, "png", None) == PurePosixPath("deep/a.png")
    assert result_place(place, "jpg", "webp") == PurePosixPath("deep/a.webp")
    assert result_place(PurePosixPath("a.dng"), "raw", None) == PurePosixPath("a.tif")
