"""The options that commands share: each is a field of `RuntimeSettings`, with its default and its errors."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mirnet_deploy import RuntimeSettings
from mirnet_deploy.cli import main
from mirnet_deploy.cli.export import command as export
from mirnet_deploy.cli.lazy import LazyGroup
from mirnet_deploy.cli.options import RUNTIME_OPTIONS, WIDTH, check_target, console, runtime_options, write_json
from mirnet_deploy.engines.tensorrt_library import RTX_TARGETS
from mirnet_deploy.errors import MirnetDeployError, UsageError
from mirnet_deploy.export.builder import CURRENT, DEFAULT_TARGETS
from mirnet_deploy.export.settings import OPSETS, ExportSettings
from mirnet_deploy.training.config import PRESETS
from mirnet_deploy.training.losses import LOSSES
from mirnet_deploy.training.recipes import RECIPES


def parsed(*words: str, names: tuple[str, ...] = ()) -> Any:
    """The settings that a command with the options `names` gets, or the error that it prints."""
    got: list[RuntimeSettings] = []

    @click.command()
    @runtime_options(*names)
    def command(settings: RuntimeSettings) -> None:
        got.append(settings)

    class Group(LazyGroup):
        def get_command(self, context: click.Context, name: str) -> click.Command:
            return command

    done = CliRunner().invoke(Group("test", lazy={"command": ("", "")}), ["command", *words])
    if done.exit_code:
        assert done.exit_code == 2
        return done.stderr
    return got[0]


def test_without_options_the_settings_are_the_defaults() -> None:
    assert parsed() == RuntimeSettings()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--device cuda:1", {"device": "cuda:1"}),
        ("--tile 168", {"tile": 168}),
        ("--tile none", {"tile": "none"}),
        ("--consistency local", {"consistency": "local"}),
        ("--tolerance 70", {"tolerance": 70.0}),
        ("--brightness 0.25", {"brightness": 0.25}),
        ("--brightness auto", {}),
        ("--strength 0", {"strength": 0.0}),
        ("--threads 3", {"threads": 3}),
        ("--batch 2", {"batch": 2}),
        ("--max-memory 2G", {"max_memory": 2 << 30}),
        ("--max-memory 800m", {"max_memory": 800 << 20}),
        ("--max-memory 1000", {"max_memory": 1000}),
        ("--no-graph", {"graphs": False}),
    ],
)
def test_an_option_sets_its_field(words: str, changes: dict[str, Any]) -> None:
    assert parsed(*words.split()) == RuntimeSettings(**changes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--device gpu", "error: --device is 'gpu'; expected auto, cpu, cuda or cuda:N"),
        ("--tile x", "error: --tile is 'x'; expected auto, none or a side in pixels, for example 512"),
        ("--tile 0", "error: --tile is '0'; expected auto, none or a side in pixels, for example 512"),
        ("--tolerance inf", "error: --tolerance is inf; expected a PSNR in dB, above 0"),
        ("--brightness 2", "error: --brightness is 2.0; expected 'auto' or a number from 0 to 1"),
        ("--brightness light", "error: --brightness is 'light'; expected 'auto' or a number from 0 to 1"),
        ("--strength nan", "error: --strength is nan; expected a number from 0 to 1"),
        ("--batch 0", "error: --batch is 0; expected a whole number of at least 1"),
        ("--threads -1", "error: --threads is -1; expected a whole number, at least 1"),
        ("--max-memory 2T", "error: --max-memory is '2T'; expected bytes, or for example 800M or 2G"),
        ("--max-memory 0", "error: --max-memory is '0'; expected bytes, or for example 800M or 2G"),
    ],
)
def test_an_error_names_the_option_as_it_was_written(words: str, said: str) -> None:
    assert parsed(*words.split()).strip() == said


def test_a_command_may_take_some_of_the_options() -> None:
    assert parsed("--tile", "64", names=("device", "tile")) == RuntimeSettings(tile=64)
    assert "No such option" in parsed("--batch", "2", names=("device", "tile"))


def test_every_option_is_a_field_of_the_settings() -> None:
    fields = {field.name for field in dataclasses.fields(RuntimeSettings)}
    assert set(RUNTIME_OPTIONS) <= fields
    # A picture's file says the order of its channels, and a command whether it enhances one at a time.
    assert fields - set(RUNTIME_OPTIONS) == {"channel_order", "alone"}


def test_enhance_offers_all_options() -> None:
    said = CliRunner().invoke(main, ["enhance", "--help"]).stdout
    for name in set(RUNTIME_OPTIONS) - {"graphs"}:
        assert f"--{name.replace('_', '-')}" in said
    assert "--no-graph" in said


def test_tables_are_wide_where_there_is_no_terminal() -> None:
    assert console().width == console(stderr=True).width == WIDTH


def test_what_commands_list_is_what_there_is() -> None:
    """Commands write choices out, so that --help need not import what knows them."""

    def choices(words: str, name: str) -> list[str]:
        command: click.Command = main
        for word in words.split():
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found
            command = found
        (option,) = (each for each in command.params if each.name == name)
        assert isinstance(option, click.Option)
        if isinstance(option.type, click.Choice):
            return list(option.type.choices)
        return re.findall(r"\w+", option.help or "")

    for words in ("train", "ship", "bench training-step"):
        assert choices(words, "preset") == list(PRESETS)
    assert choices("train", "loss") == list(LOSSES)
    assert choices("train", "recipe") == list(RECIPES)
    said = " ".join(choices("export", "targets"))
    assert " ".join(RTX_TARGETS) + " may" in said
    assert f" {CURRENT} the GPU" in said
    assert said.endswith("default " + " ".join(DEFAULT_TARGETS))
    assert choices("export", "opset")[-3:] == [str(OPSETS.start), "to", str(OPSETS.stop - 1)]
    for field in dataclasses.fields(ExportSettings):
        if field.name not in ("halo", "name", "plain"):
            (option,) = (each for each in export.params if each.name == field.name)
            assert option.default == field.default, field.name


def test_a_link_that_leads_nowhere_is_a_target_that_is_there(tmp_path: Path) -> None:
    link = tmp_path / "report.json"
    link.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"^--json \S+/report\.json exists; name another file or add --force$"):
        check_target("--json", link, force=False)
    check_target("--json", link, force=True)


def test_a_report_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    target = tmp_path / "none" / "report.json"
    with pytest.raises(MirnetDeployError, match=r"^\S+/report\.json cannot be written: No such file or directory$"):
        write_json("{}", str(target))


@pytest.mark.parametrize("words", [["export"], ["info"], ["weights", "a.pt"], ["train"]])
def test_a_name_that_no_system_takes_is_one_line(words: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*words, "x" * 300 + ".pt"])
    assert done.exit_code == 1
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: "]
