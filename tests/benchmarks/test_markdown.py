"""Tables of Markdown pages, made of stored results: what is written, what is checked, and what is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mirnet_deploy.cli import main

RESULT = Path(__file__).parents[2] / "benchmarks/results/cpu/quality_pairs.json"
COMMENT = """<!-- table: quality results/a.json
columns: name = of four | psnr = PSNR | ssim
rows: gamma = gamma 1/2.2 | lite@onnxruntime = **`lite`** of {pictures} -->
"""
TABLE = """| of four | PSNR | ssim |
|---|---|---|
| gamma 1/2.2 | 21.72 | 0.936 |
| **`lite`** of 4 | 22.87 | 0.944 |
"""
BEFORE, AFTER = "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n", "\nText | with a bar.\n\n| c |\n|---|\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page whose table is as its result makes it."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.json").write_bytes(RESULT.read_bytes())
    (tmp_path / "page.md").write_text(BEFORE + COMMENT + TABLE + AFTER)
    return tmp_path / "page.md"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["bench", "tables", *map(str, words)])


def lines_of_check(page: Path) -> list[str]:
    """What --check says of a page that is wrong."""
    before = page.read_bytes()
    done = run(page, "--check")
    assert done.exit_code == 1
    assert page.read_bytes() == before
    *found, last = done.stderr.splitlines()
    faults = f"{len(found)} fault{'s' * (len(found) != 1)}"
    assert last == f"error: {faults} in the tables of 1 page, listed above"
    return found


def test_a_page_that_follows_from_its_results_stays_as_it_is(page: Path) -> None:
    before = page.stat().st_mtime_ns
    for words in ([], ["--check"]):
        done = run(page, *words)
        assert (done.exit_code, done.output) == (0, "1 tables in 1 pages are as their results make them\n")
    assert page.stat().st_mtime_ns == before


@pytest.mark.parametrize("table", ["", "| an older | one |\n|---|---|\n", TABLE.replace("22.87", "22.88"), TABLE[:-1]])
def test_a_table_is_made_anew_and_nothing_else_changes(page: Path, table: str) -> None:
    after = AFTER if table != TABLE[:-1] else ""  # at the end of a page without the last line's end
    page.write_text(BEFORE + COMMENT + table + after)
    done = run(page)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"{page}: 1 of 1 tables made anew" in done.output
    assert page.read_text() == BEFORE + COMMENT + TABLE + after


def test_a_comment_at_the_end_of_a_page_gets_its_table(page: Path) -> None:
    page.write_text(BEFORE + COMMENT[:-1])
    assert run(page).exit_code == 0
    assert page.read_text() == BEFORE + COMMENT + TABLE


def test_a_figure_that_was_changed_on_the_page_is_found(page: Path) -> None:
    page.write_text(page.read_text().replace("21.72", "21.73"))
    (line,) = lines_of_check(page)
    assert line == (
        f"{page}:7: results/a.json: the page has '| gamma 1/2.2 | 21.73 | 0.936 |', "
        "the result makes '| gamma 1/2.2 | 21.72 | 0.936 |'"
    )


def test_a_row_that_is_gone_from_the_page_is_found(page: Path) -> None:
    page.write_text(BEFORE + COMMENT + "".join(TABLE.splitlines(keepends=True)[:-1]) + AFTER)
    (line,) = lines_of_check(page)
    assert line.endswith("the page has 3 lines of a table, the result makes 4")


def change(page: Path, **figures: Any) -> None:
    """Changes the means of gamma in the result."""
    path = page.parent / "results/a.json"
    report = json.loads(path.read_text())
    next(mean for mean in report["quality"]["means"] if mean["engine"] == "gamma").update(figures)
    path.write_text(json.dumps(report))


def test_a_figure_that_was_changed_in_the_result_is_found(page: Path) -> None:
    change(page, ssim=0.9364)
    assert run(page, "--check").exit_code == 0, "it rounds to the same"
    change(page, ssim=0.9366)
    (line,) = lines_of_check(page)
    assert "the result makes '| gamma 1/2.2 | 21.72 | 0.937 |'" in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("results/a.json", "results/b.json", "b.json cannot be read: No such file or directory"),
        ("quality ", "beauty ", "there is no table of 'beauty'; expected quality"),
        ("psnr = PSNR", "psnrs = PSNR", "the row 'gamma' has no column 'psnrs'; it has name, pictures, psnr"),
        ("gamma = ", "gama = ", "results/a.json has no row 'gama'"),
        ("{pictures}", "{numbers}", "has no column 'numbers'"),
        ("quality results/a.json", "quality", "a table names its kind and the file of its figures; here is 'quality '"),
        ("rows: gamma", "where: pictures = 5\nrows: gamma", "results/a.json has no row 'gamma'"),
    ],
)
def test_a_comment_that_asks_for_what_is_not_there_is_one_line(page: Path, old: str, new: str, said: str) -> None:
    page.write_text(page.read_text().replace(old, new, 1))
    (line,) = lines_of_check(page)
    assert line.startswith(f"{page}:7: ")
    assert said in line
    before = page.read_bytes()
    done = run(page)
    assert (done.exit_code, done.stderr.splitlines()[0]) == (1, line)
    assert page.read_bytes() == before


def test_a_comment_without_an_end_is_found(page: Path) -> None:
    page.write_text("<!-- table: quality results/a.json\n" + TABLE + "\nText.\n\n" + COMMENT + TABLE)
    (line,) = lines_of_check(page)
    assert line.startswith(f"{page}:1: '<!-- table: quality results/a.json' is no comment of a table")
    assert line.endswith("has an end")


@pytest.mark.parametrize("begin", ["<!--table: ", "<!-- Table: ", "  <!-- table: ", "<!--\ntable: ", "<!-- table "])
def test_a_comment_that_is_nearly_right_is_found(page: Path, begin: str) -> None:
    page.write_text(BEFORE + COMMENT.replace("<!-- table: ", begin) + TABLE + AFTER)
    (line,) = lines_of_check(page)
    assert line.startswith(f"{page}:7: ")
    assert "is no comment of a table" in line


def test_other_comments_are_left_alone(page: Path) -> None:
    page.write_text(page.read_text() + "<!-- table of contents -->\n<!-- tablet -->\n- `<!-- table: KIND FILE -->`\n")
    assert run(page, "--check").exit_code == 0


def test_blank_lines_between_comment_and_table_stay(page: Path) -> None:
    page.write_text(BEFORE + COMMENT + " \n\n" + TABLE + AFTER)
    assert run(page, "--check").exit_code == 0
    page.write_text(BEFORE + COMMENT + " \n\n" + TABLE.replace("22.87", "22.88") + AFTER)
    assert run(page).exit_code == 0
    assert page.read_text() == BEFORE + COMMENT + " \n\n" + TABLE + AFTER


def test_text_behind_a_comment_s_end_is_found_and_swallows_nothing(page: Path) -> None:
    page.write_text(COMMENT[:-1] + " text\n\nMore.\n\n" + COMMENT + TABLE)
    (line,) = lines_of_check(page)
    assert line == f"{page}:1: behind the end of the comment stands 'text'"
    before = page.read_text()
    assert run(page).exit_code == 1
    assert page.read_text() == before


def test_the_other_tables_and_pages_are_made_all_the_same(page: Path) -> None:
    wrong, other = COMMENT.replace("a.json", "b.json"), page.parent / "other.md"
    page.write_text(wrong + "| x |\n\n" + COMMENT)
    other.write_text(COMMENT)
    done = run(page.parent / "none.md", page, other)
    assert done.exit_code == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        f"{page.parent / 'none.md'} cannot be read",
        f"{page}:1",
        "error",
    ]
    assert page.read_text() == wrong + "| x |\n\n" + COMMENT + TABLE
    assert other.read_text() == COMMENT + TABLE


def test_all_rows_stand_there_where_none_is_named_and_a_name_that_repeats_is_blank(page: Path) -> None:
    page.write_text("<!-- table: quality results/a.json results/a.json columns: ssim where: psnr = inf -->")
    assert run(page).exit_code == 0
    assert page.read_text().endswith("-->\n| | ssim |\n|---|---|\n| truth | 1.000 |\n| | 1.000 |\n")


def test_a_bar_in_a_result_s_text_does_not_end_a_cell(page: Path) -> None:
    change(page, engine="a|b")
    page.write_text("<!-- table: quality results/a.json columns: name = engine | ssim -->")
    assert run(page).exit_code == 0
    assert "| a\\|b | 0.936 |\n" in page.read_text()


def test_what_stands_in_a_fenced_block_is_an_example(page: Path) -> None:
    text = f"```text\n{COMMENT}| x |\n```\n\n- so:\n  ```\n  <!-- table: a -->\n  ```\n"
    page.write_text(text + COMMENT + TABLE)
    done = run(page)
    assert (done.exit_code, done.output) == (0, "1 tables in 1 pages are as their results make them\n")
    assert page.read_text() == text + COMMENT + TABLE


def test_pages_without_any_table_are_a_mistake(page: Path) -> None:
    whole, page = page, page.parent / "other.md"
    page.write_text("No table.\n")
    done = run(page, "--check")
    assert done.exit_code == 1
    assert f"no table of {page} is made of a result" in done.stderr
    assert run(page, whole, "--check").exit_code == 0


def test_the_ends_of_lines_stay_those_of_the_page(page: Path) -> None:
    page.write_bytes((COMMENT + "| x |\n\nEnd.\n").replace("\n", "\r\n").encode())
    assert run(page).exit_code == 0
    assert page.read_bytes() == (COMMENT + TABLE + "\nEnd.\n").replace("\n", "\r\n").encode()
    assert run(page, "--check").exit_code == 0


def test_a_page_that_is_no_text_is_one_line(page: Path) -> None:
    page.write_bytes(b"\xff\xfe")
    done = run(page)
    assert done.exit_code == 1
    assert f"{page} cannot be read: it is no text in UTF-8" in done.stderr
