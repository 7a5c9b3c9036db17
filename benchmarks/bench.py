"""One bench run: opens the engines, measures memory, latency and quality, and returns the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mirnet_deploy.artifacts.version import __version__, running_commit
from mirnet_deploy.benchmarks.costs import Costs, CostSettings
from mirnet_deploy.benchmarks.deadline import Deadline
from mirnet_deploy.benchmarks.inputs import PICTURE, Size
from mirnet_deploy.benchmarks.page.pictures import Gallery
from mirnet_deploy.benchmarks.quality import MeasuredPair
from mirnet_deploy.benchmarks.quality_run import QualityRun, operations
from mirnet_deploy.benchmarks.report import INTERRUPTED, UNFINISHED, Quality, Report
from mirnet_deploy.benchmarks.scenes import Scene, find_scenes
from mirnet_deploy.benchmarks.sheet import Sheet
from mirnet_deploy.benchmarks.subjects.base import Subject, SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.benchmarks.subjects.results import ResultsFolder, open_results
from mirnet_deploy.benchmarks.sweeps import Axis
from mirnet_deploy.benchmarks.warmup import WarmupSetting
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import describe_machine
from mirnet_deploy.metrics import flip_evaluator, skimage_metrics
from mirnet_deploy.pairs import Pair
from mirnet_deploy.settings import RuntimeSettings

Advance = Callable[[], None]
Watch = Callable[[MeasuredPair], None]
RUNTIME_FIELDS = ("device", "tile", "threads", "batch", "graphs")
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
    warmup: WarmupSetting = "auto"
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    """For every engine, as far as it has such settings."""
    data: Path | None = None
    """Folder with low/ and high/, or with pictures that have no ground truth."""
    results: tuple[str, ...] = ()
    """`NAME=DIR`: folders of other methods' results for `data`."""
    baselines: bool = False
    claimed: float | None = None
    """A PSNR in dB that somebody claims for the first engine on `data`."""
    memory: bool = True
    """Whether peak memory and cold start are measured, in a process of its own for every engine and size."""
    floor: bool = False
    """Whether each engine's work is counted and set beside what the machine can do."""
    in_flight: tuple[int, ...] = ()
    """Numbers of pictures under way at once, of which throughput is measured."""
    sweeps: tuple[Axis, ...] = ()
    """Over what it is measured how cost grows (`mirnet_deploy.benchmarks.sweeps`)."""
    compare: Path | None = None
    """The checkpoint whose forms the engines are."""
    names: tuple[str, ...] = ()
    """What `engines` are called in the report; () for as they are named there."""
    max_seconds: float = math.inf
    """From the first latency on; what is under way then is finished, but for processes that measure memory."""

    def __post_init__(self) -> None:
        if not self.engines and not self.results:
            raise UsageError("no engine to measure; name at least one with --engine, for example --engine lite")
        self.costs()
        if self.max_seconds <= 0:
            raise UsageError(f"--max-seconds is {self.max_seconds:g}; expected more than 0")
        needing = (
            ("--results", bool(self.results)),
            ("--baselines", self.baselines),
            ("--claimed", self.claimed is not None),
        )
        for option, given in needing:
            if given and self.data is None:
                raise UsageError(f"{option} needs pictures: add --data FOLDER (with low/ and high/)")
        if self.claimed is not None and not math.isfinite(self.claimed):
            raise UsageError(f"--claimed is {self.claimed}; expected a number of dB")

    def specs(self) -> list[SubjectSpec]:
        """How to open each engine."""
        return [SubjectSpec(engine, self.runtime) for engine in self.engines]

    def costs(self) -> CostSettings:
        """The part that concerns the engines' costs."""
        names = "sizes", "runs", "warmup", "in_flight", "sweeps", "memory", "floor"
        return CostSettings(tuple(self.specs()), **{name: getattr(self, name) for name in names})

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
            "results": list(self.results),
            "baselines": self.baselines,
            "claimed": self.claimed,
            "memory": self.memory,
            "floor": self.floor,
            "in_flight": list(self.in_flight),
            "sweeps": list(self.sweeps),
            "max_seconds": self.max_seconds if math.isfinite(self.max_seconds) else None,
        }


def steps(config: BenchConfig, scenes: Sequence[Scene]) -> int:
    """How often `run_bench` calls `advance`: as `CostSettings.steps` says, and once per picture and enhancer."""
    enhancers = len(config.engines) + len(config.results)
    enhancers += len(operations(scenes, config.baselines)) if scenes else 0
    return config.costs().steps + len(scenes) * enhancers


def scenes_of(config: BenchConfig) -> list[Scene]:
    """The pictures to measure on; none without `data`.

    Raises:
        DataError: the folder holds no pictures, or unequal halves of pairs.
        UsageError: an option needs ground truths, and there are none.
        MissingDependencyError: a library of the metrics is not installed; better said now than after the latencies.
    """
    if config.data is None:
        return []
    skimage_metrics()
    flip_evaluator()
    scenes = find_scenes(config.data)
    if config.claimed is not None and not isinstance(scenes[0], Pair):
        raise UsageError(f"--claimed needs pairs of pictures, and {config.data} has no low/ and high/")
    return scenes


