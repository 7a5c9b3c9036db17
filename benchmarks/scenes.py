"""What quality is measured on: pairs of a dark picture and its ground truth, or pictures that have none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mirnet_deploy.benchmarks.inputs import Image
from mirnet_deploy.errors import DataError
from mirnet_deploy.images.formats import SUFFIXES
from mirnet_deploy.pairs import Pair, check_folder, find_pairs, pictures_by_name, read_pair, read_rgb8


@dataclass(frozen=True)
class Lone:
    """A picture without a ground truth; `name` is as in `Pair`."""

    name: str
    low: Path


Scene = Pair | Lone


def find_scenes(folder: Path) -> list[Scene]:
    """The pairs of `folder/low` and `folder/high`; where neither is there, the pictures in `folder` and below it.

    Raises:
        DataError: there is nothing, or a picture of a pair has no partner.
    """
    check_folder(folder)
    if (folder / "low").is_dir() or (folder / "high").is_dir():
        return [*find_pairs(folder)]
    found = pictures_by_name(folder)
    if not found:
        raise DataError(
            f"{folder} holds no pictures; expected low/ and high/, or pictures alone, with {', '.join(SUFFIXES)}"
        )
    return [Lone(name, found[name]) for name in sorted(found)]


def read_scene(scene: Scene) -> tuple[Image, Image | None]:
    """The dark picture and its ground truth, uint8 [H,W,3] RGB; None where there is no ground truth.

    Raises:
        ImageError: a file cannot be read.
        DataError: the two of a pair differ in size.
    """
    return read_pair(scene) if isinstance(scene, Pair) else (read_rgb8(scene.low), None)
