"""What a run leaves for people: a CSV, TensorBoard events and a curve.

The CSV holds no times, so that an interrupted run writes the same file as an unbroken one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mirnet_deploy.files import atomic_path, write_atomically

LOG, CURVE = "log.csv", "curve.png"
COLUMNS = ("step", "samples", "lr", "loss", "psnr", "ssim", "gt_mean_psnr")
"""`samples` counts those of all processes; `loss` is the mean since the previous row; the last three are means over the
validation pictures."""

Row = Mapping[str, float]
"""Values by the names in `COLUMNS`."""


class RunLog:
    """The log of one run in `folder`; `history` holds the rows that a resumed run has already.

    A killed run can leave rows in the CSV that its checkpoint does not have. They are computed again, so the file is
    first rewritten from `history`.
    """

    def __init__(self, folder: Path, history: Sequence[Row]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.history: list[dict[str, float]] = [dict(row) for row in history]
        self._csv, self._curve = folder / LOG, folder / CURVE
        write_atomically(self._csv, _csv_text(self.history))
        last = int(self.history[-1]["step"]) if self.history else 0
        self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=last + 1 if last else None)

    def add(self, row: Row) -> None:
        """Adds a row to the CSV, sends it to TensorBoard and redraws the curve."""
        self.history.append(dict(row))
        write_atomically(self._csv, _csv_text(self.history))
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, int(row["step"]))
        self._board.flush()
        draw_curve(self._curve, self.history)

    def close(self) -> None:
        """Flushes TensorBoard."""
        self._board.close()


def _csv_text(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def draw_curve(path: Path, history: Sequence[Row]) -> None:
    """Draws the training loss and the validation PSNR, plain and GT-mean, over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in history]
    loss_axis = figure.add_subplot()
    loss_axis.plot(steps, [row["loss"] for row in history], color="tab:gray", label="training loss")
    loss_axis.set(xlabel="step", ylabel="loss")
    quality_axis = loss_axis.twinx()
    quality_axis.plot(steps, [row["psnr"] for row in history], color="tab:blue", label="PSNR")
    quality_axis.plot(steps, [row["gt_mean_psnr"] for row in history], color="tab:orange", label="GT-mean PSNR")
    quality_axis.set_ylabel("validation PSNR, dB")
    figure.legend(loc="outside upper center", ncols=3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
