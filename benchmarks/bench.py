"""One bench run: opens the engines, measures memory, latency and quality, and returns the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from mirnet_deploy.benchmarks.memory import probe
from mirnet_deploy.benchmarks.quality import QualityRow, mean_rows, measure_pairs
from mirnet_deploy.benchmarks.report import Quality, Report
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

    def __post_init__(self) -> None:
        if not self.engines:
            raise UsageError("no engine to measure; name at least one with --engine, for example --engine lite")
        for name, value, least in (("--runs", self.runs, 1), ("--warmup", self.warmup, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
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
            "engines": list(self.engines),
            "sizes": [str(size) for size in self.sizes],
            "runs": self.runs,
            "warmup": self.warmup,
            **{name: getattr(self.runtime, name) for name in RUNTIME_FIELDS},
            "data": None if self.data is None else str(self.data),
            "baselines": self.baselines,
            "claimed": self.claimed,
        }


def steps(config: BenchConfig, pairs: Sequence[Pair]) -> int:
    """How often `run_bench` calls `advance`: once per memory process, per run, and per picture and enhancer."""
    engines = len(config.engines)
    enhancers = engines + (len(baselines()) if config.baselines else 0)
    return len(config.sizes) * engines * (1 + config.warmup + config.runs) + len(pairs) * enhancers


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


def run_bench(config: BenchConfig, pairs: Sequence[Pair], advance: Advance) -> tuple[Report, Sheet | None]:
    """Measures all that `config` asks for; the sheet is None without data.

    A failure on the way is a row of the report; an engine that cannot even be opened ends the run at its start.

    Raises:
        MirnetDeployError: an engine cannot be opened.
    """
    specs = config.specs()
    with ExitStack() as stack:
        subjects = [stack.enter_context(open_subject(spec)) for spec in specs]
        _number_repeats(subjects)
        latency = [row for size in config.sizes for row in _measure_size(config, size, subjects, specs, advance)]
        quality, sheet = _measure_quality(config, pairs, subjects, advance) if config.data else (None, None)
        report = Report(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tool_version=__version__,
            settings=config.to_dict(),
            machine=_machine(),
            engines=[replace(subject.report, graphs=subject.graphs) for subject in subjects],
            latency=latency,
            quality=quality,
        )
        return report, sheet


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


def _measure_size(
    config: BenchConfig,
    size: Size,
    subjects: Sequence[Subject],
    specs: Sequence[SubjectSpec],
    advance: Advance,
) -> list[LatencyRow]:
    """Measures memory first, so that an engine whose own process fails at this size is not run in this one."""
    peaks = []
    for spec in specs:
        peaks.append(probe(spec, size))
        advance()
    alive = [position for position, peak in enumerate(peaks) if peak.failure is None]
    failures = {position: peak.failure for position, peak in enumerate(peaks) if peak.failure is not None}
    for _ in range(len(failures) * (config.warmup + config.runs)):
        advance()
    times, failed = time_interleaved(
        [subjects[position] for position in alive],
        sample_picture(size),
        runs=config.runs,
        warmup=config.warmup,
        advance=advance,
    )
    failures |= {alive[index]: text for index, text in failed.items()}
    rows = latency_rows(
        [subject.name for subject in subjects],
        size,
        {alive[index]: values for index, values in times.items()},
        failures,
    )
    return [
        row if row.failure else replace(row, peak_rss_mib=peak.peak_rss_mib, peak_gpu_mib=peak.peak_gpu_mib)
        for row, peak in zip(rows, peaks, strict=True)
    ]


def _measure_quality(
    config: BenchConfig, pairs: Sequence[Pair], subjects: Sequence[Subject], advance: Advance
) -> tuple[Quality, Sheet]:
    first = baselines() if config.baselines else []
    enhancers: list[Baseline | Subject] = [*first, *subjects]
    drawn = enhancers[1:] if first else enhancers  # the `input` baseline is the sheet's first column anyway
    sheet = Sheet(["input", *(each.name for each in drawn), "ground truth"])
    rows: list[QualityRow] = []
    for pair in measure_pairs(pairs, enhancers, advance):
        rows += pair.rows
        sheet.add(pair, skip=len(enhancers) - len(drawn))
    means = mean_rows(rows)
    remarks = explained_lines(means)
    if config.claimed is not None:
        remarks.append(claim_line(config.claimed, means[len(first)]))
    return Quality(str(config.data), means, rows, remarks), sheet
