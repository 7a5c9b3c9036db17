"""Pairs of a dark picture and its ground truth, laid out as in LOL: `low/` and `high/`, matched by place and stem."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import DataError
from mirnet_deploy.images import read_image
from mirnet_deploy.images.folders import pictures_in
from mirnet_deploy.images.formats import SUFFIXES

Image = NDArray[np.uint8]
"""[H,W,3] RGB."""


@dataclass(frozen=True)
class Pair:
    """One scene: the dark picture and its ground truth."""

    name: str
    """The place in `low/` and `high/`, without suffix and with "/" between folders."""
    low: Path
    high: Path


def images_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The pictures in `folder`, with `recursive` also below it; see `pictures_in`.

    Raises:
        DataError: `folder` is not a folder, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    check_folder(folder)
    return list(pictures_in(folder, recursive=recursive, on_error=refuse))


def check_folder(folder: Path) -> None:
    """Checks that `folder` is one.

    Raises:
        DataError: it is not.
    """
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise DataError(f"{folder} is not a folder")
    except FileNotFoundError as error:
        raise DataError(f"{folder} does not exist") from error
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error


def _by_name(folder: Path) -> dict[str, Path]:
    """The pictures in `folder` and below it by `Pair.name`."""
    found: dict[str, Path] = {}
    for path in images_in(folder, recursive=True):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(
                f"{path.parent} holds both {found[name].name} and {path.name}; expected one picture for each stem"
            )
        found[name] = path
    return found


def find_pairs(folder: Path) -> list[Pair]:
    """The pairs in `folder/low` and `folder/high` and in folders below these, sorted by name.

    Raises:
        DataError: a folder is missing, nothing matches, or a picture has no partner (a few are named).
    """
    check_folder(folder)
    low, high = (_by_name(folder / side) for side in ("low", "high"))
    alone = sorted(low.keys() ^ high.keys())
    if alone:
        names = ", ".join(alone[:3]) + ("…" if len(alone) > 3 else "")
        raise DataError(f"{folder}: {len(alone)} pictures have no partner of the same name in low/ and high/ ({names})")
    if not low:
        raise DataError(f"{folder} holds no pictures; expected low/ and high/ with {', '.join(SUFFIXES)}")
    return [Pair(name, low[name], high[name]) for name in sorted(low)]


def read_rgb8(path: Path) -> Image:
    """A picture as uint8 [H,W,3] RGB, C-contiguous: 16 bits are rounded to 8, grey is repeated, alpha is dropped.

    Raises:
        ImageError: the file cannot be read.
    """
    return np.ascontiguousarray(read_image(path).to_8_bit().rgb(), dtype=np.uint8)


def read_pair(pair: Pair, read: Callable[[Path], Image] = read_rgb8) -> tuple[Image, Image]:
    """The dark picture and its ground truth, uint8 [H,W,3] RGB.

    Raises:
        ImageError: a file cannot be read.
        DataError: the two differ in size.
    """
    low, high = read(pair.low), read(pair.high)
    if low.shape != high.shape:
        raise DataError(
            f"pair {pair.name}: low is {low.shape[1]}x{low.shape[0]} and high is {high.shape[1]}x{high.shape[0]}; "
            "expected one size"
        )
    return low, high
