"""Faults that are put into a picture are found and measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner
from PIL import Image

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks.night import (
    PATCH,
    colour_cast,
    contact_sheet,
    examine,
    grid_amplitude,
    lamp_areas,
    smoothest_place,
)
from mirnet_deploy.cli import main


def flat(height: int = 160, width: int = 192, noise: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(np.rint(90 + rng.normal(0, noise, (height, width, 3))), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("period", [2, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_is_measured_at_its_period_and_only_there(period: int, axis: int) -> None:
    wave = 5.0 * np.cos(2 * np.pi * np.arange(PATCH) / period)
    patch = flat(PATCH, PATCH) + (wave[:, None, None] if axis == 0 else wave[None, :, None])
    patch = np.rint(patch).astype(np.uint8)
    assert grid_amplitude(patch, period) == pytest.approx(5.0, abs=0.4)
    for other in {2, 4, 8} - {period}:
        assert grid_amplitude(patch, other) < 0.3


@pytest.mark.parametrize("period", [2, 4, 8])
def test_noise_and_gradients_are_not_a_grid(period: int) -> None:
    ramp = np.linspace(0, 40, PATCH)[:, None, None]
    assert grid_amplitude(np.rint(flat(PATCH, PATCH, 4.0) + ramp).astype(np.uint8), period) < 0.5


def test_the_smoothest_place_is_the_flat_one() -> None:
    image = flat(noise=20)
    image[64 : 64 + PATCH, 96 : 96 + PATCH] = 100
    assert smoothest_place(image) == (64, 96)


def test_cast_and_clipping() -> None:
    grey = np.full((PATCH, PATCH, 3), 100, dtype=np.uint8)
    blue = grey.copy()
    blue[..., 2] = 160
    blue[: PATCH // 4] = 255
    assert colour_cast(grey) == 0
    found = examine("x", grey, blue)
    assert found.clipped_after == 0.25
    assert found.cast_after > 0.2 > found.cast_before


def test_a_lamp_that_grows_is_measured_and_a_sky_far_from_it_is_not() -> None:
    before = flat()
    before[40:50, 40:50] = 255
    after = before.copy()
    after[38:52, 38:52] = 255
    after[100:, :] = 255
    assert lamp_areas(before, after) == (100, 196)
    assert lamp_areas(before, before) == (100, 100)
    assert lamp_areas(flat(), after) == (0, 0)


def test_the_sheet_shows_every_picture() -> None:
    import io

    sheet = Image.open(io.BytesIO(contact_sheet([("a", flat(), flat())] * 4)))
    assert sheet.size == (3 * 612, 2 * 322)
    left = np.asarray(sheet)[30:170, 10:180]
    assert abs(float(left.mean()) - 90) < 3


def test_the_command_examines_every_picture_and_draws_them(tmp_path: Path) -> None:
    folder = tmp_path / "dark"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(flat()).save(folder / "a.png")
    Image.fromarray(flat(200, 100)).save(folder / "sub/b.png")
    model = make_onnx(tmp_path / "tiny.onnx", "brighter")
    sheet, figures = tmp_path / "sheet.jpg", tmp_path / "night.json"
    options = ["--engine", str(model), "--max-side", "160", "--sheet", str(sheet), "--json", str(figures)]
    result = CliRunner().invoke(main, ["bench", "night", str(folder), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 pictures: clipped 0.00 %" in result.output
    report = json.loads(figures.read_text())
    assert (report["format"], report["commit"]) == ("mirnet-deploy bench night", running_commit())
    found = report["pictures"]
    assert [item["name"] for item in found] == ["a.png", "sub/b.png"]
    assert set(found[0]["grid_after"]) == {"2", "4", "8"}
    with Image.open(sheet) as drawn:
        assert drawn.format == "JPEG"


def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        result = CliRunner().invoke(main, ["bench", "night", str(folder)])
        assert result.exit_code == 1
        assert len(result.output.splitlines()) == 1


def test_the_figures_can_go_to_standard_output(tmp_path: Path) -> None:
    Image.fromarray(flat()).save(tmp_path / "a.png")
    model = make_onnx(tmp_path / "tiny.onnx", "brighter")
    result = CliRunner().invoke(main, ["bench", "night", str(tmp_path), "--engine", str(model), "--json", "-"])
    assert [item["name"] for item in json.loads(result.stdout)["pictures"]] == ["a.png"]
    assert "1 pictures: clipped" in result.stderr
