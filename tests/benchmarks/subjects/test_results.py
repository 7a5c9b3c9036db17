"""Folders of results are found by name, and what is missing in them is told in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirnet_deploy.benchmarks.subjects.results import open_results
from mirnet_deploy.errors import DataError, UsageError

LOW = np.zeros((20, 30, 3), np.uint8)


def save(path: Path, level: int = 90, size: tuple[int, int] = (30, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def test_files_are_found_by_name_in_any_format(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 90)
    save(tmp_path / "night" / "b.bmp", 40)
    (folder,) = open_results([f"theirs={tmp_path}"], ["a", "night/b", "c"], [])
    assert folder.name == "theirs"
    assert folder.result_of("a", LOW)[0, 0].tolist() == [90, 90, 90]
    assert folder.result_of("night/b", LOW)[0, 0].tolist() == [40, 40, 40]
    with pytest.raises(DataError, match="holds no picture c"):
        folder.result_of("c", LOW)


def test_another_size_is_told_in_a_line(tmp_path: Path) -> None:
    save(tmp_path / "a.png", size=(15, 10))
    (folder,) = open_results([f"x={tmp_path}"], ["a"], [])
    with pytest.raises(DataError, match=r"a\.png is 15x10; expected 30x20"):
        folder.result_of("a", LOW)


@pytest.mark.parametrize("option", ["theirs", "=folder", "theirs="])
def test_an_option_without_a_name_or_a_folder_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=DIR"):
        open_results([option], ["a"], [])


def test_a_name_is_used_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for taken, options in ((["lite"], [f"lite={tmp_path}"]), ([], [f"x={tmp_path}", f"x={tmp_path}"])):
        with pytest.raises(UsageError, match="something else's name already"):
            open_results(options, ["a"], taken)


def test_a_folder_of_other_pictures_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "z.png")
    with pytest.raises(DataError, match=r"holds no result for any of the 2 pictures; .* such as a"):
        open_results([f"x={tmp_path}"], ["a", "b"], [])
    with pytest.raises(DataError, match="does not exist"):
        open_results([f"x={tmp_path / 'gone'}"], ["a"], [])
