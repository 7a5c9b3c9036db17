"""Results on disk: which are done, which are made again, and which files are the user's.

Results of earlier versions count as done: `tests/fixtures/records` holds some that version 0.1.0 made of `input.png`,
before the package was divided into folders.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifacts import FIXTURES

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.errors import ImageError
from mirnet_deploy.images.formats import format_of_name
from mirnet_deploy.jobs import settings as job_settings
from mirnet_deploy.jobs.inputs import Task
from mirnet_deploy.jobs.record import read_stamp, stamped
from mirnet_deploy.jobs.settings import JobSettings
from mirnet_deploy.jobs.targets import Targets

RECORDS = FIXTURES / "records"
SOURCE = RECORDS / "input.png"
JOB = JobSettings("m", "0" * 64, RuntimeSettings(), 95, "4:4:4", None, False)
OLD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain.png": ({}, {}),
    "fast.tiff": ({"consistency": "fast", "tile": 168}, {}),
    "tolerance.webp": ({"tolerance": 70.0, "tile": "none"}, {"quality": 80}),
    "local.bmp": ({"consistency": "local", "tolerance": 70.0}, {}),
    "brightness.png": ({"brightness": 0.4}, {}),
    "strength.jpg": ({"strength": 0.5}, {"subsampling": "4:2:0"}),
    "both.jpg": ({"brightness": 0.25, "strength": 0.75}, {"quality": 60}),
    "elsewhere.png": ({"threads": 1, "batch": 2, "max_memory": 2 << 30, "graphs": False, "device": "cpu"}, {}),
}
"""File -> the runtime's and the job's settings with which it was made."""


def task_for(target: Path) -> Task:
    return Task(SOURCE, target, format_of_name(target))


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    """The job that made the fixtures, with their version of mirnet-deploy and their model."""
    stamp = read_stamp(RECORDS / "plain.png")
    assert stamp
    assert stamp.record
    monkeypatch.setattr(job_settings, "__version__", stamp.record.version)
    return replace(JOB, model_sha256=stamp.record.model)


def test_all_fixtures_are_tested() -> None:
    assert {path.name for path in RECORDS.iterdir()} == {"input.png", *OLD}


@pytest.mark.parametrize("name", OLD)
def test_results_of_earlier_versions_are_done(old: JobSettings, name: str) -> None:
    runtime, job = OLD[name]
    settings = replace(old, runtime=RuntimeSettings(**runtime), **job)
    task = task_for(RECORDS / name)
    assert Targets(settings).is_done(task)
    assert not Targets(replace(settings, force=True)).is_done(task)
    assert not Targets(replace(settings, model_sha256="1" * 64)).is_done(task)
    assert not Targets(replace(settings, runtime=RuntimeSettings(strength=0.125))).is_done(task)


def test_a_result_of_another_input_or_version_is_made_again(
    old: JobSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(SOURCE.read_bytes() + b"\0")
    assert not Targets(old).is_done(Task(other, RECORDS / "plain.png", "png"))
    monkeypatch.setattr(job_settings, "__version__", "9.9")
    assert not Targets(old).is_done(task_for(RECORDS / "plain.png"))


def test_a_missing_result_is_not_done(tmp_path: Path) -> None:
    assert not Targets(JOB).is_done(task_for(tmp_path / "a.png"))


def test_the_users_files_are_refused_unless_forced(tmp_path: Path) -> None:
    theirs, changed, folder = tmp_path / "theirs.png", tmp_path / "changed.png", tmp_path / "folder.png"
    theirs.write_bytes(b"a picture")
    changed.write_bytes(b"\1" + (RECORDS / "plain.png").read_bytes()[1:])
    folder.mkdir()
    for target, said in (
        (theirs, "was not made by"),
        (changed, "was changed since"),
        (folder, "is not a regular file"),
    ):
        with pytest.raises(ImageError, match=said):
            Targets(JOB).is_done(task_for(target))
        with pytest.raises(ImageError, match=said), Targets(JOB).replacing(target):
            raise AssertionError("it may not be written")
    forced = Targets(replace(JOB, force=True))
    for target in (theirs, changed):
        with forced.replacing(target) as temporary:
            temporary.write_bytes(b"new")
        assert target.read_bytes() == b"new"
    with pytest.raises(ImageError, match="is not a regular file"), forced.replacing(folder):
        raise AssertionError("it may not be written")


def test_a_link_that_leads_nowhere_is_replaced_by_force_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="is a link that leads nowhere; pass --force"):
        Targets(JOB).is_done(task_for(target))
    with pytest.raises(ImageError, match="is a link that leads nowhere"), Targets(JOB).replacing(target):
        raise AssertionError("it may not be written")
    assert target.is_symlink()
    forced = Targets(replace(JOB, force=True))
    assert not forced.is_done(task_for(target))
    with forced.replacing(target) as temporary:
        temporary.write_bytes(b"new")
    assert (target.is_symlink(), target.read_bytes(), (tmp_path / "nowhere").exists()) == (False, b"new", False)


def test_a_file_saved_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    target, targets = tmp_path / "a.png", Targets(JOB)
    assert not targets.is_done(task_for(target))
    target.write_bytes(b"saved meanwhile")
    with pytest.raises(ImageError, match="was not made by"), targets.replacing(target):
        raise AssertionError("it may not be written")
    assert target.read_bytes() == b"saved meanwhile"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "plain.png"
    target.parent.mkdir()
    shutil.copy(RECORDS / "plain.png", target)

    def fail() -> None:
        with Targets(JOB).replacing(target) as temporary:
            temporary.write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_bytes() == (RECORDS / "plain.png").read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_no_more_writes_waits_for_the_one_under_way(tmp_path: Path) -> None:
    targets, begun, go_on = Targets(JOB), threading.Event(), threading.Event()

    def write() -> None:
        with targets.replacing(tmp_path / "a.png") as temporary:
            begun.set()
            go_on.wait(10)
            temporary.write_bytes(stamped(b"x", JOB.record("0" * 64, task_for(tmp_path / "a.png"))))

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(10)
    assert not (tmp_path / "a.png").exists()
    threading.Timer(0.1, go_on.set).start()
    with targets.no_more_writes():
        assert (tmp_path / "a.png").exists()
    thread.join()


def test_a_record_leaves_out_what_its_format_does_not_use() -> None:
    settings = replace(JOB, quality=80, subsampling="4:2:0")
    by_format = {
        kind: settings.record("0" * 64, Task(SOURCE, SOURCE, kind)).settings for kind in ("png", "webp", "jpg")
    }
    used = {kind: {"quality", "subsampling"} & set(values) for kind, values in by_format.items()}
    assert used == {"png": set(), "webp": {"quality"}, "jpg": {"quality", "subsampling"}}
    assert by_format["jpg"]["format"] == "jpg"
