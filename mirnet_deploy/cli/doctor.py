"""`mirnet-deploy doctor`: what this machine can do, and what to install for the rest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import click

from mirnet_deploy.cli.options import console
from mirnet_deploy.engines.onnxruntime_session import CPU, CUDA

if TYPE_CHECKING:
    from mirnet_deploy.machine import Machine

Status = Literal["ok", "missing", "broken", "none"]
STYLES: dict[Status, str] = {"ok": "green", "missing": "yellow", "broken": "red", "none": "dim"}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    status: Status
    """"none": it is not there, and there is nothing to install for it."""
    found: str
    remedy: str | None = None
    """A command that can be run as it stands."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show what this machine has, and the commands that install what it lacks."""
    from mirnet_deploy.machine import describe_machine

    machine = describe_machine()
    found = findings(machine)
    if as_json:
        click.echo(json.dumps({"machine": machine.to_dict(), "findings": [asdict(each) for each in found]}, indent=2))
    else:
        _print(found)


def findings(machine: Machine) -> list[Finding]:
    """The report on `machine`, line by line."""
    bf16 = {True: ", computes in bfloat16", False: ", no bfloat16", None: ""}[machine.bf16]
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    return [
        Finding("Python", "ok", machine.python),
        Finding("System", "ok", machine.os),
        Finding("Processor", "ok", f"{machine.cpu}, {machine.cores} cores{bf16}"),
        Finding("Memory", "ok", memory),
        *_gpus(machine),
        _onnxruntime(machine),
        _library("OpenVINO (runs .onnx on a CPU)", machine.openvino, "openvino"),
        *_tensorrt(machine),
        _library("pycuda (drives GPUs)", machine.pycuda, "pycuda", wanted=bool(machine.gpus)),
        _library("torch (trains, exports)", machine.torch, "train"),
        _library("onnx (exports)", machine.onnx, "export"),
    ]


def _gpus(machine: Machine) -> list[Finding]:
    if not machine.gpus:
        return [Finding("GPU", "none", "no NVIDIA GPU with a driver: everything but running plans works on the CPU")]
    return [
        Finding(
            f"GPU {index}",
            "ok",
            f"{gpu.name}, {gpu.memory_mib} MiB, compute capability {gpu.compute_capability}, driver {gpu.driver}",
        )
        for index, gpu in enumerate(machine.gpus)
    ]


def _onnxruntime(machine: Machine) -> Finding:
    subject = "ONNX Runtime (runs .onnx)"
    extra = "cuda" if machine.gpus else "cpu"
    install = f'pip install "mirnet-deploy[{extra}]"'
    found = ", ".join(f"{name} {version}" for name, version in machine.onnxruntime.items())
    if not found:
        return Finding(subject, "missing", "not installed", install)
    again = f"pip uninstall -y {' '.join(machine.onnxruntime)} && {install}"
    if len(machine.onnxruntime) > 1:
        return Finding(subject, "broken", f"{found}: they overwrite one another's files", again)
    if CPU not in machine.providers:
        return Finding(subject, "broken", f"{found}: does not import", again)
    found += f" ({', '.join(machine.providers)})"
    if machine.gpus and CUDA not in machine.providers:
        return Finding(subject, "missing", f"{found}: no CUDA provider for the GPU", again)
    return Finding(subject, "ok", found)


def _tensorrt(machine: Machine) -> list[Finding]:
    """TensorRT is wanted where there is a GPU; without one only TensorRT-RTX can build plans."""
    rtx = _library("TensorRT-RTX (builds plans, also without a GPU)", machine.tensorrt.get("tensorrt_rtx"), "rtx")
    plain = _library(
        "TensorRT (builds and runs plans)", machine.tensorrt.get("tensorrt"), "tensorrt", wanted=bool(machine.gpus)
    )
    return [plain, rtx]


def _library(subject: str, version: str | None, extra: str, wanted: bool = True) -> Finding:
    if version:
        return Finding(subject, "ok", version)
    if not wanted:
        return Finding(subject, "none", "not installed; it needs a GPU")
    return Finding(subject, "missing", "not installed", f'pip install "mirnet-deploy[{extra}]"')


def _print(found: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="mirnet-deploy doctor")
    for title in ("", "state", "found"):
        table.add_column(title, overflow="fold")
    for each in found:
        table.add_row(Text(each.subject), Text(each.status, style=STYLES[each.status]), Text(each.found))
    console().print(table)
    for each in found:
        if each.remedy:
            # Not through rich, which would wrap a long command and read its brackets as markup.
            click.echo(f"{each.subject}: {each.remedy}")
