"""Pairs of a dark picture and its ground truth, laid out as in LOL: `low/` and `high/`, matched by place and stem."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mirnet_deploy.errors import DataError, warn
from mirnet_deploy.images import read_image
from mirnet_deploy.images.colour.conversion import colour_of
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
    """The pictures in `folder`, with `recursive` also in the folders of `folders_in`; see `pictures_in`.

    Raises:
        DataError: `folder` is not a folder, or a folder cannot be read.
    """
    check_folder(folder)
    folders = folders_in(folder) if recursive else [folder]
    return [path for each in folders for path in pictures_in(each, recursive=False, on_error=_refuse)]


def folders_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """`folder` and all folders below it, in the order of names, without hidden ones.

    Links to folders are followed, as data sets are often put together by them; not one that leads back to a folder
    above it, so that there are no circles. A warning names links that lead nowhere and have no picture's suffix.

    Args:
        above: the folders that no link may lead back to, beside those that `folder` is in.

    Raises:
        DataError: a folder cannot be read.
    """
    yield folder
    real = folder.resolve()
    above = (*above, real, *real.parents)
    try:
        entries = sorted((each, each.is_dir()) for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        _refuse(error)
    for each, is_folder in entries:
        if is_folder and each.resolve() not in above:
            yield from folders_in(each, above)
        elif each.is_symlink() and not each.exists() and each.suffix.lower() not in SUFFIXES:
            warn(f"{each} is a link that leads nowhere; pictures that it stands for are not used")


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


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


def pictures_by_name(folder: Path) -> dict[str, Path]:
    """The pictures in `folder` and below it by `Pair.name`.

    Raises:
        DataError: a folder cannot be read, or two pictures have one name.
    """
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
    low, high = (pictures_by_name(folder / side) for side in ("low", "high"))
    alone = sorted(low.keys() ^ high.keys())
    if alone:
        names = ", ".join(alone[:3]) + ("…" if len(alone) > 3 else "")
        raise DataError(f"{folder}: {len(alone)} pictures have no partner of the same name in low/ and high/ ({names})")
    if not low:
        raise DataError(f"{folder} holds no pictures; expected low/ and high/ with {', '.join(SUFFIXES)}")
    return [Pair(name, low[name], high[name]) for name in sorted(low)]


def read_rgb8(path: Path) -> Image:
    """A picture as sRGB, uint8 [H,W,3] RGB, C-contiguous: 16 bits are rounded to 8, grey is repeated, alpha is dropped.

    Colours of other spaces become sRGB by their profile, in 16 bits, as the network is given them by `enhance`. A
    warning names the picture where its profile is damaged or cannot be used, and its numbers are taken for sRGB.

    Raises:
        ImageError: the file cannot be read.
        MissingDependencyError: its format needs a library that is not installed.
    """
    picture = read_image(path)
    colour = _colour_of(picture.icc, picture.pixels.dtype, grey=picture.grey)
    for line in filter(_OF_COLOUR.search, picture.lost):
        warn(f"{path}: {line}")
    if colour.problem:
        warn(f"{path}: {colour.problem}")
    if colour.conversion:
        picture = replace(picture, pixels=colour.conversion.there(picture.pixels), alpha=None)
    return np.ascontiguousarray(picture.to_8_bit().rgb(), dtype=np.uint8)


_OF_COLOUR = re.compile("colour|iCCP|cICP|gAMA|cHRM")
"""Words of a line of `Picture.lost` that is about what its numbers mean."""
_colour_of = lru_cache(maxsize=8)(colour_of)
"""Most pictures of a data set have one profile, and to take it apart takes longer than to decode a small one."""


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
