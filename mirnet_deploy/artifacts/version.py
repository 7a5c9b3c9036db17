"""The version of mirnet-deploy, and the commit that it runs from, as artifacts, reports and records state them."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mirnet_deploy.errors import UsageError

try:
    __version__ = version("mirnet-deploy")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"

_HERE = "mirnet_deploy/artifacts/version.py"
"""This module in a clone."""
_NOT_CODE = (":(exclude)*.md", ":(exclude)benchmarks/results")
"""What may differ from the commit without another result: figures are stored there while they are measured."""
_NOTHING_OF_THE_USERS = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""Of git's settings, those that make it run other programs or write."""


@cache
def running_commit() -> str | None:
    """The commit that this process runs from, as it was when this was first asked: see `commit_of`. Where that finds
    none it is what `MIRNET_DEPLOY_COMMIT` says: of a copy without git, whoever made it knows the commit.

    Raises:
        UsageError: the variable holds no commit as `commit_of` writes it.
    """
    told = os.environ.get("MIRNET_DEPLOY_COMMIT") or None
    if told is not None and not re.fullmatch(r"[0-9a-f]{40}(-dirty)?", told):
        raise UsageError(
            f"MIRNET_DEPLOY_COMMIT is {told!r}; expected 40 hexadecimal digits, as git rev-parse HEAD prints them, and "
            "-dirty behind them where files differ"
        )
    return commit_of(Path(__file__).resolve().parents[2]) or told


def commit_of(clone: Path) -> str | None:
    """The commit of a clone of mirnet-deploy: 40 hexadecimal digits, and "-dirty" behind them, as `git describe` says
    it, where a tracked file differs from it. Pages (*.md) and stored results do not count.

    None where `clone` is not a clone (the package lies in an environment, or in somebody else's repository), and where
    git is missing or does not answer. Runs git, but no hook and no monitor of files.
    """
    if not (clone / ".git").exists():
        return None
    found = _git(clone, "rev-parse", "HEAD", f"HEAD:{_HERE}")
    changed = _git(clone, "status", "--porcelain", "--untracked-files=no", "--", ".", *_NOT_CODE)
    if found is None or changed is None:
        return None
    return found.split()[0] + ("-dirty" if changed else "")


def _git(clone: Path, *words: str) -> str | None:
    """What git prints; None where it fails, is missing, or takes longer than a busy disk does."""
    # Where this runs in a hook of another repository, that one's place stands in GIT_DIR.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *_NOTHING_OF_THE_USERS, "-C", str(clone), *words]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None
