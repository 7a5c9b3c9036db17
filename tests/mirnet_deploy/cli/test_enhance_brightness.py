"""`mirnet-deploy enhance --brightness --strength`: the result is as asked for, and made again for other values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from PIL import Image

from mirnet_deploy.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_onnx(tmp_path / "brighter.onnx", "brighter")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rows, cols = np.mgrid[50:110, 40:120]
    Image.fromarray(np.stack([rows, cols, rows + cols], axis=2).astype(np.uint8)).save(tmp_path / "dusk.png")
    return tmp_path / "dusk.png"


def enhance(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["enhance", *map(str, arguments)])


def mean(path: Path) -> float:
    with Image.open(path) as opened:
        return float(np.asarray(opened).mean() / 255)


def test_the_result_is_as_bright_as_asked_for_and_made_again_for_other_values(model: Path, picture: Path) -> None:
    out = picture.with_name("out.png")
    for options in (("--brightness", 0.6), ("--brightness", 0.35), ("--strength", 0)):
        done = enhance(picture, "-o", out, "--model", model, *options)
        assert "1 enhanced" in done.output
        wanted = options[1] if options[0] == "--brightness" else mean(picture)
        assert mean(out) == pytest.approx(wanted, abs=0.003)
    assert "1 skipped" in enhance(picture, "-o", out, "--model", model, "--strength", 0).output


@pytest.mark.parametrize("options", [("--brightness", "1.5"), ("--brightness", "nan"), ("--brightness", "dark")])
def test_an_invalid_brightness_is_one_line_of_error(model: Path, picture: Path, options: tuple[str, str]) -> None:
    done = enhance(picture, "--model", model, *options)
    assert done.exit_code == 2
    assert done.output.startswith("error: --brightness is ")
    assert len(done.output.splitlines()) == 1
    assert not list(picture.parent.glob("*_enhanced*"))


@pytest.mark.parametrize(("shade", "value"), [("black", 0), ("white", 255)])
def test_a_brightness_that_cannot_be_reached_is_reported(tmp_path: Path, shade: str, value: int) -> None:
    Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(tmp_path / "flat.png")
    identity = make_onnx(tmp_path / "identity.onnx", "identity")
    done = enhance(tmp_path / "flat.png", "--model", identity, "--brightness", 0.5)
    assert done.exit_code == 0
    assert f"too {shade} for a brightness of 0.5" in done.output
