"""Which file of a fleet runs here: the plan for this GPU by an installed library, or without a GPU the ONNX file.

A plan that the folder lacks may have been built here before (`export.missing`): it lies in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mirnet_deploy.artifacts.fleet import Fleet, fits, is_fleet, read_fleet
from mirnet_deploy.artifacts.metadata import Builder
from mirnet_deploy.artifacts.models import resolve_model
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.engines.tensorrt_library import INSTALL, RTX_TARGETS, import_library, target_of
from mirnet_deploy.errors import (
    ArtifactError,
    EngineError,
    MirnetDeployError,
    MissingDependencyError,
    first_line,
    warn,
)
from mirnet_deploy.files import cache_folder
from mirnet_deploy.machine import cuda_capabilities, cuda_devices
from mirnet_deploy.settings import device_index

CACHE = "plans"
"""The cache folder of plans that were built here."""
BUILDERS: tuple[Builder, ...] = ("tensorrt", "tensorrt_rtx")
"""In the order in which their plans are preferred, where there are both: the full library knows the GPU itself."""
_CACHE_VERSION = 1
"""Raised when plans are built in another way from the same ONNX file."""
_log = logging.getLogger(__name__)

Key = tuple[str, Builder, str]
"""Target, builder and version: what a plan must be of to be loaded here."""


def artifact_for(model: str | Path, device: str) -> Path:
    """The file that `model` stands for on `device` ("auto", "cpu", "cuda" or "cuda:N"): of a fleet's folder the plan
    for that GPU, or for the CPU its ONNX file, in FP32 where it has one; anything else as `resolve_model` has it.

    "auto" is the first GPU where there is one, whether or not a plan fits it.

    Raises:
        ArtifactError: the manifest or the file is damaged or missing, or no model has that name.
        EngineError: there is no such GPU; or no plan fits it, and the text says which is missing.
        MissingDependencyError: no library that built one of the plans is installed.
    """
    path = resolve_model(model)
    if not is_fleet(path):
        return path
    fleet, index = read_fleet(path), gpu_of(device)
    if index is not None:
        if plan := fitting_plan(fleet, index):
            return plan
        raise _missing(fleet, index)
    if device == "auto":
        _log.info("there is no GPU: the fleet %s runs its %s on the CPU", path, fleet.onnx_cpu.file)
    return fleet.checked_onnx(fleet.onnx_cpu)


def gpu_of(device: str) -> int | None:
    """The number of the GPU that a fleet's plan runs on for the setting `device`; None for the CPU.

    Raises:
        EngineError: there is no such GPU.
    """
    count = len(cuda_devices())
    index = (0 if count else None) if device == "auto" else device_index(device)
    if index is not None and index >= count:
        here = f"this machine has {count}" if count else "this machine has none"
        raise EngineError(f"device is {device!r}, which needs an NVIDIA GPU, and {here}")
    return index


def fitting_plan(fleet: Fleet, index: int) -> Path | None:
    """The plan for GPU number `index`: of the fleet, or else one of its ONNX file that was built here; None where there
    is neither. One that was built here is touched, so that those in use are the last that are deleted.

    Raises:
        ArtifactError: the plan of the fleet is missing or damaged.
    """
    keys = keys_here(index)
    for key in keys:
        for plan in fleet.plans:
            if plan.key == key:
                return fleet.checked(plan)
    built = next((path for key in keys if is_built(path := built_plan(fleet, key), fleet, key)), None)
    if built:
        with suppress(OSError):  # the folder may be read-only
            built.touch()
    return built


def keys_here(index: int) -> list[Key]:
    """What a plan must be of to run on GPU number `index`, for every library that is installed, the best first.

    One that is installed and does not load is left out, with a warning.
    """
    found: list[Key] = []
    for builder in BUILDERS:
        try:
            trt = import_library(builder, "a plan")
        except MissingDependencyError as error:
            if error.__cause__:
                warn(f"plans of {builder} are left out, which does not load: {first_line(error.__cause__)}")
            continue
        found.append((target_of(builder, cuda_capabilities()[index], cuda_devices()[index]), builder, trt.__version__))
    return found


def built_plan(fleet: Fleet, key: Key) -> Path:
    """Where the plan of that key lies which was built here from the fleet's ONNX file.

    The hash of the ONNX file stands for all that decides a plan but for its key: precision, interface, tile and batch
    stand in the file too. So do system and processor: a home folder may serve machines of several, and the full
    library's plans run on none but their own.
    """
    facts = json.dumps([_CACHE_VERSION, fleet.onnx.sha256, *key, platform.system(), platform.machine()])
    return cache_folder(CACHE) / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.plan"


def is_built(path: Path, fleet: Fleet, key: Key) -> bool:
    """Whether a whole plan of that fleet and key lies at `path`. One that is damaged counts as none, and is said."""
    if not path.is_file():
        return False
    try:
        metadata = read_sidecar(path)
    except ArtifactError as error:
        _log.warning("not used: %s", error)
        return False
    return fits(metadata, fleet.onnx.sha256, key)


def _missing(fleet: Fleet, index: int) -> MirnetDeployError:
    """The error that says which plan is missing, and how it is made; or which library."""
    here = keys_here(index)
    if not here:
        try:
            import_library(fleet.plans[0].builder if fleet.plans else "tensorrt_rtx", f"the fleet {fleet.folder}")
        except MissingDependencyError as error:
            return error
    capability, name = cuda_capabilities()[index], cuda_devices()[index]
    there: dict[str, list[str]] = {}
    for plan in fleet.plans:
        there.setdefault(f"{plan.builder} {plan.builder_version}", []).append(plan.target)
    listed = "; ".join(f"{', '.join(targets)} ({library})" for library, targets in there.items()) or "no GPU yet"
    libraries = ", ".join(f"{builder} {version}" for _, builder, version in here)
    return EngineError(
        f"{fleet.folder} has plans for {listed}; this GPU ({name}) is {capability}, with {libraries}: "
        f"{_ways(capability, [builder for _, builder, _ in here])}, or run {fleet.path(fleet.onnx)} by itself"
    )


def _ways(capability: str, libraries: Sequence[Builder]) -> str:
    """How a plan is made that runs on a GPU of that compute capability with one of those libraries."""
    build = "build one here with --build-missing (in Python export.missing.build_missing)"
    if capability in RTX_TARGETS and "tensorrt_rtx" in libraries:
        return f"{build}, export with --fleet {capability}"
    if "tensorrt" not in libraries:  # TensorRT-RTX builds for such a GPU here, which has been seen to refuse the plan
        build = f"install the full library, {INSTALL['tensorrt']}, then {build}"
    return f"{build}, export here with --fleet current --builder tensorrt"
