"""A folder holds pairs where it has low/ or high/, and otherwise pictures without a ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirnet_deploy.benchmarks.scenes import Lone, find_scenes, read_scene
from mirnet_deploy.errors import DataError
from mirnet_deploy.pairs import Pair


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (level, level, level)).save(path)


def test_pictures_alone_are_named_by_their_places(tmp_path: Path) -> None:
    save(tmp_path / "b.png", 1)
    save(tmp_path / "night" / "a.bmp", 2)
    (tmp_path / "notes.txt").write_text("no picture")
    scenes = find_scenes(tmp_path)
    assert [(type(scene), scene.name) for scene in scenes] == [(Lone, "b"), (Lone, "night/a")]
    low, high = read_scene(scenes[1])
    assert np.array_equal(low, np.full((7, 9, 3), 2))
    assert high is None


def test_low_and_high_are_pairs(tmp_path: Path) -> None:
    save(tmp_path / "low" / "a.png", 1)
    save(tmp_path / "high" / "a.bmp", 200)
    (scene,) = find_scenes(tmp_path)
    assert isinstance(scene, Pair)
    low, high = read_scene(scene)
    assert high is not None
    assert (low[0, 0, 0], high[0, 0, 0]) == (1, 200)


def test_half_of_the_pairs_are_no_pictures_alone(tmp_path: Path) -> None:
    """Else a missing folder would silently cost PSNR and SSIM."""
    save(tmp_path / "low" / "a.png", 1)
    with pytest.raises(DataError, match="high does not exist"):
        find_scenes(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures; expected low/ and high/, or pictures alone"):
        find_scenes(tmp_path)
