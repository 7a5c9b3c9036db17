"""What engines that run a picture whole, whatever it takes, need of the host's memory."""

from __future__ import annotations

from mirnet_deploy.benchmarks.inputs import Size
from mirnet_deploy.benchmarks.subjects.base import SubjectReport
from mirnet_deploy.machine import available_memory

TORCH_BYTES_PER_VALUE = 70
"""Bytes that PyTorch takes per pixel and per feature of the network (`n_feat`), and gives back after a picture. From
600x400 to 1200x800 `lite`'s peak rises by 66 (eager), 61 (channels last) and 55 (compiled), with torch 2.13."""
SESSION_BYTES_PER_VALUE = 150
"""The same of ONNX Runtime on a plain export, which it keeps: 146 with version 1.32."""
MEMORY_SHARE = 0.9
"""Of the memory that is free, what an engine may take: with all of it the machine would begin to swap."""


def lack_of_memory(report: SubjectReport, size: Size) -> str | None:
    """Why a picture of this size should not be given to an engine, since it would take more memory than is free; None
    where it may, where the engine cuts pictures into tiles, works on a GPU, or where the free memory is unknown."""
    if report.tile != "none" or report.device != "cpu":
        return None
    each = TORCH_BYTES_PER_VALUE if report.kind == "checkpoint" else SESSION_BYTES_PER_VALUE
    return too_much(each * report.network.get("n_feat", 1) * size.width * size.height)


def too_much(need: int) -> str | None:
    """Why nothing that takes `need` bytes of the host's memory should be begun now; None where it may, or where the
    free memory is unknown."""
    free = available_memory()
    if free is None or need <= MEMORY_SHARE * free:
        return None
    return (
        f"it would take about {need / 2**30:.1f} GiB, and it may have {MEMORY_SHARE:.0%} of the {free / 2**30:.1f} GiB "
        "that are free"
    )
