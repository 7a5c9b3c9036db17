"""What one picture costs: time to read, to enhance and to write it, and bytes; measured, or from reports of `bench`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mirnet_deploy.benchmarks.inputs import Size, sample_picture
from mirnet_deploy.benchmarks.phases import QUALITY
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.errors import UsageError
from mirnet_deploy.files import temporary_folder
from mirnet_deploy.images.picture import Picture
from mirnet_deploy.images.writing import encode_image

MIB = 1 << 20
LINES = 2000
"""Of a manifest, to find what one takes."""
KEY = "s3://bucket/camera-0000/2026/11/28/0000000000.jpg"
"""What the name of an input is like where it lies in an object store."""


@dataclass(frozen=True)
class PictureCost:
    """One picture from file to file, by itself in its process."""

    read_s: float
    """Processor time, of all threads, to read, decode and convert it, and all else before the model."""
    compute_s: float
    """Wall clock of the model."""
    write_s: float
    """Processor time, of all threads, to convert, encode and write the result."""
    wait_s: float
    """Wall clock in reading and writing beyond that: the disk; 0 where threads took more than it."""
    bytes_in: int
    bytes_out: int
    pixels: int


@dataclass(frozen=True)
class Costs:
    """What was measured of pictures on one machine."""

    pictures: tuple[PictureCost, ...]
    source: str
    """On what, and how."""
    threads: int
    """Processors that the model used."""
    cold_start_s: float | None
    """From the start of a process to its first result; None where it was not measured."""
    memory_bytes: float | None = None
    """Largest resident set of a process with one picture under way; None where it was not measured."""
    files: int = 1
    """Different files that were measured,"""
    drawn_from: int = 1
    """out of so many."""

    def mean(self, name: str) -> float:
        """Mean of that field of the pictures."""
        return fmean(getattr(each, name) for each in self.pictures)


@dataclass(frozen=True)
class ManifestCost:
    """What the manifest takes of the driver, for each picture; measured on lines like one of `enhance --json`."""

    line_s: float
    """To make a line and to hand it to the system."""
    line_bytes: int
    key_bytes: int
    """Memory of the name of an input in a list."""


def sample_file(folder: Path, size: Size) -> Path:
    """Writes the picture that `bench` measures on into `folder`, as the JPEG that it measures phases on."""
    path = folder / f"sample-{size}.jpg"
    picture = Picture(sample_picture(size), format="jpg")
    path.write_bytes(encode_image(picture, "jpg", quality=QUALITY, subsampling="4:2:0", allow_8_bit=True))
    return path


def from_report(path: Path, report: Report, like: Costs) -> Costs:
    """The costs of the first engine of a report of `bench`: on a CPU its latencies and its phases of reading and
    writing, on a GPU its best throughput, or without any its latencies.

    Args:
        path: of the report, for what is said of it.
        like: measured on pictures of the same size. What the report lacks is from there: bytes, and on a GPU, whose
            phases would be those of another processor, the time to read and to write.

    Raises:
        UsageError: the report has no latencies, or they are of another size.
    """
    rows = [row for row in report.latency if row.times_ms]
    if not rows:
        raise UsageError(f"{path} has no latencies")
    pixels = {each.pixels for each in like.pictures}
    fitting = [row for row in rows if {_pixels(row.size)} == pixels]
    if not fitting:
        sizes = ", ".join(dict.fromkeys(row.size for row in rows))
        raise UsageError(f"{path} was measured at {sizes}, and the pictures have {sorted(pixels)} pixels")
    row = fitting[0]
    device = next((each.device for each in report.engines if each.name == row.engine), "cpu")
    times, how = tuple(each / 1000 for each in row.times_ms), "one picture at a time, nothing else under way"
    read, write, wait = (like.mean(name) for name in ("read_s", "write_s", "wait_s"))
    if device == "cpu":
        phases = row.phases_ms or {}
        if phases.get("read") is None or phases.get("write") is None:
            raise UsageError(f"{path} has no phases of {row.engine}: measure anew with `mirnet-deploy bench --json`")
        read, write, wait = (phases["read"] or 0.0) / 1000, (phases["write"] or 0.0) / 1000, 0.0
    rates = {
        each.images_per_s: each.in_flight
        for each in report.throughput
        if each.images_per_s and (each.engine, each.size) == (row.engine, row.size)
    }
    if device != "cpu" and rates:
        times, how = (1 / max(rates),), f"its best throughput, with {rates[max(rates)]} pictures on the GPU at a time"
    where = report.machine["cpu"] if device == "cpu" else report.machine["gpus"][0]["name"]
    threads = report.settings.get("threads") or report.machine["cores"]
    base = replace(like.pictures[0], read_s=read, write_s=write, wait_s=wait)
    return Costs(
        pictures=tuple(replace(base, compute_s=each) for each in times),
        source=f"{path}: {row.engine} at {row.size} on {where}, {how}",
        threads=threads if device == "cpu" else 1,
        cold_start_s=row.cold_start_s,
        memory_bytes=row.peak_rss_mib and row.peak_rss_mib * MIB,
    )


def gpu_of(report: Report) -> str | None:
    """Name of the GPU that the report is of; None where it is of none."""
    on_gpu = any(each.device != "cpu" for each in report.engines)
    return report.machine["gpus"][0]["name"] if on_gpu else None


def manifest_cost(entry: dict[str, Any]) -> ManifestCost:
    """Writes lines like `entry` to a file, and measures."""
    name = dict(entry, input=KEY, output=KEY)
    with temporary_folder() as folder, (folder / "manifest.jsonl").open("w") as stream:
        begin = time.perf_counter()
        for number in range(LINES):
            stream.write(json.dumps(dict(name, number=number)) + "\n")
            stream.flush()
        seconds = time.perf_counter() - begin
        stream.seek(0, os.SEEK_END)
        length = stream.tell()
    # A list has a pointer of 8 bytes for each.
    return ManifestCost(seconds / LINES, round(length / LINES), sys.getsizeof(KEY) + 8)


def joined(costs: Sequence[Costs], source: str, files: int, drawn_from: int) -> Costs:
    """Those of several processes as one; the slowest cold start and the largest memory count.

    Args:
        costs: at least one, all with the same threads.
        files: that they measured, each counted once.
        drawn_from: how many there are.
    """
    starts = [each.cold_start_s for each in costs if each.cold_start_s is not None]
    pictures = tuple(picture for each in costs for picture in each.pictures)
    memory = [each.memory_bytes for each in costs if each.memory_bytes is not None]
    most = max(starts, default=None), max(memory, default=None)
    return Costs(pictures, source, costs[0].threads, *most, files, drawn_from)


def _pixels(size: str) -> int:
    parsed = Size.parse(size)
    return parsed.width * parsed.height
