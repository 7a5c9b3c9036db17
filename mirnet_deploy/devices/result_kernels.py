"""The kernels of `kernels.cu` that look at a result on the device and finish it, as typed functions (see `kernels`).

What they find lies in a `REPORT` on the device, which nobody waits for. Brightness and strength mean what they mean in
`mirnet_deploy.brightness`.
"""

from __future__ import annotations

import math
from typing import Any

from mirnet_deploy.devices.arguments import (
    CANDIDATES,
    KINDS,
    PARTS,
    REPORT,
    CheckArguments,
    ClearArguments,
    CountArguments,
    DifferArguments,
    NarrowArguments,
    ToneArguments,
    WeighArguments,
)
from mirnet_deploy.devices.base import DevicePicture, Driver, Stream, Tensor
from mirnet_deploy.devices.kernels import described
from mirnet_deploy.pixels import BINS

ROUNDS = 6
"""Rounds of `weigh` and `narrow`: each makes the bounds of the gain 65 times as close, at first 11.1 apart."""
HISTOGRAM_BYTES = 4 * BINS
"""A uint32 for each bin."""
SUMS_BYTES = 8 * CANDIDATES * PARTS


def gain_of(report: Any) -> float:
    """The gain that `find_gain` has left in a report, a scalar of the dtype `REPORT`."""
    return math.exp(float(report["low"] + report["high"]) / 2)


def flaws_of(report: int) -> int:
    """The address of the count of NaN and infinite values in the report at `report`."""
    fields = REPORT.fields
    assert fields
    return report + int(fields["flaws"][1])


def clear(driver: Driver, stream: Stream, address: int, nbytes: int) -> None:
    """Sets `nbytes` bytes, a multiple of 4, to 0."""
    driver.launch("clear", (nbytes // 4, 1, 1), ClearArguments(address, nbytes // 4), stream)


def check(driver: Driver, stream: Stream, values: Tensor, report: int) -> None:
    """Adds the number of NaN and infinite values in a float32 tensor to the report's."""
    count = values.nbytes // 4
    driver.launch("check", (count, 1, 1), CheckArguments(values.address, count, flaws_of(report)), stream)


def differ(driver: Driver, stream: Stream, one: DevicePicture, other: DevicePicture, report: int) -> None:
    """Adds the differences of two pictures of one size, dtype and order of channels to the report."""
    arguments = DifferArguments(*described(one), other.address, other.pitch, report)
    driver.launch("differ", (one.width, one.height, 1), arguments, stream)


def find_gain(
    driver: Driver, stream: Stream, picture: DevicePicture, brightness: float, report: int, bins: int, sums: int
) -> None:
    """Finds the gain at which the mean of a picture becomes `brightness`, in [0, 1].

    It is e to the mean of the report's `low` and `high`, to 1 part in 10^10.

    Args:
        bins: the address of `HISTOGRAM_BYTES` bytes to work in.
        sums: the address of `SUMS_BYTES` bytes to work in.
    """
    clear(driver, stream, bins, HISTOGRAM_BYTES)
    counted = CountArguments(*described(picture)[:6], bins)
    driver.launch("count", (picture.width, picture.height, 1), counted, stream)
    wanted = brightness * 3 * picture.width * picture.height
    for _ in range(ROUNDS):
        driver.launch("weigh", (CANDIDATES, PARTS, 1), WeighArguments(bins, report, sums), stream)
        driver.launch("narrow", (1, 1, 1), NarrowArguments(sums, wanted, report), stream)


def tone(
    driver: Driver,
    stream: Stream,
    result: DevicePicture,
    source: DevicePicture,
    target: DevicePicture,
    report: int,
    curve: bool,
    strength: float,
) -> None:
    """Writes the network's result into `target`, through the tone curve if `curve`, and blended with the source.

    Args:
        result: of the size of `target`, of any dtype and order of channels; may be `target` itself.
        source: of the shape, dtype and order of channels of `target`. A fourth channel is copied from it.
        report: the address of the report in which the gain lies.
    """
    lies = result.address, result.pitch, result.channels, KINDS[result.dtype], int(result.bgr)
    ends = source.address, source.pitch, *described(target)
    arguments = ToneArguments(*lies, *ends, report, curve, strength)
    driver.launch("tone", (target.width, target.height, 1), arguments, stream)
