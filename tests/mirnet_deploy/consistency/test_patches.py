"""Samples that represent a picture, and the patches that they are drawn from."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest
from artifacts import make_onnx
from numpy.typing import NDArray

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.consistency import patches as patches_module
from mirnet_deploy.consistency.patches import Patches, evenly, regression_estimate
from mirnet_deploy.consistency.thumbnail import Thumbnail
from mirnet_deploy.engines.base import Engine
from mirnet_deploy.engines.opening import open_engine
from mirnet_deploy.pipeline.limits import Limits
from mirnet_deploy.pipeline.pipeline import Pipeline
from mirnet_deploy.pipeline.slots import Observer
from mirnet_deploy.pipeline.work import Work
from mirnet_deploy.tiling import make_grid


def work_on(engine: Engine, image: NDArray[np.uint8]) -> AbstractContextManager[Work]:
    """A picture under way."""
    pipeline = Pipeline(engine, Limits(), Observer())
    return pipeline.open(image, np.empty_like(image), lambda pixels: None, most_slots=1, batch=1, banded=False)


@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_any_number_of_patches_can_be_picked(count: int) -> None:
    picks = evenly(np.linspace(1, 2, 40), count)
    assert len(picks) == count
    assert (np.diff(picks) > 0).all()
    assert 0 <= picks[0] <= picks[-1] < 40


def test_picks_lie_at_even_distances() -> None:
    np.testing.assert_array_equal(evenly(np.ones(300), 100), 3 * np.arange(100) + 1)
    large, small = np.full(30, 2.0), np.ones(60)
    picks = evenly(np.concatenate([large, small]), 30)
    assert (picks < 30).sum() == 15, "half of the area has half of the picks"


def test_an_even_sample_is_closer_than_as_many_at_random() -> None:
    rng = np.random.default_rng(3)
    values = np.sin(np.linspace(0, 7, 300)) + rng.normal(0, 0.1, 300)
    random = [abs(values[rng.choice(300, 100, replace=False)].mean() - values.mean()) for _ in range(200)]
    assert abs(values[evenly(np.ones(300), 100)].mean() - values.mean()) < np.mean(random) / 2


def test_regression_is_exact_where_the_values_depend_on_the_known_ones_alone() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(50, 2))
    seen = known * [3.0, -1] + [1.0, 7]
    some = rng.choice(50, 8, replace=False)
    estimate = regression_estimate(seen[some], known[some], known.mean(0))
    np.testing.assert_allclose(estimate, seen.mean(0))


def test_regression_over_constant_values_gives_the_mean() -> None:
    estimate = regression_estimate(np.array([[1.0], [3.0]]), np.ones((2, 1)), np.ones(1))
    np.testing.assert_allclose(estimate, [2])


@pytest.mark.parametrize("size", [(801, 1203), (515, 515)])
@pytest.mark.parametrize("tile", [256, 512])
def test_patches_lie_at_the_same_places_in_picture_and_thumbnail(tmp_path, monkeypatch, size, tile) -> None:
    monkeypatch.setattr(patches_module, "SAMPLE_COST", 9.0)  # also for small pictures, where one is not worth its cost
    monkeypatch.setattr(patches_module, "FEWEST", 1)
    engine = open_engine(make_onnx(tmp_path / "a.onnx", halo=12), RuntimeSettings(device="cpu"))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    grid = make_grid(*(-(-side // 4) * 4 for side in size), tile=(tile, tile), halo=12)
    with work_on(engine, image) as work:
        thumbnail = Thumbnail(work, grid)
    patches = Patches.of(thumbnail.size, grid, Limits())
    assert patches is not None
    covered = [np.zeros(shape, int) for shape in (grid.size, thumbnail.size)]
    for pair in zip(patches.large, patches.small, strict=True):
        for count, patch in zip(covered, pair, strict=True):
            count[patch.core] += 1
            assert max(patch.size) <= tile
            for axis, bound in enumerate(count.shape):
                start, core = patch.origin[axis], patch.core_origin[axis]
                end, core_end = start + patch.size[axis], core + patch.core_size[axis]
                assert start % 4 == end % 4 == core % 4 == core_end % 4 == 0
                assert core - start >= 8 or start == 0, "half of the halo, in multiples of 4"
                assert end - core_end >= 8 or end == bound
        large, small = (np.array(patch.core_origin) for patch in pair)
        assert np.abs(large - small * np.divide(grid.size, thumbnail.size)).max() <= 2
    for tiles, bounds in ((patches.large, grid.size), (patches.small, thumbnail.size)):
        largest = np.max([tile.core_size for tile in tiles], axis=0)
        assert tiles[0].size == tuple(np.minimum(largest + 16, bounds)), "and no more than that"
    assert all((count == 1).all() for count in covered)


def test_there_are_no_patches_where_they_do_not_fit(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches_module, "SAMPLE_COST", 9.0)
    monkeypatch.setattr(patches_module, "FEWEST", 1)
    engine = open_engine(make_onnx(tmp_path / "a.onnx", halo=12), RuntimeSettings(device="cpu"))
    image = np.zeros((600, 600, 3), np.uint8)
    grid = make_grid(600, 600, tile=(256, 256), halo=12)
    with work_on(engine, image) as work:
        thumbnail = Thumbnail(work, grid)
    assert Patches.of(thumbnail.size, grid, Limits()) is not None
    assert Patches.of(thumbnail.size, grid, Limits((1, 200, 200), (1, 256, 256))) is None
    assert Patches.of(thumbnail.size, make_grid(600, 600, tile=(28, 28), halo=12), Limits()) is None


def test_a_sample_is_not_drawn_where_it_says_too_little_or_costs_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (make_grid(side, side, tile=(512, 512), halo=40) for side in (1024, 4096))
    assert Patches.of((256, 256), small, Limits()) is None
    patches = Patches.of((588, 588), large, Limits())
    assert patches is not None
    assert (patches.count, patches.again) == (192, 32)
    photograph = Patches.of((440, 588), make_grid(3024, 4032, tile=(512, 512), halo=40), Limits())
    assert photograph is not None
    assert (len(photograph.large), photograph.count, photograph.again) == (475, 190, 32)
    monkeypatch.setattr(patches_module, "SAMPLE_COST", 0.2)
    assert Patches.of((588, 588), large, Limits()) is None
