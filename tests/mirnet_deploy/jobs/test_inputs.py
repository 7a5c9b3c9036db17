"""Which pictures a command line names, and where their results go."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw_pictures import dng

from mirnet_deploy.errors import UsageError
from mirnet_deploy.images.formats import Format
from mirnet_deploy.jobs import inputs
from mirnet_deploy.jobs.inputs import NoTask, Task, find_tasks


def picture(path: Path, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, kind)
    return path


def targets(
    *arguments: str | Path, output: Path | None = None, form: Format | None = None, recursive: bool = False
) -> dict[str, str]:
    """Source name -> path of the result, or the reason why there is none."""
    entries = find_tasks(
        [str(argument) for argument in arguments], output=output, target_format=form, recursive=recursive
    )
    return {entry.source.name: str(entry.target) if isinstance(entry, Task) else entry.reason for entry in entries}


def test_results_lie_beside_the_input(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "c.tif", "d.jpeg"):
        picture(tmp_path / name)
        stem, suffix = name.split(".")
        assert targets(tmp_path / name) == {name: str(tmp_path / f"{stem}_enhanced.{suffix}")}


def test_results_lie_below_an_output_folder_in_the_same_tree(tmp_path: Path) -> None:
    picture(tmp_path / "in/one.png")
    picture(tmp_path / "in/deep/er/two.webp")
    out = tmp_path / "out"
    assert targets(tmp_path / "in", output=out) == {"one.png": str(out / "one.png")}
    assert targets(tmp_path / "in", output=out, recursive=True) == {
        "one.png": str(out / "one.png"),
        "two.webp": str(out / "deep/er/two.webp"),
    }
    assert targets(tmp_path / "in/deep/er/two.webp", output=out) == {"two.webp": str(out / "two.webp")}


def test_output_may_name_the_one_result(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    assert targets(source, output=tmp_path / "x.jpg") == {"a.png": str(tmp_path / "x.jpg")}
    picture(tmp_path / "b.png")
    with pytest.raises(UsageError, match="names one picture"):
        targets(tmp_path / "a.png", tmp_path / "b.png", output=tmp_path / "x.jpg")
    with pytest.raises(UsageError, match="names one picture"):
        targets(tmp_path, output=tmp_path / "x.jpg")
    with pytest.raises(UsageError, match="contradict"):
        targets(source, output=tmp_path / "x.jpg", form="png")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="is a file that is not a picture"):
        targets(source, output=tmp_path / "notes.txt")


def test_a_format_or_the_content_changes_the_suffix(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpeg")
    assert targets(tmp_path / "a.jpeg", form="jpg") == {"a.jpeg": str(tmp_path / "a_enhanced.jpeg")}
    assert targets(tmp_path / "a.jpeg", form="webp") == {"a.jpeg": str(tmp_path / "a_enhanced.webp")}
    picture(tmp_path / "png_inside.jpg", "PNG")
    assert targets(tmp_path / "png_inside.jpg")["png_inside.jpg"].endswith("png_inside_enhanced.png")
    picture(tmp_path / "no_suffix", "TIFF")
    assert targets(tmp_path / "no_suffix")["no_suffix"].endswith("no_suffix_enhanced.tiff")


def test_folders_hold_pictures_by_suffix_without_hidden_ones(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".cache/b.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "circle").symlink_to(tmp_path)
    assert list(targets(tmp_path, recursive=True)) == ["a.png"]


def test_globs_that_the_shell_did_not_expand_are_expanded(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b.png", "sub/a3.png"):
        picture(tmp_path / name)
    assert list(targets(f"{tmp_path}/a*.png")) == ["a1.png", "a2.png"]
    assert sorted(targets(f"{tmp_path}/**/a*.png")) == ["a1.png", "a2.png", "a3.png"]
    picture(tmp_path / "odd[1].png")
    assert list(targets(tmp_path / "odd[1].png")) == ["odd[1].png"]


def test_a_file_named_twice_is_one_task(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert (
        len(
            find_tasks(
                [str(path), f"{tmp_path}/*.png", str(tmp_path)], output=None, target_format=None, recursive=False
            )
        )
        == 1
    )


def test_results_whose_names_differ_in_case_collide_where_the_system_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(picture(tmp_path / name)) for name in ("x/IMG.png", "y/img.png")]
    for ignores, kind in ((False, Task), (True, NoTask)):
        monkeypatch.setattr(inputs, "IGNORES_CASE", ignores)
        second = find_tasks(names, output=tmp_path / "out", target_format=None, recursive=False)[1]
        assert isinstance(second, kind)


def test_the_second_input_with_the_same_result_is_refused(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "x/a.png"), picture(tmp_path / "y/a.png")
    one, two = find_tasks([str(first), str(second)], output=tmp_path / "out", target_format=None, recursive=False)
    assert isinstance(one, Task)
    assert isinstance(two, NoTask)
    assert f"is already that of {first}" in two.reason
    picture(tmp_path / "x/a.jpg")
    found = targets(tmp_path / "x", form="png")
    assert sum("is already that of" in reason for reason in found.values()) == 1


def test_no_result_replaces_an_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a_enhanced.png")
    assert "would replace an input" in targets(tmp_path)["a.png"]
    assert "would replace an input" in targets(tmp_path / "a.png", output=tmp_path)["a.png"]
    assert "would replace an input" in targets(tmp_path / "a.png", output=tmp_path / "a.png")["a.png"]


def test_inputs_that_are_not_pictures_are_listed_beside_those_that_are(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "empty.png").touch()
    picture(tmp_path / "b.gif")
    os.mkfifo(tmp_path / "pipe.png")
    found = targets(tmp_path / "gone.png", tmp_path, tmp_path / "b.gif", f"{tmp_path}/none*.png")
    assert found["a.png"].endswith("a_enhanced.png")
    assert "does not exist" in found["gone.png"]
    assert "is empty" in found["empty.png"]
    assert "is a GIF" in found["b.gif"]
    assert "not a regular file" in found["pipe.png"]
    assert "matches no file" in found["none*.png"]


def test_without_pictures_each_argument_gets_its_reason(tmp_path: Path) -> None:
    found = targets(tmp_path / "gone.png", f"{tmp_path}/*.png", tmp_path)
    assert "does not exist" in found["gone.png"]
    assert "matches no file" in found["*.png"]
    assert re.search("holds no pictures .* --recursive", found[tmp_path.name])


def test_an_output_in_a_format_that_cannot_be_written_is_not_a_folder(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"\.gif cannot be written; expected \.png"):
        targets(source, output=tmp_path / "out.gif")
    assert targets(source, output=tmp_path / "out.v2")


def test_an_empty_argument_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert "an empty name" in next(iter(targets("").values()))
    assert targets(".") == {"a.png": "a_enhanced.png"}


def test_folders_without_permission_are_a_reason_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, closed = picture(tmp_path / "a.png"), tmp_path / "closed"
    real = os.stat

    def refuse(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if closed in Path(os.fsdecode(path)).parents:  # in place of a file mode, which would not stop root
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    assert targets(closed / "b.png", source)["b.png"] == f"{closed / 'b.png'} cannot be read: Permission denied"
    assert targets(source, output=closed / "x.png") == {"a.png": str(closed / "x.png")}


def test_pictures_of_telephones_and_raw_in_a_folder_are_found(tmp_path: Path) -> None:
    """Whether the libraries for them are installed or not: what cannot be read must not be passed over."""
    heads = {
        "a.heic": b"\0\0\0\x18ftypheic",
        "b.HIF": b"\0\0\0\x18ftypheix",
        "c.heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        "d.avif": b"\0\0\0\x18ftypavif",
        "e.jxl": b"\xff\x0a",
        "f.CR3": b"\0\0\0\x18ftypcrx ",
        "g.raf": b"FUJIFILMCCD-RAW",
        "h.heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
    }
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head.ljust(100, b"\0"))
    out = tmp_path / "out"
    names = ["a.heic", "b.HIF", "c.heif", "d.avif", "e.jxl", "f.tif", "g.tif", "h.avif"]
    assert targets(tmp_path, output=out) == {source: str(out / name) for source, name in zip(heads, names, strict=True)}


def test_raw_becomes_a_tiff_whatever_its_name(tmp_path: Path) -> None:
    data = dng(np.full((32, 32, 3), 0.2))
    for name in ("a.dng", "b.NEF", "c.tif", "d.tiff"):
        (tmp_path / name).write_bytes(data)
        stem = name[0]
        assert targets(tmp_path / name) == {name: str(tmp_path / f"{stem}_enhanced.tif")}
        assert targets(tmp_path / name, form="tiff") == {name: str(tmp_path / f"{stem}_enhanced.tif")}
        assert targets(tmp_path / name, form="jpg") == {name: str(tmp_path / f"{stem}_enhanced.jpg")}
    with pytest.raises(UsageError, match=r"camera RAW cannot be written; expected \.png, "):
        targets(tmp_path / "a.dng", output=tmp_path / "x.dng")
