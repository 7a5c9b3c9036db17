"""Pairs of a dark and a well-lit picture, as LOL-like data sets lay them out: `low/` and `high/`, matched by stem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mirnet_deploy.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Pair:
    """One scene: the dark picture and its target."""

    name: str
    low: Path
    high: Path


def images_in(folder: Path) -> list[Path]:
    """The pictures directly in `folder`, by name; hidden files are left out.

    Raises:
        DataError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DataError(f"{path.parent} holds both {found[path.stem].name} and {path.name}; one picture a stem")
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
        raise DataError(f"{folder} holds no pictures; expected low/ and high/ with {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [Pair(stem, low[stem], high[stem]) for stem in sorted(low)]
