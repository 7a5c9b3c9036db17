"""The commit that figures were measured with, found in clones that git itself makes here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mirnet_deploy.artifacts.version import commit_of, running_commit
from mirnet_deploy.errors import UsageError

CODE = "mirnet_deploy/artifacts/version.py"


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with a module, a page and a stored result of mirnet-deploy, all of them committed."""
    root = tmp_path / "clone"
    for name in (CODE, "README.md", "benchmarks/results/cpu/a.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("before\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def test_a_clone_has_its_commit_and_a_mark_where_its_code_differs(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    assert len(head) == 40
    assert commit_of(clone) == head
    for name in ("README.md", "benchmarks/results/cpu/a.json"):
        (clone / name).write_text("after\n")
    (clone / "new.py").write_text("")
    assert commit_of(clone) == head, "a page, a result or a file that is not tracked is no other code"
    (clone / CODE).write_text("after\n")
    assert commit_of(clone) == f"{head}-dirty"
    git(clone, "add", ".")
    assert commit_of(clone) == f"{head}-dirty", "it is not committed yet"


def test_a_worktree_of_a_clone_is_a_clone(clone: Path, tmp_path: Path) -> None:
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "beside"))
    assert commit_of(tmp_path / "beside") == git(clone, "rev-parse", "HEAD")


def test_what_is_no_clone_of_ours_has_no_commit(clone: Path, tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    theirs = tmp_path / "theirs"
    (theirs / CODE).parent.mkdir(parents=True)
    (theirs / "theirs.txt").write_text("")
    git(theirs, "init", "--quiet")
    assert commit_of(theirs) is None, "there is no commit yet"
    git(theirs, "add", ".")
    git(theirs, "commit", "--quiet", "--message", "theirs")
    (theirs / CODE).write_text("installed here by pip, and not theirs\n")
    assert commit_of(theirs) is None


def test_without_git_there_is_none(clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(clone) is None


def test_who_copies_a_clone_without_git_says_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRNET_DEPLOY_COMMIT", "ab" * 20)
    found = running_commit.__wrapped__()
    assert found is not None
    assert found.removesuffix("-dirty") == git(Path(__file__).parent, "rev-parse", "HEAD"), "git knows better"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running_commit.__wrapped__() == "ab" * 20
    monkeypatch.setenv("MIRNET_DEPLOY_COMMIT", "")
    assert running_commit.__wrapped__() is None
    monkeypatch.setenv("MIRNET_DEPLOY_COMMIT", "ab" * 20 + "-dirty")
    assert running_commit.__wrapped__() == "ab" * 20 + "-dirty"


@pytest.mark.parametrize("told", ["main", "abcdef1", "ab" * 20 + "\n", "ab" * 20 + "-", "AB" * 20])
def test_what_is_no_commit_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRNET_DEPLOY_COMMIT", told)
    with pytest.raises(UsageError, match="expected 40 hexadecimal digits"):
        running_commit.__wrapped__()


def test_another_repository_s_hook_does_not_mislead_it(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(clone, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(clone / "elsewhere"))
    assert commit_of(clone) == head


def test_nothing_of_the_users_is_run_or_written(clone: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    program.chmod(0o755)
    git(clone, "config", "core.fsmonitor", str(program))
    hook = clone / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_bytes(program.read_bytes())
    hook.chmod(0o755)
    os.utime(clone / CODE, (1e9, 1e9))  # git would note in its index that nothing has changed
    index = (clone / ".git/index").read_bytes()
    assert commit_of(clone) == git(clone, "rev-parse", "HEAD")
    assert not ran.exists()
    assert (clone / ".git/index").read_bytes() == index
    git(clone, "status")
    assert ran.exists(), "git runs it unless it is told not to"
