"""Every picture of a data set looked at before the first step, so that all faults are told at once, and in time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mirnet_deploy.errors import DataError, ImageError, MissingDependencyError
from mirnet_deploy.metrics import SSIM_WINDOW
from mirnet_deploy.pairs import Image, Pair
from mirnet_deploy.training.splits import Split


def look_at(split: Split, tell: Callable[[str], object], advance: Callable[[], object]) -> None:
    """Decodes every picture once, in threads. What the source keeps in memory is not decoded again by the first epoch.

    Args:
        tell: is given a line for each of several faults.
        advance: is called for each item that was looked at, `count(split)` times.

    Raises:
        DataError: pictures cannot be decoded, are smaller than the window of SSIM, or a pair is of two sizes.
    """
    faults: list[str] = []
    executor = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="looking")
    try:
        for found in executor.map(lambda item: _faults(item, split.train.read), _items(split)):
            faults += found
            advance()
    finally:
        executor.shutdown(cancel_futures=True)
    if len(faults) == 1:
        raise DataError(f"{faults[0]}; repair it or take it out")
    for fault in faults:
        tell(fault)
    if faults:
        raise DataError(
            f"{len(faults)} faults in the data, the first of them: {faults[0]}; repair these pictures or take them out"
        )


def count(split: Split) -> int:
    """How many items are looked at."""
    return len(_items(split))


def _items(split: Split) -> list[Pair | Path]:
    return list(dict.fromkeys([*split.train.items, *split.validation]))


def _faults(item: Pair | Path, read: Callable[[Path], Image]) -> list[str]:
    """What is wrong with a pair or a photograph, one line each."""
    paths = (item.low, item.high) if isinstance(item, Pair) else (item,)
    faults, sizes = [], []
    for path in paths:
        try:
            height, width = read(path).shape[:2]
        except (ImageError, MissingDependencyError) as error:
            faults.append(str(error))
            continue
        sizes.append(f"{width}x{height}")
        if min(height, width) < SSIM_WINDOW:
            faults.append(f"{path} is {width}x{height}; expected at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels")
    if len(set(sizes)) > 1 and isinstance(item, Pair):
        faults.append(f"pair {item.name}: {item.low} is {sizes[0]} and {item.high} is {sizes[1]}; expected one size")
    return faults
