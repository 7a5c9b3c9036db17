"""The result of a bench run: one frozen value, which is printed as tables and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mirnet_deploy.benchmarks.baselines import PROTOCOL as BASELINES
from mirnet_deploy.benchmarks.comparing import PairedTest, Worst
from mirnet_deploy.benchmarks.conditions import Conditions
from mirnet_deploy.benchmarks.floor.rows import FloorRow
from mirnet_deploy.benchmarks.floor.rows import failures as floor_failures
from mirnet_deploy.benchmarks.forms import FormRow
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import QualityMean, QualityRow
from mirnet_deploy.benchmarks.subjects.base import SubjectReport
from mirnet_deploy.benchmarks.sweeps import SweepRow
from mirnet_deploy.benchmarks.sweeps import failures as sweep_failures
from mirnet_deploy.benchmarks.throughput import ThroughputRow

UNFINISHED = "cut short: it is under way, or its process died"
INTERRUPTED = "cut short: interrupted"
FORMAT = "mirnet-deploy bench"
FORMAT_VERSION = 2
"""Raised when a reader of the old JSON would misread the new one."""

PROTOCOL: Mapping[str, str] = {
    "latency": (
        "Wall clock (perf_counter_ns) around enhance(), host uint8 RGB to host uint8 RGB, on a photograph cut or "
        "mirrored to the size: transfers to and from a GPU count; how the host waits for it is left to its driver; "
        "whether CUDA graphs were used, and how pictures are transferred, stands with the engine. "
        "The engines take turns, one run each, in an order drawn anew for each round. "
        "The warm-up is over when, at the same time, the median of each engine's last 3 runs is within 5 % of that of "
        "the 3 before, after as many rounds as timed ones, or 20, at most; below 6 rounds it is not known whether run "
        "times were stable. "
        "Percentiles interpolate linearly between order statistics; below 100 runs p99 is close to the slowest run. "
        "images/s = runs / sum of times, one picture at a time. "
        "ratio = p50 / p50 of the first engine: above 1 is slower; 95 %: its interval (paired bootstrap over rounds), "
        "from 6 rounds on."
    ),
    "phases": (
        "From a JPEG file to a JPEG file of quality 95, median of up to 3 runs after the timed ones: read and decode, "
        "enhance(), encode and write (into the system's cache). On a GPU upload, compute and download are the time in "
        "which copies and the engine were busy, by CUDA events; elsewhere compute is all of enhance()."
    ),
    "throughput": (
        "The same picture again and again, so many at once, each in a thread of its own: pictures / time from the "
        "first one's begin to the last one's end, at least 3 for each one in flight, after 2 that are not counted."
    ),
    "sweeps": (
        "One engine at a time, warm-up and runs as above; tiles, batches and threads on the largest size, all values "
        "on the library and in the precision of the latencies. Memory as below. Values that a machine does not take "
        "have a reason in the place of figures."
    ),
    "floor": (
        "The longer one of: the multiplications (with additions: MACs) of the picture as a whole, counted in the "
        "graph, at the rate of a matrix product in the engine's precision; and its compulsory bytes (weights, input "
        "and output once) at the rate of a copy in memory: the roofline of Williams, Waterman & Patterson 2009. "
        "Product and copy take turns with the engines, on as many threads; the fastest counts. floor / p50: 100 % is "
        "as fast as these rates allow. run: MACs of all runs of the network over those of the whole picture, which is "
        "what tiles cost. unfused: bytes of all operations, each alone."
    ),
    "memory": (
        "Peak resident set of a separate process that loads only this engine (Python and its libraries included) "
        "and enhances one picture of the size twice, after all else was measured. GPU: rise of the used device memory "
        "meanwhile (NVML, every 5 ms; other processes' allocations count). Cold start: from the start of that process "
        "to its first result, its files being in the system's cache."
    ),
    "quality": (
        "RGB, output rounded to 8 bits, data_range 255, mean over pictures. PSNR over all pixels and channels. "
        "SSIM: 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, population covariance, mean of the channels. "
        "GT-mean: the output scaled by mean(target) / mean(output), clipped and rounded first; it uses the target. "
        "A PSNR that is infinite (output = target) enters no mean; such pictures are counted. "
        "brightness: the target, scaled to the output's mean, against itself; an infinite one enters no mean. "
        "Two traps: a data range of 255 on values in [0, 1] adds 48.13 dB to a PSNR, and a GT-mean PSNR, printed "
        "as plain PSNR, uses the target; --claimed DB says which of these a figure from elsewhere is."
    ),
    "FLIP": (
        "mean LDR-FLIP (Andersson et al. 2020) by flip-evaluator at 67 pixels per degree of the eye, sRGB of 8 bits: "
        "0 is equal, 1 the largest difference there is."
    ),
    "naturalness": (
        "NIQE (Mittal et al. 2013) and BRISQUE (Mittal et al. 2012): lower is better, and neither knows what the scene "
        "was. BT.601 luma, 7x7 Gaussian window of sigma 7/6, two scales, the authors' published parameters. NIQE: "
        "blocks of 96x96, those of one grey left out. BRISQUE: not clipped to [0, 100]. Where a picture has areas of "
        "one grey (black, strong JPEG), other code's figures hang on its rounding; here differences below 1e-9 levels "
        "are none."
    ),
    "intervals": (
        "95 %, bootstrap over pictures with expanded percentiles (Hesterberg 2015), 10000 resamples, seed 0; of 6 to "
        "10 pictures rather 90 to 94 %. Tests: each engine against the first --engine (without one, --results) on the "
        "same pictures; permutation test of the mean difference, two-sided, with all signs up to 16 pictures, 10000 "
        "random ones above; p adjusted by Holm over the engines, for each metric by itself. Below 6 pictures there are "
        "none; with 6 the least p is 0.031, so that after Holm over two engines or more nothing is below 0.05."
    ),
    "baselines": BASELINES,
}


@dataclass(frozen=True)
class Quality:
    """The quality part of a report."""

    data: str
    """The folder of the pictures."""
    means: list[QualityMean]
    pictures: list[QualityRow]
    remarks: list[str]
    """What the figures mean (`mirnet_deploy.benchmarks.honesty`), and what there is no figure for."""
    tests: list[PairedTest] = field(default_factory=list)
    """Empty while the run is under way, and where there are too few pictures."""
    worst: list[Worst] = field(default_factory=list)
    paired: bool = True
    """Whether the pictures have ground truths."""


@dataclass(frozen=True)
class Report:
    """Everything that one run of `mirnet-deploy bench` measured, and how and where."""

    created: str
    """UTC, ISO 8601."""
    tool_version: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    engines: list[SubjectReport]
    latency: list[LatencyRow]
    quality: Quality | None
    ended: str
    """How the run ended: "whole", or "cut short: " and why; `UNFINISHED` in what is written on the way."""
    picture: str = ""
    """What latency, throughput, sweeps and memory were measured on."""
    throughput: list[ThroughputRow] = field(default_factory=list)
    sweeps: list[SweepRow] = field(default_factory=list)
    conditions: Conditions | None = None
    """The machine while engines were timed."""
    command: str = ""
    """What repeats the run, for a shell."""
    forms: list[FormRow] = field(default_factory=list)
    """Of --compare: every form of one checkpoint."""
    commit: str | None = None
    """Of the code that measured: see `artifacts.version.commit_of`."""
    floor: list[FloorRow] = field(default_factory=list)
    """Of --floor: how far each latency is from what the machine can do."""

    @property
    def failures(self) -> list[str]:
        """One line for each thing that could not be measured."""
        lines = [
            f"{row.engine} at {row.size}: {failure}"
            for row in self.latency
            for failure in (row.failure, row.memory_failure, row.phases_failure)
            if failure
        ]
        lines += [
            f"{row.engine} at {row.size}, {row.in_flight} in flight: {row.failure}"
            for row in self.throughput
            if row.failure
        ]
        lines += floor_failures(self.floor)
        lines += sweep_failures(self.sweeps)
        if self.quality:
            lines += [f"{row.engine} on {row.picture}: {row.failure}" for row in self.quality.pictures if row.failure]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values: no NaN and no infinity, None where there is no figure."""
        without = self.quality is None
        unpaired = self.quality is None or not self.quality.paired
        unused = {
            "latency": not self.engines,
            "phases": not self.engines,
            "memory": not self.engines,
            "quality": unpaired,
            "FLIP": unpaired,
            "naturalness": without,
            "intervals": without,
            "baselines": not self.settings.get("baselines"),
            "throughput": not self.throughput,
            "sweeps": not self.sweeps,
            "floor": not self.floor,
        }
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "protocol": {topic: text for topic, text in PROTOCOL.items() if not unused.get(topic)},
            **asdict(self),
            "failures": self.failures,
        }

    def to_json(self) -> str:
        """The JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
