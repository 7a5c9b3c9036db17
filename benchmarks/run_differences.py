"""What is different between two runs of `bench` beside their figures: machine, settings, versions, files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mirnet_deploy.benchmarks.baselines import others
from mirnet_deploy.benchmarks.quality import QualityRow
from mirnet_deploy.benchmarks.report import Report
from mirnet_deploy.benchmarks.subjects.base import SubjectReport

SAME_MACHINE = {"processor": "cpu", "number of cores": "cores", "instructions": "instructions", "GPUs": "gpus"}
"""What makes latencies incomparable where it differs -> its key in a report's machine."""
SAME_SETTINGS = ("device", "tile", "threads", "batch", "graphs", "floor")
"""The same of settings."""
ENGINE = ("backend", "precision", "device")
"""The same of one engine: fields of its report."""
SETTING = "setting "
VERSION = r" \d+(\.\w+)+(\+\w+)?"
LISTED = 8
"""How many names a remark has at most."""


def differences(old: Report, new: Report) -> list[str]:
    """What makes latencies incomparable: other machines, and other settings of engines."""
    found = [name for name, key in SAME_MACHINE.items() if _listed(old.machine, key) != _listed(new.machine, key)]
    settings = [name for name in SAME_SETTINGS if name in old.settings and name in new.settings]
    return found + [f"{SETTING}{name}" for name in settings if old.settings[name] != new.settings[name]]


def engine_differences(old: Report, new: Report) -> dict[str, list[str]]:
    """Engine of both runs -> those of `ENGINE` that are other ones; without the engines that are as they were. Another
    version of the same library is no other backend: it is what one may want to know about."""
    before = {engine.name: engine for engine in old.engines}
    found: dict[str, list[str]] = {}
    for engine in new.engines:
        if known := before.get(engine.name):
            unlike = [name for name in ENGINE if _unversioned(known, name) != _unversioned(engine, name)]
            found |= {engine.name: unlike} if unlike else {}
    return found


def _unversioned(engine: SubjectReport, name: str) -> str:
    """A field of an engine, without the version of its library.

    >>> re.sub(VERSION, "", "openvino 2026.4.1 CPU, bf16"), re.sub(VERSION, "", "torch 2.11.0+cu130, in float32")
    ('openvino CPU, bf16', 'torch, in float32')
    """
    return re.sub(VERSION, "", str(getattr(engine, name)))


def _listed(machine: Mapping[str, Any], key: str) -> Any:
    value = machine.get(key)
    if key == "gpus" and isinstance(value, list | tuple):
        return [gpu.get("name") if isinstance(gpu, dict) else gpu for gpu in value]
    return list(value) if isinstance(value, tuple) else value


def pictures_of(report: Report) -> dict[tuple[str, str], QualityRow]:
    """Engine and picture -> its row."""
    return {(row.engine, row.picture): row for row in report.quality.pictures} if report.quality else {}


def engines_of(report: Report) -> list[str]:
    """Names of the engines, and of those whose results were measured; without the baselines."""
    means = report.quality.means if report.quality else []
    return others([*(engine.name for engine in report.engines), *(mean.engine for mean in means)])


def other_pictures(
    before: Mapping[tuple[str, str], QualityRow], after: Mapping[tuple[str, str], QualityRow]
) -> list[str]:
    """Names that stand for different pictures in the two runs: the untouched input has other figures."""
    inputs = [(key, row) for key, row in after.items() if key[0] == "input" and key in before]
    return [key[1] for key, row in inputs if (before[key].psnr, before[key].ssim) != (row.psnr, row.ssim)]


def remarks(old: Report, new: Report, unlike: Sequence[str]) -> Iterator[str]:
    """A line for each thing that is different beside the figures, and for what is only in one of two reports.

    Args:
        unlike: what `differences` says of them.
    """
    for name, report in (("old", old), ("new", new)):
        if report.ended != "whole":
            yield f"the {name} run was {report.ended}"
        for remark in report.conditions.remarks if report.conditions else ():
            yield f"in the {name} run: {remark}"
    if old.created > new.created:
        yield f"the new run was made before the old one: {new.created}, {old.created}"
    for key in unlike:
        name = SAME_MACHINE.get(key, key.removeprefix(SETTING))
        part = "settings" if key.startswith(SETTING) else "machine"
        values = [_listed(getattr(report, part), name) for report in (old, new)]
        yield f"other {key}: {values[0]} -> {values[1]}"
    yield from _engines(old, new)
    yield from _versions(old, new)
    if old.quality and new.quality:
        if old.quality.data != new.quality.data:
            yield f"pictures of the same name are taken for the same: {old.quality.data} -> {new.quality.data}"
        for picture in other_pictures(pictures_of(old), pictures_of(new)):
            yield f"not compared: {picture} is another picture in the new run (its untouched input has other figures)"
    for what, names_of in _KEYS.items():
        first, second = names_of(old), names_of(new)
        for name, only in (("old", first - second), ("new", second - first)):
            if only:
                more = f" and {len(only) - LISTED} more" * (len(only) > LISTED)
                yield f"{what} only in the {name} run: {', '.join(sorted(only)[:LISTED])}{more}"


_KEYS: Mapping[str, Callable[[Report], set[str]]] = {
    "engines": lambda report: set(engines_of(report)),
    "latencies": lambda report: {f"{row.engine} at {row.size}" for row in report.latency},
    "pictures": lambda report: {picture for _, picture in pictures_of(report)},
}


def _engines(old: Report, new: Report) -> Iterator[str]:
    """A line for each of `engine_differences`."""
    before, after = ({engine.name: engine for engine in report.engines} for report in (old, new))
    for engine, names in engine_differences(old, new).items():
        for name in names:
            yield f"{engine} has another {name}: {getattr(before[engine], name)} -> {getattr(after[engine], name)}"


def _versions(old: Report, new: Report) -> Iterator[str]:
    """A line for each library, and for each engine's file, that is another one: what a change may come from."""
    before, after = (_flat(report) for report in (old, new))
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"other {name}: {before.get(name)} -> {after.get(name)}"
    files = {engine.name: engine.sha256 for engine in old.engines}
    for engine in new.engines:
        known = files.get(engine.name)
        if known and engine.sha256 and known != engine.sha256:
            yield f"{engine.name} is another file: SHA-256 {known[:12]} -> {engine.sha256[:12]}"


def _flat(report: Report) -> dict[str, Any]:
    machine = report.machine
    found = {name: machine.get(name) for name in ("python", "os", "openvino", "torch", "numpy")}
    for name in ("onnxruntime", "tensorrt"):
        versions = machine.get(name)
        found |= versions if isinstance(versions, dict) else {}
    return {**found, "mirnet-deploy": report.tool_version}
