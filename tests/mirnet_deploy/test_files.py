"""Files are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mirnet_deploy.files import (
    atomic_folder,
    atomic_path,
    held,
    is_there,
    remove_leftovers,
    remove_temporary,
    temporary_folder,
    write_atomically,
    write_together,
)


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "result.bin"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_result_has_the_permissions_of_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_atomically(tmp_path / "result", b"")
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("letter", ["n", "夜"])
def test_long_names_fit(tmp_path, letter):
    path = tmp_path / (letter * (250 // len(letter.encode())))
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


def test_the_umask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail(f"the umask of the whole process becomes {mask:o}"))
    write_atomically(tmp_path / "result", b"x")


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "result", b"")


def test_files_that_belong_together_are_written_all_or_none(tmp_path):
    first, second = tmp_path / "a.onnx", tmp_path / "a.onnx.json"
    write_together({first: b"1", second: b"2"})
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_together({first: b"new", second: b"x" * 200})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_a_rename_that_fails_leaves_it_and_the_rest_as_they_were(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    paths[1].mkdir()
    with pytest.raises(IsADirectoryError if os.name == "posix" else OSError):
        write_together(dict.fromkeys(paths, b"new"))
    assert sorted(tmp_path.iterdir()) == paths[:2]
    assert paths[0].read_bytes() == b"new"


def test_a_link_that_leads_nowhere_is_there(tmp_path):
    link = tmp_path / "link"
    assert not is_there(link)
    link.symlink_to("nowhere")
    assert is_there(link)


def test_what_is_unfinished_can_be_removed_at_once(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with temporary_folder() as folder:
        (folder / "x").touch()
        with suppress(FileNotFoundError), atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            remove_temporary()
            assert not folder.exists()
            assert [path.name for path in tmp_path.iterdir()] == ["a"]
        folder.mkdir()  # the block wants to remove it
    assert (tmp_path / "a").read_bytes() == b"old"
    with temporary_folder() as folder:
        pass
    assert not folder.exists()


def test_what_cannot_be_removed_stays_and_raises_nothing(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with suppress(OSError), atomic_path(folder / "a"), temporary_folder() as other:
        shutil.rmtree(folder)
        folder.touch()  # now it is no folder
        remove_temporary()
        assert not other.exists()
        other.mkdir()


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    target, beside = tmp_path / "models" / "a", tmp_path / "models"
    beside.mkdir()
    with atomic_folder(target, beside=beside) as folder:
        assert folder.parent == tmp_path
        (folder / "1").mkdir()
        (folder / "1" / "model").write_bytes(b"whole")
        assert list(beside.iterdir()) == []
    assert (target / "1" / "model").read_bytes() == b"whole"
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [beside, plain]


def test_one_block_at_a_time_holds_a_file(tmp_path):
    path = tmp_path / "cache" / "alone"
    with held(path) as first:
        with held(path) as second, held(tmp_path / "other") as other:
            assert (first, second, other) == (True, False, True)
        with held(path) as third:
            assert not third, "the second one gave back what it did not have"
    code = f"""
from pathlib import Path
from mirnet_deploy.files import held
with held(Path({str(path)!r})) as alone:
    print(alone)
"""

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with held(path) as first:
        assert elsewhere() == "False\n"
    assert elsewhere() == "True\n"
    (tmp_path / "file").touch()
    with held(tmp_path / "file" / "below") as none, held(path) as again:
        assert (none, again) == (False, True)


def test_a_folder_s_files_are_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    events, flush, rename = [], os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda number: events.append(os.fstat(number).st_ino) or flush(number))
    monkeypatch.setattr(Path, "rename", lambda path, target: events.append(target.name) or rename(path, target))
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "1").mkdir()
        files = [folder / "one", folder / "1" / "two"]
        for file in files:
            file.write_bytes(b"data")
        numbers = sorted(file.stat().st_ino for file in files)
    assert (sorted(events[:-1]), events[-1]) == (numbers, "a")


def test_a_folder_that_fails_or_is_interrupted_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with suppress(OSError), atomic_folder(tmp_path / "a") as folder:
        (folder / "half").touch()
        remove_temporary()
        assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_by_now_is_left_alone(tmp_path):
    def late():
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "new").touch()
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "mine").touch()

    with pytest.raises(OSError, match="not empty"):
        late()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_a_fork_removes_nothing_of_its_parents(tmp_path):
    with atomic_path(tmp_path / "a") as temporary, temporary_folder() as folder:
        temporary.write_bytes(b"whole")
        child = os.fork()
        if not child:
            try:
                remove_temporary()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert folder.exists()
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    target, long = tmp_path / "a.png", tmp_path / ("n" * 60 + ".png")
    with atomic_path(target) as first, atomic_path(long) as second:
        left = [first, second]
    other = tmp_path / first.name.replace("a.png", "b.png")
    theirs = tmp_path / ".a.png.partial"
    for path in (*left, other, theirs):
        path.touch()
    remove_leftovers([target, long, tmp_path / "none" / "a.png"])
    assert sorted(tmp_path.iterdir()) == sorted([other, theirs, target, long])
