"""Makes a stand-in for CUDA, on which the real onnxruntime-gpu opens, runs and closes sessions without a GPU.

    python tests/stand_in/build.py [FOLDER]        default: build/stand_in, where `pytest -m stand_in` looks for it

It fetches onnxruntime-gpu (250 MB) and CUDA's headers from PyPI into the folder, and compiles with gcc and g++. Kernels
do nothing, so results mean nothing; memory, streams and host functions behave as CUDA's manual says (`cudart.cpp`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEFAULT = HERE.parents[1] / "build" / "stand_in"
ONNXRUNTIME = "onnxruntime-gpu==1.31.1"
HEADERS = "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-crt==13.0.88"
PROVIDER = "packages/onnxruntime/capi/libonnxruntime_providers_cuda.so"
LIBRARIES = {"cublas": "libcublas.so.13", "cublasLt": "libcublasLt.so.13", "curand": "libcurand.so.10"}
"""Libraries of which every function succeeds and does nothing."""


def run(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


def fetch(folder: Path, *packages: str) -> None:
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder, *packages)


def compile_library(target: Path, source: Path, *options: object) -> None:
    """Compiles a shared library whose symbols have its name as their version, as those of CUDA's libraries have."""
    script = target.with_suffix(".map")
    script.write_text(f"{target.name} {{ global: *; }};\n")
    compiler = "g++" if source.suffix == ".cpp" else "gcc"
    link = f"-Wl,-soname,{target.name}", f"-Wl,--version-script={script}"
    run(compiler, "-O1", "-w", "-shared", "-fPIC", *options, "-o", target, source, *link, "-lpthread")


def empty_functions(names: list[str]) -> str:
    """C source: every function returns 0, and those that create a handle give one."""
    return "".join(
        f"int {name}(void **made) {{ return *made = (void *)0x1000, 0; }}\n"
        if "Create" in name
        else f"int {name}() {{ return 0; }}\n"
        for name in names
    )


def build(folder: Path) -> None:
    fetch(folder / "packages", ONNXRUNTIME)
    fetch(folder / "headers", *HEADERS)
    wanted = run("nm", "-D", "--undefined-only", folder / PROVIDER)
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    for name, file in LIBRARIES.items():
        functions = sorted(set(re.findall(rf" (\w+)@{re.escape(file)}$", wanted, re.MULTILINE)))
        source = libraries / f"{name}.c"
        source.write_text(empty_functions(functions))
        compile_library(libraries / file, source)
    driver = libraries / "cuda.c"
    driver.write_text(empty_functions(sorted({"cuInit", *re.findall(r" (cu[A-Z]\w+)$", wanted, re.MULTILINE)})))
    compile_library(libraries / "libcuda.so.1", driver)
    compile_library(libraries / "libcudnn.so.9", HERE / "cudnn.c")
    include = next((folder / "headers").rglob("cuda_runtime_api.h")).parent
    compile_library(libraries / "libcudart.so.13", HERE / "cudart.cpp", "-std=c++17", f"-I{include}")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if sys.argv[1:] else DEFAULT)
