"""The kernels of `kernels.cu` in numpy, on the host's memory. Tests compare the two.

`kernels` and `result_kernels` say what each kernel does. Of the grid only the number of tiles is used: the arguments
hold all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.devices.arguments import (
    CANDIDATES,
    CORE,
    KINDS,
    ORIGIN,
    PARTS,
    REPORT,
    UNIT,
    CheckArguments,
    ClearArguments,
    CorrectArguments,
    CountArguments,
    CutArguments,
    DefectArguments,
    DifferArguments,
    NarrowArguments,
    PutArguments,
    ShrinkArguments,
    ToneArguments,
    WeighArguments,
)
from mirnet_deploy.devices.base import Kernel
from mirnet_deploy.pixels import BINS, MOST_GAIN, SCALES, mirrored, rounded, shrink, toned, unit

DTYPES = {kind: dtype for dtype, kind in KINDS.items()}
Grid = tuple[int, int, int]
"""Columns, rows and tiles over which a kernel runs."""


class _At:
    """What `np.asarray` takes to make an array of memory that is already there."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def at(address: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The memory at `address` as an array. The array does not keep the memory alive.

    Args:
        strides: in bytes; None for a C-contiguous array.
    """
    dtype = np.dtype(dtype)
    described = {"data": (address, False), "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3}
    return np.asarray(_At(described | ({"descr": dtype.descr} if dtype.names else {})))


def _cut(grid: Grid, a: CutArguments) -> None:
    picture, scale, count = _colours(a), SCALES[DTYPES[a.kind]], grid[2]
    rows, cols = mirrored(a.height, a.padded_height), mirrored(a.width, a.padded_width)
    for index, (row, col) in enumerate(at(a.origins, (count,), ORIGIN).tolist()):
        crop = _window(picture, rows[row : row + a.tile_height], cols[col : col + a.tile_width])
        if a.planar:
            plane = at(a.batch, (count, 3, a.tile_height, a.tile_width), np.float32)[index]
            np.divide(crop.transpose(2, 0, 1), np.float32(scale), out=plane, dtype=np.float32)
        else:
            at(a.batch, (count, a.tile_height, a.tile_width, 3), np.uint8)[index] = crop


def _window(picture: NDArray[Any], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[Any]:
    """The pixels of a picture, [H,W,3], at the indices `rows`, [h], and `cols`, [w]: [h,w,3].

    A view where the indices only rise, else a copy: the mirrored padding comes backwards.
    """
    if all(index[-1] - index[0] == len(index) - 1 for index in (rows, cols)):
        return picture[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    top, left = rows.min(), cols.min()
    crop = picture[top : rows.max() + 1, left : cols.max() + 1]
    return np.asarray(crop[rows - top][:, cols - left])


def _put(grid: Grid, a: PutArguments) -> None:
    picture, dtype, count = _colours(a), DTYPES[a.kind], grid[2]
    tile = a.tile_height, a.tile_width
    shape = (count, 3, *tile) if a.planar else (count, *tile, 3)
    results = at(a.batch, shape, np.float32 if a.planar else np.uint8)
    for result, core in zip(results, at(a.cores, (count,), CORE).tolist(), strict=True):
        row, col, to_row, to_col, height, width = core
        height, width = min(height, a.height - to_row), min(width, a.width - to_col)
        if height <= 0 or width <= 0:
            continue
        rows, cols = slice(row, row + height), slice(col, col + width)
        kept = slice(to_row, to_row + height), slice(to_col, to_col + width)
        if a.planar:
            values = result[:, rows, cols]
            flaws = values.size - np.count_nonzero(np.isfinite(values))
            if flaws:
                at(a.flaws, (1,), np.int32)[0] += flaws
                values = np.nan_to_num(values, nan=0.0)
            picture[kept] = rounded(values, dtype).transpose(1, 2, 0)
        else:
            picture[kept] = result[rows, cols]
        if a.channels == 4:
            _alpha(a, a.picture, a.pitch)[kept] = _alpha(a, a.source, a.source_pitch)[kept]


def _shrink(_: Grid, a: ShrinkArguments) -> None:
    size, dtype = (a.small_height, a.small_width), DTYPES[a.small_kind]
    strides = a.small_pitch, 3 * dtype.itemsize, dtype.itemsize
    at(a.small, (*size, 3), dtype, strides)[...] = rounded(shrink(_colours(a), size), dtype)


def _correct(_: Grid, a: CorrectArguments) -> None:
    measured, defect, context = (at(place, (a.size,), np.float32) for place in (a.measured, a.defect, a.context))
    context[...] = measured + defect


def _defect(_: Grid, a: DefectArguments) -> None:
    cores = at(a.cores, (a.tiles,), CORE)
    areas = cores["height"].astype(np.float64) * cores["width"]
    means = areas @ at(a.statistics, (a.tiles, a.size), np.float32).astype(np.float64) / areas.sum()
    at(a.defect, (a.size,), np.float32)[...] = means - at(a.measured, (a.size,), np.float32)


def _clear(_: Grid, a: ClearArguments) -> None:
    at(a.values, (a.size,), np.int32)[...] = 0


def _check(_: Grid, a: CheckArguments) -> None:
    values = at(a.values, (a.size,), np.float32)
    at(a.flaws, (1,), np.int32)[0] += np.count_nonzero(~np.isfinite(values))


def _count(_: Grid, a: CountArguments) -> None:
    dtype = DTYPES[a.kind]
    pixels = at(a.picture, (a.height, a.width, 3), dtype, (a.pitch, a.channels * dtype.itemsize, dtype.itemsize))
    bins = at(a.bins, (BINS,), np.uint32)
    for row in pixels:
        places = np.rint(unit(row) * np.float32(BINS - 1)).astype(np.intp)
        bins += np.bincount(places.ravel(), minlength=BINS).astype(np.uint32)


def _tried(report: NDArray[Any], candidate: int) -> float:
    low, high = float(report["low"]), float(report["high"])
    if low == high:
        low, high = -math.log(MOST_GAIN), math.log(MOST_GAIN)
    return low + (high - low) * (candidate + 1) / (CANDIDATES + 1)


def _weigh(_: Grid, a: WeighArguments) -> None:
    counts, sums = at(a.bins, (BINS,), np.uint32), at(a.sums, (CANDIDATES, PARTS), np.float64)
    values = (np.arange(BINS) / (BINS - 1)).astype(np.float32)
    report = at(a.report, (1,), REPORT)[0]
    for candidate in range(CANDIDATES):
        weighed = counts * toned(values, math.exp(_tried(report, candidate))).astype(np.float64)
        # Added up one after another, as a thread does: `sum` adds in pairs.
        sums[candidate] = np.add.accumulate(weighed.reshape(PARTS, -1), axis=1)[:, -1]


def _narrow(_: Grid, a: NarrowArguments) -> None:
    report = at(a.report, (1,), REPORT)
    sums = np.add.accumulate(at(a.sums, (CANDIDATES, PARTS), np.float64), axis=1)[:, -1]
    below = int(np.searchsorted(sums, a.wanted)) - 1
    report["low"][0], report["high"][0] = (_tried(report[0], each) for each in (below, below + 1))


def _tone(_: Grid, a: ToneArguments) -> None:
    report = at(a.report, (1,), REPORT)[0]
    kinds = DTYPES[a.result_kind], DTYPES[a.kind]
    made = _rgb(a.result, a.result_pitch, (a.height, a.width, a.result_channels), kinds[0], a.result_bgr)
    before = _rgb(a.source, a.source_pitch, (a.height, a.width, a.channels), kinds[1], a.bgr)
    picture = _rgb(a.picture, a.pitch, (a.height, a.width, a.channels), kinds[1], a.bgr)
    values = unit(made)
    if a.curve:
        values = toned(values, math.exp(float(report["low"] + report["high"]) / 2))
    if np.float32(a.strength) != 1:
        old = unit(before)
        values = old + np.float32(a.strength) * (values - old)
    picture[...] = rounded(values, kinds[1])
    if a.channels == 4:
        _alpha(a, a.picture, a.pitch)[...] = _alpha(a, a.source, a.source_pitch)


def _differ(_: Grid, a: DifferArguments) -> None:
    report, dtype = at(a.report, (1,), REPORT), DTYPES[a.kind]
    shape = a.height, a.width, a.channels
    one, two = (_rgb(*lies, shape, dtype, a.bgr) for lies in ((a.picture, a.pitch), (a.other, a.other_pitch)))
    difference = unit(one).astype(np.float64) - unit(two)
    report["squares"] += np.rint(difference**2 * UNIT).astype(np.uint64).sum()
    report["largest"] = max(report["largest"][0], np.abs(difference).max().astype(np.float32))


def _colours(a: CutArguments | PutArguments | ShrinkArguments) -> NDArray[Any]:
    """A view of the picture's first three channels in the order RGB, [H,W,3]."""
    return _rgb(a.picture, a.pitch, (a.height, a.width, a.channels), DTYPES[a.kind], a.bgr)


def _rgb(address: int, pitch: int, shape: tuple[int, int, int], dtype: np.dtype[Any], bgr: int) -> NDArray[Any]:
    """As `_colours`, of a picture of `shape` (height, width, channels)."""
    pixels = at(address, shape, dtype, (pitch, shape[2] * dtype.itemsize, dtype.itemsize))
    return pixels[..., 2::-1] if bgr else pixels[..., :3]


def _alpha(a: PutArguments | ToneArguments, address: int, pitch: int) -> NDArray[Any]:
    """A view of the fourth channel, [H,W], of a picture with the size and dtype of the result."""
    dtype = DTYPES[a.kind]
    return at(address, (a.height, a.width, 4), dtype, (pitch, 4 * dtype.itemsize, dtype.itemsize))[..., 3]


KERNELS: dict[Kernel, Callable[[Grid, Any], None]] = {
    "cut": _cut,
    "put": _put,
    "shrink": _shrink,
    "correct": _correct,
    "defect": _defect,
    "clear": _clear,
    "check": _check,
    "count": _count,
    "weigh": _weigh,
    "narrow": _narrow,
    "tone": _tone,
    "differ": _differ,
}
