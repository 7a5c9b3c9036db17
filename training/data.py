"""Training samples as a pure function of (seed, sample number), so that a resumed run sees what an unbroken one sees.

No random state is ever stored: sample number `i` draws its picture from the shuffled epoch that `i` falls into, and
its crop, darkening, lamps, MixUp partner and symmetry from a generator seeded with (seed, i). Ranks of a distributed
run take neighbouring numbers, so two ranks see exactly what one process with twice the batch sees.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Generator as Generating
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from mirnet_deploy.errors import DataError
from mirnet_deploy.pairs import Image, Pair, check_sizes, find_pairs, images_in, read_pair, read_rgb8
from mirnet_deploy.training.degrade import degrade
from mirnet_deploy.training.lamps import paint_lamps
from mirnet_deploy.training.recipes import Recipe

T = TypeVar("T")

CACHE_BYTES = 6 << 30
"""Decoded pictures kept in memory; past it they are decoded again each time."""
TRAIN_FOLDERS = ("train", "our485")
VAL_FOLDERS = ("val", "eval15")
HOLD_OUT_EVERY = 10
"""Of a folder without a validation split, every tenth picture is held out."""


class Source(Protocol):
    """Where samples come from: numbered pictures, each a (low, high) pair of float32 [H,W,3] in [0, 1]."""

    def __len__(self) -> int: ...

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A square crop of both pictures."""
        ...


class _Cache:
    """Decoded pictures, up to `CACHE_BYTES`; shared by the loading threads."""

    def __init__(self) -> None:
        self._images: dict[Path, Image] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, path: Path) -> Image:
        image = self._images.get(path)
        if image is None:
            image = read_rgb8(path)
            with self._lock:
                if path not in self._images and self._bytes + image.nbytes <= CACHE_BYTES:
                    self._images[path] = image
                    self._bytes += image.nbytes
        return image


def _cut(image: Image, top: int, left: int, side: int) -> NDArray[np.float32]:
    return image[top : top + side, left : left + side].astype(np.float32) / np.float32(255)


def _at_least(image: Image, side: int) -> Image:
    """Reflects a picture that is smaller than a crop."""
    height, width = image.shape[:2]
    if min(height, width) >= side:
        return image
    bottom, right = max(0, side - height), max(0, side - width)
    return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT), dtype=np.uint8)


class PairSource:
    """Real pairs.

    Raises:
        DataError: the two pictures of a pair differ in size (where the headers did not show it).
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._cache = _Cache()

    def __len__(self) -> int:
        return len(self.pairs)

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        low, high = read_pair(self.pairs[index], self._cache.read)
        low, high = _at_least(low, side), _at_least(high, side)
        top, left = (int(rng.integers(0, size - side + 1)) for size in low.shape[:2])
        return _cut(low, top, left, side), _cut(high, top, left, side)


class DegradedSource:
    """Well-lit photographs that are darkened anew every time they are drawn."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._cache = _Cache()

    def __len__(self) -> int:
        return len(self.paths)

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        image = _at_least(self._cache.read(self.paths[index]), side)
        top, left = (int(rng.integers(0, size - side + 1)) for size in image.shape[:2])
        high = _cut(image, top, left, side)
        return degrade(high, rng)


@dataclass(frozen=True)
class Split:
    """Training samples and validation pictures."""

    train: Source
    validation: Sequence[Pair] | Sequence[Path]
    """Pairs, or well-lit photographs to be darkened, each always in the same way."""
    description: str
    fingerprint: str
    """Kind and number of training pictures and a hash of all file names: tells one data set from another."""


def _fingerprint(kind: str, train: Sequence[Path], held_out: Sequence[Path]) -> str:
    names = "\n".join(["train", *(path.name for path in train), "held out", *(path.name for path in held_out)])
    return f"{len(train)} {kind}, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _pair_split(train: Sequence[Pair], held_out: Sequence[Pair], description: str) -> Split:
    check_sizes([*train, *held_out])
    fingerprint = _fingerprint("pairs", [pair.low for pair in train], [pair.low for pair in held_out])
    return Split(PairSource(train), held_out, description, fingerprint)


