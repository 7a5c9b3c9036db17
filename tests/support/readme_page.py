"""The README's commands, run in the background while other tests run: together they take as long as all of these."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+[^\n]*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
RUN = [(language, code) for language, code in BLOCKS if language in ("bash", "python")]


class Page:
    """Runs the blocks as they stand, one after the other, in a copy of the clone: the tracked files, the tiny pairs as
    `LOL`, and beside them an empty virtual environment for the set-up block."""

    def __init__(self, folder: Path, pairs: Path, cores: set[int] | None) -> None:
        self._folder, self._pairs, self._cores = folder / "mirnet-deploy", pairs, cores
        self._ended = [threading.Event() for _ in RUN]
        self._faults: list[str | None] = [None] * len(RUN)
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def fault(self, index: int) -> str | None:
        """Waits for a block; what it printed if it failed."""
        assert self._ended[index].wait(900), f"block {index} did not end"
        return self._faults[index]

    def stop(self) -> None:
        """Ends what still runs."""
        self._stopped = True
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join()

    def _run(self) -> None:
        if self._cores:
            # Of this thread and of what it starts: libraries take as many threads as they have cores.
            os.sched_setaffinity(0, {max(self._cores)})
        problem = self._prepare()
        for index, (language, code) in enumerate(RUN):
            self._faults[index] = problem or self._block(index, language, code)
            self._ended[index].set()

    def _prepare(self) -> str | None:
        try:
            tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
            for name in filter(None, tracked.stdout.split("\0")):
                if (ROOT / name).is_file():
                    (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, self._folder / name)
            shutil.copytree(self._pairs, self._folder / "LOL")
            subprocess.run([sys.executable, "-m", "venv", str(self._folder.parent / "venv")], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"the copy of the clone was not made: {error}"
        return None

    def _block(self, index: int, language: str, code: str) -> str | None:
        if self._stopped:
            return "stopped"
        # The set-up block installs into the fresh environment; what follows needs the extras, and finds them here.
        own = self._folder.parent / "venv" / "bin" if index == 0 else Path(sys.executable).parent
        path = f"{own}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"}
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = self._process.communicate()[0]
        return None if self._process.returncode == 0 else f"{code}\n{said}"
