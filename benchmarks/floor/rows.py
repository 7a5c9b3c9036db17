"""How far engines are from the floor: what they must do, what they did, and the rates that the machine reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mirnet_deploy.artifacts.metadata import TENSOR_NAMES
from mirnet_deploy.artifacts.models import onnx_source
from mirnet_deploy.artifacts.sidecar import read_sidecar
from mirnet_deploy.benchmarks.floor.graph import Graph
from mirnet_deploy.benchmarks.floor.peaks import Peaks, peaks_for, product_name
from mirnet_deploy.benchmarks.floor.work import Shapes, Work, total
from mirnet_deploy.benchmarks.inputs import Image, Size, one_line
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.subjects.base import Subject
from mirnet_deploy.benchmarks.subjects.checkpoint import CheckpointSubject
from mirnet_deploy.errors import ArtifactError, EngineError, MirnetDeployError
from mirnet_deploy.training.config import SIZE_MULTIPLE


@dataclass(frozen=True)
class FloorRow:
    """One engine at one size. What could not be counted or measured is None, and `remarks` say why."""

    engine: str
    size: str
    macs: int | None = None
    """Multiplications, each with its addition, that the network takes for the picture as a whole."""
    least_bytes: int | None = None
    """Of the same, the compulsory traffic: weights, input and output, each once."""
    unfused_bytes: int | None = None
    """Of the same, what all operations read and write, each of them alone."""
    runs: int | None = None
    """How often the network ran for the picture: batches of tiles in all passes, thumbnails and samples."""
    run_macs: int | None = None
    """Multiplications of those runs: where they are more than `macs`, the rest is what tiles cost."""
    run_least_bytes: int | None = None
    run_unfused_bytes: int | None = None
    intensity: float | None = None
    """`macs` / `least_bytes`: the most that there can be for each byte."""
    precision: str | None = None
    """That of the matrix product."""
    product: str = ""
    """What was multiplied, with what, and by how many threads."""
    product_gmacs: float | None = None
    """Billions of multiplications and additions a second, in the fastest product beside the engines."""
    copy: str = ""
    """What was copied, with what, and by how many threads."""
    copy_gbytes: float | None = None
    """Billions of bytes read and written a second, in the fastest copy beside the engines."""
    floor_ms: float | None = None
    """The longer one of `macs` at the rate of the product and `least_bytes` at the rate of the copy."""
    bound: str | None = None
    """Which one that is: "arithmetic" or "memory"."""
    of_floor: float | None = None
    """`floor_ms` / p50: 1 is as fast as the machine's best rates allow. It has no interval: the rates are those of the
    fastest runs, and how far a machine could go beyond them is not in their times."""
    reached_gmacs: float | None = None
    """`macs` in a second of p50, in billions."""
    remarks: tuple[str, ...] = ()


class FloorRun:
    """The floor of several engines for one picture, which is enhanced once by each of them, to see what they do.

    Args:
        image: uint8 [H,W,3].
        threads: as in `RuntimeSettings`.
    """

    def __init__(self, subjects: Sequence[Subject], image: Image, size: Size, threads: int | None) -> None:
        self._counted = [
            (each.report.device, _counted(each, image, FloorRow(each.name, str(size)))) for each in subjects
        ]
        self.peaks: Peaks = peaks_for([(device, row.precision) for device, row in self._counted], threads)
        """To be timed in turn with the engines."""

    def rows(self, latency: Sequence[LatencyRow]) -> list[FloorRow]:
        """A row for each engine that has a latency in `latency`, which are of one size."""
        timed = {row.engine: row for row in latency if row.p50_ms is not None}
        return [self._row(device, row, timed[row.engine]) for device, row in self._counted if row.engine in timed]

    def _row(self, device: str, row: FloorRow, timed: LatencyRow) -> FloorRow:
        names = [device] + ([product_name(device, row.precision)] if row.precision else [])
        failures = [f"{name}: {self.peaks.failures[name]}" for name in names if name in self.peaks.failures]
        copied, product = (self.peaks.rate(name) for name in (names[0], names[-1]))
        row = replace(
            row,
            copy=self.peaks.how(names[0]),
            copy_gbytes=None if copied is None else copied / 1e9,
            product=self.peaks.how(names[-1]) if row.precision else "",
            product_gmacs=None if product is None or row.precision is None else product / 1e9,
            remarks=(*row.remarks, *failures),
        )
        return with_times(row, timed.p50_ms)


def with_times(row: FloorRow, p50_ms: float | None) -> FloorRow:
    """The row with what follows from its work, its rates and the median time of an engine. Where the rate of a copy is
    not known, the floor is that of the arithmetic alone."""
    macs, least = row.macs, row.least_bytes
    if macs is None or not least or not p50_ms:
        return row
    row = replace(row, intensity=macs / least, reached_gmacs=macs / p50_ms / 1e6)
    if not row.product_gmacs:
        return row
    parts = {"arithmetic": macs / row.product_gmacs / 1e6}
    if row.copy_gbytes:
        parts["memory"] = least / row.copy_gbytes / 1e6
    bound = max(parts, key=parts.__getitem__)
    floor = parts[bound]
    return replace(row, floor_ms=floor, bound=bound, of_floor=floor / p50_ms)


def failures(rows: Sequence[FloorRow]) -> list[str]:
    """A line for each size at which no engine has a floor."""
    lines = []
    for size in dict.fromkeys(row.size for row in rows):
        some = [row for row in rows if row.size == size]
        if all(row.floor_ms is None for row in some):
            reasons = dict.fromkeys(remark for row in some for remark in row.remarks)
            lines.append(f"no engine has a floor at {size}: {'; '.join(reasons)}")
    return lines


def _counted(subject: Subject, image: Image, row: FloorRow) -> FloorRow:
    """The row with the work of the picture as a whole, and of all runs that the engine makes for it."""
    remarks = []
    try:
        shapes = subject.shapes_of(image)
    except Exception as error:  # as in the timed runs, where it is told
        return replace(row, remarks=(f"it failed: {one_line(error)}",))
    try:
        row = replace(row, precision=subject.computes_in())
    except EngineError as error:
        remarks.append(f"matrix product: {one_line(error)}")
    try:
        work_of = _counter(subject, row.precision)
        whole, ran = work_of(_whole(subject, image)), total([work_of(each) for each in shapes])
    except (MirnetDeployError, OSError, ValueError) as error:
        return replace(row, runs=len(shapes), remarks=(*remarks, f"work: {one_line(error)}"))
    return replace(
        row,
        macs=whole.macs,
        least_bytes=whole.least_bytes,
        unfused_bytes=whole.unfused_bytes,
        runs=len(shapes),
        run_macs=ran.macs,
        run_least_bytes=ran.least_bytes,
        run_unfused_bytes=ran.unfused_bytes,
        remarks=tuple(remarks),
    )


def _whole(subject: Subject, image: Image) -> Shapes:
    """The shape of the picture as a whole, filled up to the size that the network takes."""
    height, width = (-(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in image.shape[:2])
    if subject.report.interface == "float":
        return {TENSOR_NAMES["float"][0]: (1, 3, height, width)}
    return {TENSOR_NAMES["image"][0]: (1, height, width, 3)}


def _counter(subject: Subject, precision: str | None) -> Callable[[Shapes], Work]:
    """What counts the work of one run of the network, by the shapes of its inputs, in a precision, if that is known.
    Equal shapes are counted once.

    Raises:
        ArtifactError: a plan's ONNX file is not there.
        MissingDependencyError: onnx is not installed.
        OSError, ValueError: the file cannot be read.
    """
    known: dict[tuple[tuple[str, tuple[int, ...]], ...], Work] = {}
    count: Callable[[Shapes], Work]
    if isinstance(subject, CheckpointSubject):
        from mirnet_deploy.benchmarks.floor.eager import eager_work

        count = partial(eager_work, subject.network, subject.pools)
    else:
        graph = Graph(_graph_file(Path(str(subject.report.path))))
        count = partial(graph.work, half=precision in ("fp16", "bf16"))

    def work(shapes: Shapes) -> Work:
        key = tuple(sorted(shapes.items()))
        if key not in known:
            known[key] = count(shapes)
        return known[key]

    return work


def _graph_file(path: Path) -> Path:
    """The ONNX file that holds an artifact's graph: itself, or the one that a plan was built from."""
    if path.suffix == ".onnx":
        return path
    found = onnx_source(path, read_sidecar(path).onnx_sha256)
    if found is None:
        raise ArtifactError(f"the ONNX file that {path.name} was built from is not beside it")
    return found
