"""The log of results: a process that dies costs one test, and all other results are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from results_log import summary

ROOT = Path(__file__).parent.parent
TESTS = """
import os
def test_passes(): pass
def test_dies():
    os.write(2, b"terminate called after throwing\\n")
    os.abort()
def test_fails(): assert 1 == 2, "one is not two"
def test_comes_after(): pass
"""


def test_a_death_is_one_test_s_and_every_result_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "--capture=no", "-p", "no:cacheprovider"]
    command += ["-p", "results_log", "--results", str(results), "--rootdir", str(tmp_path), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "terminate called after throwing" in done.stderr
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(lines[0]["collected"]) == 4
    assert {line["test"].split("::")[1]: line["outcome"] for line in lines[1:]} == {
        "test_passes": "passed", "test_dies": "failed", "test_fails": "failed", "test_comes_after": "passed"
    }  # fmt: skip
    said = summary(results)
    assert said[0] == "2 failed, 2 passed"
    assert any("test_dies" in line and "crashed" in line for line in said), said
    assert any("test_fails" in line and "AssertionError" in line for line in said), said
    assert len(said) == 3


def test_what_was_not_reached_is_listed(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    passed = {"test": "a.py::one", "outcome": "passed", "seconds": 1.0, "at": 2.0}
    results.write_text("\n".join(map(json.dumps, [{"collected": ["a.py::one", "a.py::two"]}, passed])))
    assert summary(results) == ["1 passed", "not reached: a.py::two"]
    script = [sys.executable, str(ROOT / "tests/support/results_log.py"), str(results)]
    assert subprocess.run(script, capture_output=True, check=False).returncode == 1
    results.write_text("\n".join(map(json.dumps, [{"collected": ["a.py::one"]}, passed])))
    assert subprocess.run(script, capture_output=True, check=False).returncode == 0
    results.write_text("")
    assert summary(results) == ["nothing ran"]
