"""What is trained on and what is held out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mirnet_deploy.errors import DataError, MirnetDeployWarning
from mirnet_deploy.pairs import Pair, find_pairs
from mirnet_deploy.training.splits import _hold_out, open_pairs, open_photographs, scenes


@pytest.mark.parametrize(("train", "val"), [("our485", "eval15"), ("train", "val"), ("train", "eval15")])
def test_lol_layouts(lol_folder: Path, tmp_path: Path, train: str, val: str) -> None:
    shutil.copytree(lol_folder / "our485", tmp_path / train)
    shutil.copytree(lol_folder / "eval15", tmp_path / val)
    split = open_pairs(tmp_path)
    assert (len(split.train), len(split.validation)) == (5, 2)


def test_pairs_that_are_not_used_are_named(lol_folder: Path, tmp_path: Path) -> None:
    for place in ("train", "val", "our485", "more/night", ".hidden"):
        shutil.copytree(lol_folder / "eval15", tmp_path / place)
    with pytest.warns(MirnetDeployWarning) as said:
        open_pairs(tmp_path)
    assert [str(each.message) for each in said] == [
        f"{tmp_path}: pairs in {tmp_path / 'more/night'}, {tmp_path / 'our485'} are not used; "
        f"what is used: {tmp_path / 'train'}, {tmp_path / 'val'}"
    ]
    for place in ("train", "val", "our485"):
        shutil.rmtree(tmp_path / place)
    with pytest.raises(DataError, match=r"holds no pairs; .*; there are some in \S+/more/night$"):
        open_pairs(tmp_path)


def test_pairs_of_a_kind_that_is_not_read_are_named(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder, tmp_path / "lol")
    for place in ("low/9.xcf", "high/9.png.xcf", "high/9.xcf", "low/notes.txt"):
        (tmp_path / "lol/our485" / place).write_bytes(b"x")
    with pytest.warns(MirnetDeployWarning, match=r"our485: 1 pairs are not used: \S+/low/9\.xcf are of a kind"):
        assert len(open_pairs(tmp_path / "lol").train) == 5


def test_what_is_not_used_is_named_also_behind_links(lol_folder: Path, tmp_path: Path) -> None:
    for place in ("lol/train", "lol/val", "extra"):
        shutil.copytree(lol_folder / "eval15", tmp_path / place)
    for name, target in (("alias", "train"), ("circle", ".."), ("extra", "../extra"), ("zextra", "../extra")):
        (tmp_path / "lol" / name).symlink_to(target)
    with pytest.warns(MirnetDeployWarning, match=rf": pairs in {tmp_path}/lol/extra are not used;"):
        open_pairs(tmp_path / "lol")
    shutil.rmtree(tmp_path / "lol")
    for side in ("low", "high"):
        (tmp_path / "more" / side).mkdir(parents=True)
        (tmp_path / "more" / side / "9.xcf").touch()
        shutil.copytree(lol_folder / "our485" / side, tmp_path / "lol" / side)
        (tmp_path / "lol" / side / "more").symlink_to(tmp_path / "more" / side)
    with pytest.warns(MirnetDeployWarning, match=r"1 pairs are not used: \S+/low/more/9\.xcf are of a kind"):
        open_pairs(tmp_path / "lol")


def test_a_photograph_that_links_name_twice_is_one(lol_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(lol_folder / "our485/high")
    (tmp_path / "b").symlink_to(lol_folder / "our485/high")
    split = open_photographs(tmp_path)
    assert len(split.train) + len(split.validation) == 5
    assert split.validation[0] == tmp_path / "a/0.png"


def test_nested_pairs_are_used_and_told_apart(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder, tmp_path / "lol")
    before = open_pairs(tmp_path / "lol")
    assert before.fingerprint == "5 pairs, 5f0f3f6c7774"  # as it was before nested pairs were read
    for side in ("low", "high"):
        shutil.copytree(lol_folder / "our485" / side, tmp_path / "lol/our485" / side / "more")
    split = open_pairs(tmp_path / "lol")
    assert (len(split.train), split.fingerprint == before.fingerprint) == (10, False)


def test_a_folder_that_does_not_exist_does_not_hold_no_pairs(tmp_path: Path) -> None:
    for opened in (open_pairs, open_photographs):
        with pytest.raises(DataError, match="none does not exist"):
            opened(tmp_path / "none")


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pairs"):
        open_pairs(tmp_path)


def test_photographs_and_pairs_of_the_same_names_have_different_fingerprints(lol_folder: Path) -> None:
    pairs, photographs = open_pairs(lol_folder / "our485"), open_photographs(lol_folder / "our485" / "low")
    assert pairs.fingerprint != photographs.fingerprint


def test_without_a_split_a_tenth_of_the_pairs_is_held_out_and_described(lol_folder: Path) -> None:
    split = open_pairs(lol_folder / "our485")
    assert (len(split.train), len(split.validation)) == (4, 1)
    assert "held out" in split.description


def names(found: list[list[Pair]]) -> list[list[str]]:
    return [[pair.name for pair in scene] for scene in found]


@pytest.fixture
def thirty(tmp_path: Path) -> Path:
    """Thirty pairs, a-00 to a-29, of ten targets: three pictures of each, whose names are far apart."""
    for side in ("low", "high"):
        (tmp_path / side).mkdir()
    for number in range(30):
        target = number % 10
        Image.new("RGB", (8, 8), (8 * target, 40, 90)).save(tmp_path / "high" / f"a-{number:02}.png")
        Image.new("RGB", (8, 8), (number, 4, 9)).save(tmp_path / "low" / f"a-{number:02}.png")
    return tmp_path


def test_pictures_that_share_a_target_are_one_scene(thirty: Path) -> None:
    found = names(scenes(find_pairs(thirty), thirty))
    assert found == [[f"a-{first:02}", f"a-{first + 10}", f"a-{first + 20}"] for first in range(10)]


def test_groups_join_scenes_of_different_targets(thirty: Path) -> None:
    (thirty / "groups.json").write_text(json.dumps({"groups": [["a-00", "a-11"], ["a-22", "a-11"], ["a-05"], ["x"]]}))
    found = names(scenes(find_pairs(thirty), thirty))
    assert sorted(found[0]) == sorted(f"a-{10 * tens + ones:02}" for tens in range(3) for ones in range(3))
    assert len(found) == 8


def test_no_scene_is_on_both_sides(thirty: Path) -> None:
    split = open_pairs(thirty)
    held = {pair.name[-1] for pair in split.validation}
    kept = {pair.name[-1] for pair in split.train.items if isinstance(pair, Pair)}
    assert held
    assert not held & kept
    assert len(split.validation) + len(split.train) == 30
    assert 3 <= len(split.validation) <= 5


def test_one_scene_alone_cannot_be_split(thirty: Path) -> None:
    (thirty / "groups.json").write_text(json.dumps({"groups": [[f"a-{number:02}" for number in range(30)]]}))
    with pytest.raises(DataError, match="one scene"):
        open_pairs(thirty)


def test_damaged_groups_are_an_error(thirty: Path) -> None:
    (thirty / "groups.json").write_text('["a-00"]')
    with pytest.raises(DataError, match="list of scenes"):
        open_pairs(thirty)


def test_a_scene_on_both_sides_of_a_given_split_is_described(lol_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lol_folder, tmp_path / "lol")
    assert "too" not in open_pairs(tmp_path / "lol").description
    shutil.copy(tmp_path / "lol/our485/high/0.png", tmp_path / "lol/eval15/high/5.png")
    assert "1 of these show scenes that are trained on too" in open_pairs(tmp_path / "lol").description


def test_training_on_all_pairs_is_described(lol_folder: Path) -> None:
    usual, every = open_pairs(lol_folder), open_pairs(lol_folder, all_pairs=True)
    assert (len(every.train), len(every.validation)) == (7, 2)
    assert "validation says little" in every.description
    assert every.fingerprint != usual.fingerprint


def test_groups_are_found_beside_a_single_folder(thirty: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("data")
    shutil.copytree(thirty, root / "train")
    (root / "groups.json").write_text(json.dumps({"groups": [["a-00", "a-11"]]}))
    held = {pair.name for pair in open_pairs(root).validation if isinstance(pair, Pair)}
    assert held
    assert ("a-00" in held) == ("a-11" in held)


def test_a_scene_of_more_than_a_tenth_is_not_held_out_where_smaller_ones_exist() -> None:
    kept, held = _hold_out([list(range(40)), *([number] for number in range(40, 60))], Path("x"))
    assert len(held) <= 6
    assert len(kept) + len(held) == 60
    assert held
    assert _hold_out([[1, 2, 3], [4, 5]], Path("x")) == ([1, 2, 3], [4, 5])


def test_an_empty_list_cannot_be_split() -> None:
    with pytest.raises(DataError, match="x holds no pictures; expected two scenes"):
        _hold_out([], Path("x"))
