"""The README's commands, run as they stand, in a copy of the clone and in the order of the page.

A fenced block is run when its language is `bash`. `bash gpu` needs a GPU, `bash ci` is what .ci/run itself runs; both
are counted, so that a block cannot leave the test by a change of its mark. `python` blocks are run, too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+[^\n]*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
RUN = [(language, code) for language, code in BLOCKS if language in ("bash", "python")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, lol_folder: Path) -> Path:
    """The tracked files, the tiny pairs as `LOL`, and beside them an empty virtual environment for the set-up block."""
    folder: Path = tmp_path_factory.mktemp("readme") / "mirnet-deploy"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(lol_folder, folder / "LOL")
    subprocess.run([sys.executable, "-m", "venv", str(folder.parent / "venv")], check=True)
    return folder


def test_marks_are_counted() -> None:
    """A change here is a decision: which blocks of the README no test runs."""
    assert Counter(language for language, _ in BLOCKS if language not in ("bash", "python")) == {
        "bash ci": 1,
        "bash gpu": 1,
        "text": 1,
    }


def test_no_figure_is_missing_and_every_link_leads_somewhere() -> None:
    for page in ("README.md", "weights/lite.md", "training/RESULTS.md", "examples/README.md"):
        text = (ROOT / page).read_text()
        assert "@@" not in text, page
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("index", range(len(RUN)))
def test_block(clone: Path, index: int) -> None:
    language, code = RUN[index]
    own = clone.parent / "venv" / "bin"
    # The set-up block installs into the fresh environment; what follows needs the extras, and finds them here.
    first = own if index == 0 else Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{first}{os.pathsep}{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=clone, env=environment, capture_output=True, text=True, timeout=420)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
