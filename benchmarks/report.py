"""The result of a bench run: one frozen value, which is printed as tables and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mirnet_deploy.benchmarks.baselines import PROTOCOL as BASELINES
from mirnet_deploy.benchmarks.forms import FormRow
from mirnet_deploy.benchmarks.latency import LatencyRow
from mirnet_deploy.benchmarks.quality import QualityMean, QualityRow
from mirnet_deploy.benchmarks.subjects.base import SubjectReport

UNFINISHED = "cut short: it is under way, or its process died"
INTERRUPTED = "cut short: interrupted"
FORMAT = "mirnet-deploy bench"
FORMAT_VERSION = 2
"""Raised when a reader of the old JSON would misread the new one."""

PROTOCOL: Mapping[str, str] = {
    "latency": (
        "Wall clock (perf_counter_ns) around enhance(), host uint8 RGB to host uint8 RGB, on a mirrored photograph: "
        "transfers to and from a GPU count; waiting for it is left to its driver's default, without spinning; "
        "whether CUDA graphs were used stands with the engine. "
        "After the warm-up rounds the engines take turns, one run each. Percentiles interpolate linearly between "
        "order statistics; below 100 runs p99 is little more than the slowest run. "
        "images/s = runs / sum of times, one picture at a time. "
        "ratio = p50 / p50 of the first engine: above 1 is slower."
    ),
    "memory": (
        "Peak resident set of a separate process that loads only this engine (Python and its libraries included) "
        "and enhances one picture of the size twice, after all else was measured. GPU: rise of the used device memory "
        "meanwhile (NVML, every 5 ms; other processes' allocations count)."
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
    "baselines": BASELINES,
}


@dataclass(frozen=True)
class Quality:
    """The quality part of a report."""

    data: str
    """The folder of the pairs."""
    means: list[QualityMean]
    pictures: list[QualityRow]
    remarks: list[str]
    """What the figures mean (`mirnet_deploy.benchmarks.honesty`)."""


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
    command: str = ""
    """What repeats the run, for a shell."""
    forms: list[FormRow] = field(default_factory=list)
    """Of --compare: every form of one checkpoint."""

    @property
    def failures(self) -> list[str]:
        """One line for each thing that could not be measured."""
        lines = [
            f"{row.engine} at {row.size}: {failure}"
            for row in self.latency
            for failure in (row.failure, row.memory_failure)
            if failure
        ]
        if self.quality:
            lines += [f"{row.engine} on {row.picture}: {row.failure}" for row in self.quality.pictures if row.failure]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values: no NaN and no infinity, None where there is no figure."""
        unused = {"quality": not self.quality, "baselines": not self.settings.get("baselines")}
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