def open_pairs(root: Path) -> Split:
    """LOL layouts: `train/` or `our485/` and `val/` or `eval15/`; or one folder of pairs, every tenth held out.

    Raises:
        DataError: neither layout is there, too few pairs, or the pictures of a pair differ in size.
    """
    train = next((root / name for name in TRAIN_FOLDERS if (root / name).is_dir()), None)
    validation = next((root / name for name in VAL_FOLDERS if (root / name).is_dir()), None)
    if train is not None and validation is not None:
        pairs, held_out = find_pairs(train), find_pairs(validation)
        said = f"{len(pairs)} pairs in {train}, {len(held_out)} held out in {validation}"
        return _pair_split(pairs, held_out, said)
    folder = train or root
    if not (folder / "low").is_dir():
        raise DataError(
            f"{root} holds no pairs; expected {' or '.join(TRAIN_FOLDERS)} and {' or '.join(VAL_FOLDERS)}, "
            "each with low/ and high/, or low/ and high/ themselves"
        )
    kept, held = _hold_out(find_pairs(folder), folder)
    said = f"{len(kept)} pairs in {folder}; it has no val/ or eval15/, so {len(held)} of its pairs are held out"
    return _pair_split(kept, held, said)


def open_photographs(root: Path) -> Split:
    """Well-lit photographs in `root` and below it, every tenth held out.

    Raises:
        DataError: fewer than two photographs.
    """
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    kept, held = _hold_out([path for folder in folders for path in images_in(folder)], root)
    said = f"{len(kept)} photographs in {root} to darken, {len(held)} held out"
    return Split(DegradedSource(kept), held, said, _fingerprint("photographs", kept, held))


def _hold_out(items: Sequence[T], folder: Path) -> tuple[list[T], list[T]]:
    if len(items) < 2:
        raise DataError(f"{folder} holds {len(items)} pictures; expected at least 2 (one of them is held out)")
    held = list(items[::HOLD_OUT_EVERY])
    return [item for index, item in enumerate(items) if index % HOLD_OUT_EVERY], held


def sample_index(number: int, count: int, seed: int) -> int:
    """The picture that sample `number` shows: every picture once an epoch, in an order of its own each epoch."""
    epoch, position = divmod(number, count)
    return int(np.random.default_rng([seed, 1, epoch]).permutation(count)[position])


def make_sample(source: Source, number: int, side: int, recipe: Recipe, seed: int) -> NDArray[np.float32]:
    """Sample `number` as float32 [2,3,side,side]: the dark crop and its target, augmented by the recipe."""
    rng = np.random.default_rng([seed, 2, number])
    low, high = source.crop(sample_index(number, len(source), seed), side, rng)
    if rng.random() < recipe.synthetic:
        low, high = degrade(high, rng)
    if rng.random() < recipe.lamps:
        low, high = paint_lamps(low, high, rng)
    if rng.random() < recipe.mixup:
        share = np.float32(rng.beta(1.0, 1.0))
        other_low, other_high = source.crop(int(rng.integers(len(source))), side, rng)
        low, high = low + share * (other_low - low), high + share * (other_high - high)
    both = np.stack([low, high]).transpose(0, 3, 1, 2)
    # The eight symmetries of a square: a transposition and two flips.
    if rng.random() < 0.5:
        both = both.transpose(0, 1, 3, 2)
    for axis in (2, 3):
        if rng.random() < 0.5:
            both = np.flip(both, axis)
    return np.ascontiguousarray(both, dtype=np.float32)


@dataclass(frozen=True)
class Feed:
    """The batches of one rank, made ahead by threads."""

    source: Source
    recipe: Recipe
    seed: int
    steps: int
    rank: int = 0
    world_size: int = 1
    workers: int = 2
    ahead: int = 4
    """Batches made before they are asked for."""

    def batches(self, step: int, samples_seen: int) -> Generating[tuple[Tensor, int], None, None]:
        """From `step` on: ([2,N,3,S,S] float32 (low, high), samples seen by all ranks after this batch)."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="samples") as pool:
            waiting: deque[tuple[list[Future[NDArray[np.float32]]], int]] = deque()
            for later in range(step, self.steps):
                count, side = self.recipe.crops(later, self.steps)
                first = samples_seen + self.rank * count
                futures = [
                    pool.submit(make_sample, self.source, number, side, self.recipe, self.seed)
                    for number in range(first, first + count)
                ]
                samples_seen += count * self.world_size
                waiting.append((futures, samples_seen))
                if len(waiting) > self.ahead:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())

    @staticmethod
    def _batch(futures: list[Future[NDArray[np.float32]]], seen: int) -> tuple[Tensor, int]:
        return torch.from_numpy(np.stack([future.result() for future in futures], axis=1)), seen
