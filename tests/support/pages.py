"""Runs the commands on our pages as they stand, in the background of the other tests.

Together they take as long as all other tests.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "benchmarks/CPU.md",
    "benchmarks/GPU.md",
    "benchmarks/TILING.md",
    "docs/BENCH.md",
    "docs/EMBED.md",
    "docs/EXPORT.md",
    "docs/PICTURES.md",
    "docs/SCALE.md",
    "docs/TRAIN.md",
    "docs/TRITON.md",
    "examples/README.md",
    "training/RESULTS.md",
    "weights/base.md",
    "weights/lite.md",
)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    code: str


BLOCKS = [
    Block(page, language, code)
    for page in PAGES
    for language, code in re.findall(
        r"^```(\w+[^\n]*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )
]
RUN = [block for block in BLOCKS if block.language in ("bash", "python")]
LONG = [block for block in BLOCKS if block.language == "bash long"]


def names(blocks: list[Block]) -> list[str]:
    """Ids of tests: the page, and the index of the block among those of the same page."""
    return [f"{block.page}-{sum(one.page == block.page for one in blocks[:at])}" for at, block in enumerate(blocks)]


class Clone:
    """A copy of the tracked files, with two folders that pages name: `LOL` (tiny pairs) and `FOLDER` (a dark picture).

    Beside it lies an empty virtual environment for the set-up block.
    """

    def __init__(self, folder: Path, pairs: Path) -> None:
        self._folder = folder / "mirnet-deploy"
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
        for name in filter(None, tracked.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self._folder / name)
        shutil.copytree(pairs, self._folder / "LOL")
        (self._folder / "FOLDER").mkdir()
        shutil.copy(ROOT / "examples" / "pairs" / "low" / "1.jpg", self._folder / "FOLDER")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)

    def fault(self, block: Block, *, set_up: bool = False) -> str | None:
        """Runs a block. Returns the block and its output if it failed, else None.

        Args:
            set_up: run it in the empty environment. Other blocks run in that of the tests, which has all they need.
        """
        if self._stopped:
            return "stopped"
        own = self._folder.parent / "venv" / "bin" if set_up else Path(sys.executable).parent
        path = f"{own}{os.pathsep}{os.environ['PATH']}"
        # Libraries would start as many as the machine has cores, and these wait for each other on fewer.
        threads = str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "1"
        environment = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": threads}
        python = block.language == "python"
        command = [sys.executable, "-c", block.code] if python else ["bash", "-euo", "pipefail", "-c", block.code]
        self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        said = self._process.communicate()[0]
        return None if self._process.returncode == 0 else f"{block.code}\n{said}"

    def stop(self) -> None:
        """Kills what still runs, and lets no other block start."""
        self._stopped = True
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)


class Pages:
    """Runs the blocks `RUN` one after the other, in one clone and one thread.

    They have one core while other tests run, and all `cores` (None: whatever the system gives) once a test waits.
    """

    def __init__(self, folder: Path, pairs: Path, cores: set[int] | None) -> None:
        self._arguments, self._cores = (folder, pairs), cores
        self._ended = [threading.Event() for _ in RUN]
        self._faults: list[str | None] = [None] * len(RUN)
        self._awaited = False
        self._clone: Clone | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def fault(self, index: int) -> str | None:
        """Waits for a block. Returns the block and its output if it failed, else None."""
        self._awaited = True
        assert self._ended[index].wait(900), f"block {index} did not end"
        return self._faults[index]

    def stop(self) -> None:
        """Kills what still runs, and waits for the thread."""
        if self._clone:
            self._clone.stop()
        self._thread.join()

    def _run(self) -> None:
        problem = None
        self._take_cores()
        try:
            self._clone = Clone(*self._arguments)
        except (OSError, subprocess.CalledProcessError) as error:
            problem = f"the copy of the clone was not made: {error}"
        for index, block in enumerate(RUN):
            self._take_cores()
            try:
                self._faults[index] = self._clone.fault(block, set_up=index == 0) if self._clone else problem
            except Exception as error:  # nobody would see it: the test would wait for its end
                self._faults[index] = f"{block.code}\ncould not be run to its end: {error!r}"
            self._ended[index].set()

    def _take_cores(self) -> None:
        """For this thread, and for the processes that it starts from now on."""
        if self._cores:
            os.sched_setaffinity(0, self._cores if self._awaited else {max(self._cores)})
