"""Training samples: layouts, pairs, determinism, augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mirnet_deploy.pairs import find_pairs
from mirnet_deploy.training import degrade
from mirnet_deploy.training.data import (
    Feed,
    PairSource,
    make_sample,
    sample_index,
)
from mirnet_deploy.training.recipes import Recipe
from mirnet_deploy.training.splits import open_pairs, open_photographs
from mirnet_deploy.training.validation import LARGEST, validation_pair

PLAIN = Recipe(synthetic=0.0, lamps=0.0, mixup=0.0, crop=16, batch=2)


def test_every_picture_is_seen_once_per_epoch() -> None:
    orders = [[sample_index(epoch * 7 + i, 7, seed=3) for i in range(7)] for epoch in range(3)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_samples_depend_on_seed_and_number_alone(lol_folder: Path) -> None:
    pairs = find_pairs(lol_folder / "our485")
    recipe = Recipe(synthetic=0.5, lamps=0.5, mixup=0.5, crop=16)
    first = [make_sample(PairSource(pairs), number, 16, recipe, 1) for number in range(6)]
    again = [make_sample(PairSource(pairs), number, 16, recipe, 1) for number in reversed(range(6))]
    np.testing.assert_array_equal(first, again[::-1])
    assert not np.array_equal(first[0], make_sample(PairSource(pairs), 0, 16, recipe, 2))


def test_both_crops_show_the_same_place(tmp_path: Path) -> None:
    """Where low is a known function of high, every augmented sample must keep that relation, pixel by pixel."""
    rng = np.random.default_rng(0)
    for side in ("low", "high"):
        (tmp_path / side).mkdir()
    for name in range(3):
        high = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(high).save(tmp_path / "high" / f"{name}.png")
        Image.fromarray(high // 4).save(tmp_path / "low" / f"{name}.png")
    source = PairSource(find_pairs(tmp_path))
    for number in range(20):
        low, high = make_sample(source, number, 16, PLAIN, 0)
        np.testing.assert_array_equal(np.rint(low * 255), np.rint(high * 255) // 4)


def test_all_eight_symmetries_occur(tmp_path: Path) -> None:
    picture = np.arange(16 * 16 * 3, dtype=np.uint32).reshape(16, 16, 3) % 251
    for side in ("low", "high"):
        (tmp_path / side).mkdir()
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / side / "0.png")
    source = PairSource(find_pairs(tmp_path))
    seen = {make_sample(source, number, 16, PLAIN, 0).tobytes() for number in range(80)}
    assert len(seen) == 8


def test_synthetic_crops_are_their_targets_darkened(lol_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dark crop is made from the well-lit one; the real dark picture, here NaN, is not used."""
    monkeypatch.setattr(degrade, "GOOD", 0.0)

    class NoLow(PairSource):
        def crop(self, index, side, rng):  # type: ignore[no-untyped-def]
            _, high = super().crop(index, side, rng)
            return np.full_like(high, np.nan), high

    pairs = find_pairs(lol_folder / "our485")
    for number in range(5):
        low, high = make_sample(NoLow(pairs), number, 16, Recipe(synthetic=1.0, lamps=0.0), 0)
        assert 0 < low.mean() < high.mean()


def test_mixup_mixes_both_sides_alike(lol_folder: Path) -> None:
    """On pairs where low is high / 4, a mixture still has low = high / 4."""
    pairs = find_pairs(lol_folder / "our485")

    class Quarter(PairSource):
        def crop(self, index, side, rng):  # type: ignore[no-untyped-def]
            _, high = super().crop(index, side, rng)
            return high / 4, high

    low, high = make_sample(Quarter(pairs), 3, 16, Recipe(synthetic=0.0, lamps=0.0, mixup=1.0), 0)
    alone = make_sample(Quarter(pairs), 3, 16, PLAIN, 0)[1]
    np.testing.assert_allclose(low, high / 4, atol=1e-6)
    assert not np.allclose(np.sort(high.ravel()), np.sort(alone.ravel()))


def test_pictures_smaller_than_the_crop_are_reflected(lol_folder: Path) -> None:
    """44 rows and 56 columns become 64 of each, continued at one end by reflection, in one of the eight symmetries."""
    sample = make_sample(PairSource(find_pairs(lol_folder / "our485")), 0, 64, PLAIN, 0)
    assert sample.shape == (2, 3, 64, 64)

    def mirrors(picture: Any, rows: int) -> bool:
        """Whether the rows of [2,3,64,64] after the first `rows` repeat those before them, in reverse order."""
        return bool(np.array_equal(picture[:, :, rows:], picture[:, :, 2 * rows - 64 : rows][:, :, ::-1]))

    def mirrors_at_either_end(picture: Any, rows: int) -> bool:
        return mirrors(picture, rows) or mirrors(picture[:, :, ::-1], rows)

    turned = sample.transpose(0, 1, 3, 2)
    assert (mirrors_at_either_end(sample, 44) and mirrors_at_either_end(turned, 56)) or (
        mirrors_at_either_end(turned, 44) and mirrors_at_either_end(sample, 56)
    )


def test_two_ranks_see_what_one_process_with_twice_the_batch_sees(lol_folder: Path) -> None:
    source = PairSource(find_pairs(lol_folder / "our485"))
    ranks = [list(Feed(source, PLAIN, 0, 3, rank, 2).batches(0, 0)) for rank in (0, 1)]
    one = list(Feed(source, Recipe(synthetic=0.0, lamps=0.0, crop=16, batch=4), 0, 3, 0, 1).batches(0, 0))
    for (left, seen_left), (right, seen_right), (both, seen) in zip(*ranks, one, strict=True):
        assert seen_left == seen_right == seen
        torch.testing.assert_close(torch.cat([left, right], dim=1), both, atol=0, rtol=0)


def test_a_feed_that_starts_later_gives_the_rest_of_the_same_samples(lol_folder: Path) -> None:
    source = PairSource(find_pairs(lol_folder / "our485"))
    whole = list(Feed(source, PLAIN, 0, 8, 0, 1).batches(0, 0))
    late = list(Feed(source, PLAIN, 0, 8, 0, 1).batches(5, whole[4][1]))
    assert [seen for _, seen in late] == [seen for _, seen in whole[5:]]
    for (a, _), (b, _) in zip(whole[5:], late, strict=True):
        assert torch.equal(a, b)


def test_photographs_are_found_in_every_folder(lol_folder: Path) -> None:
    split = open_photographs(lol_folder)
    assert (len(split.train), len(split.validation)) == (12, 2)
    low, high = make_sample(split.train, 0, 16, PLAIN, 0)
    assert low.mean() < 0.95 * high.mean()


def test_validation_takes_the_middle_of_camera_sized_pictures(tmp_path: Path) -> None:
    picture = np.zeros((40, LARGEST + 100, 3), dtype=np.uint8)
    picture[:, 50:-50] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    low, high = validation_pair(tmp_path / "wide.png")
    assert low.shape == high.shape == (40, LARGEST, 3)
    assert (high == 255).all()


def test_lamps_are_painted_into_both_crops(lol_folder: Path) -> None:
    source = open_pairs(lol_folder).train
    bare, lit = (make_sample(source, 2, 16, Recipe(synthetic=0.0, lamps=share, crop=16), 0) for share in (0.0, 1.0))
    for without, painted in zip(bare, lit, strict=True):
        assert painted.mean() > without.mean()
