"""`mirnet-deploy bench --tiling`: its figures against a whole that is known, and its drawing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_onnx
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.artifacts.version import running_commit
from mirnet_deploy.benchmarks.borders import largest_step
from mirnet_deploy.benchmarks.subjects import need
from mirnet_deploy.benchmarks.tiling import TilingSettings, pictures_below
from mirnet_deploy.cli import main
from mirnet_deploy.errors import DataError, UsageError
from mirnet_deploy.settings import RuntimeSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that subtracts the mean; tile 64, halo 16."""
    return make_onnx(tmp_path_factory.mktemp("model") / "mean.onnx", "mean")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ramp = np.linspace(100, 250, 200).astype(np.uint8)[None, :, None].repeat(140, 0).repeat(3, 2)
    (tmp_path / "deep").mkdir()
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    Image.fromarray(np.full((90, 100, 3), 77, np.uint8)).save(tmp_path / "deep" / "flat.png")
    return tmp_path


def bench(*arguments: object, expect: int = 0) -> Result:
    done = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done


def test_a_picture_that_does_not_fit_whole_is_compared_with_large_tiles(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reference says so."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (140, 1100, 3), np.uint8)).save(tmp_path / "wide.png")
    out = tmp_path / "report.json"
    for free, reference in ((1 << 30, "whole"), (64 << 20, "tiles of 1024 to ")):
        monkeypatch.setattr(need, "available_memory", lambda free=free: free)
        bench("--engine", model, "--tiling", tmp_path, "--tile", 64, "--json", out, "--force", "--modes", "local")
        (row,) = json.loads(out.read_text())["rows"]
        assert row["reference"].startswith(reference)


def test_figures_and_drawing(model: Path, folder: Path) -> None:
    out, seams = folder / "report.json", folder / "seams.png"
    said = bench("--engine", model, "--tiling", folder, "--tile", 64, "--json", out, "--seams", seams).stdout
    report = json.loads(out.read_text())
    assert report["commit"] == running_commit()
    rows = {(row["picture"], row["mode"]): row for row in report["rows"]}
    assert set(rows) == {(name, mode) for name in ("ramp.png", "deep/flat.png") for mode in ("local", "fast", "exact")}
    local, exact = rows["ramp.png", "local"], rows["ramp.png", "exact"]
    assert local["reference"] == "whole"
    assert local["step"] > 5  # every tile subtracts its own mean of the ramp
    assert (local["ratio"], local["predicted_psnr"]) == (None, None)
    assert exact["psnr"] > 60
    assert exact["max_abs"] < 1
    assert exact["step"] < 0.2
    assert exact["ratio"] == pytest.approx(exact["seconds"] / local["seconds"])
    assert rows["deep/flat.png", "local"]["psnr_8_bit"] is None
    assert "worst exact result" in said
    assert "at or under the prediction" in said
    drawing = np.asarray(Image.open(seams))
    assert drawing.shape == (140, 3 * 200 + 2 * 8, 3)
    error = drawing[:, 416:].astype(int) - 128
    assert np.abs(error).max() < 20
    assert np.abs(drawing[:, 208:408].astype(int) - 128).max() > 100


def test_only_the_middle_of_larger_pictures_and_the_given_modes_are_measured(model: Path, folder: Path) -> None:
    done = bench(
        "--engine", model, "--tiling", folder, "--middle", "96x80", "--modes", "fast", "--tile", 64, "--json", "-"
    )
    rows = json.loads(done.stdout)["rows"]
    assert {(row["width"], row["height"], row["mode"]) for row in rows} == {(96, 80, "fast")}


def test_the_image_interface_counts_in_levels(tmp_path: Path, folder: Path) -> None:
    model = make_onnx(tmp_path / "levels.onnx", "mean", interface="image")
    rows = json.loads(bench("--engine", model, "--tiling", folder / "ramp.png", "--tile", 64, "--json", "-").stdout)[
        "rows"
    ]
    largest = {row["mode"]: row["max_abs"] for row in rows}
    assert largest["local"] > 5
    assert 0 <= largest["exact"] <= 1.001


def test_the_step_is_at_the_borders_of_cores_and_nowhere_else() -> None:
    error: NDArray[np.float32] = np.zeros((96, 96, 3), np.float32)
    error[:, 50:, 1] = 0.3
    assert largest_step(error, 64, 16) == 0  # cores meet at 48
    error[:, 48:50, 1] = 0.3
    assert largest_step(error, 64, 16) == pytest.approx(0.3)
    assert largest_step(error, 96, 16) == 0


def test_pictures_below(folder: Path) -> None:
    assert [path.name for path in pictures_below(folder)] == ["ramp.png", "flat.png"]
    assert pictures_below(folder / "ramp.png") == [folder / "ramp.png"]
    with pytest.raises(DataError, match="none does not exist"):
        pictures_below(folder / "none")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modes": ("best",)}, "--modes names 'best'"),
        ({"runtime": RuntimeSettings(tile="none")}, "--tile none"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TilingSettings(Path(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tiling", "{folder}", "--size", "9x9"], "--size means nothing with --tiling"),
        (["--tiling", "{folder}", "--no-graph"], "--no-graph means nothing with --tiling"),
        (["--seams", "{folder}/s.png"], "--seams means nothing without --tiling"),
        (["--tiling", "{folder}", "--modes", "local", "--seams", "{folder}/s.png"], "--seams draws the mode exact"),
    ],
)
def test_options_that_would_do_nothing_are_refused(model: Path, folder: Path, options: list[str], said: str) -> None:
    filled = [option.format(folder=folder) for option in options]
    assert said in bench("--engine", model, *filled, expect=2).output


def test_more_than_one_engine_is_refused(model: Path, folder: Path) -> None:
    done = bench("--engine", model, "--engine", model, "--tiling", folder, expect=2)
    assert "--tiling measures one engine" in done.output