def run_bench(
    config: BenchConfig,
    scenes: Sequence[Scene],
    advance: Advance,
    notice: Callable[[Report], None],
    gallery: Gallery | None = None,
    watch: Watch | None = None,
) -> tuple[Report, Sheet | None]:
    """Measures all that `config` asks for; the sheet is None without data.

    A failure on the way is a row of the report; an engine that cannot even be opened ends the run at its start. A
    keyboard interrupt and the end of `max_seconds` end it with what there is.

    Args:
        notice: gets the report so far whenever there is more of it.
        gallery: gets the pictures that a page shows.
        watch: gets every picture of `data` with what the engines made of it, before the notice.

    Raises:
        MirnetDeployError: an engine or a folder of results cannot be opened.
    """
    taken = [*config.engines, *(each.name for each in operations(scenes, True) if scenes)]
    results = open_results(config.results, [scene.name for scene in scenes], taken)
    with ExitStack() as stack:
        subjects = [stack.enter_context(open_subject(spec)) for spec in config.specs()]
        for subject, name in zip(subjects, config.names, strict=False):
            subject.report = replace(subject.report, name=name)
        _number_repeats(subjects)
        run = _Run(config, scenes, subjects, results, advance, notice, gallery, watch)
        try:
            run.measure()
            ended = f"cut short: {config.max_seconds:g} s were over" if run.deadline.was_cut else "whole"
        except KeyboardInterrupt:
            ended = INTERRUPTED
        return run.report(ended), run.sheet


class _Run:
    """A bench run under way: what was measured so far."""

    def __init__(
        self,
        config: BenchConfig,
        scenes: Sequence[Scene],
        subjects: Sequence[Subject],
        results: Sequence[ResultsFolder],
        advance: Advance,
        notice: Callable[[Report], None],
        gallery: Gallery | None,
        watch: Watch | None,
    ) -> None:
        self._config, self._scenes, self._subjects, self._results = config, scenes, subjects, results
        self._advance, self._notice, self._gallery, self._watch = advance, notice, gallery, watch
        self.deadline = Deadline(config.max_seconds)
        self._costs = Costs(config.costs(), subjects, advance, self._tell, self.deadline)
        self._created, self._machine = datetime.now(UTC).isoformat(timespec="seconds"), _machine()
        self._commit = running_commit()
        self._quality: Quality | None = None
        self._quality_run: QualityRun | None = None
        self.sheet: Sheet | None = None

    def report(self, ended: str) -> Report:
        """What was measured so far."""
        if self._quality_run and self._quality and ended != UNFINISHED:
            self._quality = self._quality_run.quality(whole=True)
        return Report(
            created=self._created,
            tool_version=__version__,
            settings=self._config.to_dict(),
            machine=self._machine,
            engines=[replace(subject.report, graphs=subject.graphs) for subject in self._subjects],
            latency=list(self._costs.latency),
            floor=list(self._costs.floor),
            quality=self._quality,
            ended=ended,
            picture=PICTURE,
            throughput=list(self._costs.throughput),
            sweeps=list(self._costs.sweeps),
            conditions=self._costs.conditions,
            commit=self._commit,
        )

    def measure(self) -> None:
        """Latencies, quality and sweeps, then memory, which takes longest for what it tells."""
        self._costs.measure_latency()
        if self._gallery and not self._config.data:
            failed = {row.engine for row in self._costs.latency if row.failure}
            good = [subject for subject in self._subjects if subject.name not in failed]
            self._gallery.add_timed(self._config.sizes[0], good)
        self._measure_quality()
        self._costs.measure_sweeps()
        if self._config.memory:
            self._costs.measure_memory()

    def _tell(self) -> None:
        self._notice(self.report(UNFINISHED))

    def _measure_quality(self) -> None:
        config = self._config
        if config.data is None or self.deadline.is_over():
            return
        self._quality_run = QualityRun(
            config.data,
            self._scenes,
            [*self._subjects, *self._results],
            with_baselines=config.baselines,
            claimed=config.claimed,
            gallery=self._gallery,
            watch=self._watch,
        )
        self.sheet = self._quality_run.sheet
        for so_far in self._quality_run.measure(self._in_time(), self._advance):
            self._quality = so_far
            self._tell()

    def _in_time(self) -> Iterator[Scene]:
        """The pictures, as long as the time is not over."""
        for scene in self._scenes:
            if self.deadline.is_over():
                return
            yield scene


def _machine() -> dict[str, Any]:
    """What `doctor` sees, and the versions of more libraries that figures depend on; None where not installed."""
    libraries: dict[str, str | None] = {}
    for name in ("numpy", "scikit-image", "scipy", "flip-evaluator"):
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
