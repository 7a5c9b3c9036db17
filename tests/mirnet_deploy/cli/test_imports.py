"""The command line imports nothing heavy until a command runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "cv2", "PIL", "numpy", "skimage", "tensorrt", "tensorrt_rtx", "rich.progress")
PROGRAM = """
import sys
from mirnet_deploy.cli import main
try:
    main({arguments!r}, prog_name="mirnet-deploy")
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["enhance", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "mirnet-deploy" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["LOADED"]


def test_the_check_detects_an_import() -> None:
    program = "import numpy\n" + PROGRAM.format(arguments=["--version"], heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "numpy" in result.stdout.splitlines()[-1]
