"""Makes a place from which the real Triton Inference Server starts, on a machine without a GPU.

    python tests/triton/build.py [FOLDER [PYTHON]]      default: build/triton, where `pytest -m triton` looks for it

nvidia-pytriton's wheel holds a whole tritonserver (with the Python backend alone). It wants glibc 2.35 and older numpy
and protobuf than ours, so it gets an environment of its own, made by PYTHON (/usr/bin/python3), with mirnet-deploy of
this clone; 800 MB, from PyPI. Of CPython 3.11.7 it is known that the backend's processes crash; Debian's 3.11.2 works.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "build" / "triton"
SERVER = "nvidia-pytriton==0.7.0"
GLIBC = (2, 35)


def run(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


def site_packages(folder: Path) -> Path:
    (found,) = (folder / "lib").glob("python3.*/site-packages")
    return found


def build(folder: Path, python: str) -> None:
    library = os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else None
    if library is None or tuple(map(int, library.split()[1].split("."))) < GLIBC:
        sys.exit(f"{SERVER} needs Linux with glibc {'.'.join(map(str, GLIBC))}; here is {library or sys.platform}")
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", SERVER, "-e", f"{ROOT}[cpu]")
    server = site_packages(folder) / "pytriton" / "tritonserver"
    version = run(folder / "bin" / "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True, exist_ok=True)
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    for source in (*(server / "backends" / "python").iterdir(), stub):
        target = backend / source.name
        target.unlink(missing_ok=True)
        target.symlink_to(source)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if sys.argv[1:] else DEFAULT, sys.argv[2] if sys.argv[2:] else "/usr/bin/python3")
