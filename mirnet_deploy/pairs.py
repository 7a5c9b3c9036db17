"""Pairs of a dark picture and its ground truth, laid out as in LOL: `low/` and `high/`, matched by stem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    low: Path
    high: Path


def images_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The pictures in `folder`, with `recursive` also below it; see `pictures_in`.

    Raises:
        DataError: `folder` is not a folder, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    return list(pictures_in(folder, recursive=recursive, on_error=refuse))


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DataError(
                f"{path.parent} holds both {found[path.stem].name} and {path.name}; expected one picture for each stem"
            )
        found[path.stem] = path
    return found


def find_pairs(folder: Path) -> list[Pair]:
    """The pairs in `folder/low` and `folder/high`, sorted by stem.

    Raises:
        DataError: a folder is missing, nothing matches, or a picture has no partner (a few are named).
    """
    low, high = (_by_stem(images_in(folder / side)) for side in ("low", "high"))
    alone = sorted(low.keys() ^ high.keys())
    if alone:
        names = ", ".join(alone[:3]) + ("…" if len(alone) > 3 else "")
        raise DataError(f"{folder}: {len(alone)} pictures have no partner of the same stem in low/ and high/ ({names})")
    if not low:
        raise DataError(f"{folder} holds no pictures; expected low/ and high/ with {', '.join(SUFFIXES)}")
    return [Pair(stem, low[stem], high[stem]) for stem in sorted(low)]


def check_sizes(pairs: Sequence[Pair]) -> None:
    """Checks by the headers alone that both pictures of each pair have one size: before training, not an hour into it.

    Raises:
        DataError: some pairs do not (a few are named).
    """
    different = []
    for pair in pairs:
        low, high = _header_size(pair.low), _header_size(pair.high)
        # Sorted: EXIF may turn one of them, which is only known when it is read; `read_pair` checks again.
        if low and high and sorted(low) != sorted(high):
            different.append(f"{pair.name}: low is {low[0]}x{low[1]} and high is {high[0]}x{high[1]}")
    if different:
        names = ", ".join(different[:3]) + ("…" if len(different) > 3 else "")
        raise DataError(f"{len(different)} pairs are not of one size ({names})")


def _header_size(path: Path) -> tuple[int, int] | None:
    """Width and height as stored; None where Pillow cannot tell (reading the file later says why)."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as image:
            return image.size
    except (OSError, Pillow.DecompressionBombError):
        return None


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
