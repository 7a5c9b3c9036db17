"""`kernels.cu` as machine code, from NVIDIA's run-time compiler, which needs neither a CUDA toolkit nor a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mirnet_deploy.devices.gpu_libraries import imported
from mirnet_deploy.errors import EngineError, MissingDependencyError, first_line

SOURCE = Path(__file__).parent / "kernels.cu"


def compiled(architecture: str) -> bytes:
    """The kernels as machine code for an architecture such as "sm_89".

    Not as PTX: a driver refuses the PTX of a compiler newer than itself.

    Raises:
        EngineError: NVRTC refuses the source or the architecture.
        MissingDependencyError: cuda-bindings or NVRTC is not installed.
    """
    nvrtc = imported("cuda.bindings.nvrtc")

    def checked(result: tuple[Any, ...]) -> Any:
        status, *values = result
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise EngineError(f"NVRTC failed: {status!r}")
        return values[0] if values else None

    try:
        program = checked(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), SOURCE.name.encode(), 0, [], []))
    except RuntimeError as error:  # the first call loads the library
        raise MissingDependencyError(
            f'GPUs need NVRTC ({first_line(error)}): pip install "mirnet-deploy[pycuda]"'
        ) from error
    option = f"--gpu-architecture={architecture}".encode()
    if nvrtc.nvrtcCompileProgram(program, 1, [option])[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = bytes(checked(nvrtc.nvrtcGetProgramLogSize(program)))
        checked(nvrtc.nvrtcGetProgramLog(program, log))
        lines = [line for line in log.decode(errors="replace").splitlines() if "error" in line]
        raise EngineError(f"NVRTC refused {SOURCE.name}: {(lines or ['it does not say why'])[0]}")
    code = bytes(checked(nvrtc.nvrtcGetCUBINSize(program)))
    checked(nvrtc.nvrtcGetCUBIN(program, code))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return code
