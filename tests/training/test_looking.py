"""All faults of a data set are told before the first step, and the pictures are not decoded twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirnet_deploy import pairs
from mirnet_deploy.errors import DataError, MissingDependencyError
from mirnet_deploy.training import data
from mirnet_deploy.training.looking import count, look_at
from mirnet_deploy.training.splits import open_pairs, open_photographs


def test_all_faults_are_told_at_once(lol_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "lol"
    shutil.copytree(lol_folder, root)
    whole = (root / "our485/high/1.png").read_bytes()
    (root / "our485/high/1.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (60, 10)).save(root / "our485/low/2.bmp")
    Image.new("RGB", (60, 10)).save(root / "our485/high/2.png")
    Image.new("RGB", (57, 44)).save(root / "eval15/high/5.png")
    (root / "eval15/low/6.bmp").write_bytes(b"BM")
    told: list[str] = []
    split = open_pairs(root)
    with pytest.raises(DataError, match=r"^5 faults in the data, the first of them: \S+high/1\.png is truncated"):
        look_at(split, told.append, lambda: None)
    assert [line.removeprefix(f"{root}/").partition(" is ")[0] for line in told] == [
        *("our485/high/1.png", "our485/low/2.bmp", "our485/high/2.png"),
        *(f"pair 5: {root}/eval15/low/5.bmp", "eval15/low/6.bmp"),
    ]
    assert told[1].endswith("our485/low/2.bmp is 60x10; expected at least 11x11 pixels")
    assert told[3].endswith(
        "low/5.bmp is 56x44 and " + str(root / "eval15/high/5.png") + " is 57x44; expected one size"
    )


def test_pictures_whose_library_is_missing_are_faults_like_others(
    lol_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(path: Path) -> pairs.Image:
        raise MissingDependencyError(f"{path} needs a library")

    split, told = open_pairs(lol_folder), []
    monkeypatch.setattr(split.train, "read", without)
    with pytest.raises(DataError, match="needs a library"):
        look_at(split, told.append, lambda: None)
    assert len(told) == 2 * count(split)


def test_one_fault_is_the_error(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder / "our485" / "high", tmp_path / "day")
    (tmp_path / "day/3.png").write_bytes(b"")
    told: list[str] = []
    with pytest.raises(DataError, match=r"^\S+day/3\.png .*; repair it or take it out$"):
        look_at(open_photographs(tmp_path / "day"), told.append, lambda: None)
    assert not told


def test_a_sound_set_is_decoded_once_and_then_from_memory(lol_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def reading(path: Path) -> pairs.Image:
        read.append(path)
        return pairs.read_rgb8(path)

    monkeypatch.setattr(data, "read_rgb8", reading)
    split = open_pairs(lol_folder, all_pairs=True)
    steps: list[int] = []
    look_at(split, pytest.fail, lambda: steps.append(1))
    assert (len(steps), count(split), len(read)) == (7, 7, 14)
    split.train.crop(6, 16, np.random.default_rng(0))
    assert len(read) == 14
