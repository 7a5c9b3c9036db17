"""Quality of engines, baselines and others' results: against a ground truth, plain and with its brightness, and without
one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mirnet_deploy.benchmarks.inputs import Image, one_line
from mirnet_deploy.benchmarks.latency import Enhancer
from mirnet_deploy.benchmarks.naturalness.brisque import brisque
from mirnet_deploy.benchmarks.naturalness.niqe import niqe
from mirnet_deploy.benchmarks.scenes import Scene, read_scene
from mirnet_deploy.benchmarks.statistics import mean_interval
from mirnet_deploy.benchmarks.subjects.results import ResultsFolder
from mirnet_deploy.metrics import flip, gt_mean, psnr, ssim

DATA_RANGE = 255
METRICS = ("psnr", "ssim", "flip", "niqe", "brisque")
"""What engines are compared by; of the first two more is better, of the others less."""
ALIGNED = ("gt_mean_psnr", "gt_mean_ssim")
"""What uses the target's brightness, and stands apart."""
INFINITE = ("psnr", "gt_mean_psnr")
"""What may be infinite, which JSON cannot hold: see `is_infinite`."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class QualityRow:
    """One picture by one engine or baseline. Where `failure` is set there are no figures; without a ground truth there
    are only `niqe` and `brisque`."""

    engine: str
    picture: str
    psnr: float | None = None
    """dB; None where the output equals the target (its PSNR is infinite and `identical` is true)."""
    ssim: float | None = None
    """None where there is no ground truth."""
    gt_mean_psnr: float | None = None
    """dB after the output's mean was scaled to the target's; None where it then equals the target."""
    gt_mean_ssim: float | None = None
    brightness_psnr: float | None = None
    """dB of the target, scaled to the output's mean, against the target itself: what a picture would have that is
    perfect but for the output's brightness. None where the scaled target equals the target."""
    identical: bool = False
    failure: str | None = None
    flip: float | None = None
    niqe: float | None = None
    """Distance from natural pictures; None where the picture is too small, or of hardly any content."""
    brisque: float | None = None
    """As `niqe`."""


@dataclass(frozen=True)
class QualityMean:
    """Means over pictures. An infinite PSNR enters no mean; `identical` counts the outputs that equal their targets."""

    engine: str
    pictures: int
    """Pictures that were measured."""
    of: int
    """Pictures that were to be measured: where it is more than `pictures`, the means are not comparable."""
    identical: int
    psnr: float | None
    ssim: float | None
    gt_mean_psnr: float | None
    gt_mean_ssim: float | None
    brightness_psnr: float | None
    brightness_share: float | None
    """Share of the squared error of all pictures that goes away when each output's mean is scaled to its target's."""
    flip: float | None = None
    niqe: float | None = None
    brisque: float | None = None
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    """For each of `METRICS` and `ALIGNED` the 95 % interval of the mean over pictures, None where there are too few;
    empty while the run is under way."""


def is_infinite(row: Mapping[str, Any], metric: str) -> bool:
    """Whether a metric is None because it is infinite: a picture that was held against a ground truth has an SSIM, and
    its PSNR is None only where there is no difference. A mean is infinite where that of every picture is.

    Args:
        row: the fields of a `QualityRow` or a `QualityMean`.
    """
    return metric in INFINITE and row.get(metric) is None and row.get("ssim") is not None


def measure_picture(engine: str, picture: str, output: Image, target: Image | None) -> QualityRow:
    """The figures of one output; both pictures are uint8 [H,W,3] RGB.

    Raises:
        ImageError: the shapes differ, or a side is below SSIM's window.
    """
    natural = QualityRow(engine, picture, niqe=niqe(output), brisque=brisque(output))
    return natural if target is None else _compare(natural, output, target)


