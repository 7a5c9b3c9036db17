"""The forms of one checkpoint as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mirnet_deploy.benchmarks.drawing import FIGURES, MISSING, empty_table, interval, number
from mirnet_deploy.benchmarks.forms import REFERENCE, FormRow

if TYPE_CHECKING:
    from rich.table import Table


def forms_table(rows: Sequence[FormRow], size: str, data: str | None) -> Table:
    """One row for each form. What was left out has its reason in place of a precision.

    Args:
        size: of the picture that was timed.
        data: folder of the pictures that forms were also compared on; None where there were none. Without ground
            truths there is no column of a PSNR.
    """
    columns = ["form", "precision proven", "MB", "p50 ms", "ratio", "95 %", "from FP32 dB", "levels"]
    with_psnr = any(row.psnr is not None for row in rows)
    columns += [FIGURES["psnr"][0]] if with_psnr else []
    over = f", and {data}" if data else ""
    table = empty_table(f"Forms of one checkpoint at {size}{over}; ratios and differences: to {REFERENCE}", columns, 2)
    for row in rows:
        if row.failure and row.p50_ms is None:
            table.add_row(row.form, f"left out: {row.failure}")
            continue
        decibels = "equal" if row.max_levels == 0 else number(row.difference_psnr, 1)
        levels = MISSING if row.max_levels is None else str(row.max_levels)
        apart = ("reference", "") if row.form == REFERENCE else (decibels, levels)
        megabytes = number(None if row.bytes is None else row.bytes / 1e6, 1)
        device = f", on {row.device}" if row.device and row.device != "cpu" else ""
        proof = f"{row.precision}: {row.precision_proof}{device}" if row.precision else MISSING
        figures = [megabytes, number(row.p50_ms, 1), number(row.ratio, 2), interval(row.ratio_interval, 2), *apart]
        table.add_row(row.form, proof, *figures, *([number(row.psnr, 2)] if with_psnr else []))
    return table
