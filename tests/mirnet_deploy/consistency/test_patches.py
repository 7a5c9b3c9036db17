"""Samples that represent a picture, and the patches that they are drawn from."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest
from artifacts import make_onnx
from numpy.typing import NDArray

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.consistency import patches as patches_module
from mirnet_deploy.consistency.patches import Patches, describe, regression_estimate, representatives
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


def test_the_share_of_a_pick_is_that_of_its_kind() -> None:
    """There are three kinds of patches; one of each is picked and counts for its kind."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation([0] * 50 + [1] * 30 + [2] * 20)
    features = np.array([[0.0, 0], [5, 0], [0, 9]])[kinds] + rng.normal(0, 0.1, (100, 2))
    picks, shares = representatives(features, np.ones(100), 3)
    assert sorted(kinds[picks]) == [0, 1, 2]
    assert {kinds[pick]: share for pick, share in zip(picks, shares, strict=True)} == pytest.approx(
        {0: 0.5, 1: 0.3, 2: 0.2}
    )


@pytest.mark.parametrize("count", [1, 2, 7, 40, 60])
def test_any_number_of_patches_can_be_picked(count: int) -> None:
    features, areas = np.random.default_rng(count).normal(size=(40, 5)), np.linspace(1, 2, 40)
    picks, shares = representatives(features, areas, count)
    assert len(set(picks)) == len(picks) == min(count, 40)
    assert shares.sum() == pytest.approx(1)
    if count >= 40:
        np.testing.assert_allclose(shares, areas / areas.sum())


def test_patches_that_are_all_alike_can_be_sampled_too() -> None:
    picks, shares = representatives(np.zeros((10, 3)), np.ones(10), 4)
    assert len(set(picks)) == 4
    assert shares.sum() == pytest.approx(1)


def test_a_stratified_sample_is_closer_than_as_many_at_random() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, 3))
    values = np.tanh(features @ [1.0, 2, -1]) + rng.normal(0, 0.05, 300)
    picks, shares = representatives(features, np.ones(300), 30)
    random = [abs(values[rng.choice(300, 30, replace=False)].mean() - values.mean()) for _ in range(200)]
    assert abs(shares @ values[picks] - values.mean()) < np.mean(random) / 2


def test_regression_is_exact_where_the_values_depend_on_the_known_ones_alone() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(50, 2))
    seen = known * [3.0, -1] + [1.0, 7]
    some = rng.choice(50, 8, replace=False)
    estimate = regression_estimate(seen[some], known[some], np.full(8, 1 / 8), known.mean(0))
    np.testing.assert_allclose(estimate, seen.mean(0))


def test_regression_over_constant_values_gives_the_mean() -> None:
    estimate = regression_estimate(np.array([[1.0], [3.0]]), np.ones((2, 1)), np.array([0.5, 0.5]), np.ones(1))
    np.testing.assert_allclose(estimate, [2])


@pytest.mark.parametrize("size", [(801, 1203), (515, 515)])
@pytest.mark.parametrize("tile", [256, 512])
def test_patches_lie_at_the_same_places_in_picture_and_thumbnail(tmp_path, monkeypatch, size, tile) -> None:
    monkeypatch.setattr(patches_module, "PATCHES", 0)  # also for small pictures, where a sample is not worth its cost
    engine = open_engine(make_onnx(tmp_path / "a.onnx", halo=12), RuntimeSettings(device="cpu"))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    grid = make_grid(*(-(-side // 4) * 4 for side in size), tile=(tile, tile), halo=12)
    with work_on(engine, image) as work:
        thumbnail = Thumbnail(work, grid)
        guess = thumbnail.guess(None)
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
                assert core - start >= 12 or start == 0
                assert end - core_end >= 12 or end == bound
        large, small = (np.array(patch.core_origin) for patch in pair)
        assert np.abs(large - small * np.divide(grid.size, thumbnail.size)).max() <= 2
    assert all((count == 1).all() for count in covered)
    features = describe(image, patches, thumbnail, guess)
    assert features.shape == (len(patches.large), 9)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-3)
    middle = patches.small[len(patches.small) // 2].core
    order = np.argsort(features[:, 0])
    red = [thumbnail.pixels[patch.core][..., 0].mean() for patch in patches.small]
    assert np.all(np.diff(np.array(red)[order]) >= -1e-7), "the first column grows with the red of a patch"
    assert np.isfinite(guess.enhanced[middle]).all()


def test_there_are_no_patches_where_they_do_not_fit(tmp_path) -> None:
    engine = open_engine(make_onnx(tmp_path / "a.onnx", halo=12), RuntimeSettings(device="cpu"))
    image = np.zeros((600, 600, 3), np.uint8)
    grid = make_grid(600, 600, tile=(256, 256), halo=12)
    with work_on(engine, image) as work:
        thumbnail = Thumbnail(work, grid)
    assert Patches.of(thumbnail.size, grid, Limits((1, 200, 200), (1, 256, 256))) is None
    assert Patches.of(thumbnail.size, make_grid(600, 600, tile=(40, 40), halo=12), Limits()) is None


def test_a_sample_that_costs_as_much_as_a_pass_is_not_drawn() -> None:
    small, large = (make_grid(side, side, tile=(512, 512), halo=40) for side in (2048, 4096))
    assert Patches.of((340, 340), small, Limits()) is None
    assert Patches.of((588, 588), large, Limits()) is not None
