"""The runtime on the CPU beside all that a user might run instead, on the same weights: one run of each in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mirnet_deploy.benchmarks.apart import Apart
from mirnet_deploy.benchmarks.floor.graph import Graph
from mirnet_deploy.benchmarks.floor.peaks import MatrixProduct, Peaks, best_product
from mirnet_deploy.benchmarks.inputs import Image, Size, fitted, one_line, sample_picture
from mirnet_deploy.benchmarks.latency import Enhancer, percentiles, time_interleaved
from mirnet_deploy.benchmarks.peers_report import (
    COARSE,
    COARSE_PEER,
    OURS,
    PEERS,
    PeerFiles,
    PeerRow,
    PeersConfig,
    PeersReport,
    PeerTable,
)
from mirnet_deploy.benchmarks.ratios import ratio_interval
from mirnet_deploy.benchmarks.subjects.base import SubjectSpec
from mirnet_deploy.benchmarks.subjects.need import SESSION_BYTES_PER_VALUE, TORCH_BYTES_PER_VALUE, too_much
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.engines import openvino
from mirnet_deploy.engines.base import BYTES_PER_VALUE
from mirnet_deploy.errors import EngineError
from mirnet_deploy.machine import describe_processor
from mirnet_deploy.pairs import read_rgb8
from mirnet_deploy.pixels import padded
from mirnet_deploy.settings import RuntimeSettings
from mirnet_deploy.training.config import SIZE_MULTIPLE

NO_TIME = "not measured: the time of --max-seconds was over"


@dataclass(frozen=True)
class _Peer:
    """How one row is run."""

    name: str
    spec: SubjectSpec
    bytes_per_value: int
    """Memory that it takes per pixel and feature where it runs whole."""
    keeps: bool = True
    """Whether it keeps its memory from one picture to the next."""

    @property
    def ours(self) -> bool:
        """Whether it is the runtime, which takes no more memory than there is."""
        return self.name.startswith(OURS)


@dataclass
class _Rows:
    """The rows of one table under way: those that run, with their results, and those that failed."""

    rows: dict[str, PeerRow] = field(default_factory=dict)
    running: dict[str, Enhancer] = field(default_factory=dict)
    results: dict[str, Image] = field(default_factory=dict)


class _Anew:
    """Opens an engine for each picture, and closes it afterwards."""

    def __init__(self, spec: SubjectSpec) -> None:
        self.name, self._spec = spec.engine, spec

    def enhance(self, image: Image) -> Any:
        """The result; opening and compiling belong to its time."""
        with open_subject(self._spec) as subject:
            return subject.enhance(image)


def measure_peers(
    prepare: Sequence[Callable[[], PeerFiles]],
    report: PeersReport,
    notice: Callable[[], object],
    advance: Callable[[], object],
) -> Iterator[PeerTable]:
    """Measures every model at every size, and yields each table when it is complete. What fails is a row of it.

    Args:
        prepare: makes the files of a model, when its turn has come; the time that this takes does not count.
        report: says what to measure, and is filled in.
        notice: called whenever there is more in the report.
        advance: called after every run.

    Raises:
        MirnetDeployError: the files of a model cannot be made, or the picture cannot be read.
    """
    import torch

    config = report.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pictures = _pictures(config)  # before the files, which may take minutes
    left = config.max_seconds
    for make in prepare:
        files = make()
        began = time.monotonic()
        for picture in pictures:
            yield _Run(files, picture, report, began + left, notice, advance).measure()
        left -= time.monotonic() - began
    rows = [row for table in report.tables for row in table.rows]
    cut = any(row.failure == NO_TIME or 0 < len(row.times_ms) < config.runs for row in rows)
    report.ended = f"cut short: {config.max_seconds:g} s were over" if cut else "whole"


def _pictures(config: PeersConfig) -> list[Image]:
    """What is enhanced, a picture for each size."""
    if config.picture is None:
        return [sample_picture(size) for size in config.sizes]
    photograph = read_rgb8(Path(config.picture))
    return [fitted(photograph, size) for size in config.sizes]


def peers_of(files: PeerFiles, config: PeersConfig) -> list[_Peer]:
    """The rows of a table: ours with the fastest backend, in every backend, and in bfloat16 where the processor has it;
    then what `config` compares it with, OpenVINO in both precisions too. All others compute in float32.

    Ours cut a picture as the command `enhance` does, and come first, while the machine's memory is free, on which that
    depends.
    """
    settings = RuntimeSettings("cpu", config.backend, "fp32", threads=config.threads, alone=True)
    plain = str(files.plain)
    takes = {"onnxruntime": BYTES_PER_VALUE, "openvino": openvino.BYTES_PER_VALUE["fp32"]}

    def our(name: str, each: int, **changes: Any) -> _Peer:
        return _Peer(name, SubjectSpec(files.ours, settings.changed(changes)), each)

    def torch(name: str, how: str) -> _Peer:
        spec = SubjectSpec(f"{files.checkpoint}{how}", settings)
        return _Peer(name, spec, TORCH_BYTES_PER_VALUE, keeps=False)

    others = {
        "pytorch": torch("PyTorch", ""),
        "channels-last": torch("PyTorch, channels last", "@channels-last"),
        "compile": torch("torch.compile", "@compiled-fp32"),
        "onnxruntime": _Peer(
            "ONNX Runtime, plain export", SubjectSpec(f"{plain}@session", settings), SESSION_BYTES_PER_VALUE
        ),
        "openvino": _Peer(
            "OpenVINO, plain export", SubjectSpec(f"{plain}@native", settings), openvino.BYTES_PER_VALUE["fp32"]
        ),
    }
    assert tuple(others) == PEERS
    peers = [others[name] for name in config.peers]
    if config.backend == "auto":  # the first one is one of the next
        ours = [our(OURS, 0), *(our(f"{OURS}, {name}", each, backend=name) for name, each in takes.items())]
    else:
        ours = [our(OURS, takes[config.backend])]
    if config.backend != "onnxruntime" and "bf16" in (describe_processor()["instructions"] or ()):
        ours.append(our(COARSE, openvino.BYTES_PER_VALUE["bf16"], precision="bf16"))
        if "openvino" in config.peers:
            spec = SubjectSpec(f"{plain}@native", settings.changed({"precision": "bf16"}))
            peers.append(_Peer(COARSE_PEER, spec, openvino.BYTES_PER_VALUE["bf16"]))
    return [*ours, *peers]


class _Run:
    """The measurement of one table."""

    def __init__(
        self,
        files: PeerFiles,
        picture: Image,
        report: PeersReport,
        deadline: float,
        notice: Callable[[], object],
        advance: Callable[[], object],
    ) -> None:
        self._config, self._report = report.config, report
        self._deadline, self._notice, self._advance = deadline, notice, advance
        self._picture = picture
        size = Size(picture.shape[1], picture.shape[0])
        height, width = padded(self._picture, SIZE_MULTIPLE).shape[:2]
        self._values = height * width * files.n_feat
        count = Graph(files.plain).work({"input": (1, 3, height, width)}).macs
        self._peers = peers_of(files, self._config)
        self._table = PeerTable(files.name, files.artifact, str(size), count, anew=self._is_short_of_memory())
        self._coarse_floor_ms: float | None = None
        report.tables.append(self._table)

    def measure(self) -> PeerTable:
        """First runs, in which results are compared, then rounds."""
        found = _Rows()
        with ExitStack() as stack:
            for peer in self._peers:
                if self._is_over():
                    found.rows[peer.name] = PeerRow(peer.name, failure=NO_TIME)
                else:
                    self._first_run(peer, found, stack)
                self._advance()
                self._tell(found)
            self._compare(found)
            self._time(found)
        self._tell(found)
        return self._table

    def _is_short_of_memory(self) -> bool:
        """Whether those that keep their memory may not fit together, beside one that takes its for a while."""
        kept = sum(each.bytes_per_value for each in self._peers if each.keeps)
        beside = max((each.bytes_per_value for each in self._peers if not each.keeps), default=0)
        return too_much((kept + beside) * self._values) is not None

    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _tell(self, found: _Rows) -> None:
        self._table = replace(self._table, rows=tuple(found.rows.values()))
        self._report.tables[-1] = self._table
        self._notice()

    def _first_run(self, peer: _Peer, found: _Rows, stack: ExitStack) -> None:
        """Adds the row of a peer that gave a result or failed. Adds none where a backend of ours is the default one."""
        name = peer.name
        try:
            if not peer.ours and (why := too_much(peer.bytes_per_value * self._values)):
                raise EngineError(why)
            with ExitStack() as own:
                subject = own.enter_context(open_subject(peer.spec))
                backend = subject.report.backend
                if peer.ours and any(backend == row.backend for row in found.rows.values()):
                    return
                began = time.monotonic()
                found.results[name] = np.asarray(subject.enhance(self._picture))
                found.rows[name] = PeerRow(name, backend, time.monotonic() - began)
                if peer.keeps and self._table.anew:
                    found.running[name] = _Anew(peer.spec)
                else:
                    found.running[name] = subject
                    stack.enter_context(own.pop_all())
        except Exception as error:  # any library's out-of-memory, or a missing compiler: the others go on
            found.rows[name] = PeerRow(name, failure=one_line(error))

    def _compare(self, found: _Rows) -> None:
        """Holds every result against PyTorch's, or without one against the first that there is."""
        reference = next((name for name in found.results if not name.startswith(OURS)), next(iter(found.results), ""))
        self._table = replace(self._table, reference=reference)
        for name, result in found.results.items():
            apart = Apart.of(result, found.results[reference])
            found.rows[name] = replace(found.rows[name], max_levels=apart.max_levels, psnr=apart.psnr)
        found.results.clear()  # they are large, and no longer needed

    def _time(self, found: _Rows) -> None:
        """Times all that run, and a matrix product in each precision, in turn, and fills in the rows."""
        names = list(found.running)
        precisions = ("fp32", "bf16") if any(found.rows[name].coarse for name in names) else ("fp32",)
        side = self._config.product_side
        product = best_product if side is None else partial(MatrixProduct, side=side)
        peaks = Peaks({each: partial(product, each) for each in precisions})
        engines: list[Enhancer] = [*found.running.values(), peaks]
        times, failures, _ = time_interleaved(
            engines,
            self._picture,
            runs=self._config.runs,
            warmup=self._config.warmup,
            advance=self._advance,
            is_over=self._is_over,
        )
        if rate := peaks.rate("fp32"):
            floor = self._table.multiplications / rate * 1e3
            self._table = replace(self._table, product_gmacs=rate / 1e9, floor_ms=floor)
        if rate := peaks.rate("bf16"):
            self._coarse_floor_ms = self._table.multiplications / rate * 1e3
        ours, coarse = (times.get(names.index(each), []) if each in names else [] for each in (OURS, COARSE))
        for position, name in enumerate(names):
            row = found.rows[name]
            if position not in times:
                found.rows[name] = replace(row, failure=failures.get(position, NO_TIME))
                continue
            found.rows[name] = self._with_times(row, times[position], coarse if name == COARSE_PEER else ours)

    def _with_times(self, row: PeerRow, times: Sequence[float], ours: Sequence[float]) -> PeerRow:
        """The row with its figures; times in milliseconds, one of each round."""
        median = percentiles(times)[0]
        floor = self._coarse_floor_ms if row.coarse else self._table.floor_ms
        return replace(
            row,
            times_ms=tuple(times),
            median_ms=median,
            ratio=median / percentiles(ours)[0] if ours else None,
            interval=ratio_interval(times, ours) if row.peer != OURS else None,
            of_floor=floor / median if floor else None,
        )
