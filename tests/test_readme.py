"""The README's commands, run as they stand, in a copy of the clone and in the order of the page (`readme_page`).

A fenced block is run when its language is `bash`. `bash gpu` needs a GPU, `bash ci` is what .ci/run itself runs; both
are counted, so that a block cannot leave the test by a change of its mark. `python` blocks are run, too.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from readme_page import BLOCKS, ROOT, RUN, Page


def test_marks_are_counted() -> None:
    """A change here is a decision: which blocks of the README no test runs."""
    assert Counter(language for language, _ in BLOCKS if language not in ("bash", "python")) == {
        "bash ci": 1,
        "bash gpu": 1,
        "text": 1,
    }


def test_no_figure_is_missing_and_every_link_leads_somewhere() -> None:
    for page in ("README.md", "weights/lite.md", "training/RESULTS.md", "examples/README.md"):
        text = (ROOT / page).read_text()
        assert "@@" not in text, page
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("index", range(len(RUN)))
def test_block(readme: Page, index: int) -> None:
    fault = readme.fault(index)
    assert fault is None, fault
