"""This repository's own results (`benchmarks/results`), and the tables on our pages that are made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pages import PAGES, ROOT

from mirnet_deploy.benchmarks.markdown import make_page
from mirnet_deploy.cli import main

RESULTS = ROOT / "benchmarks/results"
BEFORE_COMMITS = json.loads((RESULTS / "before_commits.json").read_text())["added_in"]
FILES = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*"))
MADE = {
    "README.md": 2,
    "benchmarks/CPU.md": 7,
    "benchmarks/GPU.md": 3,
    "benchmarks/TILING.md": 3,
    "docs/BENCH.md": 1,
    "docs/SCALE.md": 7,
    "weights/lite.md": 1,
}
"""Page -> how many of its tables are made of results, so that none leaves the test by a change of its comment."""


def test_every_table_of_every_page_follows_from_its_results() -> None:
    done = CliRunner().invoke(main, ["bench", "tables", "--check", *(str(ROOT / page) for page in PAGES)])
    assert done.exit_code == 0, done.output


def test_the_tables_that_are_made_of_results_are_counted() -> None:
    found = {page: make_page(ROOT / page, (ROOT / page).read_text()).tables for page in PAGES}
    assert {page: tables for page, tables in found.items() if tables} == MADE


@pytest.mark.parametrize("name", FILES)
def test_every_result_names_its_machine_and_its_commit(name: str) -> None:
    """Or is one of those that were measured before commits were recorded; a log names what it says itself."""
    if name in BEFORE_COMMITS:
        assert len(BEFORE_COMMITS[name]) == 40
        return
    content = json.loads((RESULTS / name).read_text())
    rows = content if isinstance(content, list) else [content]
    for row in rows:
        assert row["machine"]["cpu"]
        assert len(row["commit"]) == 40, "a clean commit, without -dirty"


def test_the_index_of_older_results_names_only_files_that_are_there() -> None:
    assert set(BEFORE_COMMITS) <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_result_is_cited(name: str) -> None:
    place = Path(name).as_posix()
    assert any(f"results/{place}" in (ROOT / page).read_text() for page in PAGES), f"no page cites {name}"
