"""PSNR and SSIM of engines and baselines on pairs of pictures, plain and with the brightness aligned to the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mirnet_deploy.benchmarks.inputs import Image, one_line
from mirnet_deploy.benchmarks.latency import Enhancer
from mirnet_deploy.metrics import gt_mean, psnr, ssim
from mirnet_deploy.pairs import Pair, read_pair

DATA_RANGE = 255


@dataclass(frozen=True)
class QualityRow:
    """One picture by one engine or baseline. Where `failure` is set there are no figures."""

    engine: str
    picture: str
    psnr: float | None = None
    """dB; None where the output equals the target (its PSNR is infinite and `identical` is true)."""
    ssim: float | None = None
    gt_mean_psnr: float | None = None
    """dB after the output's mean was scaled to the target's; None where it then equals the target."""
    gt_mean_ssim: float | None = None
    brightness_psnr: float | None = None
    """dB of the target, scaled to the output's mean, against the target itself: what a picture would have that is
    perfect but for the output's brightness. None where the scaled target equals the target."""
    identical: bool = False
    failure: str | None = None


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


def measure_picture(engine: str, picture: str, output: Image, target: Image) -> QualityRow:
    """The figures of one output; both pictures are uint8 [H,W,3] RGB.

    Raises:
        ImageError: the shapes differ, or a side is below SSIM's window.
    """
    aligned = gt_mean(output, target)
    perfect = gt_mean(target, output)
    plain, matched, bright = (psnr(each, target, data_range=DATA_RANGE) for each in (output, aligned, perfect))
    return QualityRow(
        engine,
        picture,
        psnr=plain if math.isfinite(plain) else None,
        ssim=ssim(output, target, data_range=DATA_RANGE),
        gt_mean_psnr=matched if math.isfinite(matched) else None,
        gt_mean_ssim=ssim(aligned, target, data_range=DATA_RANGE),
        brightness_psnr=bright if math.isfinite(bright) else None,
        identical=math.isinf(plain),
    )


@dataclass(frozen=True)
class MeasuredPair:
    """One pair and what all engines made of it: what the tables and the contact sheet are made from."""

    name: str
    rows: list[QualityRow]
    low: Image | None
    """None where the pair cannot be read."""
    high: Image | None
    outputs: list[Image | None]
    """One for each engine; None where it failed."""


def measure_pairs(
    pairs: Iterable[Pair], engines: Sequence[Enhancer], advance: Callable[[], None]
) -> Iterator[MeasuredPair]:
    """Enhances each dark picture with each engine, one pair at a time; a failure is a row and does not end the run."""
    for pair in pairs:
        try:
            low, high = read_pair(pair)
        except Exception as error:  # one bad file costs one row
            rows = [QualityRow(engine.name, pair.name, failure=one_line(error)) for engine in engines]
            yield MeasuredPair(pair.name, rows, None, None, [None] * len(engines))
            for _ in engines:
                advance()
            continue
        rows, outputs = [], []
        for engine in engines:
            row, output = _measure(engine, pair.name, low, high)
            rows.append(row)
            outputs.append(output)
            advance()
        yield MeasuredPair(pair.name, rows, low, high, outputs)


def _measure(engine: Enhancer, picture: str, low: Image, high: Image) -> tuple[QualityRow, Image | None]:
    """The row of one engine on one pair, and its output; a row without figures and None where it fails."""
    try:
        output = engine.enhance(low)
        return measure_picture(engine.name, picture, output, high), output
    except Exception as error:  # any library's out-of-memory: the others go on
        return QualityRow(engine.name, picture, failure=one_line(error)), None


def mean_rows(rows: Sequence[QualityRow]) -> list[QualityMean]:
    """Means by engine, in the order in which the engines first occur."""
    return [_mean(name, [row for row in rows if row.engine == name]) for name in dict.fromkeys(r.engine for r in rows)]


def _mean(engine: str, rows: Sequence[QualityRow]) -> QualityMean:
    good = [row for row in rows if row.failure is None]

    def mean(values: Iterable[float | None]) -> float | None:
        finite = [value for value in values if value is not None]
        return math.fsum(finite) / len(finite) if finite else None

    return QualityMean(
        engine,
        pictures=len(good),
        of=len(rows),
        identical=sum(row.identical for row in good),
        psnr=mean(row.psnr for row in good),
        ssim=mean(row.ssim for row in good),
        gt_mean_psnr=mean(row.gt_mean_psnr for row in good),
        gt_mean_ssim=mean(row.gt_mean_ssim for row in good),
        brightness_psnr=mean(row.brightness_psnr for row in good),
        brightness_share=_brightness_share(good),
    )


def _brightness_share(rows: Sequence[QualityRow]) -> float | None:
    """See `QualityMean.brightness_share`; None where there is no error at all."""
    plain = math.fsum(10 ** (-row.psnr / 10) for row in rows if row.psnr is not None)
    matched = math.fsum(10 ** (-row.gt_mean_psnr / 10) for row in rows if row.gt_mean_psnr is not None)
    return 1 - matched / plain if plain else None
