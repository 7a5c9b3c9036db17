"""What is trained on and what is held out. A split made here holds out whole scenes; a given one is taken as it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mirnet_deploy.errors import DataError, warn
from mirnet_deploy.files import file_sha256
from mirnet_deploy.images.formats import SUFFIXES
from mirnet_deploy.pairs import Pair, check_folder, find_pairs, folders_in, images_in
from mirnet_deploy.training.data import DegradedSource, PairSource, Source

T = TypeVar("T")

TRAIN_FOLDERS = ("train", "our485")
VAL_FOLDERS = ("val", "eval15")
HOLD_OUT_EVERY = 10
"""Where a folder has no validation split, about one picture in this many is held out."""
GROUPS = "groups.json"
"""File beside the folders: `{"groups": [[stem, …], …]}`, where each group names pictures of one scene."""


@dataclass(frozen=True)
class Split:
    """Training samples and validation pictures."""

    train: Source
    validation: Sequence[Pair | Path]
    """Pairs, or well-lit photographs, each to be darkened always in the same way."""
    description: str
    fingerprint: str
    """Kind and number of the training pictures and a hash of all file names: tells one data set from another."""


def _fingerprint(kind: str, train: Sequence[str], held_out: Sequence[str]) -> str:
    names = "\n".join(["train", *train, "held out", *held_out])
    return f"{len(train)} {kind}, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _pair_split(train: Sequence[Pair], held_out: Sequence[Pair], description: str) -> Split:
    names = ([f"{pair.name}{pair.low.suffix}" for pair in pairs] for pairs in (train, held_out))
    return Split(PairSource(train), held_out, description, _fingerprint("pairs", *names))


def open_pairs(root: Path, *, all_pairs: bool = False) -> Split:
    """Opens a LOL layout (`train/` or `our485/`, and `val/` or `eval15/`) or one folder of pairs.

    Of one folder a tenth is held out, by whole scenes: pictures that share a target, or a group in `GROUPS`, are one
    scene. Where a given split has scenes on both sides, the description says how many of the held-out pairs show them.
    A warning names what looks like pairs and is not used.

    Args:
        all_pairs: train on the held-out pairs too: for weights that ship, by a recipe that was measured without them.

    Raises:
        DataError: `root` does not exist, neither layout is there, there are too few pairs or scenes, or `GROUPS` cannot
            be read.
    """
    check_folder(root)
    train = next((root / name for name in TRAIN_FOLDERS if (root / name).is_dir()), None)
    validation = next((root / name for name in VAL_FOLDERS if (root / name).is_dir()), None)
    if train is not None and validation is not None:
        used = [train, validation]
        pairs, held_out = find_pairs(train), find_pairs(validation)
        said = f"{len(pairs)} pairs in {train}, {len(held_out)} held out in {validation}"
        known = set(pairs)
        mixed = [scene for scene in scenes([*pairs, *held_out], root) if 0 < len(known & set(scene)) < len(scene)]
        if mixed:
            both = sum(pair not in known for scene in mixed for pair in scene)
            said += f"; {both} of these show scenes that are trained on too"
    else:
        folder = train or root
        used = [folder]
        if not (folder / "low").is_dir():
            below = _others(root, used)
            raise DataError(
                f"{root} holds no pairs; expected {' or '.join(TRAIN_FOLDERS)} and {' or '.join(VAL_FOLDERS)}, "
                f"each with low/ and high/, or low/ and high/ themselves"
                + (f"; there are some in {_some(below)}" if below else "")
            )
        pairs, held_out = _hold_out(scenes(find_pairs(folder), root), folder)
        said = (
            f"{len(pairs)} pairs in {folder}; it has no val/ or eval15/, so {len(held_out)} of its pairs are held out"
        )
    if others := _others(root, used):
        warn(f"{root}: pairs in {_some(others)} are not used; what is used: {_some(used)}")
    for folder in used:
        if unread := _unread(folder):
            warn(f"{folder}: {len(unread)} pairs are not used: {_some(unread)} are of a kind that is not read")
    if all_pairs:
        pairs, said = [*pairs, *held_out], f"{said}; trained on as well, so that validation says little"
    return _pair_split(pairs, held_out, said)


def open_photographs(root: Path) -> Split:
    """Opens the well-lit photographs in `root` and below it, every tenth held out.

    Raises:
        DataError: `root` is not a folder or cannot be read, or holds fewer than two photographs.
    """
    found: dict[str, Path] = {}
    for path in images_in(root, recursive=True):
        found.setdefault(os.path.realpath(path), path)  # links may name one twice: trained on and held out
    kept, held = _hold_out([[path] for path in found.values()], root)
    said = f"{len(kept)} photographs in {root} to darken, {len(held)} held out"
    names = ([path.name for path in paths] for paths in (kept, held))
    return Split(DegradedSource(kept), held, said, _fingerprint("photographs", *names))


def _others(root: Path, used: Collection[Path]) -> list[Path]:
    """The folders in `root` and below it, also by links, that hold low/ and high/ and are not `used`."""
    found: list[Path] = []
    seen = set(root.resolve().parents)
    known = {folder.resolve() for folder in used}
    for place, folders, _ in os.walk(root, followlinks=True):
        real = Path(place).resolve()
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        seen.add(real)
        if {"low", "high"} <= set(folders):
            found += [Path(place)] if real not in known else []
            folders[:] = [name for name in folders if name not in ("low", "high")]
    return found


def _unread(folder: Path) -> list[Path]:
    """The files in `folder`/low that have a namesake in `folder`/high and a suffix that no picture has that is read."""
    places = [[path for each in folders_in(folder / side) for path in each.iterdir()] for side in ("low", "high")]
    low, high = ([path for path in paths if path.is_file()] for paths in places)
    known = {path.relative_to(folder / "high").with_suffix("") for path in high}
    return sorted(
        path
        for path in low
        if path.suffix.lower() not in SUFFIXES and path.relative_to(folder / "low").with_suffix("") in known
    )


def _some(paths: Sequence[Path]) -> str:
    """The first three paths, and how many more there are."""
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def scenes(pairs: Sequence[Pair], root: Path) -> list[list[Pair]]:
    """The pairs by scene: those of one scene share a target byte for byte, or `root` / `GROUPS` says so.

    Raises:
        DataError: `GROUPS` is there and cannot be read.
    """
    of_size: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        of_size[pair.high.stat().st_size].append(pair)
    keys: dict[Pair, list[str]] = defaultdict(list)
    for alike in of_size.values():
        for pair in alike if len(alike) > 1 else ():  # only files of one size can be equal: the others are not read
            keys[pair].append(f"target {file_sha256(pair.high)}")
    for number, names in enumerate(_groups(root / GROUPS)):
        for pair in pairs:
            if pair.name in names:
                keys[pair].append(f"group {number}")
    # From a key to another one of the same scene; the last in such a chain stands for the scene.
    joined: dict[str, str] = {}

    def scene_of(key: str) -> str:
        while joined.setdefault(key, key) != key:
            key = joined[key]
        return key

    for number, pair in enumerate(pairs):
        for key in keys[pair]:
            joined[scene_of(key)] = scene_of(f"pair {number}")
    found: dict[str, list[Pair]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        found[scene_of(f"pair {number}")].append(pair)
    return list(found.values())


def _groups(path: Path) -> list[set[str]]:
    """The groups of stems in a file like `GROUPS`; none where there is no file.

    Raises:
        DataError: it cannot be read.
    """
    if not path.exists():
        return []
    try:
        groups = json.loads(path.read_text())["groups"]
        return [{str(name) for name in group} for group in groups]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not a list of scenes: {error!r}; expected {{'groups': [[stem, …], …]}}") from error


def _hold_out(found: Sequence[Sequence[T]], folder: Path) -> tuple[list[T], list[T]]:
    """The pictures that are kept and those that are held out, by whole scenes.

    A scene is held out when at most a tenth of the pictures before it is held out. One with more than a tenth of all
    pictures never is, unless all scenes are so large: then only the smallest can be.

    Raises:
        DataError: there are fewer than two scenes.
    """
    if len(found) < 2:
        said = f"{len(found[0])} pictures of one scene" if found else "no pictures"
        raise DataError(f"{folder} holds {said}; expected two scenes: one is held out")
    most = max(min(map(len, found)), sum(map(len, found)) // HOLD_OUT_EVERY)
    kept: list[T] = []
    held: list[T] = []
    for scene in found:
        wanted = len(scene) <= most and len(held) * HOLD_OUT_EVERY <= len(kept) + len(held)
        (held if wanted else kept).extend(scene)
    return kept, held
