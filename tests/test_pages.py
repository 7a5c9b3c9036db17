"""Runs the commands on our pages as they stand, in a copy of the clone, in the order of the pages (`support/pages`).

A fenced block is run when its language is `bash` or `python`. `bash long` is run by `pytest -m long`, `bash gpu` needs
a GPU, `bash ray` a cluster or minutes, `bash stand_in` and `bash triton` a download, `python client` a server (`pytest
-m triton` runs it), `bash ci` is what .ci/run itself runs; `text` needs data that is not here. All are counted, so that
no block leaves the tests by a change of its mark. Every command, wherever it stands, must exist with its options.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import click
import pytest
from pages import BLOCKS, LONG, PAGES, ROOT, RUN, Clone, Pages, names

from mirnet_deploy.cli import COMMANDS, main
from mirnet_deploy.cli.bench import SUBCOMMANDS


def test_blocks_that_are_not_run_are_counted() -> None:
    """To change this table is to decide which blocks are not run every time."""
    assert Counter((block.page, block.language) for block in BLOCKS if block not in RUN) == {
        ("README.md", "bash ci"): 1,
        ("README.md", "bash gpu"): 1,
        ("ARCHITECTURE.md", "text"): 1,
        ("benchmarks/CPU.md", "bash long"): 1,
        ("benchmarks/GPU.md", "bash long"): 1,
        ("benchmarks/GPU.md", "bash stand_in"): 1,
        ("benchmarks/TILING.md", "bash long"): 1,
        ("benchmarks/TILING.md", "text"): 1,
        ("docs/BENCH.md", "text"): 1,
        ("docs/BENCH.md", "yaml"): 1,
        ("docs/EXPORT.md", "bash long"): 1,
        ("docs/SCALE.md", "bash ray"): 2,
        ("docs/TRITON.md", "bash gpu"): 2,
        ("docs/TRITON.md", "bash triton"): 1,
        ("docs/TRITON.md", "python client"): 1,
        ("docs/TRITON.md", "text"): 1,
        ("training/RESULTS.md", "text"): 7,
        ("weights/base.md", "bash long"): 1,
        ("weights/base.md", "text"): 1,
    }


@pytest.mark.parametrize("page", PAGES)
def test_no_figure_is_missing_and_every_link_has_a_target(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "@@" not in text
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("index", range(len(RUN)), ids=names(RUN))
def test_block(pages: Pages, index: int) -> None:
    fault = pages.fault(index)
    assert fault is None, fault


@pytest.mark.long
@pytest.mark.parametrize("index", range(len(LONG)), ids=names(LONG))
def test_long_block(tmp_path: Path, lol_folder: Path, index: int) -> None:
    fault = Clone(tmp_path, lol_folder).fault(LONG[index])
    assert fault is None, fault


FENCED = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_in(text: str) -> list[list[str]]:
    """The words of every `mirnet-deploy …` in blocks and in code spans; a span may leave the program's name out, and
    `… -m mirnet_deploy` is the program too."""
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    for span in re.findall(r"`([^`]+)`", FENCED.sub("", text)):
        first, *rest = span.split()
        options = any(word.startswith("--") for word in rest)
        if options and (first in COMMANDS or first in SUBCOMMANDS):
            lines.append(f"mirnet-deploy {span}" if first in COMMANDS else f"mirnet-deploy bench {span}")
        else:
            lines.append(span)
    found = []
    for line in lines:
        plain = re.sub(r"(--\S+) …", r"\1 VALUE", line)
        for part in re.split(r"&&|\|", re.sub(r"\(.*?\)|[\[\]…]", " ", plain)):  # without remarks and brackets
            assert "-m mirnet_deploy." not in part, f"{part}: every command is one of mirnet-deploy's own"
            words = re.sub(r"^.*-m mirnet_deploy ", "mirnet-deploy ", part.strip()).split()
            while words and re.fullmatch(r"\w+=.*", words[0]):  # a variable of the environment
                words = words[1:]
            if words[:1] == ["mirnet-deploy"]:
                found.append(shlex.split(" ".join(words), comments=True)[1:])
    return found


def check(command: click.Command, words: list[str]) -> None:
    """Parses a command's words, and those of a command below it; their values are not checked."""
    _, rest, _ = command.make_parser(click.Context(command)).parse_args([*words])
    if isinstance(command, click.Group) and rest:
        below = command.get_command(click.Context(command), rest[0])
        assert below, f"there is no {rest[0]}"
        check(below, rest[1:])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    found = commands_in((ROOT / page).read_text())
    assert found
    for words in found:
        check(main, words)


def test_the_gpu_suite_s_commands_exist_with_their_options() -> None:
    script = (ROOT / "benchmarks/gpu_suite.sh").read_text().replace("\\\n", " ")
    script = re.sub(r'"?\$\{\w+\[@\]\}"?', "", script)  # arrays of options
    found = [words for words in commands_in(f"```\n{script}```\n") if words]
    assert {words[0] for words in found} >= {"doctor", "bench", "export"}
    for words in found:
        check(main, words)


@pytest.mark.parametrize(
    "line",
    [
        "torchrun --nproc-per-node 2 -m mirnet_deploy trian LOL",
        "python -m mirnet_deploy.training.ship LOL",
        "A=1 mirnet-deploy nonsense",
        "mirnet-deploy bench night FOLDER --gone",
    ],
)
def test_a_stale_command_is_found_wherever_it_stands(line: str) -> None:
    def check_all() -> None:
        for words in commands_in(f"```bash\n{line}\n```\nas in `{line}`"):
            check(main, words)

    with pytest.raises((click.UsageError, AssertionError)):
        check_all()


def test_an_unknown_command_or_option_is_caught() -> None:
    for line in ("enhance --brighter a.png", "bench days FOLDER", "improve a.png"):
        with pytest.raises((click.UsageError, AssertionError)):
            check(main, line.split())
