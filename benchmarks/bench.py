"""One bench run: opens the engines, measures memory, latency and quality, and returns the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mirnet_deploy.artifacts.version import __version__
from mirnet_deploy.benchmarks.baselines import Baseline, baselines
from mirnet_deploy.benchmarks.honesty import claim_line, explained_lines
from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.latency import LatencyRow, latency_rows, time_interleaved
from mirnet_deploy.benchmarks.memory import OUT_OF_TIME, probe
from mirnet_deploy.benchmarks.quality import MeasuredPair, QualityRow, mean_rows, measure_pairs
from mirnet_deploy.benchmarks.report import INTERRUPTED, UNFINISHED, Quality, Report
from mirnet_deploy.benchmarks.sheet import Sheet
from mirnet_deploy.benchmarks.subjects.base import Subject, SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import describe_machine
from mirnet_deploy.metrics import skimage_metrics
from mirnet_deploy.pairs import Pair, find_pairs
from mirnet_deploy.settings import RuntimeSettings

Advance = Callable[[], None]
RUNTIME_FIELDS = ("device", "tile", "threads", "graphs")
"""The fields of `RuntimeSettings` that a bench run may choose."""


@dataclass(frozen=True)
class BenchConfig:
    """What to measure.

    Raises:
        UsageError: a value is out of range, or an option needs another one.
    """

    engines: tuple[str, ...]
    """Artifacts, checkpoints or names of bundled models; ratios are to the first."""
    sizes: tuple[Size, ...] = (Size(600, 400),)
    runs: int = 10
    warmup: int = 2
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    """For every engine, as far as it has such settings."""
    data: Path | None = None
    """Folder with low/ and high/."""
    baselines: bool = False
    claimed: float | None = None
    """A PSNR in dB that somebody claims for the first engine on `data`."""
    memory: bool = True
    """Whether peak memory is measured, in a process of its own for every engine and size."""
    compare: Path | None = None
    """The checkpoint whose forms the engines are."""
    names: tuple[str, ...] = ()
    """What `engines` are called in the report; () for as they are named there."""
    max_seconds: float = math.inf
    """From the first latency on; what is under way then is finished, but for processes that measure memory."""

    def __post_init__(self) -> None:
        if not self.engines:
            raise UsageError("no engine to measure; name at least one with --engine, for example --engine lite")
        for name, value, least in (("--runs", self.runs, 1), ("--warmup", self.warmup, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
        if self.max_seconds <= 0:
            raise UsageError(f"--max-seconds is {self.max_seconds:g}; expected more than 0")
        for option, given in (("--baselines", self.baselines), ("--claimed", self.claimed is not None)):
            if given and self.data is None:
                raise UsageError(f"{option} needs pairs of pictures: add --data FOLDER (with low/ and high/)")
        if self.claimed is not None and not math.isfinite(self.claimed):
            raise UsageError(f"--claimed is {self.claimed}; expected a number of dB")

    def specs(self) -> list[SubjectSpec]:
        """How to open each engine."""
        return [SubjectSpec(engine, self.runtime) for engine in self.engines]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in the report."""
        return {
            "engines": list(self.names or self.engines),
            "compare": None if self.compare is None else str(self.compare),
            "sizes": [str(size) for size in self.sizes],
            "runs": self.runs,
            "warmup": self.warmup,
            **{name: getattr(self.runtime, name) for name in RUNTIME_FIELDS},
            "data": None if self.data is None else str(self.data),
            "baselines": self.baselines,
            "claimed": self.claimed,
            "memory": self.memory,
            "max_seconds": self.max_seconds if math.isfinite(self.max_seconds) else None,
        }


def steps(config: BenchConfig, pairs: Sequence[Pair]) -> int:
    """How often `run_bench` calls `advance`: once per run, per picture and enhancer, and per memory process."""
    engines = len(config.engines)
    enhancers = engines + (len(baselines()) if config.baselines else 0)
    return len(config.sizes) * engines * (config.memory + config.warmup + config.runs) + len(pairs) * enhancers


def pairs_of(config: BenchConfig) -> list[Pair]:
    """The pairs to measure on; none without `data`.

    Raises:
        DataError: the folder holds no pairs.
        MissingDependencyError: scikit-image is not installed; better to say so now than after the latencies.
    """
    if config.data is None:
        return []
    skimage_metrics()
    return find_pairs(config.data)


def run_bench(
    config: BenchConfig,
    pairs: Sequence[Pair],
    advance: Advance,
    notice: Callable[[Report], None],
    watch: Callable[[MeasuredPair], None] | None = None,
) -> tuple[Report, Sheet | None]:
    """Measures all that `config` asks for; the sheet is None without data.

    A failure on the way is a row of the report; an engine that cannot even be opened ends the run at its start. A
    keyboard interrupt and the end of `max_seconds` end it with what there is.

    Args:
        notice: gets the report so far whenever there is more of it.
        watch: gets every pair of `data` with what the engines made of it, before the notice.

    Raises:
        MirnetDeployError: an engine cannot be opened.
    """
    with ExitStack() as stack:
        subjects = [stack.enter_context(open_subject(spec)) for spec in config.specs()]
        for subject, name in zip(subjects, config.names, strict=False):
            subject.report = replace(subject.report, name=name)
        _number_repeats(subjects)
        run = _Run(config, pairs, subjects, advance, notice, watch)
        try:
            run.measure()
            ended = f"cut short: {config.max_seconds:g} s were over" if run.was_cut else "whole"
        except KeyboardInterrupt:
            ended = INTERRUPTED
        return run.report(ended), run.sheet


