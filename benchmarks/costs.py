"""What engines cost: latency with its phases, throughput, sweeps, and in the end memory, which takes longest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mirnet_deploy.benchmarks import sweeps
from mirnet_deploy.benchmarks.conditions import Conditions, Watch
from mirnet_deploy.benchmarks.deadline import Deadline
from mirnet_deploy.benchmarks.floor.rows import FloorRow, FloorRun
from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.latency import Enhancer, LatencyRow, Turns, latency_rows
from mirnet_deploy.benchmarks.memory import OUT_OF_TIME, PeakMemory, probe
from mirnet_deploy.benchmarks.phases import MOST_RUNS, measure_phases
from mirnet_deploy.benchmarks.subjects.base import Subject, SubjectSpec
from mirnet_deploy.benchmarks.subjects.opening import open_subject
from mirnet_deploy.benchmarks.sweeps import AXES, Axis, Point, Sweep, SweepRow
from mirnet_deploy.benchmarks.throughput import ThroughputRow, measure_throughput
from mirnet_deploy.benchmarks.warmup import WarmupSetting, most_rounds
from mirnet_deploy.errors import UsageError
from mirnet_deploy.machine import describe_processor


@dataclass(frozen=True)
class CostSettings:
    """What is measured of the engines' costs, and how often.

    Raises:
        UsageError: a value is out of range, or a sweep needs a larger picture.
    """

    specs: tuple[SubjectSpec, ...]
    sizes: tuple[Size, ...]
    runs: int
    warmup: WarmupSetting
    in_flight: tuple[int, ...]
    """Numbers of pictures under way at once; () for no throughput beyond that of the latencies."""
    sweeps: tuple[Axis, ...]
    memory: bool
    """Whether peak memory and cold start are measured, in a process of its own for every row."""
    floor: bool = False
    """Whether the engines' work is counted, and the machine's best rates take turns with them."""

    def __post_init__(self) -> None:
        least = {"--runs": (self.runs, 1), "--warmup": (0 if self.warmup == "auto" else self.warmup, 0)}
        for name, (value, bound) in least.items():
            if value < bound:
                raise UsageError(f"{name} is {value}; expected at least {bound}")
        for count in self.in_flight:
            if count < 1:
                raise UsageError(f"--in-flight is {count}; expected at least 1")
        for axis in self.sweeps:
            if axis not in AXES:
                raise UsageError(f"--sweep is {axis!r}; expected one of {', '.join(AXES)}")
            self.points(axis)

    def points(self, axis: Axis) -> list[Point]:
        """See `sweeps.points`."""
        largest = max(self.sizes, key=lambda size: size.megapixels)
        tile = self.specs[0].settings.tile
        return sweeps.points(axis, largest, tile, describe_processor()["cores"])

    @property
    def steps(self) -> int:
        """How often `Costs` calls `advance`: once per run, throughput and memory process, done or skipped."""
        rounds = self.runs + most_rounds(self.warmup, self.runs)
        swept = sum(len(self.points(axis)) for axis in self.sweeps)
        each = rounds + min(self.runs, MOST_RUNS) + len(self.in_flight) + self.memory
        engines = len(self.specs) * (len(self.sizes) * each + swept * (rounds + self.memory))
        return engines + self.floor * len(self.sizes) * rounds


class Costs:
    """The costs of engines that are open, as far as they were measured.

    Args:
        subjects: in the order of `settings.specs`.
        advance: see `CostSettings.steps`.
        tell: is called whenever there is more.
        deadline: nothing begins once the time is over; what is under way is finished, but for processes that measure
            memory.
    """

    def __init__(
        self,
        settings: CostSettings,
        subjects: Sequence[Subject],
        advance: Callable[[], None],
        tell: Callable[[], None],
        deadline: Deadline,
    ) -> None:
        self._settings, self._subjects = settings, subjects
        self._advance, self._tell, self._deadline = advance, tell, deadline
        devices = [subject.report.device for subject in subjects]
        self._watch = Watch(next((device for device in devices if device.startswith("cuda")), "cpu"))
        self._specs = {subject.name: spec for subject, spec in zip(subjects, settings.specs, strict=True)}
        self.latency: list[LatencyRow] = []
        self.floor: list[FloorRow] = []
        self.throughput: list[ThroughputRow] = []
        self.sweeps: list[SweepRow] = []

    @property
    def conditions(self) -> Conditions:
        """What is known of the machine while latencies were measured."""
        return self._watch.found()

    def measure_latency(self) -> None:
        """Latencies at every size, each followed by its phases; then throughput."""
        for size in self._settings.sizes:
            self._time(size)
        for count in self._settings.in_flight:
            for size in self._settings.sizes:
                self._measure_throughput(count, size)

    def measure_sweeps(self) -> None:
        """All sweeps. PyTorch's number of threads is the process's, so that nothing should be timed after them."""
        settings, pinned = self._settings, self._pinned()
        engines = [(each, pinned[each.name]) for each in self._subjects]
        for axis in settings.sweeps:
            how = settings.runs, settings.warmup, self._advance, self._deadline.is_over
            for row in Sweep(settings.points(axis), open_subject, *how).rows(engines):
                self.sweeps.append(row)
                self._tell()

    def measure_memory(self) -> None:
        """Replaces rows by rows with peak memory, and those of latency with the cold start too."""
        for index, row in enumerate(self.latency):
            peak = None if row.failure else self._probed(self._specs[row.engine], Size.parse(row.size))
            if peak:
                self.latency[index] = replace(
                    row,
                    peak_rss_mib=peak.peak_rss_mib,
                    peak_gpu_mib=peak.peak_gpu_mib,
                    cold_start_s=peak.cold_start_s,
                    memory_failure=peak.failure,
                )
                self._tell()
            self._advance()
        places = {(axis, point.value): point for axis in self._settings.sweeps for point in self._settings.points(axis)}
        pinned = self._pinned()
        for index, swept in enumerate(self.sweeps):
            point = places[swept.axis, swept.value]
            peak = None if swept.failure else self._probed(point.spec(pinned[swept.engine]), point.size)
            if peak:
                self.sweeps[index] = replace(
                    swept,
                    peak_rss_mib=peak.peak_rss_mib,
                    peak_gpu_mib=peak.peak_gpu_mib,
                    memory_failure=peak.failure,
                )
                self._tell()
            self._advance()

    def _pinned(self) -> dict[str, SubjectSpec]:
        """How to open each engine, by name, on the library and in the precision in which it runs now: "auto" might
        choose others for another number of threads."""
        return {
            name: replace(spec, settings=getattr(subject, "chosen", spec.settings))
            for subject, (name, spec) in zip(self._subjects, self._specs.items(), strict=True)
        }

    def _probed(self, spec: SubjectSpec, size: Size) -> PeakMemory | None:
        """The peak memory of an engine; None where the time was over before it was known."""
        if self._deadline.is_over():
            return None
        peak = probe(spec, size, self._deadline.left)
        if peak.failure == OUT_OF_TIME:
            self._deadline.was_cut = True
            return None
        return peak

    def _time(self, size: Size) -> None:
        settings, picture = self._settings, sample_picture(size)

        def between() -> None:
            self._watch.look()
            self._advance()

        floor = None
        if settings.floor and not self._deadline.is_over():
            floor = FloorRun(self._subjects, picture, size, settings.specs[0].settings.threads)
        engines: list[Enhancer] = [*self._subjects, *([floor.peaks] if floor else [])]
        turns = Turns(engines, picture, advance=between, is_over=self._deadline.is_over)
        first = len(self.latency)
        try:
            with self._watch:
                turns.take(settings.runs, settings.warmup)
        finally:  # what was timed before an interrupt is in the report too
            self.latency += latency_rows([subject.name for subject in self._subjects], size, turns.timed())
            self.floor += floor.rows(self.latency[first:]) if floor else []
            floor = None  # its memory goes before that of engines is measured
        self._tell()
        running = {row.engine: at for at, row in enumerate(self.latency[first:], first) if not row.failure}
        left = [subject for subject in self._subjects if subject.name in running]
        runs = min(settings.runs, MOST_RUNS)
        phases, failures = measure_phases(left, picture, runs, advance=self._advance, is_over=self._deadline.is_over)
        for position, engine in enumerate(left):
            row = self.latency[running[engine.name]]
            self.latency[running[engine.name]] = replace(
                row, phases_ms=phases.get(position), phases_failure=failures.get(position)
            )
        for _ in range(runs * (len(self._subjects) - len(left))):
            self._advance()
        self._tell()

    def _measure_throughput(self, in_flight: int, size: Size) -> None:
        for subject in self._still_able(size):
            if self._deadline.is_over():
                return
            row = measure_throughput(
                subject, sample_picture(size), in_flight, self._settings.runs, self._deadline.is_over
            )
            if row:
                self.throughput.append(row)
                self._tell()
            self._advance()

    def _still_able(self, size: Size) -> Iterator[Subject]:
        """The engines that had a latency at this size."""
        able = {row.engine for row in self.latency if row.size == str(size) and not row.failure}
        for subject in self._subjects:
            if subject.name in able:
                yield subject
            else:
                self._advance()