def _compare(natural: QualityRow, output: Image, target: Image) -> QualityRow:
    """The row `natural` with the figures against the target."""
    aligned = gt_mean(output, target)
    perfect = gt_mean(target, output)
    plain, matched, bright = (psnr(each, target, data_range=DATA_RANGE) for each in (output, aligned, perfect))
    return replace(
        natural,
        psnr=plain if math.isfinite(plain) else None,
        ssim=ssim(output, target, data_range=DATA_RANGE),
        gt_mean_psnr=matched if math.isfinite(matched) else None,
        gt_mean_ssim=ssim(aligned, target, data_range=DATA_RANGE),
        brightness_psnr=bright if math.isfinite(bright) else None,
        identical=math.isinf(plain),
        flip=flip(output, target),
    )


@dataclass(frozen=True)
class MeasuredPair:
    """One picture and what all engines made of it: what the tables and the contact sheet are made from."""

    name: str
    rows: list[QualityRow]
    low: Image | None
    """None where the pictures cannot be read."""
    high: Image | None
    """None also where there is no ground truth."""
    outputs: list[Image | None]
    """One for each engine; None where it failed."""


def measure_pairs(
    scenes: Iterable[Scene], engines: Sequence[Enhancer | ResultsFolder], advance: Callable[[], None]
) -> Iterator[MeasuredPair]:
    """Has each picture enhanced by each engine, one picture at a time; a failure is a row and does not end the run."""
    for scene in scenes:
        try:
            low, high = read_scene(scene)
        except Exception as error:  # one bad file costs one row
            rows = [QualityRow(engine.name, scene.name, failure=one_line(error)) for engine in engines]
            yield MeasuredPair(scene.name, rows, None, None, [None] * len(engines))
            for _ in engines:
                advance()
            continue
        rows, outputs = [], []
        for engine in engines:
            row, output = _measure(engine, scene.name, low, high)
            rows.append(row)
            outputs.append(output)
            advance()
        yield MeasuredPair(scene.name, rows, low, high, outputs)


def _measure(
    engine: Enhancer | ResultsFolder, picture: str, low: Image, high: Image | None
) -> tuple[QualityRow, Image | None]:
    """The row of one engine on one picture, and its output; a row without figures and None where it fails."""
    try:
        output = engine.result_of(picture, low) if isinstance(engine, ResultsFolder) else engine.enhance(low)
        return measure_picture(engine.name, picture, output, high), output
    except Exception as error:  # any library's out-of-memory: the others go on
        return QualityRow(engine.name, picture, failure=one_line(error)), None


def mean_rows(rows: Sequence[QualityRow], *, intervals: bool = False) -> list[QualityMean]:
    """Means by engine, in the order in which the engines first occur; with `intervals` also these, which take time."""
    names = dict.fromkeys(row.engine for row in rows)
    return [_mean(name, [row for row in rows if row.engine == name], intervals) for name in names]


def _mean(engine: str, rows: Sequence[QualityRow], intervals: bool) -> QualityMean:
    good = [row for row in rows if row.failure is None]
    figures = {name: _figures(good, name) for name in (*METRICS, *ALIGNED, "brightness_psnr")}
    means = {name: math.fsum(values) / len(values) if values else None for name, values in figures.items()}
    known = {name: mean_interval(figures[name]) for name in (*METRICS, *ALIGNED)} if intervals else {}
    return QualityMean(
        engine,
        pictures=len(good),
        of=len(rows),
        identical=sum(row.identical for row in good),
        brightness_share=_brightness_share(good),
        intervals=known,
        **means,
    )


def _figures(rows: Sequence[QualityRow], metric: str) -> list[float]:
    """The values of a metric, without those that there are not."""
    return [value for value in (getattr(row, metric) for row in rows) if value is not None]


def _brightness_share(rows: Sequence[QualityRow]) -> float | None:
    """See `QualityMean.brightness_share`; None where there is no error at all."""
    plain = math.fsum(10 ** (-row.psnr / 10) for row in rows if row.psnr is not None)
    matched = math.fsum(10 ** (-row.gt_mean_psnr / 10) for row in rows if row.gt_mean_psnr is not None)
    return 1 - matched / plain if plain else None