class _Run:
    """A bench run under way: what was measured so far."""

    def __init__(
        self,
        config: BenchConfig,
        pairs: Sequence[Pair],
        subjects: Sequence[Subject],
        advance: Advance,
        notice: Callable[[Report], None],
        watch: Callable[[MeasuredPair], None] | None,
    ) -> None:
        self._config, self._pairs, self._subjects = config, pairs, subjects
        self._advance, self._notice, self._watch = advance, notice, watch
        self._deadline = time.monotonic() + config.max_seconds
        self._created, self._machine = datetime.now(UTC).isoformat(timespec="seconds"), _machine()
        self._latency: list[LatencyRow] = []
        self._quality: Quality | None = None
        self.sheet: Sheet | None = None
        self.was_cut = False
        """Whether something was left out because the time was over."""

    def report(self, ended: str) -> Report:
        """What was measured so far."""
        return Report(
            created=self._created,
            tool_version=__version__,
            settings=self._config.to_dict(),
            machine=self._machine,
            engines=[replace(subject.report, graphs=subject.graphs) for subject in self._subjects],
            latency=list(self._latency),
            quality=self._quality,
            ended=ended,
        )

    def measure(self) -> None:
        """Latencies, then quality, then memory, which takes longest for what it tells."""
        for size in self._config.sizes:
            self._measure_latency(size)
        if self._config.data:
            self._measure_quality()
        if self._config.memory:
            self._measure_memory()

    def _is_over(self) -> bool:
        self.was_cut = self.was_cut or time.monotonic() >= self._deadline
        return self.was_cut

    def _tell(self) -> None:
        self._notice(self.report(UNFINISHED))

    def _measure_latency(self, size: Size) -> None:
        config = self._config
        times, failures = time_interleaved(
            self._subjects,
            sample_picture(size),
            runs=config.runs,
            warmup=config.warmup,
            advance=self._advance,
            is_over=self._is_over,
        )
        self._latency += latency_rows([subject.name for subject in self._subjects], size, times, failures)
        self._tell()

    def _measure_quality(self) -> None:
        config = self._config
        if self._is_over():
            return
        first = baselines() if config.baselines else []
        enhancers: list[Baseline | Subject] = [*first, *self._subjects]
        drawn = enhancers[1:] if first else enhancers  # the `input` baseline is the sheet's first column anyway
        self.sheet = Sheet(["input", *(each.name for each in drawn), "ground truth"])
        rows: list[QualityRow] = []
        for pair in measure_pairs(self._in_time(), enhancers, self._advance):
            rows += pair.rows
            self.sheet.add(pair, skip=len(enhancers) - len(drawn))
            if self._watch:
                self._watch(pair)
            means = mean_rows(rows)
            remarks = explained_lines(means)
            if config.claimed is not None:
                remarks.append(claim_line(config.claimed, means[len(first)]))
            self._quality = Quality(str(config.data), means, list(rows), remarks)
            self._tell()

    def _in_time(self) -> Iterator[Pair]:
        """The pairs, as long as the time is not over."""
        for pair in self._pairs:
            if self._is_over():
                return
            yield pair

    def _measure_memory(self) -> None:
        """Replaces rows of latency by rows with memory."""
        specs = {subject.name: spec for subject, spec in zip(self._subjects, self._config.specs(), strict=True)}
        for index, row in enumerate(self._latency):
            if not row.failure:
                if self._is_over():
                    break
                left = self._deadline - time.monotonic()
                peak = probe(specs[row.engine], Size.parse(row.size), left if math.isfinite(left) else None)
                self.was_cut = self.was_cut or peak.failure == OUT_OF_TIME
                self._latency[index] = replace(
                    row,
                    peak_rss_mib=peak.peak_rss_mib,
                    peak_gpu_mib=peak.peak_gpu_mib,
                    memory_failure=None if peak.failure == OUT_OF_TIME else peak.failure,
                )
                self._tell()
            self._advance()


def _machine() -> dict[str, Any]:
    """What `doctor` sees, and the versions of two more libraries that figures depend on; None where not installed."""
    libraries: dict[str, str | None] = {}
    for name in ("numpy", "scikit-image"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return describe_machine().to_dict() | libraries


def _number_repeats(subjects: Sequence[Subject]) -> None:
    """Tells an engine that is given twice (a test of the noise) apart, as `lite` and `lite (2)`."""
    seen: dict[str, int] = {}
    for subject in subjects:
        name = subject.name
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            subject.report = replace(subject.report, name=f"{name} ({seen[name]})")
