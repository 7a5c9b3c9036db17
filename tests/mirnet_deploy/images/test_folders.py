"""The walk over folders: order, hidden files, links, folders that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirnet_deploy.images.folders import pictures_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.PNG",
        "a.jpg",
        ".hidden.png",
        "notes.txt",
        "deep/c.tif",
        "deep/.d.png",
        ".cache/e.png",
        "zz/f.webp",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    return tmp_path


def found(folder: Path, recursive: bool) -> list[str]:
    def refuse(error: OSError) -> None:
        raise error

    return [path.relative_to(folder).as_posix() for path in pictures_in(folder, recursive=recursive, on_error=refuse)]


def test_pictures_are_found_by_suffix_in_order_without_hidden_ones(tree: Path) -> None:
    assert found(tree, recursive=False) == ["a.jpg", "b.PNG"]
    assert found(tree, recursive=True) == ["a.jpg", "b.PNG", "deep/c.tif", "zz/f.webp"]


def test_the_named_folder_itself_may_be_hidden(tree: Path) -> None:
    assert found(tree / ".cache", recursive=True) == ["e.png"]


def test_folders_that_cannot_be_read_are_reported_and_the_rest_is_found(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, reported = os.scandir, []

    def closed(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    names = [path.name for path in pictures_in(tree, recursive=True, on_error=reported.append)]
    assert names == ["a.jpg", "b.PNG", "f.webp"]
    assert [error.filename for error in reported] == [str(tree / "deep")]
