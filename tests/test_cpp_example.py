"""examples/cpp, built with CMake and run: its embedded Python gives the runtime's pictures, bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mirnet_deploy import MIRNetRuntime

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp")
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert cmake, 'cmake comes with the extra "dev"'
    make = [cmake, "-S", ROOT / "examples" / "cpp", "-B", folder, f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (make, [cmake, "--build", folder]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stderr, done.stderr
    return folder / "night_camera"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_pictures_equal_the_runtimes_and_a_failure_stops_nothing(program: Path, tmp_path: Path) -> None:
    night = cv2.imread(str(ROOT / "examples" / "night.jpg"))
    crops = {"a": night[:101, :203], "b": night[60:160, 40:141], "c": night[:64, :64]}
    files: list[Path] = []
    for name, crop in crops.items():
        cv2.imwrite(str(tmp_path / f"{name}.ppm"), crop)
        files += [tmp_path / f"{name}.ppm", tmp_path / f"{name}.out.ppm"]
    (tmp_path / "short.ppm").write_bytes((tmp_path / "a.ppm").read_bytes()[:-1])
    files += [tmp_path / "short.ppm", tmp_path / "short.out.ppm", tmp_path / "no.ppm", tmp_path / "no.out.ppm"]
    done = run(program, "--device", "cpu", "--threads", 3, *files)
    assert done.returncode == 1, done.stderr
    assert f"error: {tmp_path}/short.ppm ends early\n" in done.stderr
    assert f"error: {tmp_path}/no.ppm cannot be opened\n" in done.stderr
    assert "onnxruntime" in done.stderr
    assert len(list(tmp_path.glob("*.out.ppm*"))) == len(crops)
    with MIRNetRuntime("lite", device="cpu", channel_order="bgr") as runtime:
        for name, crop in crops.items():
            result = cv2.imread(str(tmp_path / f"{name}.out.ppm"))
            np.testing.assert_array_equal(result, runtime.enhance(crop))
            assert result.mean() > 1.5 * crop.mean()


def test_a_run_that_cannot_start_is_one_line_of_error(program: Path, tmp_path: Path) -> None:
    for arguments, code, said in (
        (("--model", "nope", "a.ppm", "b.ppm"), 1, "error: no model 'nope'; expected a path"),
        (("--model", tmp_path / "no.onnx", "a.ppm", "b.ppm"), 1, "no.onnx is not a file"),
        (("a.ppm",), 2, "error: expected pairs of IN.ppm OUT.ppm"),
        (("--size", "3"), 2, "error: unknown option"),
    ):
        done = run(program, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert said in done.stderr
