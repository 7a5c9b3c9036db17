"""Training samples as a pure function of (seed, sample number), so that a resumed run sees what an unbroken one sees.

No random state is ever stored: sample number `i` draws its picture from the shuffled epoch that `i` falls into, and
its crop, darkening, lamps, MixUp partner and symmetry from a generator seeded with (seed, i). Ranks of a distributed
run take neighbouring numbers, so two ranks see exactly what one process with twice the batch sees (from
`Recipe.large_from` on only where the batch is a multiple of 4).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator as Generating
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from mirnet_deploy.pairs import Image, Pair, read_pair, read_rgb8
from mirnet_deploy.training.degrade import degrade
from mirnet_deploy.training.lamps import paint_lamps
from mirnet_deploy.training.recipes import Recipe

CACHE_BYTES = 6 << 30
"""Bytes of decoded pictures that a source keeps in memory; the others are decoded again each time."""


class Source(Protocol):
    """Where samples come from: numbered pairs of a dark picture and its target."""

    @property
    def items(self) -> Sequence[Pair | Path]:
        """What is drawn from: pairs, or photographs."""
        ...

    def read(self, path: Path) -> Image:
        """The picture at `path`, uint8 [H,W,3] RGB, of an item; kept in memory up to `CACHE_BYTES`.

        Raises:
            ImageError: it cannot be read.
        """
        ...

    def __len__(self) -> int: ...

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same square of the dark picture and of its target, at a place that `rng` chooses.

        Returns:
            Dark crop and target, each float32 [side,side,3] sRGB in [0, 1].

        Raises:
            ImageError: a file cannot be read.
            DataError: the two pictures of a pair differ in size.
        """
        ...


class _Cache:
    """Decoded pictures, up to `CACHE_BYTES`; shared by the loading threads."""

    def __init__(self) -> None:
        self._images: dict[Path, Image] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, path: Path) -> Image:
        """The picture at `path`, uint8 [H,W,3] RGB; all readers share it, so nobody may write to it."""
        image = self._images.get(path)
        if image is None:
            image = read_rgb8(path)
            with self._lock:
                if path not in self._images and self._bytes + image.nbytes <= CACHE_BYTES:
                    self._images[path] = image
                    self._bytes += image.nbytes
        return image


def _cut(image: Image, top: int, left: int, side: int) -> NDArray[np.float32]:
    """A square of `image`, uint8 [H,W,3] -> float32 [side,side,3] in [0, 1]."""
    return image[top : top + side, left : left + side].astype(np.float32) / np.float32(255)


def _at_least(image: Image, side: int) -> Image:
    """A picture, uint8 [H,W,3], extended to `side` by reflection at the bottom and the right where it is smaller."""
    height, width = image.shape[:2]
    if min(height, width) >= side:
        return image
    bottom, right = max(0, side - height), max(0, side - width)
    return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT), dtype=np.uint8)


class PairSource:
    """Real pairs."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.items = pairs
        self.read = _Cache().read

    def __len__(self) -> int:
        return len(self.items)

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Source`."""
        low, high = read_pair(self.items[index], self.read)
        low, high = (_at_least(image, side) for image in (low, high))
        top, left = (int(rng.integers(0, size - side + 1)) for size in low.shape[:2])
        return _cut(low, top, left, side), _cut(high, top, left, side)


class DegradedSource:
    """Well-lit photographs that are darkened anew every time they are drawn."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.items = paths
        self.read = _Cache().read

    def __len__(self) -> int:
        return len(self.items)

    def crop(self, index: int, side: int, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Source`; both crops are made from the photograph, by `degrade`."""
        image = _at_least(self.read(self.items[index]), side)
        top, left = (int(rng.integers(0, size - side + 1)) for size in image.shape[:2])
        high = _cut(image, top, left, side)
        return degrade(high, rng)


def sample_index(number: int, count: int, seed: int) -> int:
    """Which of `count` pictures sample `number` shows, from 0: every epoch shows each once, in an order of its own.

    >>> second_epoch = [sample_index(number, count=5, seed=0) for number in range(5, 10)]
    >>> sorted(second_epoch)
    [0, 1, 2, 3, 4]
    """
    epoch, position = divmod(number, count)
    return int(np.random.default_rng([seed, 1, epoch]).permutation(count)[position])


def make_sample(source: Source, number: int, side: int, recipe: Recipe, seed: int) -> NDArray[np.float32]:
    """Sample `number`: the dark crop and its target, in this order, augmented as `recipe` says.

    Returns:
        float32 [2,3,side,side] RGB in [0, 1], C-contiguous.
    """
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
    rank: int
    world_size: int
    workers: int = max(2, (os.cpu_count() or 2) // 2)
    """Number of threads; the samples do not depend on it."""
    ahead: int = 4
    """Batches made before they are asked for."""

    def batches(self, step: int, samples_seen: int) -> Generating[tuple[Tensor, int], None, None]:
        """Makes the batches of the steps from `step` on, before which all ranks together have seen `samples_seen`.

        Yields:
            The batch, float32 [2,N,3,S,S] RGB in [0, 1], dark crops and their targets; and how many samples all ranks
            together have seen after it.
        """
        with ThreadPoolExecutor(self.workers, thread_name_prefix="samples") as executor:
            waiting: deque[tuple[list[Future[NDArray[np.float32]]], int]] = deque()
            for later in range(step, self.steps):
                count, side = self.recipe.crops(later, self.steps)
                first = samples_seen + self.rank * count
                futures = [
                    executor.submit(make_sample, self.source, number, side, self.recipe, self.seed)
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
        """Waits for the N samples of a batch, [2,3,S,S] each, and stacks them to [2,N,3,S,S]."""
        return torch.from_numpy(np.stack([future.result() for future in futures], axis=1)), seen
