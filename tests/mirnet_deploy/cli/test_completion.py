"""Shell completion, which the README names: click makes the scripts, and the commands are found without running."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mirnet_deploy.cli import main

VARIABLE = "_MIRNET_DEPLOY_COMPLETE"


def complete(instruction: str, **words: str) -> str:
    environment = {VARIABLE: instruction, **words}
    return CliRunner().invoke(main, prog_name="mirnet-deploy", env=environment).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    script = complete(f"{shell}_source")
    assert f"{VARIABLE}={shell}_complete" in script
    assert ("compdef _mirnet_deploy_completion" if shell == "zsh" else "complete ") in script


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mirnet-deploy enh", ["plain,enhance"]),
        ("mirnet-deploy e", ["plain,enhance", "plain,export"]),
        ("mirnet-deploy bench training", ["plain,training-step"]),
        ("mirnet-deploy enhance --form", ["plain,--format"]),
        ("mirnet-deploy enhance --format jp", ["plain,jpg"]),
        ("mirnet-deploy enhance nig", ["file,nig"]),  # the shell looks for files then
        ("mirnet-deploy enhance a.png --model li", ["file,li"]),
        ("mirnet-deploy info exp", ["file,exp"]),
    ],
)
def test_words_are_completed(typed: str, offered: list[str]) -> None:
    number = str(len(typed.split()) - 1)
    assert complete("bash_complete", COMP_WORDS=typed, COMP_CWORD=number).splitlines() == offered
